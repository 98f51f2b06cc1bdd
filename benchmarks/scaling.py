"""Updates per second on one device and on all of this host, the batch per device being the same.

  python benchmarks/scaling.py [--batch_per_device=100] [--num_filters=64] [--num_steps=100] [--output=FILE.json]
  python benchmarks/scaling.py --cpu_devices=2 --num_filters=4 --num_steps=3 --batch_per_device=4 --seconds=1

Rows: --strategy=one_device on the first GPU, mirrored on all in one process, multi_worker with a process per GPU on
this host. They build the trainer as bin/train.py does, on random images, compile beside each other, warm up and wait.
They are then timed in turn, one at a time, in an order that alternates; a timing ends when the last loss is on the
host. The rate of learning is next to 0, so that no timing meets a diverged energy. Perfect scaling does an update of
R times the batch in the time of one: the speed-up is R times the ratio of updates per second.

Prints a table; writes it as JSON after every round. --cpu_devices tries the script on logical CPU devices, which share
one processor, without XLA.
"""

import argparse
import json
import os
import pathlib
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WARM_UP = 3
ROWS = ("one_device", "mirrored", "multi_worker")


def main() -> int:
    options = _options()
    if options.row:
        return _work(options)
    names = ["one_device", *(name for name in options.rows.split(",") if name != "one_device")]
    with tempfile.TemporaryFile("w+") as log:
        rows = []
        try:
            for name in names:
                rows.append(Row(name, options, log))
            for row in rows:
                row.attempt(row.wait_until_ready)
                print(f"{row.name}: {row.error or 'ready'}", file=sys.stderr, flush=True)
            for turn in range(options.rounds):
                for row in rows if turn % 2 == 0 else reversed(rows):
                    row.attempt(row.time)
                if not rows[0].error:
                    report = _write_report(options, rows)  # should the other rounds not be reached
        finally:
            for row in rows:
                row.kill()
        if failed := [f"{row.name}: {row.error}" for row in rows if row.error]:
            log.seek(0)
            print("\n".join([*log.read().splitlines()[-40:], *failed]), file=sys.stderr)
        if rows[0].error:
            return 1
    print(_table(report))
    return 1 if failed else 0


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_per_device", type=int, default=100)
    parser.add_argument("--num_filters", type=int, default=64)
    parser.add_argument("--num_steps", type=int, default=100)
    parser.add_argument("--attention", choices=("true", "false"), default="true")
    policies = "mixed_bfloat16", "mixed_float16", "float32"
    parser.add_argument("--dtype_policy", choices=policies, default=policies[0])
    parser.add_argument("--scheme", choices=("hybrid", "persistent"), default="hybrid")
    parser.add_argument("--rows", default=",".join(ROWS), help="by commas; one_device is always there")
    parser.add_argument("--rounds", type=int, default=6, help="timings of every row")
    parser.add_argument("--seconds", type=float, default=8.0, help="about how long one timing lasts")
    parser.add_argument(
        "--timeout", type=float, default=400.0, help="seconds that a row may take to compile, or to answer"
    )
    parser.add_argument("--cpu_devices", type=int, default=0, help="logical CPU devices in place of GPUs")
    parser.add_argument("--output", default=str(ROOT / "runs" / "bench" / "scaling.json"))
    parser.add_argument("--devices", type=int, default=0, help="GPUs of this host. 0: as nvidia-smi lists them")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    return parser.parse_args()


# The parent: starts the processes of a row, has rows timed in turn, reports.


def _devices(options) -> list[str]:
    """Numbers of the devices, as CUDA_VISIBLE_DEVICES takes them."""
    if count := options.cpu_devices or options.devices:
        return [str(number) for number in range(count)]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return visible.split(",")
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True).stdout
    return [str(number) for number in range(len(listed.splitlines()))]


class Row:
    """A strategy with its processes: one, or for multi_worker one per device.

    Attributes:
      name: of the strategy.
      ready: what the first process says of itself.
      rates: updates per second, one per timing.
      error: why it has no more of them; "" where all is well.
    """

    def __init__(self, name, options, log):
        self.name, self.options, self.rates, self.ready, self.error = name, options, [], {}, ""
        devices = _devices(options)
        groups = {"one_device": [devices[:1]], "mirrored": [devices], "multi_worker": [[one] for one in devices]}[name]
        command = [sys.executable, __file__, *sys.argv[1:], f"--devices={len(devices)}", f"--row={name}"]
        addresses = [f"localhost:{_free_port()}" for _ in groups]
        self.processes = []
        for index, visible in enumerate(groups):
            environment = {**os.environ, "TF_FORCE_GPU_ALLOW_GROWTH": "true", "TF_CPP_MIN_LOG_LEVEL": "1"}
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible)
            if name == "multi_worker":
                task = {"type": "worker", "index": index}
                environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
            self.processes.append(subprocess.Popen(command, env=environment, **pipes))

    def attempt(self, step):
        """Does step(), if none has failed before; a row that fails leaves the others alone."""
        if not self.error:
            try:
                step()
            except (RuntimeError, OSError) as error:
                self.error = str(error)
                self.kill()

    def wait_until_ready(self):
        answers = [self._read(process) for process in self.processes]
        self.ready = {**answers[0], "compile_s": max(answer["compile_s"] for answer in answers)}
        self._seconds = self._run(WARM_UP)

    def time(self):
        """Adds a timing of about options.seconds."""
        self._seconds = self._run(max(WARM_UP, round(self.options.seconds / self._seconds)))
        self.rates.append(1 / self._seconds)

    def _run(self, count) -> float:
        """Seconds per update. All processes do the same number: they wait for each other in every update."""
        for process in self.processes:
            print(count, file=process.stdin, flush=True)
        return max(self._read(process)["seconds"] for process in self.processes) / count

    def _read(self, process):
        """The next JSON line of a process."""
        deadline = time.monotonic() + self.options.timeout
        while select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            line = process.stdout.readline()
            if line.startswith("{"):
                return json.loads(line)
            if not line:
                raise RuntimeError(f"ended with status {process.wait()}")
        raise RuntimeError(f"no answer in {self.options.timeout:g} s")

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def _write_report(options, rows):
    settings = ("batch_per_device", "num_filters", "num_steps", "attention", "dtype_policy", "scheme")
    report = {"settings": {name: getattr(options, name) for name in settings}, "rows": {}}
    alone = statistics.median(rows[0].rates)
    for row in rows:
        if row.error:
            report["rows"][row.name] = {"error": row.error}
            continue
        rate = statistics.median(row.rates)
        numbers = {"updates_per_second": rate, "timings": row.rates, "speed_up": row.ready["devices"] * rate / alone}
        report["rows"][row.name] = {**row.ready, **numbers}
    pathlib.Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(options.output).write_text(json.dumps(report, indent=1) + "\n")
    return report


def _table(report):
    lines = [" ".join(f"{name}={value}" for name, value in report["settings"].items())]
    lines.append("| strategy | devices | batch | updates/s (range) | data/s | speed-up | compile s |")
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for name, row in report["rows"].items():
        if "error" in row:
            lines.append(f"| {name} | {row['error']} | | | | | |")
            continue
        rate, batch, speed_up = row["updates_per_second"], row["batch_size"], row["speed_up"]
        lines.append(
            f"| {name} | {row['devices']} x {row['device']} | {batch} | {rate:.3g} ({min(row['timings']):.3g} to "
            f"{max(row['timings']):.3g}) | {rate * batch:.4g} | {speed_up:.2f} | {row['compile_s']:.0f} |"
        )
    return "\n".join(lines)


# The processes of a row.


def _work(options):
    sys.path.insert(0, str(ROOT))
    import tensorflow as tf

    if options.cpu_devices and options.row == "mirrored":
        devices = [tf.config.LogicalDeviceConfiguration()] * options.cpu_devices
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    update, ready = _build(options, tf)
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            loss = update()
        if not abs(float(loss)) < float("inf"):  # waits for the device
            raise FloatingPointError(f"loss = {float(loss)}")
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
    return 0


def _build(options, tf):
    """One update as a function that returns its loss, after the first one; and what is known of the row."""
    from ebm_tf.settings.train import TrainConfig
    from ebm_tf.training import replicas, run

    total = 1 if options.row == "one_device" else options.devices
    shared = ("num_filters", "num_steps", "dtype_policy", "scheme")
    config = TrainConfig(
        batch_size=options.batch_per_device * total,
        **({"bank_size": 100 * options.batch_per_device * total} if options.scheme.startswith("persistent") else {}),
        attention=options.attention == "true",
        strategy=options.row,
        jit_compile="false" if options.cpu_devices else "true",
        learning_rate=1e-12,
        **{name: getattr(options, name) for name in shared},
    )
    trainer = run.build_trainer(config, replicas.make_strategy(config))
    images = tf.random.stateless_uniform((10, config.batch_size, *config.event_shape), [0, 0], -1.0, 1.0)
    batches = iter(
        replicas.split_batches(trainer.strategy, tf.data.Dataset.from_tensor_slices(images).cache().repeat())
    )
    trainer.make_train_function()
    start = time.perf_counter()

    def update():
        return trainer.train_function(batches)["loss"]

    float(update())
    gpus = tf.config.list_physical_devices("GPU")
    device = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"
    known = {"devices": trainer.strategy.num_replicas_in_sync, "device": device, "batch_size": config.batch_size}
    return update, {**known, "compile_s": time.perf_counter() - start}


if __name__ == "__main__":
    sys.exit(main())

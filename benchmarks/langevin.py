"""Milliseconds per Langevin step: this package, PyTorch and torchebm on the same networks with the same weights.

  python benchmarks/langevin.py [--networks=...] [--rows=...] [--torch_python=PYTHON] [--output=FILE.json]

Every row is a process of its own. It builds its network from copied weights, compares energies and gradients with
float32 reference values, compiles, warms up, and then waits. When all rows are ready they are timed in turn, one at a
time, in an order that alternates between rounds; a row's time is the median over the rounds. A step's end is the
end of the chain's last copy to the host, so the device has done its work. Without PyTorch its rows say so.

Prints a table and writes it as JSON. Rows are FRAMEWORK/DTYPE/MODE, e.g. ours/bfloat16/xla or torch/tf32/max-autotune.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

NUM_CHAINS = 200  # the hybrid's, at the batch size of 100
MOST_OTHERS = 0.3  # cores that other programs may use on a CPU that is called quiet


def main() -> int:
    options = _options()
    if options.worker:
        return _work(options)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--worker=reference", f"--networks={options.networks}"]
        reference = _ask_once(command, folder)
        used = _cores_of_others()
        if reference["is_cpu"] and used > MOST_OTHERS and not options.busy:
            raise SystemExit(f"others use {used:.1f} cores of this CPU: wait until they are done, or give --busy")
        rows = reference["rows"] if options.rows == "all" else options.rows.split(",")
        report = {key: reference[key] for key in ("device", "peak_tflops")} | {"num_chains": options.num_chains}
        report |= {"load": os.getloadavg()[0], "cores_of_others": used}
        pairs = [(network, row) for network in reference["networks"] for row in rows]
        groups = [pairs] if options.together else [pairs[i : i + len(rows)] for i in range(0, len(pairs), len(rows))]
        report["rows"] = []
        for group in groups:
            report["rows"] += _measure(group, options, folder)
            report["cores_of_others"] = max(report["cores_of_others"], _cores_of_others())
            _write(report, options.output)
    print(_table(report))
    return 0


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--networks", default="auto", help="names or patterns, by commas. auto: rings on a CPU, all images on a GPU")
    add("--rows", default="all", help="FRAMEWORK/DTYPE/MODE, by commas")
    add("--num_chains", type=int, default=NUM_CHAINS)
    add("--rounds", type=int, default=5, help="timings of every row")
    add("--seconds", type=float, default=1.0, help="about how long one timing lasts")
    add("--prepare_seconds", type=float, default=600, help="for compiling; a row that needs longer is left out")
    add("--torch_python", default=sys.executable, help="the Python that has torch")
    add("--together", action="store_true", help="compile all rows at once: sooner done, but they slow each other")
    add("--busy", action="store_true", help="measure on a CPU that others use too; the table says so")
    add("--output", default=str(ROOT / "runs" / "bench" / "langevin.json"))
    add("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if "/" in options.torch_python:  # workers run in another folder
        options.torch_python = os.path.abspath(options.torch_python)
    return options


# The parent: starts workers, has them timed in turn, reports.


def _measure(pairs, options, folder):
    """Starts one worker per (network, row), then times them in turn. Returns one dict per row."""
    workers, results = [], []
    for network, name in pairs:
        python = sys.executable if name.startswith("ours") else options.torch_python
        command = [python, __file__, f"--worker={name}", f"--networks={network}", f"--num_chains={options.num_chains}"]
        workers.append(_start([*command, f"--seconds={options.seconds}"], folder))
        if not options.together:
            results.append(_read(workers[-1], time.monotonic() + options.prepare_seconds))
    deadline = time.monotonic() + options.prepare_seconds
    results = results or [_read(worker, deadline) for worker in workers]
    times = [[] for _ in workers]
    for turn in range(options.rounds):
        order = range(len(workers)) if turn % 2 == 0 else reversed(range(len(workers)))
        for i in order:
            if "error" not in results[i]:
                answer = _ask(workers[i], options.seconds)
                times[i] += [answer.pop("ms_per_step")] if "ms_per_step" in answer else []
                results[i] |= answer
    for worker in workers:
        worker.stdin.close()
        worker.wait()
    pairs = [{"network": network, "row": name} for network, name in pairs]
    return [{**pair, **result, **_speed(seen, options)} for pair, result, seen in zip(pairs, results, times)]


def _speed(times, options):
    if not times:
        return {}
    median = statistics.median(times)
    speed = {"ms_per_step": median, "ms_per_step_range": [min(times), max(times)]}
    return {**speed, "chain_steps_per_s": options.num_chains / median * 1e3}


def _start(command, folder):
    return subprocess.Popen(
        command, cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def _read(worker, deadline):
    """The worker's next answer. One that gives none until the deadline is stopped."""
    answer = {}

    def wait():
        for line in worker.stdout:
            if line.startswith("{"):
                answer.update(json.loads(line))
                return

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if thread.is_alive():
        worker.kill()
        return {"error": "not ready in time"}
    return answer or {"error": f"ended with status {worker.wait()}"}


def _ask(worker, seconds):
    worker.stdin.write("time\n")
    worker.stdin.flush()
    return _read(worker, time.monotonic() + 30 * seconds + 60)


def _ask_once(command, folder):
    worker = _start(command, folder)
    answer = _read(worker, time.monotonic() + 600)
    worker.stdin.close()
    worker.wait()
    if "error" in answer:
        raise SystemExit(f"the reference {answer['error']}")
    return answer


def _cores_of_others(seconds=1.0):
    """Cores in use while this program waits, its workers done. 0 where the system does not say."""
    if not pathlib.Path("/proc/stat").exists():
        return 0.0
    before, start = _idle_seconds(), time.monotonic()
    time.sleep(seconds)
    idle = (_idle_seconds() - before) / (time.monotonic() - start)
    return max(0.0, (os.cpu_count() or 1) - idle)


def _idle_seconds():
    """Idle seconds of all cores together, waiting for the disk included."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def _write(report, path):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_text(json.dumps(report, indent=1) + "\n")


def _table(report):
    peaks = report["peak_tflops"]
    lines = [
        f"{report['device']}; {report['num_chains']} chains; TFLOP/s of a large matrix product: {peaks}",
        f"load {report['load']:.2f} at the start; others used up to {report['cores_of_others']:.1f} cores",
        "| network | row | ms per step | min | chain-steps/s | share of peak | MiB | compile s | error E | dE/dx |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in report["rows"]:
        cells = [row["network"], row["row"], *_cells(row, peaks.get(row["row"].split("/")[1]))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cells(row, peak):
    if "ms_per_step" not in row:
        return [row["error"], *[""] * 7]
    return [
        f"{row['ms_per_step']:.3f}",
        f"{row['ms_per_step_range'][0]:.3f}",
        f"{row['chain_steps_per_s']:,.0f}",
        f"{row['gflop_per_step'] / row['ms_per_step'] / peak:.2f}" if peak else "",
        str(row.get("peak_memory_mib", "")),
        f"{row['compile_s']:.1f}",
        f"{row['energy_error']:.0e}",
        f"{row['grad_error']:.0e}",
    ]


# The workers: one row each.


def _work(options):
    import rows

    from ebm_tf.cli import xla

    xla.configure()
    try:
        if options.worker == "reference":
            row = rows.reference(options.networks)
        else:
            chain = rows.build(options.worker, options.networks, options.num_chains)
            row = chain.ready
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        print(json.dumps({"error": reason}), flush=True)
        return 1
    print(json.dumps(row), flush=True)
    for _ in sys.stdin:
        print(json.dumps(chain.time(options.seconds)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

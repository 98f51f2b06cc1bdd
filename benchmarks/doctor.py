"""What bin/doctor.py foretells over what a short training then takes: time of an update, memory, disk.

  python benchmarks/doctor.py [--data_dir=DIR] [--output=FILE.json]

Each of SETTINGS in two processes of its own, one after the other; 1 is right, 2 is twice too much. On a GPU memory is
the GPU's. Images are CIFAR-10's, from --data_dir.
"""

import argparse
import json
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ebm_tf.cli import xla  # noqa: E402

RINGS = dict(dataset="rings", step_size=0.001, temperature=0.005, energy_scale=0.005)
SETTINGS = {
    "rings": {**RINGS, "num_filters": 64, "num_steps": 100, "jit_compile": "true", "train_steps": 60},
    "rings, small": {
        **RINGS,
        **dict(scheme="persistent", num_filters=8, batch_size=4, num_steps=8, bank_size=1000, train_steps=300),
    },
    "images, long chains": dict(num_filters=4, batch_size=16, num_steps=20, train_steps=30),
    "images, one step": dict(num_filters=4, batch_size=64, num_steps=1, train_steps=40),
    "images, wide": dict(scheme="noise", num_filters=32, batch_size=50, num_steps=5, train_steps=12),
    "images, a bank": dict(
        scheme="persistent", num_filters=8, batch_size=32, num_steps=10, bank_size=20_000, train_steps=30
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets")
    parser.add_argument("--output", help="a .json file")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return _work(options)
    rows = {}
    for name in SETTINGS:
        foretold, found = (_numbers(options, f"{what}:{name}") for what in ("doctor", "training"))
        rows[name] = {key: foretold[key] / found[key] for key in found}
        print(f"{name}: " + ", ".join(f"{key} {ratio:.2f}" for key, ratio in rows[name].items()), flush=True)
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(rows, indent=1) + "\n")


def _numbers(options, work) -> dict[str, float]:
    """What a process for this work found."""
    given = [f"--data_dir={options.data_dir}"] if options.data_dir else []
    command = [sys.executable, __file__, f"--work={work}", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def _work(options) -> None:
    what, _, name = options.work.partition(":")
    xla.configure()
    from ebm_tf.settings.train import TrainConfig

    with tempfile.TemporaryDirectory() as folder:
        own = dict(data_dir=options.data_dir, workdir=f"{folder}/run", log_every=1, keep_checkpoints=1)
        config = TrainConfig(**{"jit_compile": "auto", **SETTINGS[name], **own})
        print(json.dumps(_foretold(config) if what == "doctor" else _found(config)))


def _foretold(config) -> dict[str, float]:
    from ebm_tf.training import doctor

    text = "; ".join(finding.text for finding in doctor.examine(config))
    patterns = {"time": r"about (\S+) s per update", "memory": r"memory (\S+) GiB", "disk": r"(\S+) GiB needed"}
    return {key: float(re.search(pattern, text)[1]) for key, pattern in patterns.items()}


def _found(config) -> dict[str, float]:
    import tensorflow as tf

    from ebm_tf.training import run

    run.train(config)
    folder = pathlib.Path(config.workdir)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    if tf.config.list_physical_devices("GPU"):
        memory = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    else:
        memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    checkpoint = sum(path.stat().st_size for path in (folder / "checkpoints").iterdir())
    disk = 2 * checkpoint + (folder / "model.keras").stat().st_size  # two: the old one goes when the new one is whole
    seconds = 1 / statistics.median(row["updates_per_second"] for row in rows[3:])
    return {"time": seconds, "memory": memory / 2**30, "disk": disk / 2**30}


if __name__ == "__main__":
    main()

"""Wrote the runs of this folder, by the code of 3461b29, the last commit before the modules moved into rooms.

  git worktree add /tmp/before 3461b29
  cd /tmp/before && PYTHONPATH=. python REPOSITORY/tests/data/old_runs/make.py

A run per folder, as --stop_after left it after 4 of its 8 updates; in expected.json the rows of metrics.jsonl of the
updates after it as the same code went on with them, and the energies that model.keras, of the last, had there. Event
files and pictures were dropped.
"""

import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import tensorflow as tf

from ebm_tf import load, rings
from ebm_tf.config import TrainConfig
from ebm_tf.data import images
from ebm_tf.training import run
from ebm_tf.training.run_dir import RunDir

HERE = pathlib.Path(__file__).parent
LAST, STOPPED = 8, 4
OF_ALL = dict(batch_size=4, num_steps=3, train_steps=LAST, log_every=1, checkpoint_every=STOPPED, jit_compile="false")
OF_RINGS = dict(
    **OF_ALL,
    dataset="rings",
    num_filters=4,
    energy_scale=0.005,
    step_size=0.005,
    step_ratio=36.0,
    temperature=0.005,
    bank_size=16,
    learning_rate=2e-3,
    learning_rate_schedule="cosine",
)
RUNS = {
    "data": dict(**OF_RINGS, scheme="data", data_noise=0.1),
    "noise": dict(**OF_RINGS, scheme="noise", step_size_rule="adaptive"),
    "persistent": dict(**OF_RINGS, scheme="persistent", bank_dtype="float16"),
    "persistent_refresh": dict(**OF_RINGS, scheme="persistent_refresh", refresh_prob=0.5, refresh_unit="chain"),
    "hybrid": dict(**OF_RINGS, scheme="hybrid", cd_weight=10.0, bank_weight=0.5, bank_burn_in=4),
    "images": dict(
        **OF_ALL,
        dataset="cifar10",
        num_filters=2,
        scheme="hybrid",
        energy_scale=0.01,
        temperature=0.01,
        step_size=0.5,
        data_noise=0.1,
        noise_spectrum="data",
        preconditioner="spectrum",
        reference="gaussian",
        ema_momentum=0.9,
    ),
}


def pixels(*_):
    """Images that any machine makes alike."""
    index = np.arange(40 * 32 * 32 * 3).reshape(40, 32, 32, 3)
    return ((abs(index * 7 % 511 - 255) + abs(index * 3 // 50 % 511 - 255)) // 2).astype(np.uint8)


def main():
    images.load = pixels
    for name, settings in RUNS.items():
        with tempfile.TemporaryDirectory() as root:
            first, last = pathlib.Path(root) / "first", pathlib.Path(root) / "last"
            run.train(TrainConfig(**settings, workdir=str(first)))
            for path in (*first.glob(f"checkpoints/*{LAST}.*"), first / "model.keras"):  # as if it had been stopped
                path.unlink()
            RunDir(first).truncate_metrics(STOPPED)
            shutil.copytree(first, last)
            trainer = run.train(TrainConfig(**settings, workdir=str(last), resume=True))
            keep(HERE / name, first, last, trainer)


def keep(folder, first, last, trainer):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(first, folder, ignore=shutil.ignore_patterns("tensorboard", "figures", "lock", "events.jsonl"))
    shutil.copy(last / "model.keras", folder / "model.keras")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "workdir": None}, indent=2) + "\n")
    rows = [row for row in RunDir(last).read_metrics() if row["step"] > STOPPED]
    for row in rows:
        del row["updates_per_second"]
    x = pixels()[:3] if len(trainer.energy.event_shape) == 3 else rings.sample(5, seed=[0, 0]).numpy()
    energies = load(last).energy(x)
    inputs = {} if x.dtype == np.uint8 else {"x": x.tolist()}
    expected = {"rows": rows, **inputs, "energies": np.asarray(energies, np.float64).tolist()}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(2)
    sys.exit(main())

"""Memory does not grow with updates or steps. Minutes, but for one test: -m slow.

Looked at from update 2,000: by then every callback has been at work, and what is loaded at first use
(matplotlib's fonts at the first picture) is there.
"""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import run

ROOT = pathlib.Path(__file__).parents[2]
GROWTH = 1.01

HEAD = """
import pathlib, sys, tempfile
sys.path.insert(0, sys.argv[1])
import tensorflow as tf
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import callbacks, run

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1])
"""

UPDATES = """
sizes, write_row = {}, callbacks.MetricsLogger.write_row

def write_row_and_look(self, step, logs):
    write_row(self, step, logs)
    sizes[step] = resident()

callbacks.MetricsLogger.write_row = write_row_and_look
with tempfile.TemporaryDirectory() as workdir:
    trainer = run.train(TrainConfig(
        dataset="rings", scheme="hybrid", num_filters=16, batch_size=4, num_steps=3, step_size=0.005,
        learning_rate=1e-6, temperature=0.005, energy_scale=0.005, train_steps=12_000, log_every=50,
        checkpoint_every=500, figure_every=1_000, jit_compile="false", workdir=workdir))
print(trainer.one_step_update.experimental_get_tracing_count(), sizes[2_000], sizes[12_000])
"""

STEPS = """
trainer = run.build_trainer(TrainConfig(dataset="rings", scheme="noise", num_filters=16, jit_compile="false",
                                        step_size=0.005, temperature=0.005, energy_scale=0.005))
x = trainer.sample_chain(64, 1_000, seed=0)
before = resident()
for seed in range(10):
    x = trainer.sample_chain(64, 5_000, seed=seed, x_init=x)
x = trainer.sample_chain(64, 50_000, seed=99, x_init=x)
((_, chain),) = trainer.sampler._chains.values()
print(chain.experimental_get_tracing_count(), before, resident())
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux only")
@pytest.mark.parametrize("code", [UPDATES, STEPS], ids=["10,000 updates", "100,000 steps"])
def test_memory_is_flat_and_nothing_is_traced_twice(code):
    command = [sys.executable, "-c", HEAD + code, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-3000:]
    traces, before, after = map(int, done.stdout.split()[-3:])
    print(f"{traces} trace, {before} to {after} pages: {100 * (after / before - 1):+.2f} %")
    assert traces == 1
    assert after < GROWTH * before


def test_tensorboard_is_given_no_python_numbers(tmp_path, monkeypatch):
    """TensorFlow would keep each for good: it is what made memory grow."""
    given = []

    def note(tag, value, *args, **kwargs):
        given.append((tag, value, tf.summary.experimental.get_step()))

    for kind in ("scalar", "histogram", "image"):
        monkeypatch.setattr(tf.summary, kind, note)
    settings = dict(dataset="rings", num_filters=4, batch_size=2, num_steps=1, step_size=0.005, jit_compile="false")
    run.train(TrainConfig(**settings, train_steps=2, log_every=1, figure_every=1, workdir=str(tmp_path)))
    keras.utils.clear_session(free_memory=False)
    assert {"loss/total", "run/traces", "chains", "energies/data"} <= {tag for tag, *_ in given}
    held = [(tag, type(value), type(step)) for tag, value, step in given]
    allowed = (np.generic, np.ndarray, tf.Tensor)
    assert all(issubclass(kind, allowed) for _, *kinds in held for kind in kinds), held

"""Memory does not grow with updates or steps. Minutes: -m slow."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
GROWTH = 1.01

HEAD = """
import pathlib, sys, tempfile
sys.path.insert(0, sys.argv[1])
import tensorflow as tf
from ebm_tf.config import TrainConfig
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
        checkpoint_every=500, figure_every=2_000, jit_compile="false", workdir=workdir))
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
print(trainer.chain_fn.experimental_get_tracing_count(), before, resident())
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

"""XLA's flags: ours, then the user's. An unknown flag would end the process, so a fresh one must compile with them."""

import os
import subprocess
import sys

from ebm_tf.cli import xla

COMPILE = """
from ebm_tf.cli import xla
xla.configure()
import tensorflow as tf
print(float(tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(1.0))))
"""


def test_the_users_flags_come_last(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_force_conv_nhwc=false")
    xla.configure()
    assert os.environ["XLA_FLAGS"].split() == [*xla.FLAGS, "--xla_gpu_force_conv_nhwc=false"]


def test_without_flags_of_the_user(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    xla.configure()
    assert os.environ["XLA_FLAGS"].split() == list(xla.FLAGS)


def test_xla_knows_the_flags():
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "2.0"

"""XLA's flags: ours, then the user's. An unknown flag would end the process, so another one must compile with them."""

import os

from ebm_tf.cli import xla
from tests import processes

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
    done = processes.run(["-c", COMPILE])
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "2.0"
    wrong = processes.run(["-c", COMPILE], env={**os.environ, "XLA_FLAGS": "--xla_no_such_flag=true"})
    assert wrong.returncode and "xla_no_such_flag" in wrong.stderr

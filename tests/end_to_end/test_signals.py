"""SIGTERM and Ctrl-C, sent to real processes: what they say, their exit status, what they leave."""

import json
import os
import pathlib
import re
import shutil
import signal
import sys
import threading
import time

import numpy as np
import pytest

from ebm_tf.cli import sweep
from ebm_tf.evaluation import tasks
from ebm_tf.runs import signals
from ebm_tf.settings.commands import EvaluateConfig
from tests import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]


def wait_for(condition, process=None, seconds=120):
    """Waits until condition() is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline and (process is None or process.poll() is None), "it never came to that"
        time.sleep(0.005)


def stop(arguments, signum, is_at_work):
    """Sends a signal to a command once it is at work. Returns its status and its stderr."""
    process = processes.Started(arguments)
    try:
        wait_for(is_at_work, process)
        process.send_signal(signum)
        done = process.finish(timeout=60)
    finally:
        process.kill()
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_evaluate_finishes_its_block_and_goes_on_from_there(rings_run, tmp_path):
    folder, total = pathlib.Path(shutil.copytree(rings_run, tmp_path / "run")), 300
    settings = {"workdir": str(folder), "tasks": "short_run,long_run", "num_samples": total, "batch_size": 1}
    settings |= {"num_chains": 2, "long_run_steps": 2}
    partial = folder / "partial" / "short_run"

    def blocks_done():
        try:
            return json.loads((partial / "state.json").read_text())["blocks_done"]
        except OSError:
            return 0

    flags = [f"--{name}={value}" for name, value in settings.items()]
    status, err = stop(["bin/evaluate.py", *flags], signal.SIGTERM, blocks_done)
    assert status == 143
    assert err.splitlines()[-1] == "stopped by SIGTERM in short_run; the same command goes on from there"
    done = blocks_done()
    assert 1 <= done < total
    assert not (folder / "results.json").exists()
    before = np.array(np.load(partial / "x_from_noise.npy", mmap_mode="r")[:done])
    assert before.any()
    tasks.evaluate(EvaluateConfig(**settings))
    assert set(json.loads((folder / "results.json").read_text())) == {"short_run", "long_run"}
    np.testing.assert_array_equal(np.load(folder / "short_run.npz")["x_from_noise"][:done], before)
    assert not partial.exists()


def test_sample_says_one_line(rings_run, tmp_path):
    output = tmp_path / "samples"
    arguments = ["bin/sample.py", f"--workdir={rings_run}", f"--output={output}", "--num_steps=10"]
    arguments += ["--num_samples=20000", "--batch_size=4"]
    status, err = stop(arguments, signal.SIGINT, output.exists)
    assert status == 130 and re.fullmatch(r"stopped by SIGINT after \d+ of 20000 chains; nothing was written\n", err)
    assert list(output.iterdir()) == []


def test_a_block_of_many_steps_does_not_keep_a_signal_waiting(rings_run, tmp_path):
    """All chains are one block here, whose steps would take minutes."""
    output = tmp_path / "samples"
    arguments = ["bin/sample.py", f"--workdir={rings_run}", f"--output={output}", "--num_steps=10000000"]
    status, err = stop([*arguments, "--num_samples=2000"], signal.SIGTERM, output.exists)
    line = "stopped by SIGTERM after N of 10000000 steps of a block of chains, not kept; the same command goes on"
    assert status == 143 and re.sub(r"\d+ of", "N of", err.splitlines()[-1]) == line
    assert list(output.iterdir()) == []


RUN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def test_a_sweep_leaves_a_signal_to_its_run(tmp_path):
    """SIGTERM is passed on; Ctrl-C, which a terminal sends to both, does not kill the run."""

    def send():
        wait_for((tmp_path / "ready").exists)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    sender = threading.Thread(target=send)
    sender.start()
    assert sweep._status_of([sys.executable, "-c", RUN, str(tmp_path / "ready")]) == 143
    sender.join()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert sweep._status_of([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 137


def test_a_signal_that_ends_xlas_compiler_too():
    """As on an H200: a terminal's Ctrl-C goes to ptxas as well."""
    ended = "ptxas exited with non-zero error code 2, output: "
    for text, signum in ((ended, None), ("another", signal.SIGINT), (ended, signal.SIGTERM)):
        with pytest.raises((RuntimeError, signals.Stopped)) as caught, signals.listening():
            if signum:
                os.kill(os.getpid(), signum)
            raise RuntimeError(text)
        if (text, signum) == (ended, signal.SIGTERM):
            assert str(caught.value).startswith("stopped by SIGTERM while XLA compiled; give the command again")
            assert isinstance(caught.value, signals.Stopped) and caught.value.status == 143
        else:
            assert str(caught.value) == text

"""What ebm_tf does where fcntl, resource and more are missing: simulated, see windows.py; no Windows was tried."""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRELUDE = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(pathlib.Path(__file__).parent)!r}]; import windows\n"
TRAIN = """
from ebm_tf.cli.main import main

try:
    main()
except SystemExit as done:
    assert not done.code, done.code
import numpy as np
from ebm_tf.runs import partial
from ebm_tf.training import doctor

assert doctor._host_memory() == "not measured"
partial._reserve(__import__("pathlib").Path("array.npy"), 128)
assert not np.load("array.npy").any()
assert sys.modules["fcntl"] is None and sys.modules["resource"] is None
"""
HOLD = """
from ebm_tf.errors import ConfigError
from ebm_tf.runs import lock
from ebm_tf.runs.run_dir import RunDir

lock.PATIENCE_SECONDS = 0.2
try:
    with lock.hold(RunDir("run")):
        print("held", flush=True)
        input()
except ConfigError as error:
    print(error)
"""


def test_a_run_trains(tmp_path):
    import numpy as np

    np.lib.format.open_memmap(tmp_path / "array.npy", mode="w+", dtype=np.float32, shape=(10_000,)).flush()
    flags = [f"--flagfile={ROOT / 'configs' / 'smoke.flags'}", "--workdir=run", "--train_steps=4", "--num_steps=2"]
    flags += ["--checkpoint_every=2", "--jit_compile=false", "--figure_every=4"]
    command = [sys.executable, "-c", PRELUDE + TRAIN, "train", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written >= {"model.keras", "config.json", "metrics.jsonl", "events.jsonl", "lock"}
    events = [json.loads(line)["event"] for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert events == ["start", "done"]


def test_the_lock_of_windows_holds_and_goes_with_its_process(tmp_path):
    command = [sys.executable, "-c", PRELUDE + HOLD]
    pipes = dict(cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout.readline() == "held\n"
        second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, input="\n", timeout=60)
        assert "no other process trains" in second.stdout and f"held by process {first.pid} on" in second.stdout
        first.kill()
    third = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, input="\n", timeout=60)
    assert (third.stdout, third.stderr) == ("held\n", "")

"""bin/score_beam.py: the rows of bin/score.py, by Beam's DirectRunner. All but the first need the extra beam."""

import csv
import glob
import importlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import ebm_tf
from ebm_tf.errors import ConfigError
from ebm_tf.serving import score
from ebm_tf.serving.sources import records
from ebm_tf.settings.scoring import BeamConfig, ScoreConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_without_beam_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "ebm_tf.serving.beam", raising=False)
    with pytest.raises(ConfigError, match=r"expected the package apache-beam: pip install '.\[beam\]' in a clone"):
        importlib.import_module("ebm_tf.serving.beam")


@pytest.fixture
def beam():
    pytest.importorskip("apache_beam")
    return importlib.import_module("ebm_tf.serving.beam")


@pytest.fixture
def folder(tmp_path, some_images):
    folder = tmp_path / "folder"
    folder.mkdir()
    for i, image in enumerate(some_images):
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    (folder / 'bad, "one".png').touch()
    return folder


def rows_of(pattern):
    found = []
    for path in sorted(glob.glob(str(pattern))):
        with open(path, newline="") as file:
            found += list(csv.DictReader(file))
    return sorted(found, key=lambda row: row["id"])


def same(found, expected):
    """Rows alike but for rounding of energies, which depends on the batches."""
    assert [row["id"] for row in found] == [row["id"] for row in expected]
    for one, other in zip(found, expected):
        assert list(one) == list(other)
        assert one["error"] == other["error"]
        assert bool(one["energy"]) == bool(other["energy"])
        if one["energy"]:
            assert float(one["energy"]) == pytest.approx(float(other["energy"]), rel=1e-5, abs=1e-5)
            assert one.get("flag") == other.get("flag")


@pytest.mark.parametrize("with_reference", [False, True])
def test_the_same_rows_as_score(with_reference, beam, folder, image_export, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "SHARD_SIZE", 6)
    given = {"model": str(image_export), "input": str(folder), "batch_size": 4}
    if with_reference:
        detector = ebm_tf.load(image_export).fit_detector(np.random.default_rng(0).uniform(-1, 1, (40, 32, 32, 3)))
        detector.calibration.write(tmp_path / "r.npz")
        given |= {"reference": str(tmp_path / "r.npz"), "false_positive_rate": 0.5}
    score.score(ScoreConfig(**given, output=str(tmp_path / "whole.csv")))
    counts = beam.score(BeamConfig(**given, output=str(tmp_path / "by_beam")), ["--runner=DirectRunner"])
    assert counts == (21, 1)
    same(rows_of(tmp_path / "by_beam-*.csv"), rows_of(tmp_path / "whole.csv"))
    errors = rows_of(tmp_path / "by_beam-errors-*.csv")
    assert [row["id"] for row in errors] == ['bad, "one".png']
    with pytest.raises(
        ConfigError, match=r"--output: expected new files\. Received: .*by_beam-\*\.csv, which are there"
    ):
        beam.score(BeamConfig(**given, output=str(tmp_path / "by_beam")), [])


def test_bad_input_is_one_line(beam, folder, image_export, tmp_path):
    given = {"model": str(image_export), "input": str(folder), "output": str(tmp_path / "out")}
    with pytest.raises(ConfigError, match=r"--model: expected a \.keras file, or the folder of a finished run"):
        beam.score(BeamConfig(**{**given, "model": "nowhere"}), [])
    assert not list(tmp_path.glob("out*"))


def _workers(pid):
    """Processes of Beam's workers below a process."""
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            parent = int(pathlib.Path(path).read_text().rpartition(")")[2].split()[1])
            child = int(path.split("/")[2])
            if parent == pid:
                is_worker = b"python" in pathlib.Path(f"/proc/{child}/exe").resolve().name.encode()
                is_worker &= b"sdk_worker_main" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes()
                found += ([child] if is_worker else []) + _workers(child)
        except OSError:
            continue  # it has ended
    return found


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
def test_a_worker_killed_leaves_no_rows_and_running_again_gives_them_once(beam, image_export, tmp_path):
    """Two processes. Beam's local runner does not replace a lost worker: the pipeline fails, and commits nothing."""
    images = np.random.default_rng(0).integers(0, 256, (60_000, 32, 32, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    given = {"model": image_export, "input": tmp_path / "images.npy", "output": tmp_path / "out"}
    command = [sys.executable, str(ROOT / "bin" / "score_beam.py"), *(f"--{k}={v}" for k, v in given.items()), "--"]
    command += ["--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and process.poll() is None:
            if list(tmp_path.glob("beam-temp-out*")) and (workers := _workers(process.pid)):
                os.kill(workers[-1], signal.SIGKILL)
                break
            time.sleep(0.05)
        _, stderr = process.communicate(timeout=200)
    assert process.returncode == 1
    assert stderr.splitlines()[-1].startswith(f"the pipeline failed, and {tmp_path}/out-*.csv were not made (")
    assert not list(tmp_path.glob("out*"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == f"wrote {tmp_path}/out-*.csv: 60000 inputs, 0 of them could not be read\n"
    rows = rows_of(tmp_path / "out-[0-9]*.csv")
    assert sorted(int(row["id"]) for row in rows) == list(range(60_000))

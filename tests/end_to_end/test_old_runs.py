"""Runs that the code before the move into rooms has made go on as they would have there, and their energies load.

tests/data/old_runs/make.py says how they were made, a run of every scheme.
"""

import dataclasses
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest

import ebm_tf
from ebm_tf.data import images
from ebm_tf.energies.files import load_energy
from ebm_tf.evaluation import opening
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import Scheme, TrainConfig
from ebm_tf.training import callbacks, run

OLD_RUNS = pathlib.Path(__file__).parents[1] / "data" / "old_runs"
NAMES = [*(str(scheme) for scheme in Scheme), "images"]


@pytest.fixture(autouse=True)
def _forget_models():
    yield
    keras.utils.clear_session(free_memory=False)


def pixels(*_):
    index = np.arange(40 * 32 * 32 * 3).reshape(40, 32, 32, 3)
    return ((abs(index * 7 % 511 - 255) + abs(index * 3 // 50 % 511 - 255)) // 2).astype(np.uint8)


def read(name):
    return json.loads((OLD_RUNS / name / "expected.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_an_old_run_goes_on_as_it_would_have(tmp_path, monkeypatch, name):
    monkeypatch.setattr(images, "load", pixels)
    monkeypatch.setattr(callbacks.FigureWriter, "write", lambda *_: None)  # takes as long as the rest
    workdir = tmp_path / "run"
    shutil.copytree(OLD_RUNS / name, workdir, ignore=shutil.ignore_patterns("model.keras", "expected.json"))
    config = {**json.loads((workdir / "config.json").read_text()), "workdir": str(workdir), "resume": True}
    before = RunDir(workdir).read_metrics()
    trainer = run.train(TrainConfig.from_dict(config))
    rows, expected = RunDir(workdir).read_metrics(), read(name)
    assert rows[: len(before)] == before
    assert [row["step"] for row in rows[len(before) :]] == [5, 6, 7, 8]
    for row, old in zip(rows[len(before) :], expected["rows"], strict=True):
        assert set(row) - {"updates_per_second"} == set(old)
        size = max(abs(value) for key, value in old.items() if key.startswith("energy/"))  # losses are differences
        for key, value in old.items():
            assert row[key] == pytest.approx(value, rel=1e-4, abs=1e-5 * size), (old["step"], key)
    assert energies(trainer.energy, expected) == pytest.approx(expected["energies"], rel=1e-4)


def test_an_old_run_keeps_its_wall(tmp_path, monkeypatch):
    """Which config.json alone has: an energy gets it before its first update, and so does that of a checkpoint."""
    workdir = tmp_path / "run"
    shutil.copytree(OLD_RUNS / "noise", workdir, ignore=shutil.ignore_patterns("model.keras", "expected.json"))
    config = {**json.loads((workdir / "config.json").read_text()), "confinement": 0.25, "data_noise": 0.1}
    (workdir / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(run, "_all_updates", lambda config, trainer, *_: trainer)
    wall = run.train(dataclasses.replace(RunDir(workdir).load_config(), workdir=str(workdir), resume=True)).energy.wall
    assert wall == ebm_tf.Wall(0.25, 1.3) == load_energy(workdir / "model.keras").wall
    assert opening.checkpoint_run(str(workdir), "4", None, None).energy.wall == wall
    assert json.loads((workdir / "config.json").read_text())["confinement"] == 0.25


@pytest.mark.parametrize("name", NAMES)
def test_an_old_energy_loads(tmp_path, name):
    expected = read(name)
    finished = shutil.copytree(OLD_RUNS / name, tmp_path / "run", ignore=shutil.ignore_patterns("update-4*"))
    for energy_fn in (ebm_tf.load(finished).energy, load_energy(finished / "model.keras")):
        assert energies(energy_fn, expected) == pytest.approx(expected["energies"], rel=1e-5)


def energies(energy_fn, expected):
    x = np.float32(expected["x"]) if "x" in expected else pixels()[:3] / np.float32(127.5) - 1
    return np.asarray(energy_fn(x)).tolist()

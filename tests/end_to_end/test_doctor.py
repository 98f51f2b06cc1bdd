"""bin/doctor.py: what it finds, and that it writes nothing."""

import itertools
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import doctor, run
from tests import processes

NAMES = ["versions", "device", "xla", "data", "disk", "training"]
TINY = dict(dataset="rings", num_filters=8, batch_size=4, num_steps=8, step_size=0.005, temperature=0.005)


@pytest.fixture(autouse=True)
def _forget_models():
    yield
    keras.utils.clear_session(free_memory=False)


def findings(tmp_path, until="training", **changes):
    """What was found, by name, as far as `until`: the trial comes last and takes longest."""
    config = TrainConfig(**{**TINY, "jit_compile": "false", "workdir": str(tmp_path / "run"), **changes})
    names = NAMES[: NAMES.index(until) + 1]
    found = list(itertools.islice(doctor.examine(config, trial_seconds=0.1), len(names)))
    assert [finding.name for finding in found] == names
    assert all("\n" not in finding.text for finding in found)
    assert list(tmp_path.iterdir()) == []
    return {finding.name: finding for finding in found}


def bad(found):
    return [name for name, finding in found.items() if not finding.is_good]


def test_a_training_that_would_work(tmp_path):
    found = findings(tmp_path)
    assert bad(found) == []
    assert tf.__version__ in found["versions"].text and "ms per Langevin step" in found["training"].text


def test_a_training_whose_chains_grow(tmp_path):
    assert bad(findings(tmp_path, num_steps=4, num_steps_start=2)) == []


@pytest.mark.parametrize("what", ["diverged", "lost"])
def test_a_first_update_that_is_not_sane(what, tmp_path, monkeypatch):
    """What the guard of training would say, or float16's warning."""
    if what == "lost":
        monkeypatch.setattr(doctor, "underflow", lambda logs: f"{logs['gradient_norm'] > 0} that it is lost")
    found = findings(tmp_path, max_abs_x=1e-3 if what == "diverged" else 1e3, num_steps=1)
    assert bad(found) == ["training"]
    told = {"diverged": "training diverged: max_abs = ", "lost": "True that it is lost; first update "}
    assert found["training"].text.startswith(told[what])


def test_a_model_to_start_from_that_is_not_there(tmp_path):
    found = findings(tmp_path, init_model="/nowhere.keras")
    assert bad(found) == ["training"]
    assert "--init_model: expected a .keras file" in found["training"].text


def test_data_that_are_not_there(tmp_path):
    found = findings(tmp_path, dataset="cifar10", data_dir="/nowhere", num_filters=1, num_steps=1)
    assert bad(found) == ["data", "training"]
    assert "/nowhere" in found["data"].text and found["training"].text == "not tried, for want of data"


def test_a_disk_that_is_too_small(tmp_path):
    bank = dict(scheme="persistent", bank_size=10_000, keep_checkpoints=10**9)
    assert bad(findings(tmp_path, "disk", **bank)) == ["disk"]


@pytest.mark.parametrize(("resume", "message"), [(False, "new or empty folder"), (True, "with config.json")])
def test_a_folder_that_this_run_cannot_have(resume, message, tmp_path):
    (tmp_path / "file").touch()
    config = TrainConfig(**TINY, jit_compile="false", workdir=str(tmp_path), resume=resume)
    found = {finding.name: finding for finding in itertools.islice(doctor.examine(config), NAMES.index("disk") + 1)}
    assert bad(found) == ["disk"]
    assert found["disk"].text.startswith("--workdir: expected") and message in found["disk"].text
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_disk_needed_is_what_checkpoints_take(tmp_path):
    settings = dict(scheme="persistent", bank_size=10_000, num_filters=32, keep_checkpoints=1)
    found = findings(tmp_path, "disk", **settings)
    gib = float(re.match(r"([\d.e-]+) GiB needed", found["disk"].text)[1])
    run.train(TrainConfig(**{**TINY, "jit_compile": "false", "workdir": str(tmp_path), "train_steps": 1, **settings}))
    files = (*(tmp_path / "checkpoints").iterdir(), *(tmp_path / "checkpoints").iterdir(), tmp_path / "model.keras")
    assert sum(path.stat().st_size for path in files) / 2**30 == pytest.approx(gib, rel=0.1)  # two while one is written


def test_own_data_are_opened_once_and_weighed_as_they_are(tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(200, 3)))
    opened, dataset = [], doctor.build.dataset
    monkeypatch.setattr(doctor.build, "dataset", lambda config: opened.append(config) or dataset(config))
    config = TrainConfig(dataset=f"array:{tmp_path / 'x.npy'}", num_filters=256, keep_checkpoints=1, batch_size=8)
    given = config.given | {"ema_momentum", "bank_weight", "bank_restart_noise"}  # are at their defaults: none
    found = {finding.name: finding for finding in doctor.examine(config, 0.1, given)}
    assert bad(found) == [] and len(opened) == 1
    assert capsys.readouterr().out.count("held out") == 1 and "held out" not in found["data"].text
    weights = 3 * 256 + 256**2 + 256
    gib = float(re.match(r"([\d.e-]+) GiB needed", found["disk"].text)[1])
    assert gib * 2**30 == pytest.approx(7 * 4 * weights, rel=0.01)  # two checkpoints with Adam's moments, and the model


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="has a GPU")
def test_no_gpu(tmp_path):
    found = findings(tmp_path, "device", device="gpu")
    assert bad(found) == ["device"]
    assert "expected a GPU" in found["device"].text


def test_a_trial_that_diverges(tmp_path):
    assert "training" in bad(findings(tmp_path, step_size=1e30, temperature=1e30, scheme="noise"))


ON_TWO_DEVICES = """
import json, sys
import tensorflow as tf
devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import doctor
for finding in list(doctor.examine(TrainConfig(**json.loads(sys.argv[1])), 0.1)):
    print(json.dumps(finding))
"""


@pytest.mark.parametrize(("batch_size", "is_good"), [(4, True), (5, False)])
def test_a_mirrored_run_is_tried_on_all_devices(batch_size, is_good, tmp_path):
    settings = {**TINY, "jit_compile": "false", "strategy": "mirrored", "batch_size": batch_size}
    done = processes.run(["-c", ON_TWO_DEVICES, json.dumps({**settings, "workdir": str(tmp_path / "run")})])
    assert done.returncode == 0, done.stderr
    name, found, text = json.loads(done.stdout.splitlines()[-1])
    assert (name, found) == ("training", is_good)
    assert "ms per Langevin step" in text if is_good else text.startswith("--batch_size: expected a multiple of 2")


def test_the_command(tmp_path):
    done = processes.run(["bin/doctor.py", "--flagfile=configs/smoke.flags", f"--workdir={tmp_path / 'run'}"])
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line[:4] for line in lines] == ["ok  "] * len(NAMES)
    assert not [line for line in done.stderr.splitlines() if not line.startswith("I0000")]  # XLA's, in a forked process

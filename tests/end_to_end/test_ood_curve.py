"""The task ood_curve: AUROC with the weights of each checkpoint, not with those of the end or of the start."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.data import images
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation import tasks
from ebm_tf.evaluation.detection import ood
from ebm_tf.evaluation.finished import load_run
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.settings.train import TrainConfig
from ebm_tf.stats import detection
from ebm_tf.training import run

CONFIG = TrainConfig(
    num_filters=1,
    attention=False,
    batch_size=4,
    num_steps=1,
    train_steps=6,
    learning_rate=0.02,
    checkpoint_every=2,
    keep_checkpoints=2,
    ema_momentum=0.5,
)
RANDOM = np.random.default_rng(1)
TEST, OTHER = (RANDOM.integers(low, 256, (40, 32, 32, 3), dtype=np.uint8) for low in (0, 60))
SMOOTH = np.broadcast_to(OTHER[:, :1, :1], OTHER.shape)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "load", lambda *_: TEST)
        run.train(dataclasses.replace(CONFIG, workdir=str(folder)))
    return folder


@pytest.fixture
def evaluate(monkeypatch):
    pixels = {"svhn_cropped": SMOOTH}
    monkeypatch.setattr(ood, "_images", lambda source, *_: pixels[source])
    monkeypatch.setattr(images, "short_sides", lambda source, *_: np.full(len(TEST), 32))
    monkeypatch.setattr(images, "load", lambda *_: TEST)

    def evaluate(folder):
        settings = EvaluateConfig(workdir=str(folder), tasks="ood_curve", batch_size=16)
        return tasks.evaluate(settings).read_results()["ood_curve"]

    return evaluate


def test_each_point_is_of_its_checkpoint(folder, evaluate):
    found = evaluate(folder)
    assert found["updates"] == [4, 6]
    assert (folder / "figures" / "ood_curve.png").stat().st_size > 1_000
    energy = load_run(folder).energy  # the average of the weights, which is of no checkpoint
    for index, update in enumerate(found["updates"]):
        tf.train.Checkpoint(energy=energy).restore(str(folder / "checkpoints" / f"update-{update}")).expect_partial()
        test, smooth = (energy(images.to_unit_range(x)).numpy() for x in (TEST, SMOOTH))
        assert found["energy_mean"]["in"][index] == pytest.approx(test.mean(), rel=1e-4)
        assert found["auroc"]["svhn_cropped"][index] == detection.detection(-test, -smooth)["auroc"]
    assert found["energy_mean"]["in"][0] != pytest.approx(found["energy_mean"]["in"][1], rel=1e-3)


def test_a_killed_one_goes_on(folder, evaluate, tmp_path, monkeypatch):
    whole = evaluate(folder)
    killed = shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("results.json"))
    mark = PartialArrays.mark

    def mark_then_die(self, blocks_done):
        mark(self, blocks_done)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PartialArrays, "mark", mark_then_die)
        evaluate(killed)
    assert evaluate(killed) == whole


def test_without_checkpoints_it_is_refused(folder, evaluate, tmp_path):
    bare = shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "results.json"))
    with pytest.raises(ConfigError, match=r"--tasks: expected, for ood_curve, checkpoints in .* Received: none"):
        evaluate(bare)

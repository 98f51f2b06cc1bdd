"""Image data: what is refused without data, and the batches where CIFAR-10 is at hand."""

import os
import pathlib

import numpy as np
import pytest

from ebm_tf import data
from ebm_tf.config import ConfigError, TrainConfig
from ebm_tf.data import images

DATA_DIR = pathlib.Path(os.environ.get("EBM_TF_DATA", "../shared/tfds")).resolve()
needs_cifar = pytest.mark.skipif(not (DATA_DIR / "cifar10").is_dir(), reason="no prepared CIFAR-10 at EBM_TF_DATA")


def batches(start_step, count, **settings):
    config = TrainConfig(dataset="cifar10", data_dir=str(DATA_DIR), batch_size=500, seed=5, **settings)
    return [x.numpy() for x in data.make_dataset(config, start_step).take(count)]


def test_missing_data_dir_says_which_flag(tmp_path):
    with pytest.raises(ConfigError, match=r"^--data_dir: expected .*cifar10.*Received: data_dir="):
        images.load("cifar10", "train", str(tmp_path), 32)


def test_unprepared_data_set_says_which_flag(tmp_path):
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(ConfigError, match=r"^--data_dir: expected cifar10/train prepared") as error:
        images.load("cifar10", "train", str(tmp_path), 32)
    assert "\n" not in str(error.value)


def test_unit_range_literals():
    np.testing.assert_allclose(images.to_unit_range(np.uint8([0, 51, 255])), [-1, -0.6, 1], atol=1e-6)


@needs_cifar
def test_an_epoch_holds_every_image_once():
    pixels = images.load("cifar10", "train", str(DATA_DIR), 32)
    assert pixels.shape == (50_000, 32, 32, 3)
    seen = np.concatenate(batches(0, 100))
    sums = np.round((seen + 1) * 127.5).astype(np.int64).sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(np.sort(sums), np.sort(pixels.astype(np.int64).sum(axis=(1, 2, 3))))
    assert not np.array_equal(sums[:100], pixels[:100].astype(np.int64).sum(axis=(1, 2, 3)))


@needs_cifar
def test_a_later_start_sees_the_same_batches():
    np.testing.assert_array_equal(batches(0, 102, data_noise=0.03)[101], batches(101, 1, data_noise=0.03)[0])


@needs_cifar
def test_data_noise_has_its_width():
    noise = batches(0, 1, data_noise=0.03)[0] - batches(0, 1)[0]
    # 1.5 million draws: the standard deviation's own is 1.7e-5; 1e-4 is 5.8 of them, false-alarm rate 1e-8.
    assert noise.std() == pytest.approx(0.03, abs=1e-4)


@needs_cifar
def test_other_sizes_are_resized():
    pixels = images.load("cifar10", "test", str(DATA_DIR), 48)
    assert pixels.shape == (10_000, 48, 48, 3)

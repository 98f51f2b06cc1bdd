"""Image data: what is refused without data, and what is read where the data sets are at hand."""

import os
import pathlib

import numpy as np
import pytest

from ebm_tf import build
from ebm_tf.data import images
from ebm_tf.errors import ConfigError
from ebm_tf.settings.train import TrainConfig

DATA_DIR = pathlib.Path(os.environ.get("EBM_TF_DATA", "../shared/tfds")).resolve()


def needs(name):
    return pytest.mark.skipif(not (DATA_DIR / name).is_dir(), reason=f"no prepared {name} at EBM_TF_DATA")


needs_cifar = needs("cifar10")


def batches(start_step, count, **settings):
    config = TrainConfig(
        dataset="cifar10", data_dir=str(DATA_DIR), train_split="train[:5000]", batch_size=500, seed=5, **settings
    )
    return [x.numpy() for x in build.make_dataset(config, start_step).take(count)]


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


def test_uint8_literals():
    x = np.float32([-np.inf, -1.5, -1, -0.6, 0, 0.6, 1, 7, np.inf, np.nan])
    levels = images.to_uint8(x)
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels, [0, 0, 0, 51, 128, 204, 255, 255, 255, 0])  # 0: level 127.5, to even


def test_uint8_is_the_inverse_of_unit_range():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(images.to_uint8(images.to_unit_range(levels).numpy()), levels)


@needs_cifar
def test_an_epoch_holds_every_image_once():
    pixels = images.load("cifar10", "train[:5000]", str(DATA_DIR), 32)
    assert pixels.shape == (5_000, 32, 32, 3)
    sums = pixels.sum(axis=(1, 2, 3), dtype=np.int64)
    seen = images.to_uint8(np.concatenate(batches(0, 10))).sum(axis=(1, 2, 3), dtype=np.int64)
    np.testing.assert_array_equal(np.sort(seen), np.sort(sums))
    assert not np.array_equal(seen[:100], sums[:100])


@needs_cifar
def test_the_whole_of_cifar10_trains():
    assert images.load("cifar10", TrainConfig().train_split, str(DATA_DIR), 32).shape == (50_000, 32, 32, 3)


@needs_cifar
def test_a_later_start_sees_the_same_batches():
    np.testing.assert_array_equal(batches(0, 12, data_noise=0.03)[11], batches(11, 1, data_noise=0.03)[0])


@needs_cifar
def test_data_noise_has_its_width():
    noise = batches(0, 1, data_noise=0.03)[0] - batches(0, 1)[0]
    # 1.5 million draws: the standard deviation's own is 1.7e-5; 1e-4 is 5.8 of them, false-alarm rate 1e-8.
    assert noise.std() == pytest.approx(0.03, abs=1e-4)


@needs_cifar
def test_other_sizes_are_resized():
    pixels = images.load("cifar10", "test", str(DATA_DIR), 48)
    assert pixels.shape == (10_000, 48, 48, 3)


@needs("oxford_flowers102")
@pytest.mark.parametrize("image_size", [32, 48])
def test_flowers_that_train_are_not_those_that_test(image_size):
    config = TrainConfig(dataset="oxford_flowers102", train_split="train+validation", image_size=image_size)
    train, test = (
        images.load(config.dataset, split, str(DATA_DIR), image_size)
        for split in (config.train_split, config.test_split)
    )
    assert train.shape == (2_040, image_size, image_size, 3)
    assert test.shape == (6_149, image_size, image_size, 3)
    shared = {image.tobytes() for image in train} & {image.tobytes() for image in test}
    assert len(shared) <= 2  # the data set itself holds two photographs twice


@needs("svhn_cropped")
def test_svhn_is_a_source():
    pixels = images.load_any("svhn_cropped", str(DATA_DIR), 32)
    assert pixels.shape[1:] == (32, 32, 3)
    assert len(pixels) > 1_000
    with pytest.raises(ConfigError, match=r"^--ood_data: expected svhn_cropped/test, the only split that is read"):
        images.load_any("svhn_cropped/train", str(DATA_DIR), 32)

"""CIFAR-10, Oxford Flowers 102 and SVHN as training and evaluation read them, where they are at hand."""

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
        dataset="cifar10", data_dir=str(DATA_DIR), train_split="train[:1000]", batch_size=500, seed=5, **settings
    )
    return [x.numpy() for x in build.make_dataset(config, start_step).take(count)]


@needs_cifar
def test_an_epoch_holds_every_image_once():
    pixels = images.load("cifar10", "train[:1000]", str(DATA_DIR), 32)
    assert pixels.shape == (1_000, 32, 32, 3)
    sums = pixels.sum(axis=(1, 2, 3), dtype=np.int64)
    seen = images.to_uint8(np.concatenate(batches(0, 2))).sum(axis=(1, 2, 3), dtype=np.int64)
    np.testing.assert_array_equal(np.sort(seen), np.sort(sums))
    assert not np.array_equal(seen[:100], sums[:100])


@needs_cifar
def test_the_whole_of_cifar10_trains():
    """That a whole split is read is shown by the smaller one."""
    assert images.count("cifar10", TrainConfig().train_split, str(DATA_DIR), "data_dir") == 50_000
    assert images.load("cifar10", TrainConfig().test_split, str(DATA_DIR), 32).shape == (10_000, 32, 32, 3)


@needs_cifar
@pytest.mark.slow
def test_the_whole_of_cifar10_is_read():
    assert images.load("cifar10", TrainConfig().train_split, str(DATA_DIR), 32).shape == (50_000, 32, 32, 3)


@needs_cifar
def test_a_later_start_sees_the_same_batches():
    """In the second epoch."""
    np.testing.assert_array_equal(batches(0, 4, data_noise=0.03)[3], batches(3, 1, data_noise=0.03)[0])


@needs_cifar
def test_data_noise_has_its_width():
    noise = batches(0, 1, data_noise=0.03)[0] - batches(0, 1)[0]
    # 1.5 million draws: the standard deviation's own is 1.7e-5; 1e-4 is 5.8 of them, false-alarm rate 1e-8.
    assert noise.std() == pytest.approx(0.03, abs=1e-4)


@needs_cifar
def test_other_sizes_are_resized():
    assert images.load("cifar10", "test[:500]", str(DATA_DIR), 48).shape == (500, 48, 48, 3)


@needs("oxford_flowers102")
def test_flowers_that_train_are_not_those_that_test():
    """By their files, of which some are decoded."""
    config = TrainConfig(dataset="oxford_flowers102", train_split="train+validation")
    splits = config.train_split, config.test_split
    train, test = (
        list(images.encoded_images(config.dataset, split, str(DATA_DIR)).as_numpy_iterator()) for split in splits
    )
    assert (len(train), len(test)) == (2_040, 6_149)
    for size in (32, 48):
        assert images.load(config.dataset, "test[:20]", str(DATA_DIR), size).shape == (20, size, size, 3)
    assert len({*train} & {*test}) <= 2  # the data set itself holds two photographs twice


@needs("svhn_cropped")
def test_svhn_is_a_source():
    assert images.count("svhn_cropped", "test", str(DATA_DIR), "ood_data") > 1_000
    assert images.load_any("svhn_cropped/test[:50]", str(DATA_DIR), 32).shape == (50, 32, 32, 3)
    with pytest.raises(ConfigError, match=r"^--ood_data: expected svhn_cropped/test, the only split that is read"):
        images.load_any("svhn_cropped/train", str(DATA_DIR), 32)

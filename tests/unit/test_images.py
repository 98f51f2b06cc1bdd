"""Image data: pixels and numbers, and what is refused without data."""

import numpy as np
import pytest

from ebm_tf.data import images
from ebm_tf.errors import ConfigError


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

"""Image data, read once into memory as uint8: data sets by TFDS, and folders of images.

An image of another size is scaled until its short side fits, with antialiasing, and cut at the centre: see `crop`.
Memory: N · image_size² · 3 bytes, 154 MB for the 50,000 images of CIFAR-10.
"""

import contextlib
import os
import pathlib
import re

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ebm_tf.data import download, folder, svhn
from ebm_tf.data.crop import center_crop
from ebm_tf.errors import ConfigError, one_line

__all__ = ["count", "encoded_images", "load", "load_any", "to_uint8", "to_unit_range"]


def load(name: str, split: str, data_dir: str | None, image_size: int, flag: str = "data_dir") -> np.ndarray:
    """All images of a split.

    Args:
      name: name of the TFDS data set, e.g. cifar10. Of svhn_cropped only the split test is downloaded or read.
      split: e.g. train, test or train+validation: TFDS's syntax.
      data_dir: folder that holds the prepared data set; nothing is downloaded then. None: TFDS's own folder, where
        TFDS downloads and prepares what is missing.
      image_size: height and width; images of another size are scaled and cut at the centre.
      flag: the flag that name and split came from, for error texts.

    Returns:
      uint8 [N, image_size, image_size, 3]; grey images have three equal channels.

    Raises:
      ConfigError: data_dir does not hold the data set, it cannot be downloaded, it has no such split, or it does not
        hold images.
    """
    with _checked(name, split, data_dir, flag):
        return _decode(encoded_images(name, split, data_dir), image_size)


def count(name: str, split: str, data_dir: str | None, flag: str) -> int:
    """How many images `load` would give, without reading them. Raises ConfigError as load does."""
    with _checked(name, split, data_dir, flag):
        return int(encoded_images(name, split, data_dir).cardinality())


@contextlib.contextmanager
def _checked(name, split, data_dir, flag):
    """Says in one line what is missing, before or while the data set is read."""
    if data_dir is not None and not os.path.isdir(pathlib.Path(data_dir) / name):
        raise ConfigError(
            f"--data_dir: expected a folder with TFDS data sets, among them {name}. Received: data_dir={data_dir}"
        )
    if name == svhn.NAME and not re.fullmatch(r"test(\[[^]]*\])?(\+test(\[[^]]*\])?)*", split):
        expected = f"{name}/test, the only split that is read, or slices of it as test[:400]"
        raise ConfigError(f"--{flag}: expected {expected}. Received: {name}/{split}")
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # TFDS raises its own kinds, and those of every file system below it
        line = one_line(error)
        raise ConfigError(f"--{flag}: expected {name}/{split} prepared for TFDS. Received: {line}") from error


def encoded_images(name: str, split: str, data_dir: str | None) -> tf.data.Dataset:
    """The images of a split, always in the same order, as strings: PNG or JPEG files."""
    if name == svhn.NAME:
        builder = svhn.builder(data_dir)
    else:
        builder = tfds.builder(name, data_dir=data_dir)
        if data_dir is None:
            download.prepare(builder, name)
    if not isinstance(dict(builder.info.features).get("image"), tfds.features.Image):
        raise ValueError(f"{name} has no images under the name image")
    examples = builder.as_dataset(
        split=split,
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(try_autocache=False),  # read once: a cache would only take memory
    )
    return examples.map(lambda example: example["image"])


def _decode(encoded, image_size):
    def decode(file):
        image = tf.io.decode_image(file, channels=3, expand_animations=False)
        return center_crop(image, image_size)

    images = np.empty((int(encoded.cardinality()), image_size, image_size, 3), np.uint8)
    done = 0
    for batch in encoded.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(1024).as_numpy_iterator():
        images[done : done + len(batch)] = batch
        done += len(batch)
    if done != len(images):
        raise ValueError(f"{done} images, where {len(images)} are announced")
    return images


def load_any(source: str, data_dir: str | None, image_size: int, flag: str = "ood_data") -> np.ndarray:
    """All images of a TFDS data set or of a folder.

    Args:
      source: a folder of images, read with the folders in it; or NAME, the split test of a TFDS data set; or
        NAME/SPLIT. What exists as a folder is one.
      data_dir: see load.
      image_size: see load.
      flag: the flag that source came from, for error texts.

    Returns:
      uint8 [N, image_size, image_size, 3].

    Raises:
      ConfigError: there is no such data set or folder, or an image cannot be read.
    """
    if source and os.path.isdir(path := os.path.expanduser(source)):
        return folder.load(pathlib.Path(path), image_size, flag)
    match = re.fullmatch(r"(\w+)(?:/([^/]+))?", source)
    if not match:
        raise ConfigError(f"--{flag}: expected NAME or NAME/SPLIT of TFDS, or a folder. Received: {flag}={source}")
    return load(match[1], match[2] or "test", data_dir, image_size, flag)


def to_unit_range(images: tf.Tensor) -> tf.Tensor:
    """uint8 [0, 255] to float32 [-1, 1]."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def to_uint8(x: np.ndarray) -> np.ndarray:
    """float [-1, 1] to uint8 [0, 255]: clipped, then rounded, halves to even. NaN becomes 0."""
    levels = (np.clip(np.asarray(x, np.float32), -1, 1) + 1) * 127.5
    return np.rint(np.nan_to_num(levels)).astype(np.uint8)

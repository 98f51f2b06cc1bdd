"""Image data sets by TFDS, read once into memory as uint8."""

import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ebm_tf.config import ConfigError

__all__ = ["load", "to_unit_range"]


def load(name: str, split: str, data_dir: str | None, image_size: int) -> np.ndarray:
    """All images of a split.

    Args:
      name: name of the TFDS data set, e.g. cifar10.
      split: e.g. train or test.
      data_dir: folder that holds the prepared data set; nothing is downloaded then. None: TFDS's own folder, where
        TFDS downloads and prepares what is missing.
      image_size: height and width; images of another size are resized, with antialiasing.

    Returns:
      uint8 [N, image_size, image_size, 3].

    Raises:
      ConfigError: data_dir does not hold the data set.
    """
    if data_dir is not None and not (pathlib.Path(data_dir) / name).is_dir():
        raise ConfigError(
            f"--data_dir: expected a folder with TFDS data sets, among them {name}. Received: data_dir={data_dir}"
        )
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if data_dir is None:
            builder.download_and_prepare()
        images = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    except Exception as error:  # TFDS raises its own kinds, and those of every file system below it
        line = " ".join(str(error).split())[:200]
        raise ConfigError(f"--data_dir: expected {name}/{split} prepared for TFDS. Received: {line}") from error

    def decode(example):
        image = tf.io.decode_image(example["image"], channels=3, expand_animations=False)
        if image_size != builder.info.features["image"].shape[0]:
            resized = tf.image.resize(tf.cast(image, tf.float32), (image_size, image_size), antialias=True)
            image = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
        return tf.ensure_shape(image, (image_size, image_size, 3))

    batches = images.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(1024)
    return np.concatenate(list(batches.as_numpy_iterator()))


def to_unit_range(images: tf.Tensor) -> tf.Tensor:
    """uint8 [0, 255] to float32 [-1, 1]."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0

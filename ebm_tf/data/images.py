"""Image data, read once into memory as uint8: data sets by TFDS, and folders of images.

Files become pixels by `decode`, and images of another size are fitted by `crop`.
Memory: N · H · W · C bytes, 154 MB for the 50,000 images of CIFAR-10.
"""

import contextlib
import functools
import itertools
import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ebm_tf.data import arrays, decode, download, folder, svhn
from ebm_tf.data.crop import fit
from ebm_tf.data.stores import HELD_OUT, Memory, Opened, shares, split_indices, target_size
from ebm_tf.errors import ConfigError, one_line, some_of
from ebm_tf.pixels import to_uint8

__all__ = [
    "Size",
    "count",
    "encoded_images",
    "load",
    "load_any",
    "open_tfds",
    "resized_of",
    "short_sides",
    "to_uint8",
    "to_unit_range",
]

Size = int | tuple[int, int]  # a square's side, or height and width


def load(
    name: str,
    split: str,
    data_dir: str | None,
    image_size: Size,
    flag: str = "data_dir",
    channels: int | None = 3,
    how: str = "crop",
) -> np.ndarray:
    """All images of a split.

    Args:
      name: name of the TFDS data set, e.g. cifar10. Of svhn_cropped only the split test is downloaded or read.
      split: e.g. train, test or train+validation: TFDS's syntax.
      data_dir: folder that holds the prepared data set; nothing is downloaded then. None: TFDS's own folder, where
        TFDS downloads and prepares what is missing.
      image_size: height and width; images of another size are fitted to it.
      flag: the flag that name and split came from, for error texts.
      channels: 1, 3 or 4; see decode. Grey images have three equal channels where 3 are asked for.
      how: crop, pad or stretch; see crop.

    Returns:
      uint8 [N, *image_size, C].

    Raises:
      ConfigError: data_dir does not hold the data set, it cannot be downloaded, it has no such split, or it does not
        hold images.
    """
    with _checked(name, split, data_dir, flag):
        return _decode(encoded_images(name, split, data_dir), _height_width(image_size), channels, how)


def count(name: str, split: str, data_dir: str | None, flag: str) -> int:
    """How many images `load` would give, without reading them. Raises ConfigError as load does."""
    with _checked(name, split, data_dir, flag):
        return int(encoded_images(name, split, data_dir).cardinality())


def open_tfds(
    name: str,
    split: str,
    data_dir: str | None,
    image_size: Size | None,
    *,
    how: str | None,
    channels: int | None,
    held_out: float,
    seed: int,
) -> Opened:
    """See Dataset.from_tfds."""
    with _checked(name, split, data_dir, "train_split", "dataset"):
        shapes = {decode.header(file) for file in encoded_images(name, split, data_dir).as_numpy_iterator()}
        used = [part.partition("[")[0].strip() for part in split.split("+")]
        rest = [one for one in _builder(name, data_dir).info.splits if not {one, "all"} & set(used)]
        total = int(encoded_images(name, split, data_dir).cardinality())
    test_split = "test" if "test" in rest else "+".join(rest)
    channels = channels or max(shape[2] for shape in shapes)
    size, how, words = target_size({shape[:2] for shape in shapes}, image_size, how, f"tfds:{name}")
    parts = split_indices(total, 0 if test_split else held_out, seed, f"tfds:{name}")
    read = functools.cache(lambda part: load(name, part, data_dir, size, "train_split", channels, how))

    def load_part(part):
        if test_split and part == HELD_OUT:
            return Memory(read(test_split))
        return Memory(read(split)[parts[part]] if part in parts else read(part))

    def resized(part):
        if test_split and part == HELD_OUT:
            return resized_of(name, test_split, data_dir, size)
        found = resized_of(name, split if part in parts else part, data_dir, size)
        return found[parts[part]] if part in parts else found

    said = f"{total:,} images of {split} train, {test_split} is held out"
    note = f"{said if test_split else shares(parts, held_out, seed)}; {words}; in memory"
    shape, kept = (*size, channels), test_split or HELD_OUT
    return Opened(shape, load_part, note, kept, fit=how, train_name=split, resized=resized)


def resized_of(name: str, split: str, data_dir: str | None, image_size: Size) -> np.ndarray:
    """Which images that `load` gives had another size, bool [N]; by their headers alone."""
    files, size = encoded_images(name, split, data_dir).as_numpy_iterator(), _height_width(image_size)
    return np.array([decode.header(file)[:2] != size for file in files], bool)


@contextlib.contextmanager
def _checked(name, split, data_dir, flag, name_flag=None):
    """Says in one line what is missing, before or while the data set is read. The flags: that of the split, and that of
    the name where it is another.
    """
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
    except tfds.core.DatasetNotFoundError:
        known = some_of(tfds.list_builders(with_community_datasets=False), name)
        raise ConfigError(f"--{name_flag or flag}: expected a data set of TFDS: {known}. Received: {name}") from None
    except Exception as error:  # TFDS raises its own kinds, and those of every file system below it
        line = one_line(error)
        raise ConfigError(f"--{flag}: expected {name}/{split} prepared for TFDS. Received: {line}") from error


def encoded_images(name: str, split: str, data_dir: str | None) -> tf.data.Dataset:
    """The images of a split, always in the same order, as strings: PNG or JPEG files."""
    builder = _builder(name, data_dir)
    if not isinstance(dict(builder.info.features).get("image"), tfds.features.Image):
        raise ValueError(f"{name} has no images under the name image")
    examples = builder.as_dataset(
        split=split,
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(try_autocache=False),  # read once: a cache would only take memory
    )
    if examples.cardinality() < 1:  # TFDS takes test[5:2] for -3 examples
        raise ValueError(f"the split {split} has no examples")
    return examples.map(lambda example: example["image"])


def _builder(name, data_dir):
    if name == svhn.NAME:
        return svhn.builder(data_dir)
    builder = tfds.builder(name, data_dir=data_dir)
    if data_dir is None:
        download.prepare(builder, name)
    return builder


def _height_width(image_size: Size) -> tuple[int, int]:
    return (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])


def _decode(encoded, size, channels, how):
    first_error: list[str] = []

    def pixels(file):
        try:
            return decode.decode(file, channels, size)
        except ValueError as error:  # TensorFlow's own text has Python's traceback in it
            first_error.append(str(error))
            raise

    def fitted(file):
        image = tf.ensure_shape(tf.numpy_function(pixels, [file], tf.uint8), [None, None, channels])
        return fit(image, size, how)

    images = np.empty((int(encoded.cardinality()), *size, channels), np.uint8)
    done = 0
    try:
        for batch in encoded.map(fitted, num_parallel_calls=tf.data.AUTOTUNE).batch(1024).as_numpy_iterator():
            images[done : done + len(batch)] = batch
            done += len(batch)
    except tf.errors.OpError as error:
        raise ValueError(first_error[0] if first_error else one_line(error)) from error
    if done != len(images):
        raise ValueError(f"{done} images, where {len(images)} are announced")
    return images


def load_any(
    source: str,
    data_dir: str | None,
    image_size: Size,
    flag: str = "ood_data",
    channels: int | None = 3,
    how: str = "crop",
) -> np.ndarray:
    """All images of a TFDS data set or of a folder.

    Args:
      source: a folder of images, read with the folders in it; or NAME, the split test of a TFDS data set; or
        NAME/SPLIT. What exists as a folder is one.
      data_dir: see load.
      image_size: see load.
      flag: the flag that source came from, for error texts.
      channels, how: see load.

    Returns:
      uint8 [N, *image_size, C].

    Raises:
      ConfigError: there is no such data set or folder, or an image cannot be read.
    """
    if source and os.path.isdir(path := os.path.expanduser(source)):
        return folder.load(pathlib.Path(path), _height_width(image_size), flag, channels, how)
    match = re.fullmatch(r"(\w+)(?:/([^/]+))?", source)
    if not match:
        raise ConfigError(f"--{flag}: expected NAME or NAME/SPLIT of TFDS, or a folder. Received: {flag}={source}")
    return load(match[1], match[2] or "test", data_dir, image_size, flag, channels, how)


@functools.lru_cache(maxsize=8)
def short_sides(source: str, data_dir: str | None, most: int | None = None) -> np.ndarray:
    """The short side of each image that load_any gives, before it is fitted, int64 [N], pixels; 0 of a damaged one.

    Args:
      source: see load_any, which has been able to read it; or array:FILE, whose images have one size.
      data_dir: see load.
      most: read no more.
    """
    if source.startswith("array:"):
        x = arrays.read(source.removeprefix("array:"))
        return np.full(len(x) if most is None else min(most, len(x)), min(x.shape[1:3]), np.int64)
    return np.array([_short_side(file) for file in itertools.islice(_files(source, data_dir), most)], np.int64)


def _files(source: str, data_dir: str | None) -> Iterator[pathlib.Path | bytes]:
    if os.path.isdir(path := os.path.expanduser(source)):
        return (pathlib.Path(path, name) for name in folder.walk(pathlib.Path(path)))
    name, _, split = source.partition("/")
    return encoded_images(name, split or "test", data_dir).as_numpy_iterator()


def _short_side(file: pathlib.Path | bytes) -> int:
    with contextlib.suppress(ValueError):  # the reader tells of it
        return min(decode.header(file)[:2])
    return 0


def to_unit_range(images: tf.Tensor) -> tf.Tensor:
    """uint8 [0, 255] to float32 [-1, 1]."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0

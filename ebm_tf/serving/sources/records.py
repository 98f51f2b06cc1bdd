"""Records and shards: what every kind of source gives, and what reading them has in common."""

import collections
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ebm_tf.data import crop
from ebm_tf.data.decode import decode as decode_image
from ebm_tf.errors import ConfigError
from ebm_tf.serving.info import ModelInfo

__all__ = ["SHARD_SIZE", "Record", "Shard", "bad", "decode", "fit", "groups", "parallel"]

SHARD_SIZE = 1024  # records, where a source can be cut
READERS = max(2, os.cpu_count() or 1)
CHUNK = 16  # records that a thread reads at a time: to hand over one costs nearly what reading a small one does


class Record(NamedTuple):
    """One input.

    Attributes:
      id: names it: a path below the folder, FILE:i of a TFRecord, else its number.
      x: uint8 or float32 of the model's shape; None if it cannot be read.
      error: why not, one line; "" if it can.
      resized: whether it had another size.
    """

    id: str
    x: np.ndarray | None
    error: str = ""
    resized: bool = False


class Shard(NamedTuple):
    """Some records of a source.

    Attributes:
      kind: folder, npy, npz, table, tfrecord or tfds.
      source: the folder or file, or NAME/SPLIT.
      size: how many records.
      start: the first one's number in the source.
      paths: of a folder's files, relative to it.
      data_dir: of TFDS.
    """

    kind: str
    source: str
    size: int
    start: int = 0
    paths: tuple[str, ...] = ()
    data_dir: str | None = None


def bad(expected: str, received: Any) -> ConfigError:
    """What to raise where --input cannot be used."""
    return ConfigError(f"--input: expected {expected}. Received: input={received}")


def groups(items: Iterable, size: int) -> Iterator[list]:
    """Lists of `size` items, the last one of what is left."""
    group = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def parallel(function: Callable, items: Iterable) -> Iterator:
    """map with READERS threads, in order, by chunks; at most a few chunks ahead."""
    with ThreadPoolExecutor(READERS) as pool:
        waiting: collections.deque = collections.deque()
        for chunk in groups(items, CHUNK):
            waiting.append(pool.submit(lambda chunk: [function(item) for item in chunk], chunk))
            if len(waiting) > READERS + 1:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def fit(name: str, image: np.ndarray, info: ModelInfo) -> Record:
    """A uint8 image at the model's size."""
    if image.shape == info.event_shape:
        return Record(name, image)
    with tf.device("CPU"):
        return Record(name, crop.fit(image, _size(info), info.fit).numpy(), resized=True)


def _size(info: ModelInfo) -> tuple[int, int]:
    return info.event_shape[0], info.event_shape[1]


def decode(name: str, file: bytes | pathlib.Path, info: ModelInfo) -> Record:
    """An image file, by its content or its path, as training decodes it."""
    try:
        return fit(name, decode_image(file, info.event_shape[2], _size(info)), info)
    except ValueError as error:
        return Record(name, None, str(error))

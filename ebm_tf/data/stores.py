"""Where examples lie: in memory, in a file of an array that is mapped, or in a folder of image files (see folder).

A store has the length N, `tensor` [N, *event] where all of it is in memory, else None, and read(indices), which gives
examples as they are kept, uint8 or float32 [n, *event].
"""

import atexit
import dataclasses
import functools
import numbers
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from ebm_tf.data.crop import FITS
from ebm_tf.errors import ConfigError, one_line

__all__ = [
    "HELD_OUT",
    "MOST_BYTES",
    "TRAIN",
    "Mapped",
    "Memory",
    "Opened",
    "Store",
    "loader",
    "own_part",
    "reader",
    "row_blocks",
    "shares",
    "split_indices",
    "target_size",
]

MOST_BYTES = 2**29  # of decoded examples in memory, 512 MiB; what has more is read as it is needed
TRAIN, HELD_OUT = "train", "held_out"  # the parts of a data set without splits of its own
SPLIT = 8  # what the random numbers are for: which examples are held out
LEAST_TRAIN = 2  # examples, or nothing varies
BLOCK = 1024
UP_TO, LEAST = 16, 32  # images without an image_size are padded to a multiple, and at least to this


class Store(Protocol):
    """See the module."""

    @property
    def tensor(self) -> tf.Tensor | None: ...

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> np.ndarray: ...


class Memory:
    """Examples in memory, once: as a tensor, of which `read` has a view.

    Args:
      x: uint8 or float32 [N, *event].
    """

    def __init__(self, x: np.ndarray):
        with tf.device("CPU"):
            self.tensor = tf.constant(x)
        self._x = np.asarray(memoryview(self.tensor)) if len(x) else x

    def __len__(self):
        return len(self._x)

    def read(self, indices):
        return self._x[indices]


@dataclasses.dataclass(frozen=True)
class Mapped:
    """Rows of an array that is not in memory.

    Attributes:
      x: [M, ...], a memory map.
      rows: int64 [N], those that count.
      convert: x[rows] to examples as they are kept.
    """

    x: np.ndarray
    rows: np.ndarray
    convert: Callable[[np.ndarray], np.ndarray]
    tensor = None

    def __len__(self):
        return len(self.rows)

    def read(self, indices):
        rows = self.rows[indices]
        ascending = np.argsort(rows)  # one way through the file
        return self.convert(self.x[rows[ascending]])[np.argsort(ascending)]


class Opened(NamedTuple):
    """A source that has been looked through.

    Attributes:
      event_shape: of one example.
      load: gives the store of a part.
      note: what was done to the examples, one line.
      held_out_name: of the part that does not train.
      standard: mean and scale of vectors, float32 [D] each.
      columns: their names.
      fit: how images are brought to their size: crop, pad or stretch.
      train_name: of the part that trains.
      resized: part -> bool [N], which images had another size; None for what are no images.
    """

    event_shape: tuple[int, ...]
    load: Callable[[str], Store]
    note: str
    held_out_name: str = HELD_OUT
    standard: tuple[np.ndarray, np.ndarray] | None = None
    columns: Sequence[str] | None = None
    fit: str = "crop"
    train_name: str = TRAIN
    resized: Callable[[str], np.ndarray] | None = None


def split_indices(count: int, share: float, seed: int, name: str) -> dict[str, np.ndarray]:
    """Which of `count` examples train and which are held out, by part int64 in ascending order.

    Law: round(share · count) of them, one at least where share is above 0, every set of that size as probable.
    Limits: share = 0 holds none out. A function of its arguments.

    Raises:
      ConfigError: a share or a seed out of its range, or fewer than LEAST_TRAIN of the data, `name`, are left to train.
    """
    if not isinstance(share, numbers.Real) or not 0 <= share < 1:
        raise ConfigError(f"--held_out: expected a share in [0, 1). Received: held_out={one_line(share)}")
    if not isinstance(seed, numbers.Integral):
        raise ConfigError(f"expected seed, a whole number. Received: seed={one_line(seed)}")
    most = max(round(share * count), 1) if share else 0
    if count - most < LEAST_TRAIN:
        expected = f"--dataset: expected at least {LEAST_TRAIN} examples beside those held out"
        raise ConfigError(f"{expected}. Received: {name} with {count}, {most} of them held out")
    order = tf.random.experimental.stateless_shuffle(tf.range(count), [seed, SPLIT], alg="philox").numpy()
    return {TRAIN: np.sort(order[most:]).astype(np.int64), HELD_OUT: np.sort(order[:most]).astype(np.int64)}


def own_part(part, name):
    """Parts of a data set without splits of its own: test is another word for held_out."""
    part = {"test": HELD_OUT}.get(part, part)
    if part not in (TRAIN, HELD_OUT):
        raise ConfigError(f"--reference_split: expected train or held_out of {name}. Received: {part}")
    return part


def shares(parts, held_out, seed):
    train, rest = (len(parts[part]) for part in (TRAIN, HELD_OUT))
    return f"{train:,} examples train, {rest:,} are held out ({100 * held_out:g} % by a seed of its own, {seed})"


def target_size(shapes, image_size, how, name) -> tuple[tuple[int, int], str, str]:
    """(height, width), how images are brought to it, and both in words."""
    if how is not None and how not in FITS:
        raise ConfigError(f"--fit: expected one of {', '.join(FITS)}. Received: fit={how}")
    height, width = max(shapes)
    others = f" and {len(shapes) - 1} other sizes" if len(shapes) > 1 else ""
    if image_size is not None:
        size = _height_width(image_size)
    elif len(shapes) == 1:
        size = (max(-(-height // UP_TO) * UP_TO, LEAST), max(-(-width // UP_TO) * UP_TO, LEAST))
    else:
        low = min(shapes)
        received = f"{name} with images from {low[0]} x {low[1]} to {height} x {width}"
        raise ConfigError(f"--image_size: expected a size where images differ. Received: {received}")
    how = how or ("pad" if image_size is None else "crop")
    if shapes == {size}:
        return size, how, f"images of {height} x {width} as they are"
    done = {"crop": "scaled and cut", "pad": "padded", "stretch": "stretched"}[how]
    return size, how, f"images of {height} x {width}{others}, {done} to {size[0]} x {size[1]} (--fit={how})"


def _height_width(image_size):
    sides = (image_size, image_size) if isinstance(image_size, numbers.Integral) else image_size
    is_pair = isinstance(sides, tuple | list) and len(sides) == 2
    if not is_pair or not all(isinstance(side, int | np.integer) and side >= 1 for side in sides):
        expected = "a side, or height and width, whole numbers of pixels"
        raise ConfigError(f"--image_size: expected {expected}. Received: image_size={one_line(image_size)}")
    return int(sides[0]), int(sides[1])


def row_blocks(count):
    return [np.arange(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def loader(x, parts, convert, is_small, name):
    def load(part):
        rows = Mapped(x, parts[own_part(part, name)], convert)
        if is_small and len(rows):
            return Memory(np.concatenate([rows.read(block) for block in row_blocks(len(rows))]))
        return rows

    return load


def reader(store: Store, event_shape: tuple[int, ...]) -> Callable[[tf.Tensor], tf.Tensor]:
    """For tf.data: indices [B] -> examples as they are kept, [B, *event_shape]."""
    if (tensor := store.tensor) is not None:
        return lambda order: tf.gather(tensor, order)
    kind = tf.as_dtype(store.read(np.arange(1)).dtype)
    _stop_at_exit()

    def read_rows(indices):
        if _is_ending.is_set():
            raise RuntimeError("Python ends")
        return store.read(indices)

    def read(order):
        return tf.ensure_shape(tf.numpy_function(read_rows, [order], kind), [order.shape[0], *event_shape])

    return read


_is_ending = threading.Event()


@functools.cache
def _stop_at_exit() -> None:
    """A thread of TensorFlow that waits for Python while it ends waits for ever, and Python for it."""

    def stop():
        _is_ending.set()
        time.sleep(0.5)  # what is being read is done by then, and TensorFlow reads only a few batches ahead

    atexit.register(stop)

"""A data set to learn: batches for training, blocks for statistics, held-out examples, and how examples look.

x_model = x / 127.5 - 1          images, uint8
x_model = (x - mean) / scale     vectors: mean and scale of every column over the examples that train
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ebm_tf.data import arrays, folder, images, pictures, rings, tables
from ebm_tf.data.stores import HELD_OUT, TRAIN, Memory, Opened, reader
from ebm_tf.errors import ConfigError, check_kind, naming_arguments
from ebm_tf.pixels import save_image_grid
from ebm_tf.streams import Stream, stream

__all__ = ["Dataset", "RingsDataset"]

BLOCK = 1024
NOT_STANDARD: tuple[np.ndarray | None, np.ndarray | None] = (None, None)


class Dataset:
    """Examples to learn, in the model's range: images in [-1, 1], vectors standardised.

    Attributes:
      name: of the source, for messages and pictures.
      event_shape: [D] of vectors, [H, W, C] of images, C = 1, 3 or 4.
      mean, scale: float32 [D], the standardisation of vectors; None: as they are.
      columns: names of the coordinates of vectors, where they have any.
      fit: how images are brought to their size: crop, pad or stretch.
      log_prob: exact log density of x [N, *event] in nats, [N]. None where there is none.
      train_name, held_out_name: of the two parts, for messages.
      note: what was done to the examples, one line.

    Args:
      name: see above.
      opened: the source.
    """

    log_prob: Callable[[np.ndarray], np.ndarray] | None = None

    def __init__(self, name: str, opened: Opened | None = None):
        if not isinstance(opened, Opened):
            expected = "expected Dataset.from_array(x), from_folder, from_table or from_tfds, which make a Dataset"
            raise ConfigError(f"{expected}. Received: Dataset({type(name).__name__}, {type(opened).__name__})")
        self.name, self.event_shape, self.note, self.columns = name, opened.event_shape, opened.note, opened.columns
        self.train_name, self.held_out_name, self.fit = opened.train_name, opened.held_out_name, opened.fit
        self.mean, self.scale = opened.standard or NOT_STANDARD
        self._load, self._resized = functools.cache(opened.load), opened.resized

    @property
    def is_image(self) -> bool:
        """Whether an example is an image."""
        return len(self.event_shape) == 3

    def batches(self, batch_size: int, seed: int, start_step: int = 0) -> tf.data.Dataset:
        """Endless batches of the examples that train, from batch number start_step on.

        Law: a new uniform order each epoch; the rest of an epoch that does not fill a batch is left out. Batch i is a
          function of (seed, i).
        Limits: none.

        Returns:
          tf.data.Dataset of float32 [batch_size, *event].

        Raises:
          ConfigError: fewer examples than a batch.
        """
        store = self._load(TRAIN)
        epoch_steps = len(store) // batch_size
        if not epoch_steps:
            raise ConfigError(f"--batch_size: expected at most {len(store)}. Received: batch_size={batch_size}")

        def epoch(index):
            order = tf.random.experimental.stateless_shuffle(
                tf.range(len(store)), stream(seed, Stream.ORDER, index), alg="philox"
            )
            return tf.data.Dataset.from_tensor_slices(order).batch(batch_size, drop_remainder=True)

        read = reader(store, self.event_shape)
        first_epoch, done = divmod(start_step, epoch_steps)
        orders = tf.data.Dataset.counter(first_epoch).flat_map(epoch).skip(done)
        return orders.map(lambda order: _in_range(read(order)), tf.data.AUTOTUNE)

    @property
    def num_examples(self) -> int:
        """How many train."""
        return len(self._load(TRAIN))

    @property
    def is_in_memory(self) -> bool:
        """Whether they lie there, decoded."""
        return self._load(TRAIN).tensor is not None

    def examples(self, most: int | None = None) -> Iterator[np.ndarray]:
        """Examples that train, in stored order, float32 [at most 1024, *event] each; every one, or `most` in all,
        evenly spread over that order.
        """
        return (self.from_stored(part, is_standard=True) for part in self._parts(TRAIN, most, is_spread=True))

    def held_out(self, most: int | None = None, seed: tf.Tensor | None = None) -> np.ndarray:
        """Examples that do not train, float32 [N, *event].

        Args:
          most: how many at most. None: all.
          seed: int32 [2], of data that are drawn as they are needed; others have no use for it.

        Raises:
          ConfigError: none are held out, or the data are not there.
        """
        return self.from_stored(self.stored(HELD_OUT, most), is_standard=True)

    def stored(self, part: str, most: int | None = None) -> np.ndarray:
        """Examples of a part as they are kept: images uint8 [N, H, W, C], others float32 in the model's range.

        Args:
          part: train, held_out or, where a data set has splits, one of them.
          most: how many at most. None: all.

        Raises:
          ConfigError: there is no such part.
        """
        found = list(self._parts(part, most))
        if not found:
            expected = "expected examples that are held out, as by bin/train.py --held_out=0.1"
            raise ConfigError(f"{expected}. Received: {self.name} with none")
        return np.concatenate(found)

    def resized(self, part: str, most: int | None = None) -> np.ndarray:
        """Which of the examples of `stored` had another size, bool [N]: images alone have one."""
        return self._resized(part)[:most] if self._resized else np.zeros(len(self.stored(part, most)), bool)

    def _parts(self, part, most, is_spread=False):
        store = self._load(part)
        total = len(store) if most is None else min(most, len(store))
        rows = np.arange(total) * len(store) // max(total, 1) if is_spread else np.arange(total)
        for start in range(0, total, BLOCK):
            yield store.read(rows[start : start + BLOCK])

    def to_stored(self, x: np.ndarray) -> np.ndarray:
        """x in the model's range as files keep it: images uint8, clipped and rounded; vectors in the data's units."""
        if self.is_image:
            return images.to_uint8(x)
        return np.asarray(x, np.float32) if self.mean is None else x * self.scale + self.mean

    def from_stored(self, x: np.ndarray, is_standard: bool = False) -> np.ndarray:
        """The inverse of x [N, *event], float32; float images stay as they are, vectors that are standard, too."""
        if x.dtype == np.uint8:
            return x.astype(np.float32) / 127.5 - 1
        x = np.asarray(x, np.float32)
        return x if is_standard or self.mean is None else (x - self.mean) / self.scale

    def picture(self, x: np.ndarray, path: str | os.PathLike, title: str = "") -> None:
        """Draws x [N, *event], as the energy sees it, into a PNG file: images in a grid, vectors as points by their
        first two coordinates, in their units, under the title.
        """
        if self.is_image:
            save_image_grid(x, path)
        else:
            pictures.scatter(x, path, title, self)

    @classmethod
    @naming_arguments(dataset="x")
    def from_array(
        cls,
        x: np.ndarray,
        held_out: float = 0.1,
        seed: int = 0,
        image_size: images.Size | None = None,
        fit: str | None = None,
        name: str = "array",
    ) -> "Dataset":
        """Examples of an array.

        Args:
          x: floats [N, D], which are standardised; or images [N, H, W] or [N, H, W, C], C = 1, 3 or 4, uint8 or float
            in [-1, 1].
          held_out: share of the examples that does not train.
          seed: of which ones these are.
          image_size: side, or height and width. None: as they are, padded to multiples of 16, at least 32.
          fit: crop, pad or stretch. None: crop to an image_size, pad without one.
          name: for messages.

        Raises:
          ConfigError: x is no data; see arrays.check.
        """
        return cls(name, arrays.opened(x, held_out, seed, image_size, fit, name))

    @classmethod
    @naming_arguments(dataset="table")
    def from_table(
        cls,
        table: Any,
        columns: Sequence[str] | None = None,
        held_out: float = 0.1,
        seed: int = 0,
        name: str | None = None,
    ) -> "Dataset":
        """Rows of a .csv or .parquet file, a data frame or a mapping of names to arrays, standardised.

        Args:
          table: a path, or what was named.
          columns: those to learn, in this order. None: all.
          held_out: see from_array.
          seed: see from_array.
          name: for messages.

        Raises:
          ConfigError: see tables.read; or a constant column.
        """
        if not isinstance(table, str | os.PathLike | Mapping) and getattr(table, "columns", None) is None:
            expected = "expected table, a path, a data frame or a mapping of names to arrays"
            raise ConfigError(f"{expected}. Received: table={type(table).__name__}")
        name = name or (f"table:{table}" if isinstance(table, str | os.PathLike) else "table")
        x, names = tables.read(table, columns, name)
        return cls(name, arrays.open_vectors(x, names, held_out, seed, name))

    @classmethod
    @naming_arguments(dataset="path")
    def from_folder(
        cls,
        path: str | os.PathLike,
        image_size: images.Size | None = None,
        fit: str | None = None,
        channels: int | None = None,
        held_out: float = 0.1,
        seed: int = 0,
    ) -> "Dataset":
        """Images below a folder, in the order of their paths; decoded once into memory, or, where they would take more
        than 512 MiB, whenever they are needed.

        Args:
          path: the folder.
          image_size: side, or height and width. None: theirs, if they are alike, padded to multiples of 16.
          fit: see from_array.
          channels: 1, 3 or 4. None: 1 if all are grey, else 3.
          held_out: see from_array.
          seed: see from_array.

        Raises:
          ConfigError: no image, one that cannot be read, or sizes that differ without an image_size.
        """
        check_kind("path", path, str | os.PathLike, "that of a folder")
        return cls(f"folder:{path}", folder.open_folder(path, image_size, fit, channels, held_out, seed))

    @classmethod
    @naming_arguments(dataset="name", train_split="split")
    def from_tfds(
        cls,
        name: str,
        split: str = "train",
        data_dir: str | None = None,
        image_size: images.Size | None = None,
        *,
        fit: str | None = None,
        channels: int | None = None,
        held_out: float = 0.1,
        seed: int = 0,
    ) -> "Dataset":
        """Images of a TFDS data set, in memory.

        Args:
          name: of the data set.
          split: that trains, in TFDS's syntax. Held out is test or, where that trains, all splits that it does not
            name; where there are none, a share of it.
          data_dir: see images.load.
          image_size: see from_folder.
          fit: see from_folder.
          channels: see from_folder.
          held_out: see from_array, for data sets without a split to hold out.
          seed: see from_array.

        Raises:
          ConfigError: there is no such data set or split, or it has no images.
        """
        check_kind("name", name, str, "that of a data set of TFDS")
        opened = images.open_tfds(
            name, split, data_dir, image_size, how=fit, channels=channels, held_out=held_out, seed=seed
        )
        return cls(f"tfds:{name}", opened)

    @classmethod
    def known(cls, name: str, split: str, test_split: str, data_dir: str | None, image_size: int) -> "Dataset":
        """CIFAR-10 and other colour images of TFDS with known splits; nothing is read before it is needed.

        Args:
          name: of the data set.
          split: that trains.
          test_split: that is held out.
          data_dir: see images.load.
          image_size: side; images of another size are cut.
        """
        splits = {TRAIN: split, HELD_OUT: test_split}

        def load(part):
            flag = "data_dir" if part in splits else "reference_split"
            return Memory(images.load(name, splits.get(part, part), data_dir, image_size, flag))

        def resized(part):
            return images.resized_of(name, splits.get(part, part), data_dir, image_size)

        shape = (image_size, image_size, 3)
        return cls(name, Opened(shape, load, "", test_split, train_name=split, resized=resized))


class RingsDataset(Dataset):
    """The rings of App. A.1, drawn as they are needed, with their exact density."""

    def __init__(self):
        super().__init__(rings.NAME, Opened((len(rings.SIGMA),), self._none, "drawn as they are needed"))
        self.log_prob = rings.log_prob

    @property
    def num_examples(self):
        return 10 * BLOCK

    @property
    def is_in_memory(self):
        return True

    def batches(self, batch_size, seed, start_step=0):
        steps = tf.data.Dataset.counter(start_step)
        return steps.map(lambda step: rings.sample(batch_size, stream(seed, Stream.ORDER, step)))

    def examples(self, most=None):
        for block in range(-(-(most or 10 * BLOCK) // BLOCK)):
            count = min(BLOCK, (most or 10 * BLOCK) - block * BLOCK)
            yield rings.sample(count, stream(0, Stream.ORDER, block)).numpy()

    def held_out(self, most=None, seed=None):
        seed = tf.constant([0, int(Stream.HELD_OUT_RINGS)]) if seed is None else seed
        return rings.sample(most or 10 * BLOCK, seed).numpy()

    def stored(self, part, most=None):
        return self.held_out(most)

    @staticmethod
    def _none(part):
        raise ConfigError(f"--dataset: expected data with parts. Received: rings, which have no {part}")


def _in_range(x):
    return images.to_unit_range(x) if x.dtype == tf.uint8 else x

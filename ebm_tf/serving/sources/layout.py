"""What an array holds: which axes are images, which channels, and in which range floats are. NumPy alone.

    [N, H, W, C]  as it is          [N, H, W], [N, H, W, 1]  grey, every channel the same
    [N, C, H, W]  channels first    [N, 1, H, W]             grey, channels first
    [H, W, C], [C, H, W], [H, W]    one image                [D]  one vector

Where two of these fit, as [3, 32, 32] does (three grey images, or one with its channels first), nothing is guessed.
"""

from typing import Any, NamedTuple

import numpy as np

from ebm_tf.errors import ConfigError

__all__ = ["Layout", "RangeSeen", "as_array", "find_layout"]


LEAST_SIDE = 5  # of images in an order that is not the usual one: a shorter axis is one of channels


class Layout(NamedTuple):
    """How to read an array.

    Attributes:
      is_single: the array is one x, without an axis for N.
      is_first: channels come before height and width.
      is_grey: there is one channel, or no axis for it.
      words: what was taken for granted, for one line; "" where nothing was.
    """

    is_single: bool
    is_first: bool
    is_grey: bool
    words: str

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The array's shape with an axis for N."""
        return (1, *shape) if self.is_single else tuple(shape)

    def row(self, x: np.ndarray, event_shape: tuple[int, ...]) -> np.ndarray:
        """One x as the model has it: [H, W, C] of an image."""
        if not self.words or len(event_shape) != 3:
            return x
        if x.ndim == 2:
            x = x[:, :, None]
        elif self.is_first:
            x = np.moveaxis(x, 0, -1)
        return np.repeat(x, event_shape[-1], axis=2) if self.is_grey and event_shape[-1] > 1 else x

    def batch(self, x: np.ndarray, event_shape: tuple[int, ...]) -> np.ndarray:
        """The whole array, [N, *event]."""
        x = x[None] if self.is_single else x
        return np.stack([self.row(one, event_shape) for one in x]) if self.words and len(x) else x


def find_layout(shape: tuple[int, ...], event_shape: tuple[int, ...], any_size: bool) -> Layout | None:
    """The one way to read an array of this shape; None where there is none, or more than one.

    Args:
      shape: the array's.
      event_shape: [D], or [H, W, C] of the model's images.
      any_size: whether images may have another height and width than the model's.
    """
    if len(event_shape) != 3:
        if tuple(shape[1:]) == event_shape:
            return Layout(False, False, False, "")
        return Layout(True, False, False, "one vector") if tuple(shape) == event_shape else None
    if len(shape) == 4:  # what fits as it is, is taken so
        return _first_that_fits([(shape[1:], False)], event_shape, any_size)
    if len(shape) == 3 and shape[0] == 1:  # one grey image either way
        return _first_that_fits([(shape[1:], False)], event_shape, any_size)
    if len(shape) == 3:
        return _first_that_fits([(shape, True), (shape[1:], False)], event_shape, any_size)
    return _first_that_fits([(shape, True)], event_shape, any_size) if len(shape) == 2 else None


def _first_that_fits(readings, event_shape, any_size) -> Layout | None:
    """The layout of the only one of (shape of one x, is_single) that fits."""
    found = [layout for one, is_single in readings if (layout := _of_image(one, is_single, event_shape, any_size))]
    return found[0] if len(found) == 1 else None


def _of_image(one, is_single, event_shape, any_size) -> Layout | None:
    height, width, channels = event_shape

    def fits(size, least=LEAST_SIDE):
        return min(size) >= least and (any_size or tuple(size) == (height, width))

    kinds = [
        (len(one) == 3 and one[-1] == channels and fits(one[:2], 1), False, False, ""),
        (len(one) == 2 and fits(one), False, True, "grey"),
        (len(one) == 3 and one[-1] == 1 != channels and fits(one[:2]), False, True, "grey"),
        (len(one) == 3 and one[0] == channels and fits(one[1:]), True, False, "channels first"),
        (len(one) == 3 and one[0] == 1 != channels and fits(one[1:]), True, True, "grey, channels first"),
    ]
    for does_fit, is_first, is_grey, words in kinds:
        if does_fit:
            count = "one image" if is_single else "images"
            return Layout(is_single, is_first, is_grey, f"{count}, {words}" if words else "one image" * is_single)
    return None


def as_array(x: Any, columns: tuple[str, ...]) -> np.ndarray:
    """x as an array: of a data frame the named columns in this order, where a model has names of columns.

    Raises:
      ConfigError: a data frame without one of them, or with a cell that is no number, by row (from 0) and column.
    """
    found = getattr(x, "columns", None)
    names = {} if found is None else {str(name): name for name in found}
    if not columns or not names:
        return np.asarray(x)
    if missing := [name for name in columns if name not in names]:
        expected = f"expected a table with the columns {', '.join(columns)[:200]}"
        raise ConfigError(f"{expected}. Received: one without {', '.join(missing)[:200]}")
    return np.stack([_numbers(np.asarray(x[names[name]]), name) for name in columns], axis=1)


def _numbers(values: np.ndarray, column: str) -> np.ndarray:
    """float64 [N] of the cells of a column."""
    found = np.empty(len(values))
    for row, value in enumerate(values):
        try:
            found[row] = value
        except (TypeError, ValueError):
            found[row] = np.nan
        if not np.isfinite(found[row]):
            received = f"{str(value)[:40]!r} in row {row} (from 0), column {column}"
            raise ConfigError(f"expected numbers in every row. Received: {received}")
    return found


class RangeSeen:
    """Least and largest of floats that should be images in [-1, 1]."""

    def __init__(self) -> None:
        self.least, self.most = np.inf, -np.inf

    def add(self, x: np.ndarray) -> None:
        """Looks at float images too; those of other types, and empty ones, say nothing."""
        if np.issubdtype(x.dtype, np.floating) and (x := x[np.isfinite(x)]).size:
            self.least, self.most = min(self.least, float(np.min(x))), max(self.most, float(np.max(x)))

    def words(self) -> str:
        """What is odd about the range, one line; "" where nothing is."""
        seen = f"floats from {self.least:.4g} to {self.most:.4g}, where [-1, 1] is expected"
        if self.least >= 0 and 2 < self.most <= 256:
            return f"{seen}: they look like [0, 255]; give uint8, or x / 127.5 - 1"
        if self.least >= 0 and 0 < self.most <= 1.01:
            return f"{seen}: they look like [0, 1]; give 2 x - 1"
        return seen if self.least < -1.5 or self.most > 1.5 else ""

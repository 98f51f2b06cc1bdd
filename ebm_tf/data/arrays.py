"""Arrays to learn: .npy, .npz with one array, and arrays in Python; what is refused of them, in one line."""

import pathlib
import zipfile
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ebm_tf.data.crop import fit
from ebm_tf.data.stores import MOST_BYTES, TRAIN, Opened, loader, own_part, shares, split_indices, target_size
from ebm_tf.errors import ConfigError, one_line

__all__ = ["blocks", "check", "is_image", "moments", "open_vectors", "opened", "read"]

BLOCK = 1024
CHANNELS = (1, 3, 4)
LARGEST = np.finfo(np.float32).max
FINITE = "finite numbers, as float32 holds them"


def read(path: str, flag: str = "dataset") -> np.ndarray:
    """The array of a file; that of a .npy file is mapped, not read. Raises ConfigError, one line."""
    expected = "a .npy file, or a .npz file with one array"
    try:
        file = pathlib.Path(path).expanduser()
        found = np.load(file, mmap_mode="r")  # by its content, whatever its name
        if isinstance(found, np.ndarray):
            return found
        with found as archive:
            if len(names := archive.files) != 1:
                raise ConfigError(f"--{flag}: expected {expected}. Received: {path} with {', '.join(names) or 'none'}")
            return archive[names[0]]
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"--{flag}: expected {expected}. Received: {path}, which does not exist") from None
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, RuntimeError) as error:
        is_object = "pickle" in str(error) or "Python objects" in str(error)
        line = "an object array, or no array at all" if is_object else one_line(error)
        raise ConfigError(f"--{flag}: expected {expected}. Received: {path}: {line}") from error


def is_image(x: np.ndarray) -> bool:
    """Whether `check` takes x for images: [N, H, W] or [N, H, W, C]."""
    return x.ndim > 2


def blocks(x: np.ndarray) -> Iterator[np.ndarray]:
    """x in parts of at most BLOCK rows."""
    for start in range(0, len(x), BLOCK):
        yield x[start : start + BLOCK]


def check(x: np.ndarray, source: str, flag: str = "dataset") -> None:
    """Refuses what is no data: other types and shapes, no examples, NaN, images that are not in [-1, 1].

    Raises:
      ConfigError: one line: what was expected, what came, and what to do.
    """
    expected = f"--{flag}: expected floats [N, D], or images [N, H, W, C] with 1, 3 or 4 channels"
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray | np.matrix):  # which have rules of their own
        raise ConfigError(f"{expected}, as a NumPy array: np.asarray(x). Received: {source}, a {type(x).__name__}")
    kind = f"{source}, {x.dtype} {list(x.shape)}"
    if not (x.dtype == np.uint8 or np.issubdtype(x.dtype, np.floating)):
        hint = "" if x.dtype == object else "; x.astype(np.float32) makes floats of it"
        raise ConfigError(f"{expected}, uint8 or float. Received: {kind}{hint}")
    if not 2 <= x.ndim <= 4 or 0 in x.shape:
        raise ConfigError(f"{expected}, at least one example. Received: {kind}")
    if x.ndim == 4 and x.shape[3] not in CHANNELS:
        hint = "; x.transpose(0, 2, 3, 1) puts the channels last" if x.shape[1] in CHANNELS else ""
        raise ConfigError(f"{expected}. Received: {kind}{hint}")
    if x.ndim == 2 and x.dtype == np.uint8:
        raise ConfigError(f"{expected}; vectors as floats. Received: {kind}; x.astype(np.float32) makes floats of it")
    if x.dtype != np.uint8:
        _check_values(x, source, flag)


def _check_values(x, source, flag):
    low, high, done = np.inf, -np.inf, 0
    for part in blocks(x):
        bad = ~(np.abs(part) <= LARGEST)
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            place, value = f"row {done + index[0]}, column {', '.join(map(str, index[1:]))}", part[index]
            raise ConfigError(f"--{flag}: expected {FINITE}. Received: {source} with {value} in {place} (from 0)")
        low, high, done = min(low, part.min()), max(high, part.max()), done + len(part)
    if not is_image(x):
        return
    expected, received = f"--{flag}: expected float images in [-1, 1]", f"{source} in [{low:g}, {high:g}]"
    if low >= 0 and high <= 1:
        raise ConfigError(f"{expected}. Received: {received}; if that is [0, 1], 2 * x - 1 is what is expected")
    if low >= 0 and high <= 255 and high > 1:
        hint = "if that is [0, 255], np.rint(x).astype(np.uint8) will do, which is scaled"
        raise ConfigError(f"{expected}. Received: {received}; {hint}")
    if low < -1 or high > 1:
        raise ConfigError(f"{expected}. Received: {received}")


def moments(x: np.ndarray, rows: np.ndarray, names: list[str], source: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every column over some rows of [N, D], float32 [D], by two walks over them.

    Raises:
      ConfigError: a column is constant.
    """
    mean = sum(x[rows[part]].astype(np.float64).sum(axis=0) for part in _parts(rows)) / len(rows)
    squares = sum(((x[rows[part]].astype(np.float64) - mean) ** 2).sum(axis=0) for part in _parts(rows))
    scale = np.sqrt(squares / len(rows))
    constant = [name for name, one, about in zip(names, scale, mean) if one <= 1e-7 * max(abs(about), 1e-30)]
    if constant:
        which = f"column {constant[0]}" + (f" and {len(constant) - 1} more" if len(constant) > 1 else "")
        hint = "leave it out" + (" by --columns" if source.startswith("table:") else "")
        raise ConfigError(f"--dataset: expected columns that vary. Received: {source}, constant in {which}; {hint}")
    return mean.astype(np.float32), scale.astype(np.float32)


def _parts(rows):
    return [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]


def opened(
    x: np.ndarray,
    held_out: float,
    seed: int,
    image_size: int | tuple[int, int] | None,
    how: str | None,
    name: str,
) -> Opened:
    """Images or vectors of an array; see Dataset.from_array. Raises ConfigError, see `check`, and for vectors that are
    to have a size.
    """
    check(x, name)
    if is_image(x):
        return _open_images(x, image_size, how, held_out, seed, name)
    for flag, value in (("fit", how), ("image_size", image_size)):
        if value is not None:
            raise ConfigError(f"--{flag}: expected None for {name}, which are no images. Received: {flag}={value}")
    return open_vectors(x, None, held_out, seed, name)


def _open_images(
    x: np.ndarray,
    image_size: int | tuple[int, int] | None,
    how: str | None,
    held_out: float,
    seed: int,
    name: str,
) -> Opened:
    """Images that `check` has passed; see Dataset.from_array."""
    x = x[..., None] if x.ndim == 3 else x
    size, how, words = target_size({x.shape[1:3]}, image_size, how, name)
    parts = split_indices(len(x), held_out, seed, name)

    def convert(rows):
        rows = rows if rows.dtype == np.uint8 else rows.astype(np.float32)
        if rows.shape[1:3] == size:
            return rows
        with tf.device("CPU"):
            return np.stack([fit(row, size, how).numpy() for row in rows])

    def resized(part):
        return np.full(len(parts[own_part(part, name)]), x.shape[1:3] != size)

    bytes_each = size[0] * size[1] * x.shape[3] * (1 if x.dtype == np.uint8 else 4)
    is_small = len(x) * bytes_each <= MOST_BYTES
    note = f"{shares(parts, held_out, seed)}; {words}; {'in memory' if is_small else 'read as they are needed'}"
    load = loader(x, parts, convert, is_small, name)
    return Opened((*size, x.shape[3]), load, note, fit=how, resized=resized)


def open_vectors(x: np.ndarray, columns: list[str] | None, held_out: float, seed: int, name: str) -> Opened:
    """Rows of floats [N, D] without NaN, standardised; see Dataset.from_array."""
    parts = split_indices(len(x), held_out, seed, name)
    names = columns or [f"{i}" for i in range(x.shape[1])]
    mean, scale = moments(x, parts[TRAIN], names, name)

    def convert(rows):
        return ((rows - mean) / scale).astype(np.float32)

    is_small = 4 * x.size <= MOST_BYTES
    where = "in memory" if is_small else "read as they are needed"
    note = f"{shares(parts, held_out, seed)}; {x.shape[1]} columns, standardised; {where}"
    load = loader(x, parts, convert, is_small, name)
    return Opened((x.shape[1],), load, note, standard=(mean, scale), columns=columns)

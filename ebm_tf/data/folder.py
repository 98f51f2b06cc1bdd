"""A folder of images in any format that Pillow reads."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from PIL import Image

from ebm_tf.data.crop import fit
from ebm_tf.data.decode import decode, header
from ebm_tf.data.stores import MOST_BYTES, TRAIN, Memory, Opened, own_part, shares, split_indices, target_size
from ebm_tf.errors import ConfigError

__all__ = ["Files", "Skipped", "find", "load", "open_folder", "walk"]

READERS = max(2, os.cpu_count() or 1)
NAMED = 3  # of the files that cannot be read, in an error


class Skipped:
    """What a walk left out: how many of each kind, and the first one's name."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, name: str) -> None:
        count, first = self.found.get(kind, (0, name))
        self.found[kind] = count + 1, first

    def __str__(self) -> str:
        """One line; "" where nothing was left out."""
        parts = (f"{count:,} {kind} ({first[:100]!r})" for kind, (count, first) in sorted(self.found.items()))
        return f"left out: {', '.join(parts)}" if self.found else ""


def load(
    path: pathlib.Path, size: tuple[int, int], flag: str, channels: int | None = 3, how: str = "crop"
) -> np.ndarray:
    """All images below a folder, in the order of their paths.

    Args:
      path: the folder.
      size: height and width; images of another size are fitted to it.
      flag: the flag that path came from, for error texts.
      channels: see decode.
      how: see crop.fit.

    Returns:
      uint8 [N, *size, C].

    Raises:
      ConfigError: there is no image, or some cannot be read.
    """
    names = find(path, flag)
    return np.stack(_each(lambda name: _read(path / name, size, channels, how), names, path, flag))


def find(path: pathlib.Path, flag: str) -> list[str]:
    """walk's names, of which there is one or more. What is left out is said in one line.

    Raises:
      ConfigError: there is no image, or a folder cannot be listed.
    """
    skipped = Skipped()
    try:
        names = list(walk(path, skipped))
    except OSError as error:
        raise ConfigError(f"--{flag}: expected a folder that can be read. Received: {error}") from error
    if skipped.found:
        print(f"{path}: {skipped}", flush=True)
    if not names:
        raise ConfigError(f"--{flag}: expected a folder of images. Received: {path}, which holds none")
    return names


def walk(path: pathlib.Path, skipped: Skipped | None = None) -> Iterator[str]:
    """Paths, relative to the folder, of the image files below it, in the order of their parts.

    Links are followed, but not into a folder that they lie in. Hidden files and folders (.ipynb_checkpoints), dead
    links and files without the ending of an image are left out, and told to `skipped`.

    Memory: the names in one folder and in those around it.
    """
    formats = Image.registered_extensions()  # also loads Pillow's plugins, which fill Image.OPEN
    endings = {ending for ending, name in formats.items() if name in Image.OPEN}
    skipped = Skipped() if skipped is None else skipped

    def names(folder, around):
        with os.scandir(path / folder) as entries:
            found = sorted(((entry.name, *_kind(entry)) for entry in entries), key=lambda one: one[0])
        for name, kind, identity in found:
            if name.startswith("."):
                skipped.add("hidden", folder + name)
            elif kind == "folder":
                if identity in around:
                    skipped.add("links in a circle", folder + name)
                else:
                    yield from names(f"{folder}{name}/", {*around, identity})
            elif kind == "file" and os.path.splitext(name)[1].lower() in endings:
                yield folder + name
            else:
                skipped.add("without the ending of an image" if kind == "file" else kind, folder + name)

    top = os.stat(path)
    yield from names("", {(top.st_dev, top.st_ino)})


def _kind(entry: os.DirEntry) -> tuple[str, tuple[int, int] | None]:
    try:
        if entry.is_dir():
            stat = entry.stat()
            return "folder", (stat.st_dev, stat.st_ino)
        if entry.is_file():
            return "file", None
        is_link = entry.is_symlink()
    except OSError:  # a link to itself
        is_link = True
    return ("dead links" if is_link else "neither files nor folders"), None


def _read(file: pathlib.Path, size: tuple[int, int], channels: int | None, how: str) -> np.ndarray:
    """One image, uint8 [*size, C]. Raises ValueError where it cannot be read."""
    pixels = decode(file, channels, size)
    if pixels.shape[:2] == size:
        return pixels
    with tf.device("CPU"):
        return fit(pixels, size, how).numpy()


@dataclasses.dataclass(frozen=True)
class Files:
    """Image files, decoded by several threads when they are read.

    Attributes:
      path: a folder.
      names: of the files, relative to it.
      size, channels, how: see load.
    """

    path: pathlib.Path
    names: Sequence[str]
    size: tuple[int, int]
    channels: int
    how: str
    tensor = None

    def __len__(self):
        return len(self.names)

    def read(self, indices):
        names = [self.names[i] for i in indices]
        return np.stack(_each(self._read, names, self.path, "dataset", _pool().map))

    def _read(self, name):
        return _read(self.path / name, self.size, self.channels, self.how)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(READERS)


def open_folder(
    path: str | os.PathLike,
    image_size: int | tuple[int, int] | None,
    how: str | None,
    channels: int | None,
    held_out: float,
    seed: int,
) -> Opened:
    """See Dataset.from_folder."""
    name, root = f"folder:{path}", pathlib.Path(path).expanduser()
    names = find(root, "dataset")
    shapes = _each(lambda one: header(root / one), names, root, "dataset")
    channels = channels or max(shape[2] for shape in shapes)
    size, how, words = target_size({shape[:2] for shape in shapes}, image_size, how, name)
    parts = split_indices(len(names), held_out, seed, name)
    is_other = np.array([shape[:2] != size for shape in shapes])
    is_small = len(names) * size[0] * size[1] * channels <= MOST_BYTES

    def load(part):
        files = Files(root, [names[i] for i in parts[own_part(part, name)]], size, channels, how)
        if is_small and len(files):
            return Memory(files.read(range(len(files))))
        return files

    load = functools.cache(load)
    load(TRAIN)  # says now what cannot be read
    note = f"{shares(parts, held_out, seed)}; {words}; {'in memory' if is_small else 'read as they are needed'}"
    return Opened((*size, channels), load, note, fit=how, resized=lambda part: is_other[parts[own_part(part, name)]])


def _each(read, names: Sequence[str], path: pathlib.Path, flag: str, map_fn: Callable = map) -> list:
    """read(name) of each. Raises ConfigError where it raised ValueError: how many did, and the first ones' names."""

    def try_to(name):
        try:
            return read(name), None
        except ValueError as error:
            return None, f"{path / name}: {error}"

    found, errors = zip(*map_fn(try_to, names), strict=True)
    if bad := [error for error in errors if error]:
        count = f"{len(bad):,} of {len(names):,} that it cannot: " if len(bad) > 1 else ""
        raise ConfigError(
            f"--{flag}: expected images that Pillow can read. Received: {count}{'; '.join(bad[:NAMED])}"
            f"{'; ...' if len(bad) > NAMED else ''}; remove what is damaged"
        )
    return list(found)

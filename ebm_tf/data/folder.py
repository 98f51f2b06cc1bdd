"""A folder of images in any format that Pillow reads."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from PIL import Image

from ebm_tf.data.crop import fit
from ebm_tf.data.decode import decode, header
from ebm_tf.data.stores import MOST_BYTES, Memory, Opened, own_part, row_blocks, shares, split_indices, target_size
from ebm_tf.errors import ConfigError

__all__ = ["Files", "Skipped", "find", "load", "open_folder", "read", "walk"]

READERS = max(2, os.cpu_count() or 1)


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
      ConfigError: there is no image, or one cannot be read.
    """
    files = [path / name for name in find(path, flag)]
    return np.stack([read(file, size, flag, channels, how) for file in files])


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

    Links are followed, but not into a folder that they lie in. Hidden files, dead links and files without the ending of
    an image are left out, and told to `skipped`.

    Memory: the names in one folder and in those around it.
    """
    formats = Image.registered_extensions()  # also loads Pillow's plugins, which fill Image.OPEN
    endings = {ending for ending, name in formats.items() if name in Image.OPEN}
    skipped = Skipped() if skipped is None else skipped

    def names(folder, around):
        with os.scandir(path / folder) as entries:
            found = sorted(((entry.name, *_kind(entry)) for entry in entries), key=lambda one: one[0])
        for name, kind, identity in found:
            if kind == "folder":
                if identity in around:
                    skipped.add("links in a circle", folder + name)
                else:
                    yield from names(f"{folder}{name}/", {*around, identity})
            elif name.startswith("."):
                skipped.add("hidden", folder + name)
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


def read(
    file: pathlib.Path, size: tuple[int, int], flag: str, channels: int | None = 3, how: str = "crop"
) -> np.ndarray:
    """One image, uint8 [*size, C]. Raises ConfigError where it cannot be read."""
    try:
        pixels = decode(file, channels, size)
    except ValueError as error:
        raise ConfigError(f"--{flag}: expected images that Pillow can read. Received: {file}: {error}") from error
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
      size, channels, how: see read.
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
        return np.stack(list(_pool().map(self._read, names)))

    def _read(self, name):
        return read(self.path / name, self.size, "dataset", self.channels, self.how)


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
    shapes = {_header(root / one) for one in names}
    channels = channels or max(shape[2] for shape in shapes)
    size, how, words = target_size({shape[:2] for shape in shapes}, image_size, how, name)
    parts = split_indices(len(names), held_out, seed)
    is_small = len(names) * size[0] * size[1] * channels <= MOST_BYTES

    def load(part):
        files = Files(root, [names[i] for i in parts[own_part(part, name)]], size, channels, how)
        if is_small and len(files):
            return Memory(np.concatenate([files.read(rows) for rows in row_blocks(len(files))]))
        return files

    note = f"{shares(parts, held_out, seed)}; {words}; {'in memory' if is_small else 'read as they are needed'}"
    return Opened((*size, channels), load, note, fit=how)


def _header(file):
    try:
        return header(file)
    except ValueError as error:
        raise ConfigError(f"--dataset: expected images that Pillow can read. Received: {file}: {error}") from error

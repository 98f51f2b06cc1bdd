"""A folder of images in any format that Pillow reads."""

import os
import pathlib
import warnings
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from ebm_tf.data.crop import center_crop
from ebm_tf.errors import ConfigError, one_line

__all__ = ["load", "read_image", "walk"]


def load(path: pathlib.Path, image_size: int, flag: str) -> np.ndarray:
    """All images below a folder, in the order of their paths; other files are passed over.

    Args:
      path: the folder.
      image_size: height and width; images of another size are scaled and cut at the centre.
      flag: the flag that path came from, for error texts.

    Returns:
      uint8 [N, image_size, image_size, 3]. Transparency is dropped, cameras' rotation is applied.

    Raises:
      ConfigError: there is no image, or one cannot be read.
    """
    try:
        files = [path / name for name in walk(path)]
    except OSError as error:
        raise ConfigError(f"--{flag}: expected a folder that can be read. Received: {error}") from error
    if not files:
        raise ConfigError(f"--{flag}: expected a folder of images. Received: {path}, which holds none")
    with tf.device("CPU"):
        return np.stack([center_crop(_read(file, flag), image_size).numpy() for file in files])


def walk(path: pathlib.Path) -> Iterator[str]:
    """Paths, relative to the folder, of the image files below it, in the order of their parts; hidden files are not.

    Memory: the names in one folder and in those around it.
    """
    formats = Image.registered_extensions()  # also loads Pillow's plugins, which fill Image.OPEN
    endings = {ending for ending, name in formats.items() if name in Image.OPEN}

    def names(folder):
        with os.scandir(path / folder) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False), _is_file(entry)) for entry in entries)
        for name, is_folder, is_file in found:
            if is_folder:
                yield from names(f"{folder}{name}/")
            elif is_file and not name.startswith(".") and os.path.splitext(name)[1].lower() in endings:
                yield folder + name

    yield from names("")


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _read(file, flag):
    """uint8 [h, w, 3]."""
    try:
        return read_image(file)
    except ValueError as error:
        raise ConfigError(f"--{flag}: expected images that Pillow can read. Received: {file}: {error}") from error


def read_image(file: pathlib.Path) -> np.ndarray:
    """An image file, uint8 [h, w, 3]. Raises ValueError, one line, where Pillow cannot read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"mode {image.mode}, more than 8 bits per channel")
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception as error:  # Pillow's plugins raise many kinds: OSError, SyntaxError, struct.error, ...
        raise ValueError(one_line(error)) from error

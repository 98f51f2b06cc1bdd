"""The sizes that images of a set had before they were fitted to a model's, by their headers alone.

Scaling blurs or sharpens, and an energy sees that: sets that were scaled differently are told apart by it.
"""

import contextlib
import io
import itertools
import os
import pathlib
import re
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image

from ebm_tf.data import arrays, folder, images

__all__ = ["short_sides"]


def short_sides(source: str, data_dir: str | None, most: int | None = None) -> np.ndarray:
    """The short side of each image that images.load_any gives, int64 [N], pixels; of the first `most`.

    Args:
      source: see images.load_any, which has been able to read it; or array:FILE, whose images have one size.
      data_dir: see images.load.
      most: read no more.
    """
    if source.startswith("array:"):
        x = arrays.read(source.removeprefix("array:"))
        return np.full(len(x) if most is None else min(most, len(x)), min(x.shape[1:3]), np.int64)
    return np.array([_short_side(file) for file in itertools.islice(_files(source, data_dir), most)], np.int64)


def _files(source: str, data_dir: str | None) -> Iterator[pathlib.Path | io.BytesIO]:
    if os.path.isdir(path := os.path.expanduser(source)):
        yield from (pathlib.Path(path, name) for name in folder.walk(pathlib.Path(path)))
    elif match := re.fullmatch(r"(\w+)(?:/([^/]+))?", source):
        encoded = images.encoded_images(match[1], match[2] or "test", data_dir)
        yield from (io.BytesIO(content) for content in encoded.as_numpy_iterator())


def _short_side(file: pathlib.Path | io.BytesIO) -> int:
    with contextlib.suppress(Exception), warnings.catch_warnings():  # Pillow raises many kinds; the reader tells of it
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(file) as image:
            return min(image.size)
    return 0

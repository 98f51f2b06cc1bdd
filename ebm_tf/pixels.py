"""Images as uint8 pixels, and grids of them: NumPy and Pillow alone."""

import os

import numpy as np
from PIL import Image

from ebm_tf.drafts import draft_of

__all__ = ["save_image_grid", "tile", "to_uint8"]


def to_uint8(x: np.ndarray) -> np.ndarray:
    """float [-1, 1] to uint8 [0, 255]: clipped, then rounded, halves to even; uint8 as it is. NaN becomes 0."""
    x = np.asarray(x)
    if x.dtype == np.uint8:
        return x
    levels = (np.clip(x.astype(np.float32), -1, 1) + 1) * 127.5
    return np.rint(np.nan_to_num(levels)).astype(np.uint8)


def tile(x: np.ndarray, columns: int = 8) -> np.ndarray:
    """Images [N, H, W, C] as one, uint8 [h, w, 3 or 4]: `columns` a row, one pixel of white between them."""
    pixels = to_uint8(x)
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    pixels = np.pad(pixels, [(0, -len(pixels) % columns), (0, 1), (0, 1), (0, 0)], constant_values=255)
    count, height, width, channels = pixels.shape
    grid = pixels.reshape(count // columns, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(count // columns * height, columns * width, channels)[:-1, :-1]


def save_image_grid(x: np.ndarray, path: str | os.PathLike, columns: int = 8, zoom: int = 2) -> None:
    """Images [N, H, W, C], uint8 or in [-1, 1] and clipped to it, as one PNG of `columns` images a row."""
    image = Image.fromarray(tile(x, columns))
    with draft_of(path) as draft:
        image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST).save(draft)

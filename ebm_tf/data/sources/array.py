"""array:FILE: an array of images or vectors."""

from ebm_tf.data import arrays
from ebm_tf.data.base import Dataset
from ebm_tf.data.sources import Asked

__all__ = ["open_source"]


def open_source(source: str, asked: Asked) -> Dataset:
    """See Dataset.from_array."""
    x, name = arrays.read(source), f"array:{source}"
    return Dataset(name, arrays.opened(x, asked.held_out, 0, asked.image_size, asked.fit, name))

"""array:FILE: an array of images or vectors."""

from ebm_tf.data import arrays
from ebm_tf.data.base import Dataset
from ebm_tf.data.sources import Asked

__all__ = ["open_source"]


def open_source(source: str, asked: Asked) -> Dataset:
    """See Dataset.from_array."""
    x, size = arrays.read(source), asked.image_size
    return Dataset.from_array(x, asked.held_out, image_size=size, fit=asked.fit, name=f"array:{source}")

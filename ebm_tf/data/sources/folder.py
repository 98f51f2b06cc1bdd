"""folder:PATH: images below a folder."""

from ebm_tf.data.base import Dataset
from ebm_tf.data.sources import Asked

__all__ = ["open_source"]


def open_source(source: str, asked: Asked) -> Dataset:
    """See Dataset.from_folder."""
    return Dataset.from_folder(source, asked.image_size, asked.fit, held_out=asked.held_out)

"""folder:PATH: images below a folder."""

from ebm_tf.data import folder
from ebm_tf.data.base import Dataset
from ebm_tf.data.sources import Asked

__all__ = ["open_source"]


def open_source(source: str, asked: Asked) -> Dataset:
    """See Dataset.from_folder."""
    opened = folder.open_folder(source, asked.image_size, asked.fit, None, asked.held_out, 0)
    return Dataset(f"folder:{source}", opened)

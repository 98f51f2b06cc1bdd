"""tfds:NAME: images of a TFDS data set."""

from ebm_tf.data import images
from ebm_tf.data.base import Dataset
from ebm_tf.data.sources import Asked

__all__ = ["open_source"]


def open_source(source: str, asked: Asked) -> Dataset:
    """See Dataset.from_tfds."""
    where = source, asked.split, asked.data_dir, asked.image_size
    opened = images.open_tfds(*where, how=asked.fit, channels=None, held_out=asked.held_out, seed=0)
    return Dataset(f"tfds:{source}", opened)

"""tfds:NAME: images of a TFDS data set."""

from ebm_tf.data.base import Dataset
from ebm_tf.data.sources import Asked

__all__ = ["open_source"]


def open_source(source: str, asked: Asked) -> Dataset:
    """See Dataset.from_tfds."""
    size, fit = asked.image_size, asked.fit
    return Dataset.from_tfds(source, asked.split, asked.data_dir, size, fit=fit, held_out=asked.held_out)

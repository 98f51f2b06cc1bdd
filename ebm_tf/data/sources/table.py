"""table:FILE: rows of a table."""

from ebm_tf.data.base import Dataset
from ebm_tf.data.sources import Asked

__all__ = ["open_source"]


def open_source(source: str, asked: Asked) -> Dataset:
    """See Dataset.from_table."""
    columns = [name.strip() for name in asked.columns.split(",")] if asked.columns is not None else None
    return Dataset.from_table(source, columns, asked.held_out)

"""table:FILE: rows of a table."""

from ebm_tf.data import arrays, tables
from ebm_tf.data.base import Dataset
from ebm_tf.data.sources import Asked

__all__ = ["open_source"]


def open_source(source: str, asked: Asked) -> Dataset:
    """See Dataset.from_table."""
    columns = [name.strip() for name in asked.columns.split(",")] if asked.columns is not None else None
    x, names = tables.read(source, columns, name := f"table:{source}")
    return Dataset(name, arrays.open_vectors(x, names, asked.held_out, 0, name))

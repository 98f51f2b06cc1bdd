"""Kinds of data that --dataset=KIND:SOURCE names, a module each, with a function open_source."""

import importlib
from typing import NamedTuple

from ebm_tf.data.base import Dataset

__all__ = ["Asked", "open_dataset"]


class Asked(NamedTuple):
    """What settings say of data; a kind reads what it has a use for.

    Attributes:
      held_out: share of the examples that does not train.
      image_size, fit: see Dataset.from_folder.
      columns: of a table, separated by commas. None: all.
      split, data_dir: see Dataset.from_tfds.
    """

    held_out: float
    image_size: int | None
    fit: str | None
    columns: str | None
    split: str
    data_dir: str | None


def open_dataset(kind: str, source: str, asked: Asked) -> Dataset:
    """The data of KIND:SOURCE. Raises ConfigError where they cannot be had."""
    return importlib.import_module(f"{__name__}.{kind}").open_source(source, asked)

"""Tables as sources: .csv and .tsv with a line of names, and .parquet; columns by the names of those that trained."""

import csv
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ebm_tf.data import tables
from ebm_tf.errors import one_line
from ebm_tf.serving.info import ModelInfo
from ebm_tf.serving.sources.records import Record, Shard, bad

__all__ = ["read_table", "table_shards"]

MOST = float(np.finfo(np.float32).max)
Row = list[Any] | str  # the cells of one row, or why it has none


def table_shards(path: pathlib.Path, info: ModelInfo) -> Callable[[], Iterator[Shard]]:
    """See inputs.find_shards. Walks through the table, to count its rows."""
    if not info.columns:
        raise bad(f"images or arrays: the model, of {info.dataset}, keeps no names of columns", path)
    names = tables.header(path, f"{path}", "input")
    if missing := [name for name in info.columns if name not in names]:
        expected = f"a table with the columns {', '.join(info.columns)[:200]}"
        raise bad(expected, f"{path} without {', '.join(missing)[:200]}")
    if others := [name for name in names if name not in info.columns]:
        print(f"input: {path}: left out, since they did not train: {', '.join(others)[:200]}", flush=True)
    total = _count(path, info)
    return lambda: iter([Shard("table", str(path), total)])  # it can only be read from its start


def _count(path: pathlib.Path, info: ModelInfo) -> int:
    """Rows, of which there is one or more. Refuses a column without any number."""
    total, words = 0, dict.fromkeys(info.columns, "a missing value")
    for row in _rows(path, info):
        total += 1
        if words and not isinstance(row, str):
            found = {name: tables.problem(value) for name, value in zip(info.columns, row)}
            words = {name: found[name] for name in words if found[name]}
    if not total:
        raise bad("a table with rows", f"{path} with none")
    for name, word in words.items():
        raise bad(f"numbers in column {name}", f"{path}, in whose {total:,} rows it has none, but {word}")
    return total


def read_table(shard: Shard, info: ModelInfo) -> Iterator[Record]:
    """See inputs.read_shard."""
    number = -1
    for number, row in zip(range(shard.size), _rows(pathlib.Path(shard.source), info)):
        yield _record(str(number), row, info)
    for rest in range(number + 1, shard.size):
        yield Record(str(rest), None, "the file is cut short")


def _record(name: str, row: Row, info: ModelInfo) -> Record:
    if isinstance(row, str):
        return Record(name, None, row)
    for column, value in zip(info.columns, row):
        if word := tables.problem(value) or ("" if abs(float(value)) < MOST else f"{value}, beyond float32"):
            return Record(name, None, f"expected a number in column {column}. Received: {word}")
    return Record(name, np.array([float(value) for value in row], np.float32))


def _rows(path: pathlib.Path, info: ModelInfo) -> Iterator[Row]:
    """Cells of the model's columns, in its order. What is damaged ends in one row that says so."""
    try:
        yield from _parquet(path, info) if path.suffix == ".parquet" else _csv(path, info)
    except (OSError, ValueError, csv.Error) as error:  # of pyarrow too
        yield one_line(error)


def _csv(path: pathlib.Path, info: ModelInfo) -> Iterator[Row]:
    rows = tables.csv_rows(path)
    names = [text.strip() for text in next(rows)]
    places = [names.index(name) for name in info.columns]
    for row in rows:
        fits = len(row) == len(names)
        yield [row[place] for place in places] if fits else f"expected {len(names)} columns. Received: {len(row)}"


def _parquet(path: pathlib.Path, info: ModelInfo) -> Iterator[Row]:
    for batch in tables.parquet_file(path, "input").iter_batches(1024, columns=list(info.columns)):
        yield from (list(row) for row in zip(*(batch.column(name).to_pylist() for name in info.columns)))

"""Tables of numbers to learn: .csv with a line of names, .parquet, and data frames; missing values are refused."""

import csv
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ebm_tf.errors import ConfigError, one_line, some_of

__all__ = ["csv_rows", "header", "parquet_file", "problem", "read"]

LARGEST = float(np.finfo(np.float32).max)
MISSING = {"", "na", "n/a", "<na>", "nan", "null", "none", "?", "-"}


def read(
    source: Any, columns: Sequence[str] | None = None, name: str = "table", flag: str = "dataset"
) -> tuple[np.ndarray, list[str]]:
    """The numbers of a table and the names of its columns.

    Args:
      source: path of a .csv, .tsv or .parquet file, a data frame, or a mapping of names to arrays.
      columns: names of those to read, in this order. None: all.
      name: of the table, for error texts.
      flag: that it came from.

    Returns:
      (float32 [N, D], D names).

    Raises:
      ConfigError: no such file or column, text, a missing value, or a number that float32 does not hold; one line, with
        row and column.
    """
    try:
        if not isinstance(source, str | os.PathLike):
            found = _mapping(source, name, flag)
        elif pathlib.Path(source).suffix.lower() == ".parquet":
            found = _parquet(pathlib.Path(source).expanduser(), flag)
        elif pathlib.Path(source).suffix.lower() in (".csv", ".tsv"):
            found = _csv(pathlib.Path(source).expanduser(), name, flag)
        else:
            raise ConfigError(f"--{flag}: expected a .csv, .tsv or .parquet file. Received: {name}")
    except FileNotFoundError:
        raise ConfigError(f"--{flag}: expected a table. Received: {name}, which does not exist") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"--{flag}: expected a table. Received: {name}: {one_line(error)}") from error
    chosen = _chosen(found, columns, name)
    _refuse_text(found, chosen, name)
    table = [_numbers(found[column], column, name, flag) for column in chosen]
    if not len(table[0]):
        raise ConfigError(f"--{flag}: expected a table with rows. Received: {name} with none")
    return np.stack(table, axis=1).astype(np.float32), chosen


def _mapping(source, name, flag):
    """{column: values [N]} of a data frame or a mapping; what a masked array hides is None."""
    found = {str(key): source[key] for key in getattr(source, "columns", source)}
    hidden = {key: np.ma.getmaskarray(one) for key, one in found.items() if np.ma.isMA(one)}
    found = {key: np.asarray(one) for key, one in found.items()}
    found |= {key: np.where(mask, None, found[key].astype(object)) for key, mask in hidden.items()}
    shapes = {key: list(one.shape) for key, one in found.items()}
    first = next(iter(shapes.values()), [])
    if len(first) != 1 or any(shape != first for shape in shapes.values()):
        received = ", ".join(f"{key} of {shape}" for key, shape in shapes.items())[:200] or "none"
        raise ConfigError(f"--{flag}: expected columns of one length, [N] each. Received: {name} with {received}")
    return found


def _csv(path, name, flag):
    """{column: texts [N], as an object array}."""
    rows = list(csv_rows(path))
    names = _checked_names(rows[0] if rows else None, name, flag)
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(names):
            received = f"{name} with {len(row)} in row {number}"
            raise ConfigError(f"--{flag}: expected {len(names)} columns in every row. Received: {received}")
    return {column: np.array([row[i].strip() for row in rows[1:]], object) for i, column in enumerate(names)}


def csv_rows(path: pathlib.Path) -> Iterator[list[str]]:
    """Rows of a .csv or .tsv file that are not empty, the line of names first. Raises OSError, UnicodeDecodeError or
    csv.Error.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        yield from (row for row in csv.reader(file, delimiter=max(",;\t", key=first.count)) if row)


def _checked_names(first, name, flag):
    """Names of the columns from the first row, which is None of an empty file."""
    if first is None:
        raise ConfigError(f"--{flag}: expected a line of names and then numbers. Received: {name}, which is empty")
    names = [text.strip() for text in first]
    if len(set(names)) < len(names) or all(_is_number(text) for text in names):
        received = f"{name}, whose first line is {', '.join(names)[:100]}"
        raise ConfigError(f"--{flag}: expected a first line with different names of columns. Received: {received}")
    return names


def header(path: pathlib.Path, name: str, flag: str) -> list[str]:
    """Names of the columns of a .csv, .tsv or .parquet file. Raises ConfigError, see read."""
    try:
        if path.suffix.lower() == ".parquet":
            return list(parquet_file(path, flag).schema_arrow.names)
        return _checked_names(next(csv_rows(path), None), name, flag)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"--{flag}: expected a table. Received: {name}: {one_line(error)}") from error


def parquet_file(path: pathlib.Path, flag: str) -> Any:
    """pyarrow's ParquetFile. Raises OSError, or ConfigError without pyarrow."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        needed = "the package pyarrow for .parquet: pip install pyarrow"
        raise ConfigError(f"--{flag}: expected {needed}. Received: no such package") from None
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        return parquet.ParquetFile(path)
    except ArrowException as error:
        raise OSError(one_line(error)) from error


def _parquet(path, flag):
    table = parquet_file(path, flag).read()
    return {column: table[column].to_numpy() for column in table.column_names}


def problem(value: Any) -> str:
    """Why a cell is no number, in a few words; "" where it is one."""
    if _is_missing(value):
        return "a missing value"
    if not _is_number(value):
        return repr(str(value)[:40])
    return "" if np.isfinite(float(value)) else str(value)


def _chosen(found: dict[str, np.ndarray], columns: Sequence[str] | None, name: str) -> list[str]:
    if columns is None:
        return list(found)
    if unknown := [column for column in columns if column not in found]:
        expected = f"columns of {name}: {some_of(found, unknown[0])}"
        raise ConfigError(f"--columns: expected {expected}. Received: {', '.join(unknown)[:200]}")
    if not columns or len(set(columns)) < len(columns):
        raise ConfigError(f"--columns: expected different columns. Received: columns={','.join(columns)}")
    return list(columns)


def _refuse_text(found, chosen, name):
    text = {}
    for column in chosen:
        values = found[column]
        if values.dtype.kind not in "fiu":
            words = [str(one) for one in values if not _is_missing(one) and not _is_number(one)]
            if words or values.dtype.kind not in "OUb":
                text[column] = words[0] if words else str(values.dtype)
    if text:
        column, word = next(iter(text.items()))
        rest = [one for one in chosen if one not in text]
        hint = f"; --columns={','.join(rest)} leaves them out" if rest else ""
        received = f"{name} with text in {', '.join(text)[:200]} ({word[:40]!r} in {column}){hint}"
        raise ConfigError(f"--columns: expected columns of numbers. Received: {received}")


def _numbers(values, column, name, flag):
    is_missing = np.zeros(len(values), bool)
    if values.dtype.kind not in "fiu":
        is_missing = np.array([_is_missing(value) for value in values], bool)
    numbers = np.array([np.nan if gone else float(value) for gone, value in zip(is_missing, values)], np.float64)
    is_held = np.abs(numbers) <= LARGEST
    if not is_held.all():
        row = int(np.argmin(is_held))
        what = "a missing value" if np.isnan(numbers[row]) else str(numbers[row])
        received = f"{name} with {what} in row {row + 1} (from 1), column {column}"
        raise ConfigError(f"--{flag}: expected numbers that float32 holds in every row. Received: {received}")
    return numbers


def _is_missing(value) -> bool:
    return value is None or str(value).strip().lower() in MISSING


def _is_number(value) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool | np.bool_)

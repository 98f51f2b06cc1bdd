"""The table of scores: written row by row, kept when a run is broken off, and turned into Parquet at the end.

While it grows, OUTPUT.partial holds whole rows as CSV and OUTPUT.partial.json says how many are sure.
"""

import contextlib
import csv
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ebm_tf.drafts import draft_of
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.runs import lock

__all__ = ["COLUMNS", "DETECTOR_COLUMNS", "PartialTable", "check_output", "format_row", "to_csv"]

COLUMNS = ("id", "energy", "error")
DETECTOR_COLUMNS = ("id", "energy", "ood_score", "p_value", "flag", "statistic", "side", "error")
FLOATS = ("energy", "ood_score", "p_value")
ROW_GROUP = 65_536


def check_output(output: pathlib.Path) -> None:
    """Raises ConfigError unless output is a new .csv or .parquet that can be written here."""
    if output.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--output: expected FILE.csv or FILE.parquet. Received: output={output}")
    if output.exists():
        raise ConfigError(f"--output: expected a new file. Received: output={output}, which is there")
    if not output.parent.is_dir():
        raise ConfigError(f"--output: expected a file in a folder that is there. Received: output={output}")
    if output.suffix == ".parquet":
        pyarrow()


def pyarrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet. Raises ConfigError without them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        expected = "the package pyarrow for .parquet: pip install '.[parquet]' in a clone; or a .csv file"
        raise ConfigError(f"--output: expected {expected}. Received: no such package") from None
    return pyarrow, pyarrow.parquet


def format_row(name: str, values: Sequence[Any], error: str) -> list[str]:
    """One row, as text. Nine digits give a float32 back exactly.

    Args:
      name: the input's id.
      values: of the columns between id and error, numbers and texts; left out where there is an error.
      error: one line, or "".
    """
    texts = ("" if error else str(one) if isinstance(one, str) else f"{one:.9g}" for one in values)
    return [name, *texts, error]


class PartialTable:
    """A table at work.

    Where the disk takes no more, OSError says so and how to go on; nothing stays but rows that are sure.

    Attributes:
      rows: rows that are sure, after which one goes on.
      bad: how many of them have an error.
      last_id: the id in the last of them.

    Args:
      output: the file in the end.
      columns: names of the columns.
      key: says what the rows depend on; a broken table with another key is not continued.
      resume: whether to continue a broken table.

    Raises:
      ConfigError: there is a broken table and resume is off, or it is of other settings, or another process writes it.
    """

    def __init__(self, output: pathlib.Path, columns: tuple[str, ...], key: dict[str, Any], resume: bool):
        self.output, self.columns, self.key = output, columns, key
        self._partial = output.with_name(output.name + ".partial")
        self._state = output.with_name(output.name + ".partial.json")
        self.rows, self.bad, self.last_id = 0, 0, ""
        try:
            self._file = self._partial.open("a+b")  # which leaves what is there
        except OSError as error:
            raise ConfigError(f"--output: expected a file that can be written. Received: {error}") from error
        try:
            self._take()
            if os.fstat(self._file.fileno()).st_size and not resume:
                expected = f"--output: expected --resume, or {self._partial} removed"
                raise ConfigError(f"{expected}. Received: a table broken off")
            size = self._read_state() if resume else 0
            self._file.truncate(size)
            self._file.seek(size)
            if not size:
                self._file.write(to_csv([self.columns]))
        except BaseException:
            self._file.close()
            raise

    def _take(self) -> None:
        """Takes the file for this process. Raises ConfigError where another one has it, or has just made it OUTPUT."""
        is_ours = lock.got(self._file.fileno()) and self._is_there()
        if is_ours and self.output.exists():  # it was made since check_output looked, and this file is a new one
            is_ours = False
            if not os.fstat(self._file.fileno()).st_size:
                self.close()
        if not is_ours:
            expected = "--output: expected a table that no other process writes"
            raise ConfigError(f"{expected}. Received: output={self.output}, which another one is at")

    def _is_there(self) -> bool:
        """Whether the file still is the one of that name."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._partial.stat())
        except OSError:
            return False

    def _read_state(self) -> int:
        """Sure bytes of the broken table; 0 if there are none."""
        try:
            state = json.loads(self._state.read_text())
            if self._partial.stat().st_size < state["bytes"]:
                return 0
        except (OSError, ValueError):
            return 0
        for name, value in self.key.items():
            if state["key"].get(name) != value:
                raise ConfigError(
                    f"--{name}: expected {state['key'].get(name)}, as the table broken off has it. Received: {value}"
                )
        self.rows, self.bad, self.last_id = state["rows"], state["bad"], state["last_id"]
        return state["bytes"]

    def write(self, rows: list[list[str]]) -> None:
        """Adds rows, all of them sure when this returns."""
        with self._disk():
            self._file.write(to_csv(rows))
            self._file.flush()
            done = self.rows + len(rows)
            bad, last_id = self.bad + sum(bool(row[-1]) for row in rows), rows[-1][0]
            state = {"key": self.key, "rows": done, "bad": bad, "last_id": last_id, "bytes": self._file.tell()}
            with draft_of(self._state) as draft:
                draft.write_text(json.dumps(state))
        self.rows, self.bad, self.last_id = done, bad, last_id

    def finish(self) -> None:
        """Makes the output, whole or not at all. The file is held until then, so that nobody begins it anew."""
        with self._disk():
            self._file.flush()
            if os.name == "nt":  # which renames no open file
                self._file.close()
            if self.output.suffix == ".parquet":
                with draft_of(self.output) as draft:
                    _to_parquet(self._partial, self.columns, draft)
                self._partial.unlink()
            else:
                self._partial.replace(self.output)
            self._state.unlink(missing_ok=True)
            self._file.close()

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Says what is left where the disk fails."""
        try:
            yield
        except OSError as error:
            left = f"{self.rows} rows are sure, and --resume goes on after them" if self.rows else "nothing is kept"
            raise OSError(error.errno, f"{error.strerror or one_line(error)}; {left}", str(self.output)) from error

    def close(self) -> None:
        """Lets go of the file, which stays for --resume where a row is sure."""
        if not self.rows and not self._file.closed:
            try:
                self._partial.unlink(missing_ok=True)  # while it is locked, so that it is no other process's
            except PermissionError:  # of Windows, where it is open: an empty one is no table broken off
                self._file.truncate(0)
        with contextlib.suppress(OSError):  # what it had not written yet is not sure, and was told
            self._file.close()


def to_csv(rows: Iterable[Iterable[str]]) -> bytes:
    """Lines of CSV; bytes of file names that are no text stay as they are."""
    lines: list[str] = []
    sink: Any = type("Lines", (), {"write": staticmethod(lines.append)})
    csv.writer(sink, lineterminator="\n").writerows(rows)
    return "".join(lines).encode(errors="surrogateescape")


def _read_csv(path: pathlib.Path) -> Iterator[list[str]]:
    with path.open(newline="", errors="surrogateescape") as file:
        yield from csv.reader(file)


def _to_parquet(path: pathlib.Path, columns: tuple[str, ...], draft: pathlib.Path) -> None:
    arrow, parquet = pyarrow()
    kinds = dict.fromkeys(FLOATS, arrow.float32())
    schema = arrow.schema([(name, kinds.get(name, arrow.string())) for name in columns])
    rows = _read_csv(path)
    next(rows)
    with parquet.ParquetWriter(draft, schema) as writer:
        while group := list(itertools.islice(rows, ROW_GROUP)):
            values = [[_typed(text, field) for text in column] for field, column in zip(schema, zip(*group))]
            arrays = [arrow.array(column, field.type) for field, column in zip(schema, values)]
            writer.write_table(arrow.table(arrays, schema=schema))


def _typed(text: str, field) -> Any:
    if str(field.type) == "float":
        return float(text) if text else None
    return text.encode(errors="surrogateescape").decode(errors="replace") if text or field.name == "id" else None

"""What bin/reproduce.py makes: a figure or table of the paper, as data that can be drawn, written and shown."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from ebm_tf.errors import ConfigError
from ebm_tf.runs import saved
from ebm_tf.runs.saved import SavedRun
from ebm_tf.settings.train import Scheme

__all__ = ["LABELS", "Artifact", "Catalog", "Table", "settings_of"]

LABELS = {
    Scheme.DATA: "data",
    Scheme.NOISE: "noise",
    Scheme.PERSISTENT: "persistent",
    Scheme.PERSISTENT_REFRESH: "persistent+refresh",
    Scheme.HYBRID: "hybrid",
}


class Table(NamedTuple):
    """Rows of JSON values under column names."""

    columns: list[str]
    rows: list[list[Any]]

    @classmethod
    def of(cls, entries: list[dict[str, Any]], columns: list[str] | None = None) -> "Table":
        """A table of dicts, by default with the keys of the first as columns."""
        columns = list(entries[0]) if columns is None else columns
        return cls(columns, [[entry.get(column) for column in columns] for entry in entries])


class Artifact(NamedTuple):
    """A figure or table, read from the runs and not yet written.

    Attributes:
      ours: JSON values, the counterpart of the paper's.
      table: what the page shows beside or in place of a picture.
      runs: those it was made from.
      settings: run -> task -> the settings the task was done with.
      notes: how it was made, and what is absent.
      plot: writes the picture to a path; None for a table.
      paper: the paper's numbers; None where there are only numbers.SHOWS' words.
      csv: the table in full, to be written as .csv; None for a figure.
    """

    ours: Any
    table: Table
    runs: list[SavedRun]
    settings: dict[str, dict[str, Any]]
    notes: list[str]
    plot: Callable[[pathlib.Path], None] | None = None
    paper: Any = None
    csv: Table | None = None


class Catalog(NamedTuple):
    """The runs under --runs."""

    root: pathlib.Path
    finished: list[SavedRun]
    unfinished: list[pathlib.Path]

    @classmethod
    def of(cls, root: pathlib.Path) -> "Catalog":
        """Reads the folder. Raises ConfigError; see saved.find_runs."""
        return cls(root, *saved.find_runs(root))

    def choose(self, dataset: str, scheme: Scheme, cd_weight: float = 25.0) -> list[SavedRun]:
        """See saved.choose."""
        return saved.choose(self.finished, dataset, scheme, cd_weight)

    def one_per_scheme(self, dataset: str) -> tuple[dict[Scheme, SavedRun], list[str]]:
        """The run to draw of each scheme (the hybrid with lambda = 25), and a note on schemes that have none.

        Raises:
          ConfigError: no scheme has a finished run.
        """
        found = {scheme: self.choose(dataset, scheme) for scheme in Scheme}
        first = {scheme: runs[0] for scheme, runs in found.items() if runs}
        if not first:
            raise self.nothing(f"a finished {dataset} run (of the hybrid, one with lambda = 25)")
        absent = [LABELS[scheme] for scheme, runs in found.items() if not runs]
        notes = [f"Absent, for want of a finished run: {', '.join(absent)}."] if absent else []
        more = [LABELS[scheme] for scheme, runs in found.items() if len(runs) > 1]
        if more:
            notes.append(f"Drawn from the run with the lowest seed where there are several: {', '.join(more)}.")
        return first, notes

    def nothing(self, expected: str) -> ConfigError:
        """The error for want of runs."""
        left = f" (not finished: {', '.join(path.name for path in self.unfinished)})" if self.unfinished else ""
        return ConfigError(f"--runs: expected {expected}. Received: {self.root}, without one{left}")


def settings_of(runs: list[SavedRun], *tasks: str) -> dict[str, dict[str, Any]]:
    """Run -> task -> settings in its results.json, of the tasks that are there."""
    return {
        run.path.name: {task: run.results[task].get("settings") for task in tasks if task in run.results}
        for run in runs
    }

"""Finished runs as they lie on disk: settings, results.json and saved arrays. Loads no model and no TensorFlow."""

import hashlib
import json
import os
import pathlib
import zipfile
from typing import Any, NamedTuple

import numpy as np

from ebm_tf.errors import ConfigError, one_line
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import Scheme, TrainConfig

__all__ = [
    "SavedRun",
    "budget",
    "choose",
    "digest",
    "file_digest",
    "find_runs",
    "load",
    "load_config",
    "training_minutes",
]


class SavedRun(NamedTuple):
    """A run whose training is done.

    Attributes:
      path: its folder.
      config: its settings.
      model: the first 16 hex digits of the sha256 of model.keras.
      results: results.json, a key per task; {} before the first task.
    """

    path: pathlib.Path
    config: TrainConfig
    model: str
    results: dict[str, Any]

    def command(self, task: str, *flags: str) -> str:
        """What to run for a task's results."""
        return " ".join(["bin/evaluate.py", f"--workdir={self.path}", f"--tasks={task}", *flags])

    def has(self, task: str) -> bool:
        """Whether results.json has the task, marked with the model it was done with."""
        return "model" in self.results.get(task, {})

    def numbers(self, task: str, *flags: str) -> dict[str, Any]:
        """results.json[task].

        Raises:
          ConfigError: the task has not been run, or with another model than the one that lies there now, or before a
            task whose results it read was run again.
        """
        if not self.has(task):
            raise self._missing(task, flags, "no such results")
        found = self.results[task]
        if found["model"] != self.model:
            raise ConfigError(
                f"--runs: expected results of the model.keras in {self.path}, {self.model}; run "
                f"{self.command(task, *flags)}. Received: stale {task} of another model, {found['model']}"
            )
        for read, before in found.get("inputs", {}).items():
            if before != digest(self.results.get(read)):
                raise self._missing(task, flags, f"stale {task}, of {read} as it was before")
        return found

    def arrays(self, task: str, *names: str, count: int | None = None) -> dict[str, np.ndarray]:
        """Arrays of RUN/<task>.npz.

        Args:
          task: a task of bin/evaluate.py.
          *names: which arrays.
          count: read only the first so many rows of each. None: all.

        Raises:
          ConfigError: see numbers; or the file is absent, cut short, or lacks an array.
        """
        self.numbers(task)
        path = self.path / f"{task}.npz"
        try:
            with zipfile.ZipFile(path) as archive:
                return {name: _read_rows(archive, name, count) for name in names}
        except FileNotFoundError:
            raise self._missing(task, (), f"no {path}") from None
        except Exception as error:  # zipfile raises a dozen kinds on a damaged file
            reason = one_line(error)
            raise self._missing(task, (), f"{path}, which cannot be read: {reason}") from error

    def array_names(self, task: str) -> set[str]:
        """What RUN/<task>.npz holds; empty where there is no such file."""
        try:
            with zipfile.ZipFile(self.path / f"{task}.npz") as archive:
                return {name.removesuffix(".npy") for name in archive.namelist()}
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
            return set()

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl."""
        return RunDir(self.path).read_metrics("runs")

    def _missing(self, task: str, flags: tuple[str, ...], received: str) -> ConfigError:
        return ConfigError(
            f"--runs: expected {task} of {self.path}; run {self.command(task, *flags)}. Received: {received}"
        )


def _read_rows(archive: zipfile.ZipFile, name: str, count: int | None) -> np.ndarray:
    """The first `count` rows of an array, without unpacking the rest."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = read_header[version](file)
        if dtype.hasobject or (is_fortran and len(shape) > 1):
            raise ValueError(f"{name} is not a plain array in C order")
        if count is not None:
            shape = (min(count, shape[0]), *shape[1:])
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        content = file.read(size)
    if len(content) != size:
        raise ValueError(f"{name} is cut short")
    return np.frombuffer(content, dtype).reshape(shape)


def find_runs(root: pathlib.Path) -> tuple[list[SavedRun], list[pathlib.Path]]:
    """The finished runs ROOT/*/ and the folders of those that are not finished, by name.

    Raises:
      ConfigError: root is not a folder or holds no run; or a config.json or results.json cannot be read.
    """
    if not os.path.isdir(root):
        raise ConfigError(f"--runs: expected a folder of runs. Received: runs={root}")
    finished, unfinished = [], []
    for config_path in sorted(root.glob("*/config.json")):
        run_dir = RunDir(config_path.parent)
        if not run_dir.is_finished(load_config(run_dir.path).train_steps):
            unfinished.append(run_dir.path)
            continue
        finished.append(load(run_dir.path))
    if not finished and not unfinished:
        raise ConfigError(f"--runs: expected a folder whose folders are runs, with config.json. Received: runs={root}")
    return finished, unfinished


def digest(entry: Any) -> str:
    """The first 16 hex digits of the sha256 of a JSON value, by which results.json says what a task read."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: pathlib.Path) -> str:
    """The same of a file's content, by which it says of which model.keras the results are."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def load(path: pathlib.Path) -> SavedRun:
    """The finished run in a folder. Raises ConfigError; see find_runs."""
    try:
        model = file_digest(RunDir(path).model)
    except OSError as error:
        raise ConfigError(f"--runs: expected {RunDir(path).model} to be readable. Received: {error}") from error
    return SavedRun(path, load_config(path), model, RunDir(path).read_results("runs"))


def load_config(path: pathlib.Path) -> TrainConfig:
    """The settings of the run in a folder, finished or not. Raises ConfigError."""
    return RunDir(path).load_config(flag="runs").at_end


def choose(runs: list[SavedRun], dataset: str, scheme: Scheme, cd_weight: float = 25.0) -> list[SavedRun]:
    """The runs of one data set and scheme, the hybrid's of one lambda. Lowest seed first, then the longest run."""

    def fits(config):
        has_weight = scheme is not Scheme.HYBRID or config.hybrid_cd_weight == cd_weight
        return config.dataset == dataset and config.scheme is scheme and has_weight

    chosen = [run for run in runs if fits(run.config)]
    return sorted(chosen, key=lambda run: (run.config.seed, -run.config.train_steps, run.path.name))


def training_minutes(rows: list[dict[str, Any]]) -> float | None:
    """Minutes that training took, from the rates in metrics.jsonl; pauses before a --resume do not count.

    Args:
      rows: metrics.jsonl, with step and updates_per_second.

    Returns:
      None without a usable rate.
    """
    seconds, before = 0.0, 0
    for row in rows:
        rate = row.get("updates_per_second")
        if not rate:
            return None
        seconds += (row["step"] - before) / rate
        before = row["step"]
    return seconds / 60 if rows else None


def budget(run: SavedRun) -> dict[str, Any]:
    """What a run cost and what it was: JSON values."""
    config = run.config
    minutes = training_minutes(run.metrics())
    is_hybrid = config.scheme is Scheme.HYBRID
    return {
        "run": run.path.name,
        "dataset": config.dataset,
        "scheme": config.scheme.value,
        "cd_weight": config.hybrid_cd_weight if is_hybrid else None,
        "seed": config.seed,
        "updates": config.train_steps,
        "batch_size": config.batch_size,
        "num_filters": config.num_filters,
        "num_steps": config.num_steps,
        "num_steps_start": config.num_steps_start,
        "init_model": config.init_model,
        "attention": None if config.is_rings else config.attention,
        "dtype_policy": config.dtype_policy,
        "minutes": None if minutes is None else round(minutes, 1),
    }

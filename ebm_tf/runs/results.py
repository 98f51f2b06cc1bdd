"""What the tasks of bin/evaluate.py leave of a run: results.json and a file of arrays per task."""

import dataclasses
import functools
import json
import math
import pathlib
from typing import Any

import numpy as np

from ebm_tf.drafts import draft_of, replace_file
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.runs.saved import digest, file_digest
from ebm_tf.settings.train import TrainConfig

__all__ = ["RunResults", "as_json", "content_digest"]


@dataclasses.dataclass(frozen=True)
class RunResults:
    """The results of a run's tasks, which lie in the run's folder or in one of their own.

    Attributes:
      run_dir: the folder that results go to.
      config: the run's settings.
      model: the .keras file of the energy, or a checkpoint.
      source: the run's own folder, where results go to another one: read, never written.
      known_id: model_id, where it is no file's.
      named_by: the flag that named the run's folder.
    """

    run_dir: RunDir
    config: TrainConfig
    model: pathlib.Path
    source: RunDir | None = None
    known_id: str | None = None
    named_by: str = "workdir"

    @functools.cached_property
    def model_id(self) -> str:
        """The first 16 hexadecimal digits of the sha256 of the model's file, or of a checkpoint's."""
        if self.known_id:
            return self.known_id
        try:
            return file_digest(self.model)
        except OSError as error:
            expected = f"--{self._model_flag}: expected {self.model} to be readable"
            raise ConfigError(f"{expected}. Received: {error}") from error

    @property
    def is_bare(self) -> bool:
        """Whether there is a model alone, without the run that made it."""
        return self.source is None and self.model != self.run_dir.model

    @property
    def own_dir(self) -> RunDir:
        """The folder with the run's checkpoints."""
        return self.source or self.run_dir

    @property
    def flag(self) -> str:
        """The flag that named the folder of results."""
        return "output" if self.is_bare or self.source else self.named_by

    @property
    def _model_flag(self) -> str:
        """The flag that named the model."""
        return "model" if self.is_bare else self.named_by

    @property
    def results(self) -> pathlib.Path:
        """The file that results are written to."""
        return self.run_dir.path / "results.json"

    def read_results(self) -> dict[str, Any]:
        """results.json, a key per task; {} before the first. Raises ConfigError when it cannot be read.

        Where results go to another folder than the run's, those there come before the run's own.
        """
        own = self.source.read_results() if self.source else {}
        return {**own, **self.run_dir.read_results(self.flag)}

    def npz(self, task: str) -> pathlib.Path:
        """The file of a task's arrays, which lies where its results are."""
        is_new = self.source is None or task in self.run_dir.read_results(self.flag)
        return (self.run_dir if is_new else self.own_dir).path / f"{task}.npz"

    def arrays(self, task: str) -> dict[str, np.ndarray]:
        """The arrays that a task left in RUN/<task>.npz.

        Raises:
          ConfigError: there are none, they cannot be read, or they are of an older model.keras.
        """
        path = self.npz(task)
        source = f"--workdir={self.own_dir.path}"
        if self.source:
            source += f" --output={self.run_dir.path}"
        if self.known_id:
            source += f" --checkpoint={self.model.stem.removeprefix('update-')}"
        if self.is_bare:
            source = f"--model={self.model} --output={self.run_dir.path}"
        made = f"made by bin/evaluate.py {source} --tasks={task}"
        if not path.exists():
            raise ConfigError(f"--{self.flag}: expected {path}, {made}. Received: no such file")
        model = self.read_results().get(task, {}).get("model", self.model_id)
        if model != self.model_id:
            raise ConfigError(
                f"--{self.flag}: expected {path} of the model as it is now, {made}. Received: an older one's"
            )
        try:
            with np.load(path, allow_pickle=False) as file:
                return _Arrays(path, self.flag, {name: file[name] for name in file.files})
        except Exception as error:  # NumPy and zipfile raise a dozen kinds on a damaged file
            line = one_line(error)
            raise ConfigError(
                f"--{self.flag}: expected {path} whole, {made} once it is gone. Received: {line}"
            ) from error

    def save(self, task: str, entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Writes a task's arrays, where there are any, and its entry of results.json, which as_json has made.

        An entry that was there goes first: arrays and their entry are never of two different settings.
        """
        results = self.run_dir.read_results(self.flag)
        if results.pop(task, None):
            self._write(results)
        if arrays:
            with draft_of(self.run_dir.path / f"{task}.npz") as draft:
                np.savez_compressed(draft, **arrays)  # type: ignore[arg-type]
        results = self.run_dir.read_results(self.flag)  # as it is now: another process may have done another task
        self._write({**results, task: entry})

    def _write(self, results: dict[str, Any]) -> None:
        replace_file(self.results, json.dumps(results, indent=2, allow_nan=False) + "\n")


class _Arrays(dict):
    """Arrays by name; one that is missing is an error of the file's."""

    def __init__(self, path: pathlib.Path, flag: str, arrays: dict[str, np.ndarray]):
        super().__init__(arrays)
        self.path, self.flag = path, flag

    def __missing__(self, name):
        raise ConfigError(f"--{self.flag}: expected {self.path} with {name}. Received: {', '.join(self)[:200]}")


def content_digest(path: pathlib.Path) -> str:
    """Digest of a file, or of the names, sizes and times of a folder's files; "" if it cannot be read."""
    try:
        if path.is_file():
            return file_digest(path)
        stats = sorted((str(file.relative_to(path)), file.stat()) for file in path.rglob("*") if file.is_file())
    except OSError:
        return ""
    return digest([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]) if stats else ""


def as_json(value: Any) -> Any:
    """value with NumPy's numbers as Python's, and None for those that are not finite."""
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [as_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

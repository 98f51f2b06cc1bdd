"""The folder of one run: what lies where, refusing to overwrite, and what a resumed run may change."""

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import re
import shlex
import sys
from typing import Any

from ebm_tf.drafts import replace_file
from ebm_tf.errors import DISK_FULL, ConfigError, one_line
from ebm_tf.settings.fields import Role, names_of
from ebm_tf.settings.train import TrainConfig

__all__ = ["DISK_ERRORS", "RunDir", "make_folder", "writable_folder"]

# A full disk, a limit on files or on their size; and a folder that is closed or read-only.
DISK_ERRORS = (*DISK_FULL, errno.EACCES, errno.EPERM, errno.EROFS)

# A resumed run keeps these.
FIXED_ON_RESUME = names_of(TrainConfig, role=Role.MODEL)
# What a finished run tells of how it was trained. It resumes on any devices; stages have a check of their own.
_TOLD = sorted({*names_of(TrainConfig, role=Role.RESULT)} - {"strategy", "rollbacks", "stage", "train_steps"})


class RunDir:
    """Paths of one run.

    Attributes:
      path: the folder.
      config: config.json, the settings of the newest start.
      metrics: metrics.jsonl, one object per logged update.
      tensorboard: folder of TensorBoard's event files.
      checkpoints: folder of everything the next update depends on.
      figures: folder of pictures.
      events: events.jsonl, one object per start, rollback and stop, with versions and devices.
      lock: file that a training process holds locked.
      model: model.keras, the energy at the end of training.

    Args:
      path: the folder; need not exist.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.figures = self.path / "figures"
        self.events = self.path / "events.jsonl"
        self.lock = self.path / "lock"
        self.model = self.path / "model.keras"

    def check(self, config: TrainConfig) -> None:
        """Whether config may run here. Writes nothing.

        Raises:
          ConfigError: the folder is in use and config.resume is off, or resume is on and there is no such run.
        """
        if not config.resume:
            self.check_unused()
            return
        self._holds_files()  # a path that cannot be looked at is told as such
        self._check_resumed(config)

    def check_unused(self) -> None:
        """Whether a new run may start here. Writes nothing. Raises ConfigError: the folder is in use."""
        if self._holds_files():
            raise ConfigError(
                f"--workdir: expected a new or empty folder, or --resume to continue its run. Received: {self.path}, "
                "which holds files"
            )

    def _holds_files(self) -> bool:
        try:
            if self.path.exists() and not self.path.is_dir():
                raise ConfigError(f"--workdir: expected a folder, new or empty. Received: the file {self.path}")
            return self.path.is_dir() and any(path != self.lock for path in self.path.iterdir())
        except (OSError, ValueError) as error:  # a name too long, with a zero in it, or in a folder that is closed
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"--workdir: expected a folder, new or empty. Received: {one_line(error)}") from error

    def _check_resumed(self, config: TrainConfig) -> None:
        before = self.load_config()
        self._check_stages(before, config)
        old, new = before.to_dict(), config.to_dict()
        tilted = ("temperature", "data_noise") if "reference" in config.gaussian else ()  # the energy depends on them
        of_bank = () if before.has_bank and config.has_bank else ("bank_size", "bank_dtype")  # a bank may go, not come
        came = ("bank_weight",) if config.has_bank and not (before.has_bank or config.stage) else ()
        for name in (*FIXED_ON_RESUME, *tilted, *came):
            if name not in of_bank and old[name] != new[name]:
                expected = f"--{name}: expected {old[name]}, as the run in {self.path} has it"
                raise ConfigError(f"{expected}. Received: {name}={new[name]}. To go on: {self.resume_command()}")
        is_done = old["train_steps"] == new["train_steps"] and self.is_finished(before.train_steps)
        if is_done and (changed := _changed(old, new)):
            name, value = next(iter(changed.items()))
            expected = f"--{name}: expected {value}, as the finished run in {self.path} has it, or "
            expected += before.longer
            raise ConfigError(f"{expected}. Received: {name}={new[name]}")

    def changes(self, new: dict[str, Any]) -> str:
        """One line on what a run resumed with these settings does otherwise than before; "" where that is nothing."""
        changed = _changed(self.load_config().to_dict(), new)
        told = (f"--{name}={new[name]} (was {value})" for name, value in changed.items())
        return f"{self.path} goes on with other settings, and keeps them: {', '.join(told)}" if changed else ""

    def unlike_before(self, is_compiled: bool, data_id: str) -> str:
        """One line where the run goes on with other data than it had, or with random numbers of XLA where it began
        without, or the other way; else "".

        Args:
          is_compiled: whether XLA compiles it from now on.
          data_id: names the data, as events.jsonl does.
        """
        try:
            text = self.events.read_bytes()
        except OSError:
            return ""
        found, compiled = (re.findall(rb'"%b": "?(\w*)' % key, text) for key in (b"data_id", b"xla"))
        if found and found[-1].decode() != data_id:
            return f"{self.path} goes on with other data than it had: not the run that never stopped"
        if not compiled or (compiled[-1] == b"true") == is_compiled:
            return ""
        now, before = ("with", "without") if is_compiled else ("without", "with")
        same = f"--jit_compile={'false' if is_compiled else 'true'}"
        return (
            f"{self.path} goes on {now} XLA (was {before}), which draws other random numbers of the same law: not the "
            f"run that never stopped. For that: {same}"
        )

    def _check_stages(self, before: TrainConfig, config: TrainConfig) -> None:
        """Stages that have begun stay as they were, but for the length of the newest of them."""
        done = max(self.checkpoint_steps(), default=0)
        begun = [stage for stage in before.stages if stage.first_step < max(done, 1)]
        for number, old in enumerate(begun):
            new = config.stages[number] if number < len(config.stages) else None
            free = {"train_steps": None} if number == len(begun) - 1 else {}
            if new is None or (old.name, {**old.changes, **free}) != (new.name, {**new.changes, **free}):
                given = "none" if new is None else config.stage[number] if config.stage else "none"
                expected = f"--stage: expected {before.stage[number] if before.stage else 'none'}"
                raise ConfigError(f"{expected}, as the run in {self.path} has it. Received: {given}")
            if new.last_step < done and number == len(begun) - 1 and config.stage:
                expected = f"{old.name} of {done - old.first_step} updates or more, which {self.path} has done"
                raise ConfigError(f"--stage: expected {expected}. Received: train_steps={new.config.train_steps}")

    def prepare(self, config: TrainConfig) -> None:
        """Makes the folder and writes config.json.

        Raises:
          ConfigError: see check; or the folder cannot be written.
        """
        self.check(config)
        try:
            for folder in (self.tensorboard, self.checkpoints, self.figures):
                folder.mkdir(parents=True, exist_ok=True)
            self.write_config(config)
            self.metrics.touch()
        except OSError as error:
            expected = "--workdir: expected a folder that can be written"
            raise ConfigError(f"{expected}. Received: {one_line(error)}") from error

    def write_config(self, config: TrainConfig) -> None:
        """Writes config.json, whole or not at all."""
        values = dataclasses.replace(config, resume=False).to_dict()
        values |= {"confinement": strength} if (strength := self.confinement) else {}
        replace_file(self.config, json.dumps(values, indent=2) + "\n")

    @property
    def confinement(self) -> float:
        """Strength of the wall that a run of earlier versions has by a setting of this name, which it keeps; else 0."""
        try:
            values = json.loads(self.config.read_text())
            return float(values.get("confinement", 0.0))
        except (AttributeError, OSError, TypeError, ValueError):  # load_config says it
            return 0.0

    def log_event(self, event: str, step: int, **details: Any) -> None:
        """Appends a line to events.jsonl."""
        with self.events.open("a") as file:
            file.write(json.dumps({"event": event, "step": step, **details}) + "\n")

    def checkpoint_steps(self) -> list[int]:
        """The updates whose checkpoints were finished, in order."""
        names = (re.fullmatch(r"update-(\d{1,18})\.index", path.name) for path in self.checkpoints.glob("*.index"))
        return sorted(int(name[1]) for name in names if name)

    def is_finished(self, train_steps: int) -> bool:
        """Whether model.keras is there and, as far as there are checkpoints, all of its updates are done: a run that
        goes on to more of them keeps until its end the model.keras of before.
        """
        return self.model.exists() and max(self.checkpoint_steps(), default=train_steps) >= train_steps

    def check_finished(self, train_steps: int, flag: str = "workdir") -> None:
        """Raises ConfigError unless the run is finished. The line says what can be done.

        Args:
          train_steps: the run's.
          flag: that named the folder; a command with --workdir has --checkpoint too, one with --model alone has not.
        """
        if self.is_finished(train_steps):
            return
        steps, as_it_is = self.checkpoint_steps(), ""
        state = f"whose newest checkpoint is of update {steps[-1]} of {train_steps}" if steps else "without one"
        if steps and flag == "workdir":
            as_it_is = f"; to take it as it is: --checkpoint={steps[-1]}"
        elif steps:
            command = shlex.join(["bin/export.py", f"--workdir={self.path}", f"--checkpoint={steps[-1]}"])
            as_it_is = f"; to take it as it is: {command} --output=DIR makes a model, DIR"
        raise ConfigError(
            f"--{flag}: expected a finished run, with model.keras. Received: {self.path}, {state}{as_it_is}; to finish "
            f"it: {self.resume_command()}"
        )

    def has_model_of(self, step: int) -> bool:
        """Whether model.keras was written after the checkpoint of this update, and not by a shorter run before it."""
        saved = self.checkpoints / f"update-{step}.index"
        return self.model.exists() and self.model.stat().st_mtime_ns >= saved.stat().st_mtime_ns

    def what_is_left(self) -> str:
        """Where --resume would go on, in words."""
        steps = self.checkpoint_steps()
        return f"--resume continues from update-{steps[-1]}" if steps else "there is no checkpoint yet"

    def resume_command(self) -> str:
        """The command that goes on with this run, for a shell: config.json has its settings."""
        return shlex.join(["python", "bin/train.py", f"--workdir={self.path}", "--resume"])

    @classmethod
    def to_resume(cls, given: dict[str, Any]) -> "RunDir | None":
        """The folder of the run that these settings of bin/train.py resume, if config.json is in it."""
        if not given.get("resume") or not given.get("workdir"):
            return None
        run_dir = cls(os.path.expanduser(given["workdir"]))
        return run_dir if os.path.exists(run_dir.config) else None

    def resumed(self, given: dict[str, Any]) -> TrainConfig:
        """The settings with which the run goes on here: those that are given now, and else those in config.json, but
        for stop_after, which is of one start.

        Raises:
          ConfigError: see load_config and TrainConfig.with_given.
        """
        return dataclasses.replace(self.load_config(), stop_after=None).with_given(given)

    def load_config(self, flag: str = "workdir") -> TrainConfig:
        """The settings in config.json. Raises ConfigError, of the flag that named the folder, where it has none, or one
        that cannot be read.
        """
        try:
            values = json.loads(self.config.read_text())
            if isinstance(values, dict):
                values.pop("confinement", None)
            return TrainConfig.from_dict(values)
        except OSError as error:
            there = one_line(self.path) + ("" if os.path.exists(self.path) else ", which does not exist")
            expected = f"--{flag}: expected the folder of a run, with config.json"
            raise ConfigError(f"{expected}. Received: {there}") from error
        except (ConfigError, TypeError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"--{flag}: expected config.json as bin/train.py writes it. Received: {one_line(self.config)}: "
                f"{one_line(error)}"
            ) from error

    def read_metrics(self, flag: str = "workdir") -> list[dict[str, Any]]:
        """The whole rows of metrics.jsonl. Says how many lines are not whole, as a last one cut short by a crash.

        Raises:
          ConfigError: the file cannot be read. Names the flag.
        """
        try:
            lines = self.metrics.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(
                f"--{flag}: expected {one_line(self.metrics)} to be readable. Received: {one_line(error)}"
            ) from error
        rows = [row for line in lines if (row := _metrics_row(line))]
        if left_out := len(lines) - len(rows):
            print(f"{one_line(self.metrics)}: left out {left_out} of {len(lines)} lines, not whole", file=sys.stderr)
        return rows

    def read_results(self, flag: str = "workdir") -> dict[str, Any]:
        """results.json, an object per task; {} before the first.

        Raises:
          ConfigError: it cannot be read. Names the flag.
        """
        path = self.path / "results.json"
        expected = f"--{flag}: expected results.json as bin/evaluate.py writes it. Received: {one_line(path)}"
        try:
            results = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{expected}: {one_line(error)}") from error
        if not isinstance(results, dict) or not all(isinstance(entry, dict) for entry in results.values()):
            raise ConfigError(f"{expected}, not an object per task")
        return results

    def truncate_metrics(self, step: int) -> None:
        """Drops the rows after update `step`, which a resumed run writes anew."""
        rows = [row for row in self.read_metrics() if row["step"] <= step]
        replace_file(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))


def _changed(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Settings that change results and differ, with their old values."""
    return {name: old[name] for name in _TOLD if old[name] != new[name]}


def make_folder(path: pathlib.Path) -> None:
    """Makes a folder and those above it, all or none. Raises OSError or ValueError."""
    missing = [part for part in (path, *path.parents) if not os.path.lexists(part)]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError):
        for part in missing:
            with contextlib.suppress(OSError, ValueError):
                part.rmdir()
        raise


def writable_folder(path: pathlib.Path, flag: str, otherwise: str = "") -> None:
    """Makes a folder in which files can be written. Raises ConfigError, which says what to do otherwise."""
    try:
        make_folder(path)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    except (OSError, ValueError) as error:
        expected = f"--{flag}: expected a folder that can be written{otherwise}"
        raise ConfigError(f"{expected}. Received: {error}") from error


def _metrics_row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int:
        return None
    return row if all(value is None or isinstance(value, (int, float)) for value in row.values()) else None

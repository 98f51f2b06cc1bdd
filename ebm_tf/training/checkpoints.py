"""RUN/checkpoints: whole or not there, checked by sha256; the newest and the ends of stages are kept.

The checkpoint of update i is update-i.data-* and update-i.index, which tf.train.Checkpoint wrote under another name,
and update-i.json, its manifest:

    {"step": i, "rollbacks": k, "stage": name of the stage that it ends or "", "sha256": {file name: digest}}

which manifest.py reads.

update-i.index takes its name last, when all the rest is on the disk: what has none was never finished.
Training waits only until TensorFlow has handed its bytes to the system; a thread waits for the disk, takes the digests
and gives the names, while the next updates run (docs/reliability.md has the cost).
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import numpy as np
import tensorflow as tf

from ebm_tf import build
from ebm_tf.drafts import replace_file
from ebm_tf.energies.base import EnergyModel, Origin
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.runs import manifest as manifests
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training.failures import FILE_ERRORS, TrainingError, fsync

__all__ = [
    "Checkpoints",
    "Saved",
    "find",
    "has_bank",
    "intact",
    "mismatch_explained",
    "newest_intact",
    "read_bank",
    "restored_energy",
]

DRAFT = "draft"
BANK_KEY = "bank/samples/.ATTRIBUTES/VARIABLE_VALUE"


class Saved(NamedTuple):
    """A checkpoint on the disk.

    Attributes:
      step: updates done.
      prefix: what tf.train.Checkpoint.restore takes.
      rollbacks: of the run up to then.
    """

    step: int
    prefix: str
    rollbacks: int


class Checkpoints:
    """Writes a run's checkpoints.

    Args:
      run_dir: the run.
      keep: how many of the newest to keep, beside the ends of stages.
    """

    def __init__(self, run_dir: RunDir, keep: int):
        self.run_dir, self.folder, self.keep = run_dir, run_dir.checkpoints, keep
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, checkpoint: tf.train.Checkpoint, step: int, rollbacks: int, stage: str = "") -> None:
        """Writes the state as it is now, at the end of a stage with the stage's name. It counts once a thread has
        finished it: see wait.

        Raises:
          TrainingError: this one or the one before could not be written; older ones are as they were.
        """
        self.wait()
        try:
            if not self.folder.is_dir():  # TensorFlow would make it again
                raise FileNotFoundError(f"{self.folder} is not there")
            self.remove_unfinished()
            checkpoint.save_counter  # noqa: B018  makes it, since tf.train.Checkpoint.restore expects it
            checkpoint.write(str(self.folder / DRAFT))
        except (tf.errors.OpError, *FILE_ERRORS) as error:
            self._fail(step, error)
        manifest = {"step": step, "rollbacks": rollbacks, "stage": stage}
        self._step = step
        self._thread = threading.Thread(target=self._finish, args=(step, manifest), name="checkpoint")
        self._thread.start()

    @property
    def is_writing(self) -> bool:
        """Whether the last checkpoint is not whole yet."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Returns when the last checkpoint is whole and on the disk. Raises TrainingError where it cannot be."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            if self._error is not None:
                error, self._error = self._error, None
                self._fail(self._step, error)

    def _fail(self, step: int, error: BaseException) -> NoReturn:
        with contextlib.suppress(OSError):
            self.remove_unfinished()
        folder = self.run_dir.path
        where = f"the folder {folder} is gone" if not folder.is_dir() else self.run_dir.what_is_left()
        raise TrainingError(f"the checkpoint of update {step} cannot be written: {one_line(error)}; {where}") from error

    def _finish(self, step: int, manifest: dict[str, Any]) -> None:
        try:
            drafts = sorted(self.folder.glob(f"{DRAFT}.*"))
            names = {path: f"update-{step}{path.name.removeprefix(DRAFT)}" for path in drafts}
            for path in drafts:
                fsync(path)
            manifest["sha256"] = {names[path]: manifests.sha256(path) for path in drafts}
            self.remove(step)  # a run that was rolled back comes here again
            replace_file(self.folder / f"update-{step}.json", json.dumps(manifest) + "\n")
            for path in sorted(drafts, key=lambda path: path.suffix == ".index"):
                path.rename(self.folder / names[path])
            fsync(self.folder)
            self._rotate(step)
        except BaseException as error:  # told by wait, in the thread that trains
            self._error = error

    def _rotate(self, newest: int) -> None:
        """Removes all but the newest and stages' ends, and names the newest in TensorFlow's own file. Those of later
        updates were damaged, and the run went on from before them.
        """
        there = self.run_dir.checkpoint_steps()
        steps = [step for step in there if step <= newest]
        ends = [step for step in steps if _peek(self.folder, step).get("stage")]
        for step in {*there} - {*steps[-self.keep :], *ends}:
            self.remove(step)
        replace_file(self.folder / "checkpoint", f'model_checkpoint_path: "update-{steps[-1]}"\n')

    def remove(self, step: int) -> None:
        """Removes the checkpoint of an update."""
        (self.folder / f"update-{step}.index").unlink(missing_ok=True)  # first: the rest does not count without it
        for path in self.folder.glob(f"update-{step}.*"):
            path.unlink(missing_ok=True)

    def remove_unfinished(self) -> None:
        """Removes what a process that was killed, or a full disk, has left half-written."""
        shutil.rmtree(self.folder / f"{DRAFT}_temp", ignore_errors=True)
        for path in _unfinished(self.run_dir):
            if not path.is_dir():
                path.unlink(missing_ok=True)


def newest_intact(run_dir: RunDir) -> Saved | None:
    """The newest checkpoint that is whole; says which newer ones are not, and why. None before the first.

    Raises:
      ConfigError: there are checkpoints, and none is whole.
    """
    damaged = []
    for path in _unfinished(run_dir):
        print(f"{run_dir.checkpoints}: skipped {path.name}: half-written", file=sys.stderr)
    for step in reversed(run_dir.checkpoint_steps()):
        if not (reason := _damage(run_dir.checkpoints, step)):
            return _saved(run_dir, step)
        damaged.append(f"update-{step}: {reason}")
        print(f"{run_dir.checkpoints}: skipped {damaged[-1]}", file=sys.stderr)
    if damaged:
        where = run_dir.checkpoints
        raise ConfigError(f"--workdir: expected an intact checkpoint in {where}. Received: {'; '.join(damaged)[:500]}")
    return None


def intact(run_dir: RunDir, only: int | None = None) -> list[Saved]:
    """All checkpoints that are whole, the oldest first; `only`: none but that of this update."""
    steps = [step for step in run_dir.checkpoint_steps() if only in (None, step)]
    return [_saved(run_dir, step) for step in steps if not _damage(run_dir.checkpoints, step)]


def find(run_dir: RunDir, checkpoint: str) -> Saved:
    """The checkpoint of the update that --checkpoint names. Raises ConfigError: there is none, or it is damaged."""
    there = run_dir.checkpoint_steps()
    expected = f"--checkpoint: expected the update of a checkpoint in {run_dir.checkpoints}, "
    expected += f"of {', '.join(map(str, there))}" if there else "which has none"
    step = int(checkpoint) if checkpoint.isascii() and checkpoint.isdecimal() else None
    if step not in there:
        raise ConfigError(f"{expected}. Received: checkpoint={one_line(checkpoint)}")
    saved = next((one for one in intact(run_dir, step)), None)
    if saved is None:
        raise ConfigError(f"{expected}. Received: checkpoint={step}, which is damaged")
    return saved


@contextlib.contextmanager
def mismatch_explained(saved: Saved) -> Iterator[None]:
    """Raises ConfigError where a checkpoint that is read inside is of another network, optimizer or bank."""
    try:
        yield
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise ConfigError(
            f"--workdir: expected a checkpoint of this run's settings. Received: {saved.prefix}: {one_line(error)}"
        ) from error


def restored_energy(config: TrainConfig, saved: Saved) -> EnergyModel:
    """The energy of a checkpoint; where the settings keep an average of the weights it has that, as model.keras would.

    Args:
      config: settings of the checkpoint's stage.
      saved: the checkpoint.

    Raises:
      ConfigError: it is of other settings.
    """
    with build.data_explained("workdir", config.dataset):
        data = build.dataset(config)
    energy = build.build_energy(config, data.event_shape)
    optimizer = build.build_optimizer(config)
    optimizer.build(energy.trainable_variables)
    with mismatch_explained(saved):
        restored = tf.train.Checkpoint(energy=energy, optimizer=optimizer).restore(saved.prefix)
        restored.assert_existing_objects_matched().expect_partial()  # the bank is left out
    optimizer.finalize_variable_values(energy.trainable_variables)
    about = str(config.scheme), config.data_noise, config.sample_num_steps
    energy.origin = Origin.of(data, build.build_sampler(energy, config), *about)
    return energy


def has_bank(prefix: str) -> bool:
    """Whether a checkpoint holds a bank of chains."""
    return tf.train.load_checkpoint(prefix).has_tensor(BANK_KEY)


def read_bank(prefix: str, num_samples: int) -> np.ndarray:
    """The first slots of the bank in a checkpoint, float32 [at most num_samples, *event].

    The checkpoint's reader gives a variable as a whole: 60,000 images take 737 MB for the moment.
    """
    return tf.train.load_checkpoint(prefix).get_tensor(BANK_KEY)[:num_samples].astype(np.float32)


def _saved(run_dir: RunDir, step: int) -> Saved:
    rollbacks = manifests.read(run_dir.checkpoints, step).get("rollbacks", 0)
    return Saved(step, str(run_dir.checkpoints / f"update-{step}"), rollbacks)


def _unfinished(run_dir: RunDir) -> list[pathlib.Path]:
    """Files of checkpoints that were never finished."""
    finished = {f"update-{step}" for step in run_dir.checkpoint_steps()}
    files = ((path, re.match(r"(draft|update-\d+)[._]", path.name)) for path in run_dir.checkpoints.glob("*"))
    return sorted(path for path, match in files if match and match[1] not in finished)


def _damage(folder: pathlib.Path, step: int) -> str:
    """What is wrong with a checkpoint; "" if nothing is."""
    prefix = folder / f"update-{step}"
    if not os.path.lexists(f"{prefix}.json"):  # older than manifests
        return _unreadable(prefix)
    return manifests.damage(folder, step)


def _peek(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """A manifest, {} where it cannot be read."""
    try:
        return manifests.read(folder, step)
    except (OSError, ValueError, TypeError):
        return {}


def _unreadable(prefix: pathlib.Path) -> str:
    """As _damage, for a checkpoint without a manifest: by the checksums that TensorFlow keeps of every tensor."""
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except Exception as error:  # the reader raises its own kinds, RuntimeError and ValueError
        return one_line(error)
    return ""

"""Energies that are no finished run: a .keras file by itself, and a checkpoint of a run at work."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from ebm_tf import build
from ebm_tf.data import rings
from ebm_tf.energies import EnergyModel
from ebm_tf.energies.base import Origin
from ebm_tf.energies.files import load_energy
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.evaluation.finished import FinishedRun, load_run
from ebm_tf.runs import manifest as manifests
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.data import IMAGE_SPLITS, kind_of
from ebm_tf.settings.train import Scheme, TrainConfig
from ebm_tf.training.checkpoints import Saved, intact

__all__ = ["bare_run", "checkpoint_run", "open_run"]


def open_run(
    workdir: str, checkpoint: str | None, output: str | os.PathLike | None = None, data_dir: str | None = None
) -> FinishedRun:
    """The run in a folder: when it is finished, or as a checkpoint has it. Raises ConfigError."""
    if checkpoint is None:
        return load_run(workdir, output)
    return checkpoint_run(workdir, checkpoint, output, data_dir)


def bare_run(model: str, output: str, data_dir: str | None, step_size: float | None = None) -> FinishedRun:
    """A run made up around a .keras file. Where the file does not say how its chains were run, they are those of the
    paper's scheme noise (Sec. 3), with the T of the Gaussian that the energy tilts if it does, and its data CIFAR-10.

    Raises:
      ConfigError: the file holds no energy.
    """
    energy = load_energy(model)
    origin, shape = energy.origin, energy.event_shape
    known: dict[str, Any] = {"dataset": rings.NAME} if len(shape) == 1 else {}
    if len(shape) == 3 and shape[0] == shape[1] and shape[0] % 16 == 0:
        known["image_size"] = shape[0]
    if energy.reference:
        known |= {"temperature": energy.reference.temperature, "data_noise": energy.reference.data_noise}
    if origin:
        known |= _of_origin(origin)
    if step_size is not None:
        known["step_size"] = step_size
    config = TrainConfig(scheme=Scheme.NOISE, data_dir=data_dir, **known)
    return FinishedRun(RunDir(output), config, pathlib.Path(model), energy)


def _of_origin(origin: Origin) -> dict[str, Any]:
    """Settings of the run that made it, as far as its file tells."""
    least, most = float(np.min(origin.step_size)), float(np.max(origin.step_size))
    known: dict[str, Any] = {"temperature": origin.temperature, "data_noise": origin.data_noise, "step_size": least}
    known["num_steps"] = origin.sample_num_steps or origin.num_steps
    if origin.dataset == rings.NAME:
        return {**known, "step_ratio": most / least}
    known["dataset"] = origin.dataset
    if origin.dataset not in IMAGE_SPLITS:
        known["dataset"] = origin.dataset if kind_of(origin.dataset) else f"array:{origin.dataset}"
        known["fit"] = origin.fit if origin.data_range else None
    return known


def checkpoint_run(
    workdir: str, checkpoint: str, output: str | os.PathLike | None, data_dir: str | None
) -> FinishedRun:
    """A run as one of its checkpoints has it, finished or not. Where its settings keep an average of the weights, the
    energy has that, as model.keras would.

    Args:
      workdir: the run's folder.
      checkpoint: an update's number.
      output: where results go. None: workdir/update-N.
      data_dir: of data sets. None: the run's. Data of one's own are opened, since they say how x was standardised.

    Raises:
      ConfigError: no run, no such checkpoint, or one of other settings.
    """
    run_dir = RunDir(workdir)
    whole = run_dir.load_config()
    saved = _find(run_dir, checkpoint)
    config = whole.stage_of(saved.step).config
    if data_dir is not None:
        config = dataclasses.replace(config, data_dir=data_dir)
    energy = _restored(config, saved)
    folder = RunDir(output if output is not None else run_dir.path / f"update-{saved.step}")
    digests = manifests.read(run_dir.checkpoints, saved.step).get("sha256", {})
    data = next((name for name in digests if ".data-" in name), f"update-{saved.step}.index")
    model_id = (digests.get(data) or manifests.sha256(run_dir.checkpoints / data))[:16]
    return FinishedRun(folder, config, pathlib.Path(f"{saved.prefix}.index"), energy, run_dir, model_id)


def _find(run_dir: RunDir, checkpoint: str) -> Saved:
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


def _restored(config: TrainConfig, saved: Saved) -> EnergyModel:
    data = build.dataset(config)
    energy = build.build_energy(config, data.event_shape)
    optimizer = build.build_optimizer(config)
    optimizer.build(energy.trainable_variables)
    try:
        restored = tf.train.Checkpoint(energy=energy, optimizer=optimizer).restore(saved.prefix)
        restored.assert_existing_objects_matched().expect_partial()  # the bank is left out
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise ConfigError(
            f"--workdir: expected a checkpoint of this run's settings. Received: {saved.prefix}: {one_line(error)}"
        ) from error
    optimizer.finalize_variable_values(energy.trainable_variables)
    about = str(config.scheme), config.data_noise, config.sample_num_steps
    energy.origin = Origin.of(data, build.build_sampler(energy, config), *about)
    return energy

"""Energies that are no finished run: a .keras file by itself, and a checkpoint of a run at work."""

import os
import pathlib
from typing import Any

import numpy as np

from ebm_tf.build import wall_of
from ebm_tf.data import rings
from ebm_tf.energies.base import Origin
from ebm_tf.energies.files import load_energy
from ebm_tf.evaluation.finished import FinishedRun, load_run
from ebm_tf.runs import manifest as manifests
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.data import IMAGE_SPLITS, kind_of
from ebm_tf.settings.train import Scheme, TrainConfig
from ebm_tf.training.checkpoints import find, restored_energy

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
    config = TrainConfig(scheme=Scheme.NOISE, **known).with_data_dir(data_dir)
    return FinishedRun(RunDir(output), config, pathlib.Path(model), loaded=energy)


def _of_origin(origin: Origin) -> dict[str, Any]:
    """Settings of the run that made it, as far as its file tells."""
    known: dict[str, Any] = {"temperature": origin.temperature, "data_noise": origin.data_noise}
    known["step_size"] = float(np.min(origin.step_size))  # FinishedRun.sampler has that of each coordinate
    known["num_steps"] = origin.sample_num_steps or origin.num_steps
    known["dataset"] = origin.dataset
    if origin.dataset not in (rings.NAME, *IMAGE_SPLITS):
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
    saved = find(run_dir, checkpoint)
    config = whole.stage_of(saved.step).config.with_data_dir(data_dir)
    energy = restored_energy(config, saved)
    energy.wall = wall_of(run_dir.confinement, config.data_noise)
    folder = RunDir(output if output is not None else run_dir.path / f"update-{saved.step}")
    model_id = manifests.data_digest(run_dir.checkpoints, saved.step)[:16]
    model = pathlib.Path(f"{saved.prefix}.index")
    return FinishedRun(folder, config, model, source=run_dir, known_id=model_id, loaded=energy)

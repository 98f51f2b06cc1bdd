"""The task ood_curve: how well the energy tells test images from other sets, over training (Table 2 along the way).

A run keeps its newest --keep_checkpoints checkpoints; each gives one point.
"""

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from ebm_tf.build import build_energy, use_xla
from ebm_tf.energies import devices
from ebm_tf.energies.precision import compile_energy
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.detection.ood import SETTINGS, check_ood, ood_sets, other_sets, own_sources, resizing
from ebm_tf.evaluation.finished import FinishedRun, TaskResult
from ebm_tf.evaluation.task import Task
from ebm_tf.plots import figures
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.stats.detection import detection
from ebm_tf.training.checkpoints import intact

__all__ = ["TASKS", "check_ood_curve", "ood_curve_task"]

COLORS = (figures.BLUE, figures.ORANGE, figures.GREEN, figures.PURPLE, figures.BLACK)


def check_ood_curve(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError when a set is not there, or no checkpoint is."""
    check_ood(run, settings)
    if not run.own_dir.checkpoint_steps():
        raise ConfigError(f"--tasks: expected, for ood_curve, checkpoints in {run.own_dir.checkpoints}. Received: none")


def ood_curve_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """AUROC of -E at every checkpoint of the run, and the mean energies of the sets.

    The weights are those of the updates, also where the run saves their average in model.keras.
    """
    sets, saved = ood_sets(run, settings), intact(run.own_dir)
    names = list(sets)
    mean = partial.array("mean", (len(saved), len(names)), np.float64)
    auroc = partial.array("auroc", (len(saved), len(names) - 1), np.float64)
    energy = build_energy(run.config, run.event_shape)
    energy_fn = [devices.Replica(devices.local_devices()[0], compile_energy(energy, use_xla(run.config.jit_compile)))]
    for index, _ in partial.remaining(blocks(len(saved), 1), "ood_curve", "checkpoint"):
        restored = tf.train.Checkpoint(energy=energy).restore(saved[index].prefix)
        restored.assert_existing_objects_matched().expect_partial()  # the optimizer and the bank are left out
        values = {name: devices.in_blocks(energy_fn, x, settings.batch_size) for name, x in sets.items()}
        mean[index] = [values[name].mean(dtype=np.float64) for name in names]
        auroc[index] = np.array([detection(-values["in"], -values[name])["auroc"] for name in names[1:]], np.float64)
    steps = np.array([checkpoint.step for checkpoint in saved], np.int64)
    by_name = {name: auroc[:, column] for column, name in enumerate(names[1:])}
    _plot(steps, by_name, run)
    numbers: dict[str, Any] = {"updates": steps, "auroc": by_name, "energy_mean": dict(zip(names, mean.T, strict=True))}
    sources = {"in": own_sources(run, settings)["test"], **other_sets(settings)}
    numbers["resized"] = resizing(run, settings, sources)
    return TaskResult(numbers, {})


def _plot(updates, auroc, run):
    colors = itertools.cycle(COLORS)
    curves = [figures.Curve(name, updates, values, next(colors)) for name, values in auroc.items()]
    chance = figures.Curve("chance", updates, np.full(len(updates), 0.5), "0.6", dashed=True)
    panel = figures.Panel(f"{run.config.scheme}", "AUROC of -E", [*curves, chance])
    figures.curves_figure([panel], "update", run.run_dir.figures / "ood_curve.png")


TASKS = {"ood_curve": Task(ood_curve_task, SETTINGS, "images", check=check_ood_curve, has_arrays=False)}

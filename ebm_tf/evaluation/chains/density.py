"""The task density: the model's density against A.1's on the plane of the rings (Fig. 2). See stats.plane."""

import numpy as np

from ebm_tf.data import rings
from ebm_tf.evaluation.finished import FinishedRun, TaskResult, energies
from ebm_tf.evaluation.task import Task
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.stats.plane import data_density, density_on_grid, grid_points, jensen_shannon

__all__ = ["TASKS", "density_task"]


def density_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """The model's density on the grid and its divergence from A.1's. Takes seconds: keeps nothing in partial."""
    energy = energies(run, grid_points(), settings.batch_size)
    model = density_on_grid(-energy.astype(np.float64) / run.config.temperature)
    numbers = {
        "jensen_shannon_nats": jensen_shannon(data_density(), model),
        "grid": "161x161 over [-4, 4]^2, other coordinates 0",
        "temperature": run.config.temperature,
    }
    return TaskResult(numbers, {"model_density": model})


TASKS = {"density": Task(density_task, (), rings.NAME)}

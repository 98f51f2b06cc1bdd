"""Evaluating finished runs: the tasks of bin/evaluate.py, their results.json and arrays."""

import json
import os
import pathlib
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ebm_tf import data
from ebm_tf.config import ConfigError, EvaluateConfig, SampleConfig, TrainConfig
from ebm_tf.data import rings
from ebm_tf.energies import EnergyModel
from ebm_tf.evaluation import density, figures
from ebm_tf.mcmc import chain_init
from ebm_tf.training.run_dir import RunDir
from ebm_tf.training.trainer import energy_chain_fn, step_sizes

__all__ = ["FinishedRun", "data_density", "evaluate", "fig2_column", "load_run", "run_chains", "sample"]

CHAINS_AT_ONCE = 1_000


class FinishedRun(NamedTuple):
    """A run with its settings and its trained energy."""

    run_dir: RunDir
    config: TrainConfig
    energy: EnergyModel

    @property
    def results(self) -> pathlib.Path:
        return self.run_dir.path / "results.json"

    def read_results(self) -> dict[str, Any]:
        """results.json, a key per task; {} before the first."""
        return json.loads(self.results.read_text()) if self.results.exists() else {}


def load_run(workdir: str | os.PathLike) -> FinishedRun:
    """The run in a folder.

    Raises:
      ConfigError: no run, not finished, or its model cannot be read.
    """
    run_dir = RunDir(workdir)
    config = run_dir.load_config()
    if not run_dir.model.exists():
        raise ConfigError(f"--workdir: expected a finished run, with model.keras. Received: {run_dir.path}")
    try:
        energy = keras.models.load_model(run_dir.model, compile=False)
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())[:200]
        raise ConfigError(f"--workdir: expected a model.keras that Keras can read. Received: {line}") from error
    return FinishedRun(run_dir, config, energy)


def run_chains(run: FinishedRun, x_init: np.ndarray, num_steps: int, step_scale: float, seed: int) -> np.ndarray:
    """Ends of chains from x_init [N, *event], in blocks; float32 [N, *event].

    Law: langevin_chain's, with the run's temperature and step_scale times its step sizes.
    Limits: num_steps = 0 returns x_init.
    """
    chain_fn = energy_chain_fn(run.energy, run.config)
    sizes, temperature = step_scale * step_sizes(run.config), tf.constant(run.config.temperature)
    ends = []
    for block, start in enumerate(range(0, len(x_init), CHAINS_AT_ONCE)):
        x_block = tf.constant(x_init[start : start + CHAINS_AT_ONCE], tf.float32)
        block_seed = tf.constant([seed, 100 + block], tf.int32)
        ends.append(chain_fn(x_block, tf.constant(num_steps), sizes, temperature, block_seed)[0].numpy())
    return np.concatenate(ends)


def _noise(config: TrainConfig, num_samples: int, seed: int) -> np.ndarray:
    return chain_init.noise((num_samples, *config.event_shape), tf.constant([seed, 5], tf.int32)).numpy()


def evaluate(settings: EvaluateConfig) -> FinishedRun:
    """Runs the tasks that settings names, and writes RUN/results.json, arrays and figures.

    Raises:
      ConfigError: no finished run, or a task that its data have not.
    """
    run = load_run(settings.workdir)
    if "density" in settings.task_names and run.config.dataset != "rings":
        raise ConfigError(f"--tasks: expected density for a rings run only. Received: {run.config.dataset}")
    tasks = {"density": _density, "short_run": _short_run}
    for name in settings.task_names:
        numbers, arrays = tasks[name](run, settings)
        if not all(np.isfinite(array).all() for array in arrays.values()):
            print(f"{name}: warning: values that are not finite; the energy or its chains have diverged")
        np.savez_compressed(run.run_dir.path / f"{name}.npz", **arrays)
        draft = run.results.with_suffix(".tmp")
        draft.write_text(json.dumps({**run.read_results(), name: numbers}, indent=2) + "\n")
        draft.replace(run.results)
        print(f"{name}: {json.dumps(numbers)}")
    if run.config.dataset == "rings" and {"density", "short_run"} <= set(run.read_results()):
        title = f"{run.config.scheme}"
        figures.rings_figure(data_density(), {title: fig2_column(run)}, run.run_dir.figures / "fig2.png")
    return run


def data_density() -> np.ndarray:
    """A.1's density on the grid, [161, 161]."""
    points = density.grid_points()
    return density.density_on_grid(rings.log_prob_xy(points[:, 0], points[:, 1]))


def _density(run, settings):
    points = tf.constant(density.grid_points())
    energy = np.concatenate([run.energy(block, training=False).numpy() for block in tf.split(points, 161)])
    model = density.density_on_grid(-energy.astype(np.float64) / run.config.temperature)
    divergence = density.jensen_shannon(data_density(), model)
    numbers = {
        "jensen_shannon_nats": divergence if np.isfinite(divergence) else None,
        "grid": "161x161 over [-4, 4]^2, other coordinates 0",
        "temperature": run.config.temperature,
    }
    return numbers, {"model_density": model}


def _short_run(run, settings):
    config = run.config
    x_init = {"noise": _noise(config, settings.num_samples, settings.seed)}
    if config.dataset == "rings":
        x_init["data"] = rings.sample(settings.num_samples, tf.constant([settings.seed, 6], tf.int32)).numpy()
    ends = {start: run_chains(run, x, config.num_steps, 1.0, settings.seed) for start, x in x_init.items()}
    numbers = {"num_samples": settings.num_samples, "num_steps": config.num_steps, "seed": settings.seed}
    numbers["finite"] = {start: bool(np.isfinite(x).all()) for start, x in ends.items()}
    if config.dataset == "rings":
        numbers |= {f"from_{start}": density.on_ring_shares(x) for start, x in ends.items()}
    else:
        figures.save_image_grid(ends["noise"][:64], run.run_dir.figures / "short_run.png")
    return numbers, {f"x_from_{start}": x for start, x in ends.items()}


def fig2_column(run: FinishedRun) -> tuple[np.ndarray, np.ndarray]:
    """(density of samples from noise, model density) on the grid, from the arrays that evaluate saved."""
    with np.load(run.run_dir.path / "short_run.npz") as short, np.load(run.run_dir.path / "density.npz") as grid:
        return density.kde_xy(short["x_from_noise"]), grid["model_density"]


def sample(settings: SampleConfig) -> pathlib.Path:
    """Runs chains of a trained energy and writes samples.npz and samples.png.

    Returns:
      The folder.

    Raises:
      ConfigError: no finished run, or no data to start at.
    """
    run = load_run(settings.workdir)
    config = run.config
    num_steps = config.num_steps if settings.num_steps is None else settings.num_steps
    step_scale = 1.0 if settings.step_size is None else settings.step_size / config.step_size
    if settings.init == "noise":
        x_init = _noise(config, settings.num_samples, settings.seed)
    elif config.dataset == "rings":
        x_init = rings.sample(settings.num_samples, tf.constant([settings.seed, 6], tf.int32)).numpy()
    else:
        pixels = data.images.load(config.dataset, "test", settings.data_dir or config.data_dir, config.image_size)
        x_init = data.images.to_unit_range(pixels[: settings.num_samples]).numpy()
    x_final = run_chains(run, x_init, num_steps, step_scale, settings.seed)
    output = pathlib.Path(settings.output)
    output.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(output / "samples.npz", x_init=x_init, x_final=x_final)
    if config.dataset == "rings":
        columns = {str(config.scheme): (density.kde_xy(x_init), density.kde_xy(x_final))}
        rows = ("starts of chains", "ends of chains")
        figures.rings_figure(data_density(), columns, output / "samples.png", rows)
    else:
        figures.save_image_grid(x_final[:256], output / "samples.png")
    return output

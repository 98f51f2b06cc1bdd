"""The task short_run (Fig. 3; Sec. 3, "Sampling").

All random numbers of a block of chains are a function of (seed, block), so a task that was killed goes on as if it had
not been. Chains come in blocks of settings.batch_size: another batch_size, other chains.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ebm_tf.evaluation.finished import FinishedRun, TaskResult, noise_starts, range_bound, run_chains, to_stored
from ebm_tf.evaluation.task import CHAIN_SETTINGS, Task
from ebm_tf.mcmc.streams import CHAINS, DATA_STARTS, block_seed
from ebm_tf.plots import figures
from ebm_tf.runs import progress
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.stats import plane, usable
from ebm_tf.stats.drift import mean_of, std_of

__all__ = ["TASKS", "how_it_ran", "save_grid", "short_run_task"]

GRID_IMAGES = 64


def short_run_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """num_samples chains of num_steps steps from noise; where data can be drawn, on the rings, as many from data.

    Law: see run_chains.
    """
    num_samples, event = settings.num_samples, run.event_shape
    assert num_samples and settings.num_steps and settings.step_size  # finished.resolve has filled them in
    starts: dict[str, Callable] = {"noise": noise_starts} | ({"data": _drawn} if run.has_density else {})
    stored = {
        start: partial.array(f"x_from_{start}", (num_samples, *event), np.uint8 if run.is_image else np.float32)
        for start in starts
    }
    energy = {start: partial.array(f"energy_from_{start}", (num_samples,), np.float32) for start in starts}
    measured = {start: partial.array(f"measured_{start}", (num_samples, 2), np.float32) for start in starts}
    bound = range_bound(run)
    with progress.bar("short_run", num_samples, "chain", partial.blocks_done * settings.batch_size) as bar:
        for block, part in list(blocks(num_samples, settings.batch_size))[partial.blocks_done :]:
            for index, (start, starts_fn) in enumerate(starts.items()):
                x_init = starts_fn(run, part.stop - part.start, settings.seed, block)
                seed = block_seed(settings.seed, CHAINS, block, index)
                x, energy[start][part] = run_chains(run, x_init, settings.num_steps, settings.step_size, seed)
                stored[start][part], measured[start][part] = to_stored(run, x), usable.measure(x, bound)
            partial.mark(block + 1)
            bar.update(part.stop - part.start)
    numbers: dict[str, Any] = {"num_samples": num_samples, **how_it_ran(run, settings, settings.num_steps)}
    numbers["finite"] = {start: bool(np.isfinite(values).all()) for start, values in energy.items()}
    numbers |= usable.summary(measured["noise"], bound)
    if run.has_density:
        numbers |= {f"from_{start}": plane.on_ring_shares(x) for start, x in stored.items()}
    else:
        numbers |= {"energy_mean": mean_of(energy["noise"]), "energy_std": std_of(energy["noise"])}
    if run.is_image:
        save_grid(run, "short_run", stored["noise"], energy["noise"])
    arrays = {f"x_from_{start}": x for start, x in stored.items()}
    return TaskResult(numbers, {**arrays, "energy_from_noise": energy["noise"]})


def _drawn(run: FinishedRun, num_chains: int, seed: int, block: int) -> np.ndarray:
    """Draws from the exact density."""
    return run.data(None).held_out(num_chains, block_seed(seed, DATA_STARTS, block))


def save_grid(run: FinishedRun, name: str, images: np.ndarray, energy: np.ndarray) -> None:
    """A picture of the first samples that are finite, images uint8 [N, S, S, 3]; where none is, there is no picture."""
    path, some = run.run_dir.figures / f"{name}.png", np.flatnonzero(np.isfinite(energy))[:GRID_IMAGES]
    if len(some):
        figures.save_image_grid(images[some], path)
    else:
        path.unlink(missing_ok=True)


def how_it_ran(run: FinishedRun, settings: EvaluateConfig, num_steps: int) -> dict[str, Any]:
    """How the chains were run, for results.json."""
    how: dict[str, Any] = {"num_steps": num_steps, "step_size": settings.step_size}
    how["temperature"] = run.config.temperature
    if run.config.step_size_rule == "adaptive":
        how["step_size_rule"] = "constant here, at this step size; adaptive up to step_size in training"
    return how


TASKS = {"short_run": Task(short_run_task, (*CHAIN_SETTINGS, "num_samples", "num_steps"), takes_bare=True)}

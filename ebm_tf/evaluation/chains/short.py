"""The task short_run (Fig. 3; Sec. 3, "Sampling").

All random numbers of a block of chains are a function of (seed, block), so a task that was killed goes on as if it had
not been. Chains come in blocks of settings.batch_size: another batch_size, other chains.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ebm_tf.data.pictures import scatter
from ebm_tf.evaluation.finished import FinishedRun, TaskResult, noise_starts, range_bound, run_chains, to_stored
from ebm_tf.evaluation.task import CHAIN_SETTINGS, Task
from ebm_tf.plots import figures
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.stats import plane, usable
from ebm_tf.stats.drift import mean_of, std_of
from ebm_tf.streams import Stream, block_seed

__all__ = ["TASKS", "Ends", "how_it_ran", "save_grid", "short_chains", "short_run_task"]

GRID_IMAGES = 64


class Ends(NamedTuple):
    """Where chains ended.

    Attributes:
      x: [N, *event], as it is stored.
      energy: float32 [N].
      usable: stats.usable's numbers.
    """

    x: np.ndarray
    energy: np.ndarray
    usable: dict[str, Any]


def short_chains(
    run: FinishedRun,
    settings: EvaluateConfig,
    partial: PartialArrays,
    task: str,
    starts: dict[str, Callable[[slice, int], np.ndarray]],
    num_chains: int,
) -> dict[str, Ends]:
    """Chains of num_steps steps, block by block.

    Law: see run_chains.

    Args:
      run, settings, partial: of the task.
      task: its name.
      starts: kind of starts -> fn(part, block).
      num_chains: of each kind.

    Returns:
      kind -> its ends.
    """
    assert settings.num_steps and settings.step_size  # resolve has filled them in
    bound, shape = range_bound(run), (num_chains, *run.event_shape)
    stored = {kind: partial.array(f"x_{kind}", shape, np.uint8 if run.is_image else np.float32) for kind in starts}
    energy = {kind: partial.array(f"energy_{kind}", (num_chains,), np.float32) for kind in starts}
    measured = {kind: partial.array(f"measured_{kind}", (num_chains, 2), np.float32) for kind in starts}
    for block, part in partial.remaining(blocks(num_chains, settings.batch_size), task, "chain"):
        for index, (kind, starts_fn) in enumerate(starts.items()):
            x_init, seed = starts_fn(part, block), block_seed(settings.seed, Stream.CHAINS, block, index)
            x, energy[kind][part] = run_chains(run, x_init, settings.num_steps, settings.step_size, seed)
            stored[kind][part], measured[kind][part] = to_stored(run, x), usable.measure(x, bound)
    return {kind: Ends(stored[kind], energy[kind], usable.summary(measured[kind], bound)) for kind in starts}


def short_run_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """num_samples chains of num_steps steps from noise; where data can be drawn, on the rings, as many from data."""
    assert settings.num_samples and settings.num_steps  # resolve has filled them in

    def noise(part, block):
        return noise_starts(run, part.stop - part.start, settings.seed, block)

    def exact_draws(part, block):
        return run.data(None).held_out(part.stop - part.start, block_seed(settings.seed, Stream.DATA_STARTS, block))

    starts = {"from_noise": noise} | ({"from_data": exact_draws} if run.has_density else {})
    ends = short_chains(run, settings, partial, "short_run", starts, settings.num_samples)
    numbers: dict[str, Any] = {"num_samples": settings.num_samples, **how_it_ran(run, settings, settings.num_steps)}
    numbers["finite"] = {kind.removeprefix("from_"): bool(np.isfinite(one.energy).all()) for kind, one in ends.items()}
    x, energy, found = ends["from_noise"]
    numbers |= found
    if run.has_density:
        numbers |= {kind: plane.on_ring_shares(one.x) for kind, one in ends.items()}
    else:
        numbers |= {"energy_mean": mean_of(energy), "energy_std": std_of(energy)}
    if run.is_image:
        save_grid(run, "short_run", x, energy)
    elif not run.has_density and np.isfinite(energy).all():
        title = f"{settings.num_samples} chains from noise"
        scatter(run.from_data(x), run.run_dir.figures / "short_run.png", title, run.energy.origin)
    return TaskResult(numbers, {**{f"x_{kind}": one.x for kind, one in ends.items()}, "energy_from_noise": energy})


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

"""Tasks that run long chains: long_run and data_init (Figs. 3, 4; Sec. 3, "Sampling").

All random numbers of a block of chains, from a step on, are a function of (seed, block, step), so a task that was
killed goes on as if it had not been. Chains come in blocks of settings.batch_size: another batch_size, other chains.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.chains.short import GRID_IMAGES, how_it_ran, save_grid
from ebm_tf.evaluation.finished import (
    FinishedRun,
    TaskResult,
    energies,
    noise_starts,
    run_chains,
    to_stored,
    usable_numbers,
)
from ebm_tf.evaluation.task import CHAIN_SETTINGS, Task
from ebm_tf.mcmc.streams import CHAINS, DATA_STARTS, block_seed
from ebm_tf.runs import progress
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.stats.drift import verdict

__all__ = [
    "TASKS",
    "check_data_init",
    "data_init_task",
    "data_starts",
    "grid_steps",
    "long_run_task",
    "record_steps",
]

SAVE_EVERY = 1_000  # steps of a long chain between saves of its state


def record_steps(num_steps: int) -> np.ndarray:
    """Steps at which energies are kept, int64 [K]: 0, 1, 2, 5, 10, ..., the last, and from half on every twentieth."""
    decades = [digit * 10**power for power in range(len(str(num_steps))) for digit in (1, 2, 5)]
    late = [num_steps * twentieth // 20 for twentieth in range(10, 21)]
    return np.array(sorted({0, *late, *(step for step in decades if step <= num_steps)}), np.int64)


def grid_steps(num_steps: int) -> np.ndarray:
    """Steps at which images are kept, int64 [G]: 0, the powers of ten, the last. They are among record_steps."""
    powers = (10**power for power in range(len(str(num_steps))))
    return np.array(sorted({0, num_steps, *(step for step in powers if step <= num_steps)}), np.int64)


def long_run_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """num_chains chains of long_run_steps steps from noise, their energies on the way, and a verdict."""

    def starts(part, block):
        return noise_starts(run, part.stop - part.start, settings.seed, block)

    return _run_long("long_run", run, settings, partial, settings.long_run_steps, starts)


def data_init_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """num_chains chains of data_init_steps steps from held-out data, the same for every run; see data_starts."""
    x_init = data_starts(run, settings.num_chains, settings.data_dir)
    numbers, arrays = _run_long(
        "data_init", run, settings, partial, settings.data_init_steps, lambda part, block: x_init[part]
    )
    return TaskResult(numbers, {**arrays, "x_init": to_stored(run, x_init)})


def data_starts(run: FinishedRun, num_chains: int, data_dir: str | None, flag: str = "num_chains") -> np.ndarray:
    """The first held-out examples, or draws from the rings under a fixed seed, float32 [num_chains, *event].

    Raises:
      ConfigError: no data, or fewer images than chains. Names the flag that num_chains came from.
    """
    data = run.data(data_dir)
    x = data.held_out(num_chains, tf.constant([0, DATA_STARTS], tf.int32))
    if num_chains > len(x):
        kind = "images" if run.is_image else "rows"
        expected = f"at most {len(x)}, the {kind} of {data.name}/{data.held_out_name}"
        raise ConfigError(f"--{flag}: expected {expected}. Received: {flag}={num_chains}")
    return x


def check_data_init(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError when the starts are not there."""
    data_starts(run, settings.num_chains, settings.data_dir)


def _run_long(
    name: str,
    run: FinishedRun,
    settings: EvaluateConfig,
    partial: PartialArrays,
    num_steps: int,
    starts: Callable[[slice, int], np.ndarray],
) -> TaskResult:
    """Chains from starts(part, block), block by block, each in pieces that end at the steps where something is kept.

    Piece p of all leaves its states in half p % 2 of an array on disk, and piece p + 1 reads them there and writes the
    other half: see PartialArrays.
    """
    event, total = run.event_shape, settings.num_chains
    assert settings.step_size  # finished.resolve has filled it in
    records, grid = record_steps(num_steps), grid_steps(num_steps)
    stops = sorted({*records.tolist(), *range(0, num_steps, SAVE_EVERY)})
    shown = min(GRID_IMAGES, total)
    energy = partial.array("energy", (len(records), total), np.float32)
    x_final = partial.array("x_final", (total, *event), np.float32)
    states = partial.array("states", (2, min(settings.batch_size, total), *event), np.float32)
    grids = partial.array("grids", (len(grid), shown, *event), np.uint8) if run.is_image else None

    def keep(step, part, x, energy_x):
        if step in records:
            energy[np.searchsorted(records, step), part] = energy_x
        if grids is not None and step in grid and part.start < shown:
            grids[np.searchsorted(grid, step), part.start : part.stop] = to_stored(run, x[: shown - part.start])
        if step == num_steps:
            x_final[part] = x

    pieces = [(part, block, stop) for block, part in blocks(total, settings.batch_size) for stop in stops]
    steps_done = sum(stop - _before(stops, stop) for _, _, stop in pieces[: partial.blocks_done])
    with progress.bar(name, num_steps * len(pieces) // len(stops), "step", steps_done) as bar:
        for piece, (part, block, stop) in list(enumerate(pieces))[partial.blocks_done :]:
            start, size = _before(stops, stop), part.stop - part.start
            if stop == 0:
                x = starts(part, block)
                energy_x = energies(run, x, settings.batch_size)
            else:
                x = np.array(states[(piece - 1) % 2, :size])
                seed = block_seed(settings.seed, CHAINS, block, start)
                x, energy_x = run_chains(run, x, stop - start, settings.step_size, seed)
            keep(stop, part, x, energy_x)
            states[piece % 2, :size] = x
            partial.mark(piece + 1)
            bar.update(stop - start)

    numbers = {"num_samples": total, **how_it_ran(run, settings, num_steps), **verdict(records, np.array(energy))}
    arrays = {"steps": records, "energy": energy, "x_final": run.to_data(x_final)}
    if grids is not None:
        arrays |= {"grid_steps": grid, "grids": grids}
        save_grid(run, name, grids[-1], energy[-1, :shown])
    return TaskResult(numbers | usable_numbers(run, x_final), arrays)


def _before(stops: list[int], stop: int) -> int:
    """The stop before this one, or 0."""
    return stops[max(stops.index(stop) - 1, 0)]


TASKS = {
    "long_run": Task(long_run_task, (*CHAIN_SETTINGS, "num_chains", "long_run_steps"), takes_bare=True),
    "data_init": Task(
        data_init_task, (*CHAIN_SETTINGS, "num_chains", "data_init_steps"), check=check_data_init, takes_bare=True
    ),
}

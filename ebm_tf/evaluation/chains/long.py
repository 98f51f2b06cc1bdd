"""Tasks that run long chains: long_run and data_init (Figs. 3, 4; Sec. 3, "Sampling").

All random numbers of a block of chains, from a step on, are a function of (seed, block, step), so a task that was
killed goes on as if it had not been. Chains come in blocks of settings.batch_size: another batch_size, other chains.
"""

from collections.abc import Callable, Iterator

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
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.stats.drift import verdict
from ebm_tf.streams import Stream, block_seed

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
    x = data.held_out(num_chains, tf.constant([0, int(Stream.DATA_STARTS)], tf.int32))
    if num_chains > len(x):
        kind = "images" if run.is_image else "rows"
        expected = f"at most {len(x)}, the {kind} of {data.name}/{data.held_out_name}"
        raise ConfigError(f"--{flag}: expected {expected}. Received: {flag}={num_chains}")
    return x


def check_data_init(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError when the starts are not there."""
    data_starts(run, settings.num_chains, settings.data_dir)


class _Record:
    """What is kept of the chains: energies at record_steps, pictures of the first ones at grid_steps, and the ends."""

    def __init__(self, run: FinishedRun, partial: PartialArrays, num_chains: int, num_steps: int):
        self.run, self.num_steps = run, num_steps
        self.steps, self.grid_steps = record_steps(num_steps), grid_steps(num_steps)
        self.shown = min(GRID_IMAGES, num_chains) if run.is_image else 0
        self.energy = partial.array("energy", (len(self.steps), num_chains), np.float32)
        self.x_final = partial.array("x_final", (num_chains, *run.event_shape), np.float32)
        self.grids = None
        if run.is_image:
            self.grids = partial.array("grids", (len(self.grid_steps), self.shown, *run.event_shape), np.uint8)

    def keep(self, step: int, part: slice, x: np.ndarray, energy: np.ndarray) -> None:
        """What is wanted of the chains `part` at a step."""
        if step in self.steps:
            self.energy[np.searchsorted(self.steps, step), part] = energy
        if self.grids is not None and step in self.grid_steps and part.start < self.shown:
            at = np.searchsorted(self.grid_steps, step)
            self.grids[at, part.start : part.stop] = to_stored(self.run, x[: self.shown - part.start])
        if step == self.num_steps:
            self.x_final[part] = x


def _run_long(
    name: str,
    run: FinishedRun,
    settings: EvaluateConfig,
    partial: PartialArrays,
    num_steps: int,
    starts: Callable[[slice, int], np.ndarray],
) -> TaskResult:
    """Chains from starts(part, block), block by block, each in pieces that end at the steps where something is kept."""
    total = settings.num_chains
    assert settings.step_size  # resolve has filled it in
    record = _Record(run, partial, total, num_steps)
    state = partial.state("state", (min(settings.batch_size, total), *run.event_shape))
    pieces = _pieces(record, total, settings.batch_size)
    for (block, part), steps in partial.remaining(pieces, name, "step"):
        size = part.stop - part.start
        if steps.stop == 0:
            x = starts(part, block)
            energy = energies(run, x, settings.batch_size)
        else:
            seed = block_seed(settings.seed, Stream.CHAINS, block, steps.start)
            x, energy = run_chains(run, state.before[:size], steps.stop - steps.start, settings.step_size, seed)
        record.keep(steps.stop, part, x, energy)
        state.after[:size] = x
    found = verdict(record.steps, np.array(record.energy))
    numbers = {"num_samples": total, **how_it_ran(run, settings, num_steps), **found}
    arrays = {"steps": record.steps, "energy": record.energy, "x_final": run.to_data(record.x_final)}
    if record.grids is not None:
        arrays |= {"grid_steps": record.grid_steps, "grids": record.grids}
        save_grid(run, name, record.grids[-1], record.energy[-1, : record.shown])
    return TaskResult(numbers | usable_numbers(run, record.x_final), arrays)


def _pieces(record: _Record, total: int, batch_size: int) -> Iterator[tuple[tuple[int, slice], slice]]:
    """((block, its chains), its steps) of every piece; the first one of a block has none, and is its starts."""
    stops = sorted({*record.steps.tolist(), *range(0, record.num_steps, SAVE_EVERY)})
    for block in blocks(total, batch_size):
        for start, stop in zip([0, *stops], stops):
            yield block, slice(start, stop)


TASKS = {
    "long_run": Task(long_run_task, (*CHAIN_SETTINGS, "num_chains", "long_run_steps"), takes_bare=True),
    "data_init": Task(
        data_init_task, (*CHAIN_SETTINGS, "num_chains", "data_init_steps"), check=check_data_init, takes_bare=True
    ),
}

"""Tasks that run chains: short_run, long_run, data_init and bank (Figs. 3, 4, 7; Sec. 3, "Sampling").

All random numbers of a block of chains, from a step on, are a function of (seed, block, step), so a task that was
killed goes on as if it had not been. Chains come in blocks of settings.batch_size: another batch_size, other chains.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ebm_tf.config import ConfigError, EvaluateConfig
from ebm_tf.data import images, rings
from ebm_tf.evaluation import density, figures, progress
from ebm_tf.evaluation.runs import (
    CHAINS,
    DATA_STARTS,
    FinishedRun,
    PartialArrays,
    TaskResult,
    block_seed,
    blocks,
    energies,
    noise_starts,
    run_chains,
    to_stored,
)
from ebm_tf.training.checkpoints import newest_intact

__all__ = [
    "bank_task",
    "check_bank",
    "check_data_init",
    "data_init_task",
    "data_starts",
    "grid_steps",
    "long_run_task",
    "read_bank",
    "record_steps",
    "short_run_task",
    "verdict",
]

SAVE_EVERY = 1_000  # steps of a long chain between saves of its state
GRID_IMAGES = 64
DRIFT, STILL = 0.1, 0.5  # see verdict
BANK_KEY = "bank/samples/.ATTRIBUTES/VARIABLE_VALUE"


def short_run_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """num_samples chains of num_steps steps from noise; on the rings as many from data.

    Law: see run_chains.
    """
    is_rings, num_samples, event = run.config.dataset == "rings", settings.num_samples, run.config.event_shape
    assert num_samples and settings.num_steps and settings.step_size  # runs.resolve has filled them in
    starts: dict[str, Callable] = {"noise": noise_starts} | ({"data": _rings_starts} if is_rings else {})
    stored = {
        start: partial.array(f"x_from_{start}", (num_samples, *event), np.float32 if is_rings else np.uint8)
        for start in starts
    }
    energy = {start: partial.array(f"energy_from_{start}", (num_samples,), np.float32) for start in starts}
    with progress.bar("short_run", num_samples, "chain", partial.blocks_done * settings.batch_size) as bar:
        for block, part in list(blocks(num_samples, settings.batch_size))[partial.blocks_done :]:
            for index, (start, starts_fn) in enumerate(starts.items()):
                x_init = starts_fn(run, part.stop - part.start, settings.seed, block)
                seed = block_seed(settings.seed, CHAINS, block, index)
                x, energy[start][part] = run_chains(run, x_init, settings.num_steps, settings.step_size, seed)
                stored[start][part] = to_stored(run, x)
            partial.mark(block + 1)
            bar.update(part.stop - part.start)
    numbers: dict[str, Any] = {"num_samples": num_samples, **_how(run, settings, settings.num_steps)}
    numbers["finite"] = {start: bool(np.isfinite(values).all()) for start, values in energy.items()}
    if is_rings:
        numbers |= {f"from_{start}": density.on_ring_shares(x) for start, x in stored.items()}
    else:
        numbers |= {"energy_mean": _mean(energy["noise"]), "energy_std": _std(energy["noise"])}
        figures.save_image_grid(stored["noise"][:GRID_IMAGES], run.run_dir.figures / "short_run.png")
    arrays = {f"x_from_{start}": x for start, x in stored.items()}
    return TaskResult(numbers, {**arrays, "energy_from_noise": energy["noise"]})


def _rings_starts(run: FinishedRun, num_chains: int, seed: int, block: int) -> np.ndarray:
    return rings.sample(num_chains, block_seed(seed, DATA_STARTS, block)).numpy()


def _how(run: FinishedRun, settings: EvaluateConfig, num_steps: int) -> dict[str, Any]:
    """How the chains were run, for results.json."""
    how: dict[str, Any] = {"num_steps": num_steps, "step_size": settings.step_size}
    how["temperature"] = run.config.temperature
    if run.config.step_size_rule == "adaptive":
        how["step_size_rule"] = "constant here, at this step size; adaptive up to step_size in training"
    return how


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))


def _std(values: np.ndarray) -> float:
    return float(np.std(values, dtype=np.float64))


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
    """The first test images in [-1, 1], or draws from the rings under a fixed seed: float32 [num_chains, *event].

    Raises:
      ConfigError: no data, or fewer images than chains. Names the flag that num_chains came from.
    """
    config = run.config
    if config.dataset == "rings":
        return rings.sample(num_chains, tf.constant([0, DATA_STARTS], tf.int32)).numpy()
    pixels = images.load(config.dataset, config.test_split, data_dir, config.image_size)
    if num_chains > len(pixels):
        expected = f"at most {len(pixels)}, the images of {config.dataset}/{config.test_split}"
        raise ConfigError(f"--{flag}: expected {expected}. Received: {flag}={num_chains}")
    return images.to_unit_range(pixels[:num_chains]).numpy()


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
    is_rings, event, total = run.config.dataset == "rings", run.config.event_shape, settings.num_chains
    assert settings.step_size  # runs.resolve has filled it in
    records, grid = record_steps(num_steps), grid_steps(num_steps)
    stops = sorted({*records.tolist(), *range(0, num_steps, SAVE_EVERY)})
    shown = min(GRID_IMAGES, total)
    energy = partial.array("energy", (len(records), total), np.float32)
    x_final = partial.array("x_final", (total, *event), np.float32)
    states = partial.array("states", (2, min(settings.batch_size, total), *event), np.float32)
    grids = None if is_rings else partial.array("grids", (len(grid), shown, *event), np.uint8)

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

    numbers = {"num_samples": total, **_how(run, settings, num_steps), **verdict(records, np.array(energy))}
    arrays = {"steps": records, "energy": energy, "x_final": x_final}
    if grids is not None:
        arrays |= {"grid_steps": grid, "grids": grids}
        figures.save_image_grid(grids[-1], run.run_dir.figures / f"{name}.png")
    return TaskResult(numbers, arrays)


def _before(stops: list[int], stop: int) -> int:
    """The stop before this one, or 0."""
    return stops[max(stops.index(stop) - 1, 0)]


def verdict(steps: np.ndarray, energy: np.ndarray) -> dict[str, Any]:
    """Have chains settled, by their energies?

    The drift is the slope of a least-squares line through the mean energy of the finite chains over the last half of
    the steps; its standard error is that of the mean of the chains' own slopes. The change that it makes over that
    half, and the median chain's, are held against the spread: half the width of the middle 68 % of the chains' energies
    (the standard deviation, if they are Gaussian), at the half's beginning or end, whichever is smaller. So a chain
    that has escaped neither hides the others' drift nor passes for spread. They are

      drifting, when either |change| - 2 standard errors is more than a tenth (DRIFT) of the spread: converged is False;
      settled, when both |change| + 2 standard errors are at most a half (STILL) of it: converged is True;
      undecided otherwise, since there are too few chains to tell: converged is None.

    Independent draws of 100 chains have a standard error near a tenth of the spread, and are called settled. With a
    chain that is not finite converged is False.

    Args:
      steps: int [K].
      energy: [K, N], N of 2 or more.

    Returns:
      finite, num_finite, converged, energy_mean and energy_std at the end, energy_drift_per_1000_steps and its standard
      error, drift_over_spread (the mean's change over spread), and the verdict in words. None where no two chains are
      finite.
    """
    finite = np.isfinite(energy).all(axis=0)
    count, total = int(finite.sum()), energy.shape[1]
    numbers: dict[str, Any] = {"finite": count == total, "num_finite": count, "converged": False}
    names = ("energy_mean", "energy_std", "energy_drift_per_1000_steps", "energy_drift_std_error", "drift_over_spread")
    first = steps[np.argmax(~np.isfinite(energy).all(axis=1))]
    lost = "" if count == total else f"{total - count} of {total} chains are not finite, the first by step {first}"
    if count < 2:
        return {**numbers, **dict.fromkeys(names), "verdict": f"diverged: {lost}"}
    late = steps >= steps[-1] // 2
    window = int(steps[late][-1] - steps[late][0])
    changes = window * _slopes(steps[late], energy[late][:, finite])
    spread = min(_spread(energy[late][0, finite]), _spread(energy[-1, finite]))
    change, error = changes.mean(), changes.std(ddof=1) / np.sqrt(count)
    median, median_error = np.median(changes), np.sqrt(np.pi / 2 / count) * _spread(changes)
    estimates = np.abs([change, median]), 2 * np.array([error, median_error])
    if np.any(estimates[0] - estimates[1] > DRIFT * spread):
        word = "drifting"
    elif np.all(estimates[0] + estimates[1] <= STILL * spread):
        word, numbers["converged"] = "settled", count == total
    else:
        word, numbers["converged"] = "undecided, more chains would tell", None if count == total else False
    drift = (1000 / window * np.array([change, error])).tolist()
    share = float(change / spread) if spread else None
    std = float(energy[-1, finite].astype(np.float64).std(ddof=1))
    numbers |= dict(zip(names, (_mean(energy[-1, finite]), std, *drift, share)))
    words = (
        f"{word}: over the last {window} steps the mean energy of {count} chains changes by {change:.3g} "
        f"+/- {error:.2g}, the median chain's by {median:.3g}, against a spread of {spread:.3g} across them"
    )
    return {**numbers, "verdict": f"{lost}; the rest: {words}" if lost else words}


def _spread(values: np.ndarray) -> float:
    """Half the width of the middle 68 % of values [N]."""
    return float(np.subtract(*np.quantile(values.astype(np.float64), [0.8413, 0.1587])) / 2)


def _slopes(steps: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Least-squares slope per step of every column of energy [K, N]: [N]."""
    t = steps - steps.mean()
    return t @ energy.astype(np.float64) / (t @ t)


def check_bank(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError when the run has no bank."""
    if not run.config.has_bank:
        expected = "--tasks: expected bank for a run that keeps one only: a persistent scheme, or --bank_weight"
        raise ConfigError(f"{expected}. Received: scheme={run.config.scheme}")
    saved = newest_intact(run.run_dir)
    if saved is None or not tf.train.load_checkpoint(saved.prefix).has_tensor(BANK_KEY):
        where, received = run.run_dir.checkpoints, saved and saved.prefix
        raise ConfigError(f"--tasks: expected, for bank, a checkpoint that holds it in {where}. Received: {received}")


def read_bank(run: FinishedRun, num_samples: int) -> np.ndarray:
    """The first slots of the bank in the newest checkpoint, float32 [at most num_samples, *event].

    The checkpoint's reader gives a variable as a whole: 60,000 images take 737 MB for the moment.
    """
    saved = newest_intact(run.run_dir)
    assert saved  # check_bank has seen it
    return tf.train.load_checkpoint(saved.prefix).get_tensor(BANK_KEY)[:num_samples].astype(np.float32)


def bank_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """Chains of num_steps steps from the bank's first num_samples slots, or from all of them.

    Law: see run_chains.
    """
    assert settings.num_samples and settings.num_steps and settings.step_size  # runs.resolve has filled them in
    x_bank = read_bank(run, settings.num_samples)
    is_rings, total = run.config.dataset == "rings", len(x_bank)
    ends = ("init", "final")
    stored = {end: partial.array(f"x_{end}", x_bank.shape, np.float32 if is_rings else np.uint8) for end in ends}
    energy = {end: partial.array(f"energy_{end}", (total,), np.float32) for end in ends}
    with progress.bar("bank", total, "chain", partial.blocks_done * settings.batch_size) as bar:
        for block, part in list(blocks(total, settings.batch_size))[partial.blocks_done :]:
            seed = block_seed(settings.seed, CHAINS, block)
            x_final, energy["final"][part] = run_chains(run, x_bank[part], settings.num_steps, settings.step_size, seed)
            energy["init"][part] = energies(run, x_bank[part], settings.batch_size)
            stored["init"][part], stored["final"][part] = to_stored(run, x_bank[part]), to_stored(run, x_final)
            partial.mark(block + 1)
            bar.update(part.stop - part.start)
    numbers = {"num_samples": total, "bank_size": run.config.bank_size, **_how(run, settings, settings.num_steps)}
    numbers |= {f"energy_{end}_mean": _mean(values) for end, values in energy.items()}
    if not is_rings:
        figures.save_image_grid(stored["final"][:GRID_IMAGES], run.run_dir.figures / "bank.png")
    arrays = {f"x_{end}": stored[end] for end in ends} | {f"energy_{end}": energy[end] for end in ends}
    return TaskResult(numbers, arrays)

"""Energies in numbers: means, histograms, and whether long chains have settled by them."""

from typing import Any

import numpy as np

__all__ = ["histogram", "mean_of", "std_of", "verdict"]

BINS = (5, 40)  # least and most bars of a histogram
DRIFT, STILL = 0.1, 0.5  # see verdict
LEAST_RECORDS = 8  # in the last half, without which no line is a trend
STUCK_SHARE, LAST_DIGITS = 0.02, 4  # see _stuck


def mean_of(values: np.ndarray) -> float:
    """The mean, summed in float64."""
    return float(np.mean(values, dtype=np.float64))


def std_of(values: np.ndarray) -> float:
    """The standard deviation, summed in float64."""
    return float(np.std(values, dtype=np.float64))


def verdict(steps: np.ndarray, energy: np.ndarray) -> dict[str, Any]:
    """Have chains settled, by their energies?

    The drift is the slope of a least-squares line through the mean energy of the finite chains over the last half of
    the steps; its standard error is that of the mean of the chains' own slopes. The change that it makes over that
    half, and the median chain's, are held against the spread: half the width of the middle 68 % of the chains' energies
    (the standard deviation, if they are Gaussian), at the half's beginning or end, whichever is smaller. So a chain
    that has escaped neither hides the others' drift nor passes for spread. They are

      drifting, when either |change| - 2 standard errors is more than a tenth (DRIFT) of the spread: converged is False;
      settled, when both |change| + 2 standard errors are at most a half (STILL) of it: converged is True;
      undecided otherwise, or by fewer than LEAST_RECORDS steps: too little to tell, converged is None.

    A chain whose energy stays the same over that half, or nearly so, is stuck (see _stuck), and converged is False:
    pooled over many chains it would not be seen. An energy that is one number for all chains is flat, and says nothing
    of them.

    Independent draws of 100 chains have a standard error near a tenth of the spread, and are called settled. With a
    chain that is not finite converged is False.

    Args:
      steps: int [K].
      energy: [K, N], N of 2 or more.

    Returns:
      finite, num_finite, num_stuck, converged, energy_mean and energy_std at the end, energy_drift_per_1000_steps and
      its standard error, drift_over_spread (the mean's change over spread), and the verdict in words. None where no two
      chains are finite.
    """
    finite = np.isfinite(energy).all(axis=0)
    count, total = int(finite.sum()), energy.shape[1]
    numbers: dict[str, Any] = {"finite": count == total, "num_finite": count, "num_stuck": 0, "converged": False}
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
    if num_stuck := int(_stuck(energy[late][:, finite]).sum()):
        word, numbers["num_stuck"] = f"not settled, {num_stuck} of {count} chains are stuck", num_stuck
    elif np.any(estimates[0] - estimates[1] > DRIFT * spread):
        word = "drifting"
    elif late.sum() < LEAST_RECORDS:
        word, numbers["converged"] = "undecided, longer chains would tell", None if count == total else False
    elif np.all(estimates[0] + estimates[1] <= STILL * spread):
        word, numbers["converged"] = "settled", count == total
    else:
        word, numbers["converged"] = "undecided, more chains would tell", None if count == total else False
    drift = (1000 / window * np.array([change, error])).tolist()
    share = float(change / spread) if spread else None
    std = float(energy[-1, finite].astype(np.float64).std(ddof=1))
    numbers |= dict(zip(names, (mean_of(energy[-1, finite]), std, *drift, share)))
    words = (
        f"{word}: over the last {window} steps the mean energy of {count} chains changes by {change:.3g} "
        f"+/- {error:.2g}, the median chain's by {median:.3g}, against a spread of {spread:.3g} across them"
    )
    return {**numbers, "verdict": f"{lost}; the rest: {words}" if lost else words}


def _spread(values: np.ndarray) -> float:
    """Half the width of the middle 68 % of values [N]."""
    return float(np.subtract(*np.quantile(values.astype(np.float64), [0.8413, 0.1587])) / 2)


def _stuck(energy: np.ndarray) -> np.ndarray:
    """Whether each chain is stuck, bool [N], by its energy [K, N]: it changes by no more than four units of float32's
    last digit, at its size or the median chain's, or, from LEAST_RECORDS records on, its standard deviation is below a
    fiftieth of the median chain's.

    Eight independent normal records have so small a spread with probability 1e-11. An energy that is the same for all
    chains says nothing of them.
    """
    size = np.abs(energy).max(axis=0)
    digits = LAST_DIGITS * np.spacing(np.maximum(size, np.median(size)).astype(np.float32))
    if np.ptp(energy) <= digits.max():
        return np.zeros(energy.shape[1], bool)
    spread = (energy.astype(np.float64) - energy[0]).std(axis=0)
    share = STUCK_SHARE if len(energy) >= LEAST_RECORDS else 0.0
    return (np.ptp(energy, axis=0) <= digits) | (spread < share * np.median(spread))


def _slopes(steps: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Least-squares slope per step of every column of energy [K, N]: [N]."""
    t = steps - steps.mean()
    return t @ energy.astype(np.float64) / (t @ t)


def histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(edges [B + 1], heights [B]) of the finite values, the highest 1. B: the root of their number, within BINS."""
    values = values[np.isfinite(values)].astype(np.float64)
    bins = int(np.clip(np.sqrt(len(values)), *BINS))
    if not len(values):
        return np.linspace(0, 1, bins + 1), np.zeros(bins)
    low, high = values.min(), values.max()
    margin = 0.5 * max(abs(low), 1.0) * 1e-6 if high == low else 0.0
    counts, edges = np.histogram(values, bins=bins, range=(low - margin, high + margin))
    return edges, counts / counts.max()

"""From which score on an input is flagged at a stated false-positive rate, and an interval for that rate.

An x is flagged when a(x) > t. With n scores of data like those to come, a_(1) ≤ ... ≤ a_(n), the threshold is

    t = a_(r),   r = ⌈(1 − α)(n + 1)⌉,

the smallest order statistic with E[P(a(x) > t)] ≤ α, whatever the law of the scores; so are those flagged whose
conformal p-value (1 + #{i: a_i ≥ a(x)}) / (n + 1) is α or less. For a continuous law the false-positive rate of this t,
itself random since the n are, is Beta(n − r + 1, r). The interval is Clopper and Pearson's for k = n − r of n above t:
[Beta⁻¹(β/2; k, n − k + 1), Beta⁻¹(1 − β/2; k + 1, n − k)]. Its upper end is exact for this choice of t, its lower end
is too low rather than too high: coverage is 1 − β or more.
"""

import math

import numpy as np
from scipy import stats

from ebm_tf.errors import ConfigError

__all__ = ["clopper_pearson", "reached", "threshold"]


def threshold(scores: np.ndarray, false_positive_rate: float) -> float:
    """t, from which on (not including it) inputs are flagged.

    Law: over draws of scores [n] and of a new x of the same law, P(a(x) > t) ≤ false_positive_rate.

    Raises:
      ConfigError: too few scores for so small a rate.
    """
    rank = math.ceil((1 - false_positive_rate) * (len(scores) + 1) - 1e-9)
    if rank > len(scores):
        least = math.ceil(1 / false_positive_rate - 1e-9) - 1
        raise ConfigError(
            f"--false_positive_rate: expected, for {false_positive_rate:g}, scores of at least {least} in-distribution "
            f"inputs. Received: {len(scores)}"
        )
    return float(np.sort(scores)[rank - 1])


def reached(false_positive_rate: float, num: int) -> float:
    """The rate that `num` calibration inputs give where so large a one is asked for: p-values are k / (num + 1).

    Law: it is the mean rate of `threshold`, for scores of a continuous law.
    """
    return math.floor(false_positive_rate * (num + 1) + 1e-9) / (num + 1)


def clopper_pearson(count: int, total: int, confidence: float) -> tuple[float, float]:
    """The exact interval for a probability, of which `count` of `total` independent trials came true."""
    tail = (1 - confidence) / 2
    low = stats.beta.ppf(tail, count, total - count + 1) if count else 0.0
    high = stats.beta.ppf(1 - tail, count + 1, total - count) if count < total else 1.0
    return float(low), float(high)

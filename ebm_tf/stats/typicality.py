"""Does an input belong to the data? A detector fitted on statistics of held-out inputs, without labels or outliers.

    z_k(x) = Φ⁻¹(rank of the statistic s_k(x) among the fit set's)      every statistic to normal scores
    a_P(x) = (z − m)ᵀ C⁻¹ (z − m) over the statistics of part P         m, C of z on one half, C as Ledoit and Wolf do
    a(x) = mean over P of (ln(1 + a_P(x)) − its mean) / its standard deviation         on the same half
    p(x) = (1 + #{i: a(x_i) ≥ a(x)}) / (n + 1)      the share of the other half, n inputs, that is as atypical or more

One part is all statistics. The others, where there are any, are those that need no network, "rest" and "pixels", apart:
what these few see is lost in the spread of the many. Pixels are not in the first part beside a rest, which has their
spectrum. Both sides of every statistic count. Flagged at p ≤ α are at most α of new inputs of the same law as the n,
whatever that law, the energy and the detector are (conformal p-values; Vovk et al. 2005). The one-sided tails are the
energy alone: a = E ("upper") and a = -E ("lower").

Source: the joint density of several statistics, Morningstar et al. (2021); Ledoit and Wolf (2004).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special
from sklearn.covariance import ledoit_wolf

from ebm_tf.errors import ConfigError

__all__ = ["TAILS", "Detector"]

TAILS = ("both", "upper", "lower")
NUM_KNOTS = 129  # of each statistic, between which its normal scores are straight lines
LEAST = 5  # inputs: three to fit, two to compare with
LEAST_SPREAD = 1e-3  # of ln(1 + a), where all inputs of a tiny fit set are as atypical
NOT_FINITE = "not finite"
NO_NETWORK = ("rest", "pixels")  # how names of statistics begin that are known without it


@dataclasses.dataclass(frozen=True, eq=False)
class Detector:
    """Tells inputs that do not belong by their statistics; see `fit`.

    Attributes:
      names: of the K statistics. The first is the energy, E(x).
      kept: int [M], places of those that vary; the others are `dropped`.
      knots: [M, NUM_KNOTS], values of each from its lowest to its highest on the fit set.
      scores: [M, NUM_KNOTS], their normal scores.
      slopes: [M], of the straight lines by which scores go on beyond the ends, one over the standard deviation.
      mean: [M], m.
      whitening: [P, M, M], W with W Wᵀ = C⁻¹ of each part, 0 for statistics that are not in it.
      level, spread: [P], mean and standard deviation of ln(1 + a_P) on the fit set.
      calibration: [n], a of the n calibration inputs, sorted.
      energy: [n], E of them, sorted.
      tail: "both", "upper" or "lower". dataclasses.replace(detector, tail="upper") has the other tail of the same fit.
    """

    names: tuple[str, ...]
    kept: np.ndarray
    knots: np.ndarray
    scores: np.ndarray
    slopes: np.ndarray
    mean: np.ndarray
    whitening: np.ndarray
    level: np.ndarray
    spread: np.ndarray
    calibration: np.ndarray
    energy: np.ndarray
    tail: str = "both"

    def __post_init__(self) -> None:
        if self.tail not in TAILS:
            raise ConfigError(f"--tail: expected one of {', '.join(TAILS)}. Received: tail={self.tail}")

    @classmethod
    def fit(cls, statistics: np.ndarray, names: Sequence[str], seed: int = 0, tail: str = "both") -> "Detector":
        """The detector of held-out in-distribution inputs.

        Law: P(p_value of a new input ≤ α) ≤ α for every α, where it and these inputs are exchangeable; for statistics
          without ties the p-value is uniform on {1, ..., n + 1} / (n + 1).
        Limits: an increasing function of a statistic changes nothing within the fit set's range.

        Args:
          statistics: [N, K], of inputs that did not train. One half fits the Gaussian, the other gives p-values.
          names: K of them.
          seed: of the halves.
          tail: see above.

        Raises:
          ConfigError: fewer than LEAST inputs, statistics that are not finite, or too few that vary for a Gaussian.
        """
        statistics = np.asarray(statistics, np.float64)
        if statistics.ndim != 2 or statistics.shape[1] != len(names) or len(statistics) < LEAST:
            expected = f"expected statistics [N, {len(names)}] of {LEAST} held-out inputs or more"
            raise ConfigError(f"{expected}. Received: {list(statistics.shape)}")
        if bad := int((~np.isfinite(statistics).all(axis=1)).sum()):
            expected = "expected held-out inputs whose statistics are finite"
            raise ConfigError(f"{expected}. Received: {bad} of {len(statistics)} with others")
        order = np.random.default_rng(seed).permutation(len(statistics))
        first, second = np.array_split(statistics[order], 2)
        kept = np.flatnonzero(np.ptp(first, axis=0) > 0)
        if not len(kept):
            raise ConfigError("expected held-out inputs that differ. Received: statistics that are all alike")
        knots, scores = (np.stack(both) for both in zip(*map(_knots, first[:, kept].T)))
        slopes = 1 / first[:, kept].std(axis=0)
        z = _normal_scores(first[:, kept], knots, scores, slopes)
        mean = z.mean(axis=0)
        whitening = np.stack([_whitening(z, part) for part in _parts([names[place] for place in kept])])
        logs = _log_distances(z - mean, whitening)
        gaussian = mean, whitening, logs.mean(axis=0), np.maximum(logs.std(axis=0), LEAST_SPREAD)
        found = cls(tuple(names), kept, knots, scores, slopes, *gaussian, np.zeros(0), np.sort(second[:, 0]), tail)
        return dataclasses.replace(found, calibration=np.sort(found._atypical(second)))

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names of the statistics that are the same for all inputs of the fit set."""
        return tuple(name for place, name in enumerate(self.names) if place not in set(self.kept.tolist()))

    @property
    def num_calibration(self) -> int:
        """n: the smallest p-value is 1 / (n + 1)."""
        return len(self.energy)

    @property
    def known_scores(self) -> np.ndarray:
        """ood_score of the n calibration inputs, sorted."""
        return {"both": self.calibration, "upper": self.energy, "lower": -self.energy[::-1]}[self.tail]

    def check_rate(self, false_positive_rate: float, num_inputs: int, flag: str = "false_positive_rate") -> None:
        """Raises ConfigError where, of so many held-out inputs, no input could be flagged at so small a rate."""
        left = self.num_calibration
        if 1 / (left + 1) > false_positive_rate * (1 + 1e-9):
            least = 2 * (math.ceil(1 / false_positive_rate - 1e-9) - 1)
            possible = math.ceil(1e4 / (left + 1)) / 1e4
            expected = f"expected, for {false_positive_rate:g}, {least} held-out inputs or more"
            received = f"{num_inputs}, of which the fit takes {num_inputs - left} and {left} are left for p-values"
            raise ConfigError(
                f"--{flag}: {expected}. Received: {received}; give more, or --{flag}={possible:g} or more"
            )

    def normal_scores(self, statistics: np.ndarray) -> np.ndarray:
        """z [N, M] of statistics [N, K]."""
        chosen = np.asarray(statistics, np.float64)[:, self.kept]
        return _normal_scores(chosen, self.knots, self.scores, self.slopes)

    def ood_score(self, statistics: np.ndarray) -> np.ndarray:
        """[N] of statistics [N, K]: large where an input does not belong; inf where a statistic is not finite."""
        statistics = np.asarray(statistics, np.float64)
        finite = np.isfinite(statistics).all(axis=1)
        found = np.full(len(statistics), np.inf)
        one = {"both": self._atypical, "upper": lambda s: s[:, 0], "lower": lambda s: -s[:, 0]}[self.tail]
        found[finite] = one(statistics[finite])
        return found

    def p_value(self, ood_score: np.ndarray) -> np.ndarray:
        """[N] of scores [N]: the share of calibration inputs that are as atypical or more, at least 1 / (n + 1)."""
        known = self.known_scores
        below = np.searchsorted(known, ood_score, side="left")
        return (1 + len(known) - np.where(np.isnan(ood_score), len(known), below)) / (len(known) + 1)

    def most_unusual(self, statistics: np.ndarray) -> list[tuple[str, str]]:
        """Per input of statistics [N, K], which statistic lies farthest out, and on which side: "low" or "high"."""
        statistics = np.asarray(statistics, np.float64)
        finite = np.isfinite(statistics)
        z = self.normal_scores(np.where(finite, statistics, 0.0))
        places = np.abs(z).argmax(axis=1)
        sides = np.where(z[np.arange(len(z)), places] > 0, "high", "low")
        found = [(self.names[self.kept[place]], str(side)) for place, side in zip(places, sides)]
        for row in np.flatnonzero(~finite.all(axis=1)):
            found[row] = self.names[np.argmin(finite[row])], NOT_FINITE
        return found

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it, for an .npz file."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Detector":
        """The inverse.

        Raises:
          ConfigError: an array is missing.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if missing := [name for name in names if name not in arrays]:
            raise ConfigError(f"expected the arrays of a detector. Received: none named {', '.join(missing)}")
        values = {name: np.asarray(arrays[name]) for name in names}
        texts = {"names": tuple(map(str, values["names"])), "tail": str(values["tail"])}
        return cls(**{**values, **texts})

    def _atypical(self, statistics):
        logs = _log_distances(self.normal_scores(statistics) - self.mean, self.whitening)
        return np.mean((logs - self.level) / self.spread, axis=1)


def _normal_scores(statistics, knots, scores, slopes):
    z = np.stack([np.interp(*one) for one in zip(statistics.T, knots, scores)], axis=1)
    beyond = np.minimum(statistics - knots[:, 0], 0) + np.maximum(statistics - knots[:, -1], 0)
    return z + slopes * beyond


def _parts(names: Sequence[str]) -> list[np.ndarray]:
    """Places of all statistics, pixels only where there is no rest, and of each kind that needs no network."""
    rest, pixels = (np.flatnonzero([name.startswith(kind) for name in names]) for kind in NO_NETWORK)
    places = np.setdiff1d(np.arange(len(names)), pixels if len(rest) else [])
    return [places, *(part for part in (rest, pixels) if 0 < len(part) < len(names))]


def _whitening(z: np.ndarray, part: np.ndarray) -> np.ndarray:
    """[M, M] of normal scores [N, M], see Detector."""
    try:
        root = np.linalg.cholesky(ledoit_wolf(z[:, part])[0])
    except np.linalg.LinAlgError as error:
        expected = "expected held-out inputs that differ in more than one way, as more of them would"
        raise ConfigError(f"{expected}. Received: a singular covariance of the {len(z)} that fit") from error
    found = np.zeros([z.shape[1]] * 2)
    found[np.ix_(part, part)] = np.linalg.inv(root).T
    return found


def _log_distances(z: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """ln(1 + a_P), [N, P], of centred normal scores [N, M]."""
    white = np.einsum("nm,pmk->npk", z, whitening, optimize=True)
    return np.log1p(np.sum(np.square(white), axis=2))


def _knots(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(values, normal scores) [NUM_KNOTS] of a statistic [N] at equal steps of its normal score. Values that many
    inputs share have their scores' mean, and what is left of the knots repeats the last.
    """
    end = special.ndtri((len(values) - 0.5) / len(values))
    steps = np.linspace(-end, end, NUM_KNOTS)
    quantiles = np.quantile(values, special.ndtr(steps), method="hazen")
    knots, place, counts = np.unique(quantiles, return_inverse=True, return_counts=True)
    scores = np.bincount(place, steps) / counts
    left = NUM_KNOTS - len(knots)
    return np.pad(knots, (0, left), "edge"), np.pad(scores, (0, left), "edge")

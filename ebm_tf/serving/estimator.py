"""A density of tables, and what does not belong in them, as a scikit-learn estimator.

    z = L⁻¹ (x − μ) / σ,   L Lᵀ = (1 − s) corr(x) + s I
    E(x)/T = −log 1/M Σ_m N(z; z_m, h² I) + log |L| + Σ log σ = −log p(x)

M rows of the data are the centres z_m; h foretells them best, each from the others (see kernel_width).
"""

import copy
import numbers
import warnings
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import linalg
from sklearn.base import BaseEstimator, DensityMixin, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ebm_tf.energies.terms import GaussianKernels
from ebm_tf.errors import ConfigError
from ebm_tf.stats.kernel_width import MOST, kernel_width

__all__ = ["EnergyDensity"]

SHRINKAGE = 0.3  # s; docs/tables.md has what it was chosen on
BLOCK = 2_048  # rows that are scored at once
MOST_CALIBRATED = 20_000  # rows of fit that offset_ looks at
FOLDS = 10  # of them, see _held_out


class EnergyDensity(OutlierMixin, DensityMixin, BaseEstimator):
    """The density of a table of numbers, and which rows do not belong.

    Law: score_samples is log p(x), and sample draws from p: kernels around rows of the data, on columns that are
      standardised and in part whitened. At most false_positive_rate of new rows like those of fit are flagged, but for
      the noise of a quantile of as many rows as fit has seen.
    Limits: of a wide kernel p is a Gaussian of the data's shrunken covariance, of a narrow one it is the rows of fit.

    Args:
      num_centres: M, at most; of more rows a random part. Time and memory of scoring grow with it.
      width: h, of whitened data of size 1. None: the one that foretells the rows of fit best.
      false_positive_rate: how many of the rows that belong may be flagged. offset_ is that quantile of the rows of fit,
        each tenth of them scored by whitening and kernels of the other nine.
      contamination: in its place, the share of the rows of fit that do not belong, in (0, 0.5]: so many of them have a
        decision_function below 0. None: all belong.
      random_state: of which rows are centres; a number, a RandomState or None.

    Attributes:
      offset_: of score_samples; decision_function is score_samples less it.
      width_: h.
      centres_: z_m, float64 [M, D].
      n_features_in_, feature_names_in_: of the table that was fitted.

    Source: kernels of Rosenblatt (1956) and Parzen (1962); docs/tables.md has what it is worth, and why there is no
      network in it.
    """

    def __init__(
        self,
        *,
        num_centres: int = 2_000,
        width: float | None = None,
        false_positive_rate: float = 0.05,
        contamination: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.num_centres, self.width = num_centres, width
        self.false_positive_rate, self.contamination = false_positive_rate, contamination
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "EnergyDensity":
        """Learns the density of the rows of X [N, D], numbers. y is not used.

        Raises:
          ConfigError: a setting out of its range, or a table of which no density can be had; it is a ValueError.
        """
        self._check_settings()
        x = self._table(X, reset=True)
        self._standardise(x)
        order = check_random_state(self.random_state).permutation(len(x))
        z = self._whiten(x[order[: self.num_centres]])
        self.centres_ = z
        self.width_ = float(self.width) if self.width is not None else self._width(z)
        self.offset_ = self._offset(x, order)
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """-E(x)/T = log p(x) in nats, in the units of the data, float64 [N]. Large: like the rows of fit."""
        check_is_fitted(self)
        return self._log_prob(self._table(X, reset=False))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of score_samples, which GridSearchCV makes large. y is not used."""
        return float(np.mean(self.score_samples(X)))

    def decision_function(self, X: Any) -> np.ndarray:
        """score_samples less offset_, float64 [N]: below 0 where a row is flagged."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """int [N]: 1 for rows that belong, -1 for those that are flagged."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def sample(self, n: int = 1, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """n rows drawn from p, float64 [n, D]. Columns that were constant in fit are constant.

        Args:
          n: how many.
          random_state: a number, a RandomState or None, as of fit.
        """
        check_is_fitted(self)
        if isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 1:
            raise ConfigError(f"expected n, a whole number, 1 or more. Received: n={n}")
        rng = check_random_state(random_state)
        centres = self.centres_[rng.randint(len(self.centres_), size=n)]
        z = centres + self.width_ * rng.normal(size=centres.shape)
        return self._mean + self._scale * np.where(self._varies, z @ self._factor.T, 0)

    def _check_settings(self) -> None:
        ranges = {
            "num_centres": (isinstance(self.num_centres, numbers.Integral) and self.num_centres >= 2, "2 or more"),
            "width": (self.width is None or (_is_real(self.width) and 0 < self.width < np.inf), "above 0, or None"),
            "false_positive_rate": (
                _is_real(self.false_positive_rate) and 0 < self.false_positive_rate < 1,
                "in (0, 1)",
            ),
            "contamination": (
                self.contamination is None or (_is_real(self.contamination) and 0 < self.contamination <= 0.5),
                "in (0, 0.5], or None",
            ),
        }
        for name, (is_good, expected) in ranges.items():
            if not is_good:
                raise ConfigError(f"expected {name} {expected}. Received: {name}={getattr(self, name)}")

    def _table(self, X, reset):
        """X as floats [N, D], all finite."""
        settings = {"dtype": np.float64, "ensure_all_finite": False, "ensure_min_samples": 2 if reset else 1}
        try:
            x = validate_data(self, X, reset=reset, **settings)
        except (ValueError, TypeError) as error:
            if not (hasattr(X, "shape") or isinstance(X, list | tuple)):
                raise ConfigError(f"expected X, a table of numbers [N, D]. Received: X={type(X).__name__}") from None
            raise self._text_in(X) or error from None
        for start in range(0, len(x), BLOCK):
            bad = np.argwhere(~np.isfinite(x[start : start + BLOCK]))
            if len(bad):
                row, column = bad[0]
                value = "NaN" if np.isnan(x[start + row, column]) else "infinity"
                name = getattr(self, "feature_names_in_", range(x.shape[1]))[column]
                raise ConfigError(f"expected finite numbers. Received: {value} in column {name}, row {start + row}")
        return x

    @staticmethod
    def _text_in(X):
        """The error that names a data frame's first column which is no numbers, or an array's first text; else None."""
        for name in getattr(X, "columns", ()):
            try:
                np.result_type(np.asarray(X[name], np.float64), np.asarray(X[name]))  # a date is none by itself
            except (ValueError, TypeError):
                received = f"column {name} of {X[name].dtype}; encode it, or leave it out"
                return ConfigError(f"expected columns of numbers. Received: {received}")
        is_array = isinstance(X, list | np.ndarray) and np.ndim(X) == 2
        for (row, column), value in np.ndenumerate(X) if is_array else ():
            if isinstance(value, str) and not _is_number(value):
                received = f"{value[:40]!r} in column {column}, row {row}; encode it, or leave it out"
                return ConfigError(f"expected columns of numbers. Received: {received}")
        return None

    def _standardise(self, x):
        """Keeps mean, scale, the factor L and the log of the Jacobian."""
        with np.errstate(over="ignore"):
            self._mean, self._scale = x.mean(axis=0), x.std(axis=0)
        if len(wide := np.flatnonzero(~np.isfinite(self._scale))):
            name = getattr(self, "feature_names_in_", range(x.shape[1]))[wide[0]]
            received = f"{np.abs(x[:, wide[0]]).max():.3g} in column {name}"
            raise ConfigError(f"expected numbers whose squares are finite. Received: {received}")
        self._varies = self._scale > 1e-10 * np.abs(self._mean)
        if not self._varies.any():
            raise ConfigError("expected a column that varies. Received: a table of equal rows")
        self._scale[~self._varies] = 1.0
        white = (x - self._mean) / self._scale
        self._correlate(white.T @ white / len(x))

    def _correlate(self, correlation):
        self._factor = np.linalg.cholesky((1 - SHRINKAGE) * correlation + SHRINKAGE * np.eye(len(correlation)))
        self._log_volume = np.sum(np.log(np.diag(self._factor))) + np.sum(np.log(self._scale))

    def _whiten(self, x):
        white = (x - self._mean) / self._scale
        return linalg.solve_triangular(self._factor, white.T, lower=True).T

    def _width(self, z):
        """A constant column has no spread, and would make the kernels narrow."""
        return kernel_width(z[:MOST, self._varies])

    def _log_prob(self, x):
        centres, width = tf.constant(self.centres_), tf.constant(self.width_, tf.float64)
        energies = np.empty(len(x))
        for start in range(0, len(x), BLOCK):
            energies[start : start + BLOCK] = _energies(self._whiten(x[start : start + BLOCK]), centres, width)
        return -energies - self._log_volume

    def _offset(self, x, order):
        if self.contamination is not None:
            return float(np.percentile(self._log_prob(x), 100 * self.contamination))
        known = np.sort(self._held_out(x, order))
        flagged = int(self.false_positive_rate * (len(known) + 1))  # of as many ranks as a new row may have
        if not flagged:
            few = f"{len(known)} rows of fit are too few for false_positive_rate={self.false_positive_rate:g}"
            warnings.warn(f"{few}: {1 / (len(known) + 1):.2g} is the least that they tell", stacklevel=3)
        return float(known[max(flagged, 1) - 1])

    def _held_out(self, x, order):
        """log p of rows of fit as if they were new, by FOLDS: a row is nearer to kernels that it has made, and in few
        rows of many columns also to a whitening that it has made.
        """
        white, folds, found = (x - self._mean) / self._scale, min(FOLDS, len(x)), []
        products, others = white.T @ white, copy.copy(self)
        for fold in range(folds):
            held = order[fold:MOST_CALIBRATED:folds]
            others._correlate((products - white[held].T @ white[held]) / (len(x) - len(held)))
            others.centres_ = others._whiten(x[np.delete(order[: self.num_centres], np.s_[fold::folds])])
            found.append(others._log_prob(x[held]))
        return np.concatenate(found)


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@tf.function(input_signature=[tf.TensorSpec(shape, tf.float64) for shape in ([None, None], [None, None], [])])
def _energies(x, centres, width):
    return GaussianKernels(centres, width)(x)

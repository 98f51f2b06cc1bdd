"""Terms that an energy has beside its network: a soft wall, and the Gaussian that the network tilts. And kernels, which
are an energy by themselves.

    E(x) = s f(x) + c Σ max(|x| − b, 0)² + (t / 2) (x − μ)ᵀ C⁻¹ (x − μ)
    E(x) = −log 1/M Σ_m N(x; c_m, h² I)

All are plain values: what trains, or is fitted, is a weight of the energy.
"""

import dataclasses
import numbers
from typing import Any

import numpy as np
import tensorflow as tf

from ebm_tf.errors import ConfigError, check_kind
from ebm_tf.mcmc.chain_init import Spectrum
from ebm_tf.mcmc.cosines import cosine_transform

__all__ = ["GaussianKernels", "GaussianReference", "Wall", "squared_mahalanobis"]


@dataclasses.dataclass(frozen=True)
class Wall:
    """c times the sum of max(|x| - b, 0)² over coordinates: exp(-E/T) falls off behind b like a Gaussian of standard
    deviation sqrt(T / (2 c)).

    Args:
      strength: c >= 0, energy per x².
      bound: b >= 0, as far out as noisy data reach.
    """

    strength: float
    bound: float

    def __post_init__(self) -> None:
        for name in ("strength", "bound"):
            check_kind(name, getattr(self, name), numbers.Real, "a number")
        if not 0 <= self.strength < np.inf or not 0 <= self.bound < np.inf:
            raise ConfigError(f"expected strength and bound of a wall, 0 or more. Received: {self}")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Its energy [B] at x [B, *event]."""
        outside = tf.nn.relu(tf.abs(x) - self.bound)
        return self.strength * tf.reduce_sum(tf.square(outside), axis=list(range(1, x.shape.rank)))


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianReference:
    """t / 2 times the squared Mahalanobis distance of x from a Gaussian. With t = T the network tilts that Gaussian, as
    it does N(0, s² I) in Xie et al. (2016).

    Args:
      temperature: t > 0, energy.
      mean: [*event]. None: ebm_tf.Trainer takes mean and covariance from its data.
      covariance: [D, D] of vectors.
      factor: in its place, a lower triangular A with covariance A Aᵀ, [D, D]; of images [H, W, C, C], see
        chain_init.coloured.
      bound: b. The network sees x clipped to [-b, b]: beyond, the Gaussian is alone. None: x as it is.

    Raises:
      ConfigError: t is not above 0; mean without one of covariance and factor, or a matrix that is no covariance.
    """

    temperature: float
    mean: Any = None
    covariance: Any = None
    factor: Any = None
    bound: float | None = None

    def __post_init__(self) -> None:
        check_kind("temperature", self.temperature, numbers.Real, "a number")
        if not 0 < self.temperature < np.inf:
            raise ConfigError(f"expected temperature above 0. Received: temperature={self.temperature}")
        given = [value is not None for value in (self.mean, self.covariance, self.factor)]
        if given not in ([False] * 3, [True, True, False], [True, False, True]):
            raise ConfigError("expected mean with covariance or with factor, or none of the three. Received: others")
        if self.bound is not None:
            check_kind("bound", self.bound, numbers.Real, "a number, or None")
            if not 0 < self.bound < np.inf:
                raise ConfigError(f"expected bound above 0. Received: bound={self.bound}")
        if self.covariance is not None:
            object.__setattr__(self, "factor", _root(self.covariance))
        if any(value is not None and not np.all(np.isfinite(value)) for value in (self.mean, self.factor)):
            raise ConfigError("expected finite mean and factor. Received: others")
        if self.factor is not None and np.ndim(self.factor) not in (2, 4):
            expected = "expected a factor [D, D], of images [H, W, C, C]"
            raise ConfigError(f"{expected}. Received: shape={np.shape(self.factor)}")
        if self.factor is not None and np.any(np.diagonal(self.factor, axis1=-2, axis2=-1) <= 0):
            raise ConfigError("expected a factor with a diagonal above 0. Received: one of 0 or below")
        if self.factor is not None and np.any(np.triu(self.factor, 1)):
            raise ConfigError("expected a lower triangular factor. Received: numbers above its diagonal")

    @property
    def data_noise(self) -> float:
        """Noise of a run's images, which the bound spares but for 0.1 %; 0 without a bound."""
        return 0.0 if self.bound is None else round((self.bound - 1) / 3, 6)

    def __call__(self, x: tf.Tensor, spectrum: Spectrum) -> tf.Tensor:
        """Its energy [B] at x [B, *event], from (mean, factor) as the energy's weights hold them."""
        return 0.5 * self.temperature * squared_mahalanobis(x, *spectrum)


def _root(covariance: Any) -> np.ndarray:
    """The lower triangular A with A Aᵀ a covariance [D, D]."""
    try:
        matrix = np.asarray(covariance, np.float64)
        root = np.linalg.cholesky(matrix)  # reads the lower triangle alone
        if not np.allclose(matrix, np.swapaxes(matrix, -1, -2), rtol=1e-4, atol=1e-6 * np.max(np.abs(matrix))):
            raise np.linalg.LinAlgError("not symmetric, or not finite")
    except np.linalg.LinAlgError as error:
        expected = "expected a covariance [D, D], symmetric and positive definite"
        raise ConfigError(f"{expected}. Received: shape={np.shape(covariance)}, {error}") from error
    return root


def squared_mahalanobis(x: tf.Tensor, mean: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """[B], the squared Mahalanobis distance of x [B, D] or [B, H, W, C] from the Gaussian of chain_init.coloured, whose
    factor is lower triangular.
    """
    mean, factor = tf.cast(mean, x.dtype), tf.cast(factor, x.dtype)
    if len(mean.shape) == 1:
        white = tf.linalg.triangular_solve(factor, tf.transpose(x - mean))
        return tf.reduce_sum(tf.square(white), axis=0)
    coefficients = tf.unstack(cosine_transform(x - mean), axis=-1)
    known: list[tf.Tensor] = []  # forward substitution
    for i, rest in enumerate(coefficients):
        parts = [factor[:, :, i, j] * value for j, value in enumerate(known)]
        known.append((rest - tf.add_n(parts) if parts else rest) / factor[:, :, i, i])
    return tf.add_n([tf.reduce_sum(tf.square(value), axis=[1, 2]) for value in known])


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianKernels:
    """Minus the log density of a kernel density estimate, in nats: at T = 1 the density is normalised.

    Args:
      centres: c [M, D].
      width: h > 0, the standard deviation of every kernel.
    """

    centres: Any
    width: float

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Its energy [B] at x [B, D], by M numbers a row."""
        centres, width = tf.cast(self.centres, x.dtype), tf.cast(self.width, x.dtype)
        squares = tf.reduce_sum(tf.square(x), axis=1, keepdims=True) + tf.reduce_sum(tf.square(centres), axis=1)
        squares = tf.nn.relu(squares - 2 * tf.matmul(x, centres, transpose_b=True))
        count, columns = tf.unstack(tf.cast(tf.shape(centres), x.dtype))
        constant = tf.math.log(count) + columns * (tf.math.log(width) + 0.5 * np.log(2 * np.pi))
        return constant - tf.reduce_logsumexp(squares / (-2 * tf.square(width)), axis=1)

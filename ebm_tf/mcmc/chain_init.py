"""Where chains start (Sec. 3). Data starts are the batch itself; the bank is in sample_bank."""

import tensorflow as tf

from ebm_tf.cosines import inverse_cosine_transform

__all__ = ["Spectrum", "coloured", "noise", "refresh"]

# (mean [S, S, C], factor [S, S, C, C]): see coloured.
Spectrum = tuple[tf.Tensor, tf.Tensor]


def noise(shape: tf.Tensor | tuple[int, ...], seed: tf.Tensor, spectrum: Spectrum | None = None) -> tf.Tensor:
    """Starts from noise.

    Law: N(0, I) or, with a spectrum, the Gaussian of images with that mean whose cosine coefficients (orthonormal
      DCT-II) are independent between frequencies. Independent over chains.
    Limits: without a spectrum none of the data enters. With mean 0 and factor I it is N(0, I).

    Args:
      shape: [B, *event].
      seed: int32 [2].
      spectrum: for images; see coloured.

    Returns:
      float32 [B, *event].

    Source: line 13 of Algorithm 1; with a spectrum docs/cifar_recipe.md.
    """
    white = tf.random.stateless_normal(shape, seed, alg="philox")
    return white if spectrum is None else coloured(white, spectrum)


def coloured(white: tf.Tensor, spectrum: Spectrum) -> tf.Tensor:
    """Images with a spectrum from white noise: linear but for the mean.

    Args:
      white: cosine coefficients [B, S, S, C], N(0, I) for noise.
      spectrum: mean [S, S, C] of the images and, at every frequency, a square root A [C, C] of the covariance A Aᵀ of
        the coefficients of the C channels.

    Returns:
      float32 [B, S, S, C].
    """
    mean, factor = spectrum
    white = tf.ensure_shape(white, [None, *mean.shape])
    return mean + inverse_cosine_transform(tf.einsum("klij,bklj->bkli", factor, white))


def refresh(
    x_bank: tf.Tensor, refresh_prob: float, unit: str, seed: tf.Tensor, spectrum: Spectrum | None = None
) -> tf.Tensor:
    """Restarts a share of persistent chains from noise.

    Law: with probability refresh_prob a unit (the whole batch, or each chain by itself) is replaced by `noise`.
    Limits: refresh_prob = 0 is plain persistence; 1 is noise initialisation.

    Args:
      x_bank: [B, *event], drawn from the bank.
      refresh_prob: probability. Paper: 0.05 (Sec. 3).
      unit: "batch" (Methods: 5 % of iterations) or "chain" (Results: 5 % of chains).
      seed: int32 [2].
      spectrum: see coloured.

    Returns:
      float32 [B, *event].

    Raises:
      ValueError: unit is neither.
    """
    if unit not in ("batch", "chain"):
        raise ValueError(f"expected unit batch or chain (Sec. 3). Received: unit={unit}")
    seeds = tf.random.split(seed, 2)
    count = 1 if unit == "batch" else tf.shape(x_bank)[0]
    restarted = tf.random.stateless_uniform([count], seeds[0], alg="philox") < refresh_prob
    restarted = tf.reshape(restarted, [-1] + [1] * (x_bank.shape.rank - 1))
    return tf.where(restarted, noise(tf.shape(x_bank), seeds[1], spectrum), x_bank)

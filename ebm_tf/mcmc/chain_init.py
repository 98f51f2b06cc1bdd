"""Where chains start (Sec. 3). Data starts are the batch itself; the bank is in sample_bank."""

import tensorflow as tf

from ebm_tf.mcmc.cosines import inverse_cosine_transform

__all__ = ["Spectrum", "by_chain", "coloured", "noise", "refresh", "restart"]

# (mean [H, W, C], factor [H, W, C, C]) of images, (mean [D], factor [D, D]) of vectors: see coloured.
Spectrum = tuple[tf.Tensor, tf.Tensor]


def noise(shape: tf.Tensor | tuple[int, ...], seed: tf.Tensor, spectrum: Spectrum | None = None) -> tf.Tensor:
    """Starts from noise.

    Law: N(0, I) or, with a spectrum, a Gaussian with that mean: of vectors that of covariance A Aᵀ, of images that
      whose cosine coefficients (orthonormal DCT-II) are independent between frequencies. Independent over chains.
    Limits: without a spectrum none of the data enters. With mean 0 and factor I it is N(0, I).

    Args:
      shape: [B, *event].
      seed: int32 [2].
      spectrum: see coloured.

    Returns:
      float32 [B, *event].

    Source: line 13 of Algorithm 1; with a spectrum docs/log/cifar.md.
    """
    white = tf.random.stateless_normal(shape, seed, alg="philox")
    return white if spectrum is None else coloured(white, spectrum)


def coloured(white: tf.Tensor, spectrum: Spectrum) -> tf.Tensor:
    """Images or vectors of a Gaussian from white noise: linear but for the mean.

    Args:
      white: N(0, I) for noise: vectors [B, D], or cosine coefficients [B, H, W, C] of images.
      spectrum: mean [D] and a square root A [D, D] of the covariance A Aᵀ; or mean [H, W, C] of the images and, at
        every frequency, a square root A [C, C] of the covariance A Aᵀ of the coefficients of the C channels.

    Returns:
      float32, as white.
    """
    mean, factor = spectrum
    white = tf.ensure_shape(white, [None, *mean.shape])
    if len(mean.shape) == 1:
        return mean + tf.linalg.matmul(white, factor, transpose_b=True)
    return mean + inverse_cosine_transform(tf.einsum("klij,bklj->bkli", factor, white))


def refresh(
    x_bank: tf.Tensor, refresh_prob: float, unit: str, seed: tf.Tensor, spectrum: Spectrum | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
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
      (x float32 [B, *event], whether each chain was restarted bool [B]).

    Raises:
      ValueError: unit is neither.
    """
    if unit not in ("batch", "chain"):
        raise ValueError(f"expected unit batch or chain (Sec. 3). Received: unit={unit}")
    seeds = tf.random.split(seed, 2)
    batch_size = tf.shape(x_bank)[0]
    count = 1 if unit == "batch" else batch_size
    restarted = tf.random.stateless_uniform([count], seeds[0], alg="philox") < refresh_prob
    x = tf.where(by_chain(restarted, x_bank), noise(tf.shape(x_bank), seeds[1], spectrum), x_bank)
    return x, tf.broadcast_to(restarted, [batch_size])


def restart(
    x_bank: tf.Tensor,
    x_data: tf.Tensor,
    data_prob: float,
    noise_prob: float,
    seed: tf.Tensor,
    spectrum: Spectrum | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Restarts a share of old chains at data, and another at noise.

    Law: chain n starts anew at x^(n) with probability data_prob, at `noise` with probability noise_prob, and goes on
      otherwise; independent over chains.
    Limits: both 0 is plain persistence. (1, 0) is contrastive divergence, (0, 1) noise initialisation.

    Args:
      x_bank: [B, *event], drawn from the bank.
      x_data: [B, *event], this batch's data.
      data_prob: probability.
      noise_prob: probability; at most 1 - data_prob.
      seed: int32 [2].
      spectrum: see coloured.

    Returns:
      (x float32 [B, *event], whether each chain was restarted bool [B]).

    Source: not in the paper; docs/log/cifar.md, "Old negatives".
    """
    seeds = tf.random.split(seed, 2)
    share = tf.random.stateless_uniform([tf.shape(x_bank)[0]], seeds[0], alg="philox")
    at_data, at_new = share < data_prob, share < data_prob + noise_prob
    x = tf.where(by_chain(at_new, x_bank), noise(tf.shape(x_bank), seeds[1], spectrum), x_bank)
    return tf.where(by_chain(at_data, x_bank), x_data, x), at_new


def by_chain(values: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """values [B] or [1] in a shape that broadcasts to x [B, *event]."""
    return tf.reshape(values, [-1] + [1] * (x.shape.rank - 1))

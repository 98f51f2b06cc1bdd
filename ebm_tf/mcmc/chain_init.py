"""Where chains start (Sec. 3). Data starts are the batch itself; the bank is in sample_bank."""

import tensorflow as tf

__all__ = ["noise", "refresh"]


def noise(shape: tf.Tensor | tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """Starts from noise.

    Law: N(0, I), independent over chains.
    Limits: none of the data enters.

    Args:
      shape: [B, *event].
      seed: int32 [2].

    Returns:
      float32 [B, *event].

    Source: line 13 of Algorithm 1.
    """
    return tf.random.stateless_normal(shape, seed, alg="philox")


def refresh(x_bank: tf.Tensor, refresh_prob: float, unit: str, seed: tf.Tensor) -> tf.Tensor:
    """Restarts a share of persistent chains from noise.

    Law: with probability refresh_prob a unit (the whole batch, or each chain by itself) is replaced by N(0, I).
    Limits: refresh_prob = 0 is plain persistence; 1 is noise initialisation.

    Args:
      x_bank: [B, *event], drawn from the bank.
      refresh_prob: probability. Paper: 0.05 (Sec. 3).
      unit: "batch" (Methods: 5 % of iterations) or "chain" (Results: 5 % of chains).
      seed: int32 [2].

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
    return tf.where(restarted, noise(tf.shape(x_bank), seeds[1]), x_bank)

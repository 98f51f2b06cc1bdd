"""Jumps between far modes: proposals at the data, accepted by Metropolis' rule.

    q(x) = 1/M Σ_m N(x; c_m, σ² I),    x' ~ q,    x ← x' with probability min(1, p(x') q(x) / (p(x) q(x'))),

p ∝ exp(−E/T). Langevin steps hardly ever cross from one mode to another whose depths they would have to compare; this
does it in one. In few dimensions q is close to p, and most jumps are accepted. In many they hardly ever are: the ends
of chains lie far from every single c_m, and then it changes nothing.
"""

import tensorflow as tf

from ebm_tf.mcmc.chain_init import by_chain
from ebm_tf.mcmc.langevin import EnergyFn

__all__ = ["jump"]


def jump(
    energy_fn: EnergyFn, x: tf.Tensor, centres: tf.Tensor, width: float, temperature: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """One proposal for each chain.

    Law: keeps exp(−E/T) whatever the centres; chains are independent.
    Limits: T = 0 is not allowed. Where E/T = −log q every jump is accepted.

    Args:
      energy_fn: [B, *event] -> [B].
      x: float32 [B, *event].
      centres: c_m, float32 [M, *event].
      width: σ > 0, in x.
      temperature: T, float32 [], energy.
      seed: int32 [2].

    Returns:
      (x [B, *event], whether each chain has jumped bool [B]).

    Source: not in the paper; the independence sampler of Tierney (1994). docs/own_data.md has what it was measured at.
    """
    seeds = tf.random.split(seed, 3)
    count = tf.shape(x)[0]
    chosen = tf.random.stateless_uniform([count], seeds[0], 0, len(centres), tf.int32, alg="philox")
    proposed = tf.gather(centres, chosen) + width * tf.random.stateless_normal(tf.shape(x), seeds[1], alg="philox")
    both = tf.concat([x, proposed], axis=0)
    log_ratio = -tf.cast(energy_fn(both), tf.float32) / temperature - _log_kernels(both, centres, width)
    before, after = tf.split(log_ratio, 2)
    u = tf.random.stateless_uniform([count], seeds[2], alg="philox")
    has_jumped = tf.math.log(u) < after - before
    return tf.where(by_chain(has_jumped, x), proposed, x), has_jumped


def _log_kernels(x, centres, width):
    """log q [B], but for a constant."""
    size = centres.shape[1:].num_elements()
    # Squares that all but cancel; a GPU would take float32's product by TF32, and be off by a part of a nat.
    x, centres = (tf.cast(tf.reshape(one, [-1, size]), tf.float64) for one in (x, centres))
    products = tf.matmul(x, centres, transpose_b=True)
    squares = tf.reduce_sum(tf.square(x), axis=1)[:, None] + tf.reduce_sum(tf.square(centres), axis=1) - 2 * products
    return tf.reduce_logsumexp(tf.cast(squares / (-2 * width**2), tf.float32), axis=1)

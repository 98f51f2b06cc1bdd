"""Streams of random numbers: one per purpose, block of chains and step."""

import tensorflow as tf

__all__ = ["block_seed"]

# What the random numbers of a block are for.
NOISE_STARTS, DATA_STARTS, CHAINS = 5, 6, 7


def block_seed(seed: int | tf.Tensor, purpose: int, block: int, step: int = 0) -> tf.Tensor:
    """int32 [2], a function of its arguments: random numbers of one block (from one step on), for one purpose."""
    folded = tf.random.experimental.stateless_fold_in(tf.convert_to_tensor([seed, purpose], tf.int32), block)
    return tf.random.experimental.stateless_fold_in(folded, step)

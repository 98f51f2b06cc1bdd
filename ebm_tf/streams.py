"""Streams of random numbers: what each is for, and its seed."""

import enum

import tensorflow as tf

__all__ = ["Stream", "block_seed", "stream"]


class Stream(enum.IntEnum):
    """What random numbers are for. A number stays: runs resume and repeat by it. Training has chains of its own, of
    TrainConfig.chain_seed."""

    BANK = 1  # the first states of training's bank
    TRAINERS_SAMPLES = 2
    ORDER = 3  # of examples, every epoch
    DATA_NOISE = 4
    NOISE_STARTS = 5
    DATA_STARTS = 6
    CHAINS = 7
    MALA = 20
    BURN_IN = 22  # of diagnostics
    RECORDS = 23
    POINTS = 30  # of likelihood
    AIS_STARTS = 31
    PILOT = 32
    FORWARD = 33
    REVERSE = 34
    VALIDATION = 5  # training has no use for the two whose numbers these are
    HELD_OUT_RINGS = 6


def stream(seed: int | tf.Tensor, purpose: Stream, index: tf.Tensor | int) -> tf.Tensor:
    """int32 [2], a function of its arguments: random numbers of one batch, epoch or block, for one purpose."""
    start = tf.convert_to_tensor([seed, int(purpose)], tf.int32)
    return tf.random.experimental.stateless_fold_in(start, tf.cast(index, tf.int32))


def block_seed(seed: int | tf.Tensor, purpose: Stream, block: int, step: int = 0) -> tf.Tensor:
    """int32 [2], a function of its arguments: random numbers of one block (from one step on), for one purpose."""
    return tf.random.experimental.stateless_fold_in(stream(seed, purpose, block), step)

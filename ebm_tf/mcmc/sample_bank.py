"""The bank of persistent chains (Sec. 3): draw a batch, run it, write it back to the same slots."""

from typing import NamedTuple

import tensorflow as tf

from ebm_tf.mcmc import chain_init

__all__ = ["Drawn", "SampleBank"]


class Drawn(NamedTuple):
    """Chains drawn from a bank.

    Attributes:
      indices: int32 [B], their slots.
      x: float32 [B, *event], their states.
      ages: float32 [B], the Langevin steps that each has run since it started.
    """

    indices: tf.Tensor
    x: tf.Tensor
    ages: tf.Tensor


class SampleBank(tf.Module):
    """Final states of `size` chains, and their ages, kept between updates.

    Law: starts as `chain_init.noise` in every slot, unless x_init is given. A draw is uniform over sets of distinct
      slots.
    Limits: a batch as large as the bank draws every slot once.

    Attributes:
      samples: variable [size, *event], of dtype.
      ages: float32 variable [size], Langevin steps since a chain's start.

    Args:
      size: number of chains. Paper: 60,000 (Sec. 3).
      event_shape: shape of one x.
      seed: int32 [2], of the noise.
      dtype: in which states are kept: float32, or float16, which rounds each state as it is written.
      spectrum: of the noise; see `chain_init.coloured`.
      x_init: [size, *event], where the chains start. None: at noise.
    """

    def __init__(
        self,
        size: int,
        event_shape: tuple[int, ...],
        seed: tf.Tensor,
        dtype: str = "float32",
        spectrum: chain_init.Spectrum | None = None,
        x_init: tf.Tensor | None = None,
    ):
        super().__init__(name="sample_bank")
        if x_init is None:
            x_init = chain_init.noise((size, *event_shape), seed, spectrum)
        self.samples = tf.Variable(tf.cast(x_init, dtype), trainable=False, name="samples")
        self.ages = tf.Variable(tf.zeros([size]), trainable=False, name="ages")

    def draw(self, batch_size: int, seed: tf.Tensor) -> Drawn:
        """Draws the chains of distinct slots."""
        # The slots of the largest of random keys: XLA compiles this, and not tf.random's shuffle.
        keys = tf.random.stateless_uniform(self.ages.shape, seed, 0, tf.int32.max, tf.int32, alg="philox")
        indices = tf.math.top_k(keys, batch_size).indices
        return Drawn(indices, tf.cast(tf.gather(self.samples, indices), tf.float32), tf.gather(self.ages, indices))

    def write(self, drawn: Drawn) -> None:
        """Writes states and ages into the slots that they were drawn from."""
        self.samples.scatter_update(tf.IndexedSlices(tf.cast(drawn.x, self.samples.dtype), drawn.indices))
        self.ages.scatter_update(tf.IndexedSlices(drawn.ages, drawn.indices))

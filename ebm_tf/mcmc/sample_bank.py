"""The bank of persistent chains (Sec. 3): draw a batch, run it, write it back to the same slots."""

import tensorflow as tf

from ebm_tf.mcmc import chain_init

__all__ = ["SampleBank"]


class SampleBank(tf.Module):
    """Final states of `size` chains, kept between updates.

    Law: starts as `chain_init.noise` in every slot. A draw is uniform over sets of distinct slots.
    Limits: a batch as large as the bank draws every slot once.

    Args:
      size: number of chains. Paper: 60,000 (Sec. 3).
      event_shape: shape of one x.
      seed: int32 [2], of the noise.
      dtype: in which states are kept: float32, or float16, which rounds each state as it is written.
      spectrum: of the noise; see `chain_init.coloured`.
    """

    def __init__(
        self,
        size: int,
        event_shape: tuple[int, ...],
        seed: tf.Tensor,
        dtype: str = "float32",
        spectrum: chain_init.Spectrum | None = None,
    ):
        super().__init__(name="sample_bank")
        noise = tf.cast(chain_init.noise((size, *event_shape), seed, spectrum), dtype)
        self.samples = tf.Variable(noise, trainable=False, name="samples")

    def draw(self, batch_size: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws distinct slots. Returns (indices int32 [B], states float32 [B, *event])."""
        slots = tf.random.experimental.stateless_shuffle(tf.range(self.samples.shape[0]), seed, alg="philox")
        indices = slots[:batch_size]
        return indices, tf.cast(tf.gather(self.samples, indices), tf.float32)

    def write(self, indices: tf.Tensor, x: tf.Tensor) -> None:
        """Writes states x [B, *event] into the slots they were drawn from."""
        self.samples.scatter_update(tf.IndexedSlices(tf.cast(x, self.samples.dtype), indices))

"""The paper's adaptive step size, ε = 0.0005 / ‖E(x)‖ (Sec. 3), in a reading that does not run away."""

import tensorflow as tf

__all__ = ["adaptive_step_size"]


def adaptive_step_size(energies: tf.Tensor, largest: tf.Tensor) -> tf.Tensor:
    """min(largest, 0.0005 / standard deviation of the batch's energies).

    An energy is defined up to a constant, so a norm of E(x) itself says nothing: it grows with the constant until the
    chains stand still. The standard deviation over the batch does not see the constant.

    Limits: equal energies give `largest`.

    Args:
      energies: [B], E(x) of the data batch.
      largest: [], the largest step size.

    Returns:
      [], the step size ε.

    Source: Sec. 3, "Synthetic dataset"; docs/paper_notes.md.
    """
    spread = tf.math.reduce_std(tf.cast(energies, tf.float32))
    return tf.minimum(tf.cast(largest, tf.float32), 0.0005 / tf.maximum(spread, 1e-30))

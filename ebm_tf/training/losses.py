"""The computational loss and its components (Eqs. 5-7, Sec. 4.2.3).

    d = ⟨E(x)⟩ − ⟨E(x̂)⟩                                                                        (Eq. 7)

d is not a loss that falls: it is the gradient with respect to the energy's scale, and oscillates around 0 (App. A.3).
"""

import tensorflow as tf

__all__ = ["energy_difference"]


def energy_difference(energy_data: tf.Tensor, energy_final: tf.Tensor) -> dict[str, tf.Tensor]:
    """One component's energy difference with its spread over the batch, sample n paired with chain n.

    Args:
      energy_data: [B], E(x^(n)).
      energy_final: [B], E(x̂^(n)) at the end of chain n.

    Returns:
      energy_difference: [], the mean d; std: [], the standard deviation over the batch; snr: [], their ratio d / std
      (0 where both are 0).

    Source: Eq. 7; Fig. 6.
    """
    differences = energy_data - energy_final
    mean, std = tf.reduce_mean(differences), tf.math.reduce_std(differences)
    return {"energy_difference": mean, "std": std, "snr": tf.math.divide_no_nan(mean, std)}

"""The computational loss and its components (Eqs. 5-7, Sec. 4.2.3).

    d = ⟨E(x)⟩ − ⟨E(x̂)⟩                                                                        (Eq. 7)

d is not a loss that falls: it is the gradient with respect to the energy's scale, and oscillates around 0 (App. A.3).
"""

import keras
import numpy as np
import tensorflow as tf

from ebm_tf.data.base import Dataset
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.mcmc.langevin import EnergyFn, energy_and_grad
from ebm_tf.streams import Stream

__all__ = ["HeldOut", "energy_difference", "held_out_loss", "scalars", "zero_share"]


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


def held_out_loss(
    energy_fn: EnergyFn, x: tf.Tensor, z: tf.Tensor, noise: tf.Tensor, temperature: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """How well ∂E/∂x tells the noise that was added to x: ½ |σ ∂E/∂x(x + σ z) / T − z|² per coordinate.

    Its mean over held-out x is smallest where exp(−E/T) is the density of x + σ z (denoising score matching). It knows
    nothing of the constant in E, and needs no chains. It does not see how mass is shared between far modes.

    Limits: a flat energy has ½.

    Args:
      energy_fn: [B, *event] -> [B].
      x: [B, *event].
      z: [B, *event], N(0, I).
      noise: σ > 0, [].
      temperature: T > 0, [].

    Returns:
      (loss [B], energies at x + σ z [B]).

    Source: Vincent (2011), Eq. 11, times σ² / D.
    """
    energy, grad = energy_and_grad(energy_fn, x + noise * z)
    return 0.5 * tf.reduce_mean(tf.square(noise * grad / temperature - z), axis=list(range(1, x.shape.rank))), energy


class HeldOut:
    """What held-out data say of an energy, as Keras' metrics.

    Attributes:
      means: of loss (held_out_loss; not with T = 0), of energy, and of energy_difference: how far the held-out energies
        lie above those of as many training examples, which grows where the energy knows its examples by heart.

    Args:
      energy_fn: [B, *event] -> [B].
      data_noise: of training. 0: NOISE stands in its place.
      temperature: T.
    """

    MOST = 1_000
    NOISE = 0.1  # of a whitened coordinate, or a tenth of the way from grey to white

    def __init__(self, energy_fn: EnergyFn, data_noise: float, temperature: float):
        self._energy_fn, self._noise, self._temperature = energy_fn, data_noise or self.NOISE, temperature
        names = ("loss", "energy", "energy_difference") if temperature > 0 else ("energy", "energy_difference")
        self.means = [keras.metrics.Mean(name) for name in names]
        for mean in self.means:
            mean._direction = "down"  # so that callbacks know what is better

    def batches(self, data: Dataset, validation: np.ndarray | bool, seed: int) -> tf.data.Dataset | None:
        """(held-out x, their noise z, training examples), as many of each, [B, *event]. None: there are to be none.

        Args:
          data: the training's.
          validation: held-out examples, [N, *event]. True: the data's, at most MOST. False: none.
          seed: of the noise.

        Raises:
          ConfigError: the data hold none out.
        """
        if validation is False:
            return None
        found = () if isinstance(validation, tuple) else np.shape(validation)  # (x, y) as Keras takes it has no shape
        if validation is not True and (found[1:] != data.event_shape or 0 in found):
            shape = ", ".join(map(str, data.event_shape))
            received = list(found) if found else type(validation).__name__
            raise ConfigError(f"expected validation, examples [N, {shape}], True or False. Received: {received}")
        try:
            x = data.held_out(most=self.MOST) if validation is True else np.asarray(validation, np.float32)
        except ConfigError as error:
            raise ConfigError(f"{one_line(error)}. To train without: fit(validation=False)") from error
        x_train = np.concatenate([x[:0], *data.examples(most=len(x))]) if len(x) else x
        if not (count := min(len(x), len(x_train))):
            return None
        z = tf.random.stateless_normal([count, *x.shape[1:]], [seed, int(Stream.VALIDATION)], alg="philox")
        return tf.data.Dataset.from_tensor_slices((x[:count], z, x_train[:count])).batch(256)

    def update(self, x: tf.Tensor, z: tf.Tensor, x_train: tf.Tensor) -> dict[str, tf.Tensor]:
        """The means so far."""
        noise, temperature = tf.constant(self._noise), tf.constant(self._temperature)
        losses, energies = held_out_loss(self._energy_fn, x, z, noise, temperature)
        values = {"loss": losses, "energy": energies}
        values["energy_difference"] = energies - self._energy_fn(x_train + noise * z)
        for mean in self.means:
            mean.update_state(values[mean.name])
        return {mean.name: mean.result() for mean in self.means}


def zero_share(gradient):
    """Share of a gradient's numbers that are 0: what float16 cannot hold."""
    zeros = tf.add_n([tf.reduce_sum(tf.cast(value == 0.0, tf.float32)) for value in gradient])
    return zeros / sum(value.shape.num_elements() for value in gradient)


def scalars(names, weights, result):
    """The scalars of one update: Fig. 6's components and what tells a healthy run from a sick one."""
    found = {"energy/data": tf.reduce_mean(result.energy_data)}
    total = tf.zeros_like(result.energy_data)
    for name, weight, energy_final in zip(names, weights, result.energy_final, strict=True):
        component = energy_difference(result.energy_data, energy_final)
        found |= {f"{name}/{key}": value for key, value in component.items()}
        found[f"energy/{name}"] = tf.reduce_mean(energy_final)
        total += weight * (result.energy_data - energy_final)
    found |= {f"total/{key}": value for key, value in energy_difference(total, tf.zeros_like(total)).items()}
    return found | {
        "loss": found["total/energy_difference"],
        "energy_grad_norm": result.info.energy_grad_norm,
        "gradient_norm": result.gradient_norm,
        "max_abs": result.info.max_abs,
    }

"""The energy model: E(x, θ), with p(x) ∝ exp(−E(x, θ) / T)."""

from collections.abc import Callable

import keras
import tensorflow as tf

__all__ = ["EnergyModel"]


class EnergyModel(keras.Model):
    """A network that gives one energy per x.

    Subclasses build `self.network`, [B, *event] -> [B, 1], in __init__ and set `event_shape`.

    Attributes:
      noise_spectrum: of the noise that chains start from, see chain_init.coloured. None: N(0, I).
      preconditioner: P^{1/2} of its chains' Langevin steps, see mcmc/preconditioner.py. None: I.

    Args:
      energy_scale: the energy is energy_scale times the network's output. With energy_scale = T the network gives
        E/T, the log density's own unit (App. A.4).

    Returns (call):
      energy, float32 [B] whatever the dtype policy.

    Raises:
      ValueError: x is not [B, *event].
    """

    event_shape: tuple[int, ...]
    network: keras.Model
    noise_spectrum: tuple[tf.Variable, tf.Variable] | None = None
    preconditioner: tf.Variable | None = None

    def __init__(self, energy_scale: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.energy_scale = energy_scale
        self.autocast = False  # the network rounds x to its own dtype; from_output takes it as it is

    @property
    def compute_dtype(self):
        """Of what surrounds the network, whose own is dtype_policy.compute_dtype: Keras rounds no weight in a call."""
        return self.variable_dtype

    def call(self, x, training=False):
        if tuple(x.shape[1:]) != self.event_shape:
            raise ValueError(f"expected x of shape [B, {', '.join(map(str, self.event_shape))}]. Received: {x.shape}")
        return self.prepare()(x)

    def prepare(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """The energy at the weights of now, x [B, *event] -> float32 [B].

        What does not depend on x is done here, once: call it outside the loop over a chain's steps. Nothing in the
        network depends on Keras' training flag.
        """
        return self.by_layers

    def by_layers(self, x: tf.Tensor) -> tf.Tensor:
        """The energy, float32 [B], of x [B, *event] by the layers themselves, wherever it runs: what exports hold.

        Raises:
          ValueError: the policy is float16's. Between layers nothing keeps small gradients from becoming 0.
        """
        if self.dtype_policy.compute_dtype == "float16":
            raise ValueError(f"expected the policy float32 or mixed_bfloat16. Received: {self.dtype_policy.name}")
        output = tf.squeeze(self.network(self.to_input(x), training=False), axis=-1)
        return self.from_output(tf.cast(output, tf.float32), x)

    def to_input(self, x: tf.Tensor) -> tf.Tensor:
        """What the network sees of x [B, *event]."""
        return x

    def from_output(self, output: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """The energy [B] from the network's output [B] at x [B, *event], in their dtype."""
        return self.energy_scale * output

    def energy_and_grad(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (energy [B], energy_grad dE/dx [B, *event]) at x [B, *event]."""
        x = tf.convert_to_tensor(x)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            energy = self(x, training=False)
        return energy, tape.gradient(energy, x)

    def get_config(self):
        return {**super().get_config(), "energy_scale": self.energy_scale}

"""Four-layer ConvNet for the rings of App. A.1: 1x1 convolutions on a 10-vector, which are dense layers."""

import math

import keras

from ebm_tf.energies.base import EnergyModel

__all__ = ["RingsNet"]

# Inputs are multiplied by the reciprocals of A.1's noise widths, so that every coordinate's detail has size 1.
INPUT_SCALE = (10.0, 10.0, 10.0) + (100.0,) * 7


@keras.saving.register_keras_serializable(package="ebm_tf")
class RingsNet(EnergyModel):
    """E(x) for x in R^10: widths num_filters, 2x, 2x, 1, SiLU between them.

    Args:
      num_filters: width of the first layer.
      energy_scale: see EnergyModel.

    Source: Sec. 3, "four-layer ConvNet"; widths, activation and input scale are ours (docs/log/rings.md).
    """

    event_shape = (10,)

    def __init__(self, num_filters: int = 64, energy_scale: float = 1.0, **kwargs):
        super().__init__(energy_scale=energy_scale, **kwargs)
        self.num_filters = num_filters
        policy = self.dtype_policy  # of the layers too, so that a model loaded from a file keeps it
        layers = [keras.Input(self.event_shape), keras.layers.Rescaling(INPUT_SCALE, dtype=policy)]
        fan_in = self.event_shape[0]
        for width in (num_filters, 2 * num_filters, 2 * num_filters):
            bound = 1.0 / math.sqrt(fan_in)
            biases = keras.initializers.RandomUniform(-bound, bound)
            layers.append(keras.layers.Dense(width, "silu", bias_initializer=biases, dtype=policy))
            fan_in = width
        self._hold(keras.Sequential([*layers, keras.layers.Dense(1, dtype=policy)], name="network"))

    def get_config(self):
        return {**super().get_config(), "num_filters": self.num_filters}

"""Statistics of one energy gradient: numbers by which an input is told to be typical of the data, or not to be.

A density says how likely an x is, and smooth images are likelier than data (Nalisnick et al. 2019). Typical is an x
whose numbers lie where those of data lie, on both sides. They come from one pass forward and one back. With
E = s f + rest, rest = reference + wall, h the state after a layer of f and d = ∂(s f)/∂h the signal that comes back:

    energy, network, rest                    E(x), s f(x) and rest(x); cosine of the gradients of the last two
    energy_grad, network_grad, rest_grad     of g, each one's gradient: |g|², the largest |g|, x·g; of images also the
                                             power of g by bands of frequency, see `_bands`, and variance, extremes and
                                             kurtosis of the logarithm of its power over patches of 4x4 pixels
    layer_1, ...                             power, variance and share positive of h, and |d|²; of images variance,
                                             extremes and kurtosis of the logarithm of the power of h over places
    pixels                                   of images, the power of x by bands

An energy without a rest has no network, rest or cosine; one whose network is no Sequential has no layers.
"""

import keras
import numpy as np
import tensorflow as tf

from ebm_tf.energies.base import EnergyModel
from ebm_tf.energies.precision import with_policy
from ebm_tf.mcmc.cosines import cosine_transform

__all__ = ["Statistics", "pixel_statistics"]

NUM_BANDS = 8
PATCH = 4  # pixels
TINY = 1e-30

Named = dict[str, tf.Tensor]  # name -> float32 [B]


class Statistics:
    """The statistics of an energy. A row depends on its x alone, and a call may be traced into a tf.function.

    Attributes:
      energy: the model in float32. A SavedModel has to keep it beside the traced function: it has the weights.
      names: of the K statistics; the first is "energy".

    Args:
      energy: any, whatever its dtype policy.
    """

    def __init__(self, energy: EnergyModel):
        self.energy = with_policy(energy, "float32")
        self._places = _known_layers(self.energy.network)
        self.names = tuple(self._named(tf.zeros([1, *energy.event_shape])))

    def __call__(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (energy float32 [B], statistics float32 [B, K]) of x [B, *event] in the model's range."""
        found = self._named(tf.convert_to_tensor(x, tf.float32))
        return found["energy"], tf.stack(list(found.values()), axis=1)

    def _named(self, x: tf.Tensor) -> Named:
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
            tape.watch(x)
            states, output = self._states(x)
            network = self.energy.energy_scale * output
            rest = self.energy.from_output(tf.zeros_like(output), x)  # the network is gone through once
        network_grad, *signals = tape.gradient(network, [x, *states])
        found = {"energy": network + rest}
        energy_grad = network_grad
        if self.energy.reference or self.energy.wall:
            rest_grad = tape.gradient(rest, x)
            energy_grad = network_grad + rest_grad
            found |= {"network": network, "rest": rest, "cosine": _cosine(network_grad, rest_grad)}
            found |= _of_grad("network_grad", x, network_grad) | _of_grad("rest_grad", x, rest_grad)
        found |= _of_grad("energy_grad", x, energy_grad)
        if x.shape.rank == 4:
            found |= {f"pixels.{name}": value for name, value in pixel_statistics(x).items()}
        for number, (state, signal) in enumerate(zip(states, signals), 1):
            found |= _of_layer(f"layer_{number}", state, signal)
        return found

    def _states(self, x: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """(states after the known layers, the network's output [B])."""
        if not self._places:
            return [], self.energy.output_at(x)
        states, state = [], self.energy.to_input(x)
        for place, layer in enumerate(self.energy.network.layers):
            state = layer(state)
            if place in self._places:
                states.append(state)
        return states, tf.squeeze(state, axis=-1) if len(state.shape) == 2 else state


def pixel_statistics(x: tf.Tensor) -> Named:
    """What can be said without a model, the baseline: of images [B, H, W, C] the power of their pixels by bands, of
    vectors [B, D] their columns.
    """
    if x.shape.rank == 4:
        return _by_band(cosine_transform(x))
    return {f"x_{place}": column for place, column in enumerate(tf.unstack(x, axis=1))}


def _known_layers(network: keras.Model) -> tuple[int, ...]:
    """Places in a Sequential network of the layers with weights, each with the activation behind it; not the last."""
    places: list[int] = []
    if isinstance(network, keras.Sequential):
        for place, layer in enumerate(network.layers):
            if layer.weights:
                places.append(place)
            elif places and places[-1] == place - 1:
                places[-1] = place
    return tuple(places[:-1])


def _of_grad(name: str, x: tf.Tensor, grad: tf.Tensor) -> Named:
    found = {"power": _dot(grad, grad), "largest": _largest(grad), "along_x": _dot(x, grad)}
    if x.shape.rank == 4:
        found |= _by_band(cosine_transform(grad))
        power = tf.reduce_mean(tf.square(grad), axis=-1, keepdims=True)
        found |= _over_places("patches", tf.nn.avg_pool2d(power, PATCH, PATCH, "VALID"))
    return {f"{name}.{key}": value for key, value in found.items()}


def _of_layer(name: str, state: tf.Tensor, signal: tf.Tensor) -> Named:
    axes = list(range(1, state.shape.rank))
    mean, variance = tf.nn.moments(state, axes)
    found = {
        "power": variance + tf.square(mean),
        "variance": variance,
        "positive": tf.reduce_mean(tf.cast(state > 0, tf.float32), axis=axes),
        "signal": _dot(signal, signal),
    }
    if state.shape.rank == 4:
        found |= _over_places("places", tf.reduce_mean(tf.square(state), axis=-1))
    return {f"{name}.{key}": value for key, value in found.items()}


def _by_band(coefficients: tf.Tensor) -> Named:
    """Power of [B, H, W, C] by band, of the mean over channels and of what is left: luminance and chroma."""
    height, width, channels = coefficients.shape[1:]
    bands = tf.constant(_bands(height, width))
    luminance = channels * tf.square(tf.reduce_mean(coefficients, axis=-1))
    parts = {"luminance": luminance}
    if channels > 1:
        parts["chroma"] = tf.reduce_sum(tf.square(coefficients), axis=-1) - luminance
    found: Named = {}
    for name, part in parts.items():
        power = tf.matmul(tf.reshape(part, [-1, height * width]), bands)
        found |= {f"{name}_{band}": power[:, band] for band in range(NUM_BANDS)}
    return found


def _bands(height: int, width: int) -> np.ndarray:
    """float32 [H W, NUM_BANDS] of 0 and 1, the coefficients of the cosine transform in each. In the square root of
    frequency all bands are as wide.
    """
    size = max(height, width)
    frequency = np.hypot(np.arange(height)[:, None] * size / height, np.arange(width) * size / width)
    place = NUM_BANDS * np.sqrt(frequency / (np.sqrt(2) * size))
    return np.eye(NUM_BANDS, dtype=np.float32)[place.astype(int).ravel()]


def _over_places(name: str, power: tf.Tensor) -> Named:
    """Statistics of a power at each place, [B, ...], on a logarithmic scale."""
    values = tf.math.log(tf.reshape(power, [-1, int(np.prod(power.shape[1:]))]) + TINY)
    mean, variance = tf.nn.moments(values, 1, keepdims=True)
    fourth = tf.reduce_mean(tf.square(tf.square(values - mean)), axis=1)
    return {
        f"{name}_variance": variance[:, 0],
        f"{name}_lowest": tf.reduce_min(values, axis=1),
        f"{name}_highest": tf.reduce_max(values, axis=1),
        f"{name}_kurtosis": tf.math.divide_no_nan(fourth, tf.square(variance[:, 0])),
    }


def _dot(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(one * other, axis=list(range(1, one.shape.rank)))


def _largest(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(tf.abs(x), axis=list(range(1, x.shape.rank)))


def _cosine(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(_dot(one, other), tf.sqrt(_dot(one, one) * _dot(other, other)))

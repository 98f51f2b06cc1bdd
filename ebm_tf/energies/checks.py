"""What a network has to be to give an energy. Every refusal is one line."""

import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ebm_tf.errors import ConfigError, check_kind, one_line

__all__ = ["cause_of", "check_network", "check_readable", "with_dtype"]

NUM_DRAWS = 3  # of a random layer in training mode: a dropout of 1 % of 128 numbers shows in each with 72 %
NUM_PROBES = 64  # where an energy whose gradient is 0 at two points is looked at: a unit may be dead at some
FRACTION = 1e-4  # of the size of outputs, as far as float32 may differ between batches of one and of two


def check_readable(net: keras.Model, event_shape: tuple[int, ...]) -> None:
    """Raises ConfigError where Keras could not write a file with the network, or not read the same one back."""
    own = [layer for layer in net._flatten_layers() if not type(layer).__module__.startswith(("keras.", "ebm_tf."))]
    for layer in own:
        cls = type(layer)
        if ">" not in keras.saving.get_registered_name(cls):
            expected = f"expected @keras.saving.register_keras_serializable() on the class {cls.__name__}"
            raise ConfigError(f"{expected}, or its file cannot be read. Received: one that is not registered")
        try:
            layer.get_config()
        except NotImplementedError as error:  # Keras' text is a page
            expected = f"expected the class {cls.__name__} to have get_config(), with what its __init__ takes"
            raise ConfigError(f"{expected}, or its file cannot be written. Received: one without") from error
    if not own:
        return
    names = ", ".join(dict.fromkeys(type(layer).__name__ for layer in own))
    expected = f"expected classes that can be made again, __init__(..., **kwargs) from get_config(): {names}"
    x = tf.random.stateless_normal([2, *event_shape], [6, 7])
    try:
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(net))
        copy(x, training=False)
        copy.set_weights(net.get_weights())
        found, output = (np.asarray(one(x, training=False), np.float64) for one in (copy, net))
    except Exception as error:  # of whatever the user's classes do
        raise ConfigError(f"{expected}. Received: {cause_of(error)}") from error
    if not np.allclose(found, output, FRACTION, max(FRACTION, _rounding(net)) * np.max(np.abs(output)), equal_nan=True):
        raise ConfigError(f"{expected}. Received: a copy with other energies, as where get_config() leaves one out")


def cause_of(error: Exception) -> str:
    """What went wrong, in a line: Keras wraps the errors of a class that it makes anew in a page."""
    return one_line(re.split(r"(?:Exception encountered|Error encountered during deserialization): ", str(error))[-1])


def check_network(net: keras.Model, event_shape: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """The shape of one x of a network that gives energies.

    Args:
      net: any Keras model.
      event_shape: shape of one x. None: as the network says.

    Raises:
      ConfigError: see EnergyModel.from_network.
    """
    check_kind("net", net, keras.Model, "a keras.Model")
    kinds = tuple | list | tf.TensorShape | None
    check_kind("event_shape", event_shape, kinds, "the shape of one x, as (3,) or (32, 32, 3)")
    shape = tuple(event_shape or _event_shape(net))
    if net.dtype_policy.compute_dtype == "float16":
        raise ConfigError(f"expected the policy float32 or mixed_bfloat16. Received: {net.dtype_policy.name}")
    x = tf.random.stateless_normal([2, *shape], [1, 2])
    try:
        symbolic = net(keras.KerasTensor((None, *shape)), training=False)
        output = net(x, training=False)
    except Exception as error:  # of whatever the user's layers do
        expected = f"expected a network that takes x of shape [B, {', '.join(map(str, shape))}]"
        raise ConfigError(f"{expected}. Received: {one_line(error)}") from error
    for found, size in ((symbolic, None), (output, 2)):
        if tuple(getattr(found, "shape", ("?",))) not in ((size,), (size, 1)):
            received = list(found.shape) if hasattr(found, "shape") else type(found).__name__
            raise ConfigError(f"expected one energy per x, [B] or [B, 1]. Received: {net.name} gives {received}")
    _check_layers(net)
    _check_training(net, x, output)
    _check_gradient(net, x)
    return shape


def _event_shape(net):
    found: Any = None
    try:
        found = net.input_shape
    except (AttributeError, ValueError):  # no Sequential or functional model, or one without Input
        shapes = [value for name, value in (net.get_build_config() or {}).items() if name.endswith("shape")]
        found = shapes[0] if len(shapes) == 1 else None
    if isinstance(found, (list, dict)) and len(found) != 1:
        raise ConfigError(f"expected a network of one input, x. Received: {net.name} with {len(found)} inputs")
    if isinstance(found, dict):
        found = next(iter(found.values()))
    if isinstance(found, list) and isinstance(found[0], (list, tuple)):
        found = found[0]
    if not found:
        raise ConfigError(f"expected event_shape beside a network that has not been built. Received: {net.name}")
    if None in found[1:]:
        raise ConfigError(f"expected a network whose input has a fixed shape. Received: {net.name}, {list(found)}")
    return tuple(found[1:])


def _check_layers(net):
    """By kind, since a layer of zeros behind it hides from the outputs what a random layer does."""
    for layer in net._flatten_layers():
        if isinstance(layer, keras.layers.Lambda):
            expected = "expected layers that a .keras file holds, a class of your own in place of a Lambda"
            raise ConfigError(f"{expected} (keras.saving.register_keras_serializable). Received: {layer.name}")
        is_normalising = isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        is_random = any(getattr(layer, name, 0) for name in ("rate", "stddev", "drop_rate"))
        is_noise = is_random and "drop" in type(layer).__name__.lower() + type(layer).__module__.lower()
        is_noise |= isinstance(layer, (keras.layers.GaussianNoise, keras.layers.SpectralNormalization))
        if is_normalising or is_noise:
            raise _depends(f"{layer.name}, a {type(layer).__name__}")


def _check_training(net, x, output):
    before = [np.array(weight) for weight in net.weights]
    draws = [np.asarray(net(x, training=True)) for _ in range(NUM_DRAWS)]
    pairs = zip(net.weights, before)
    changed = [weight.path for weight, old in pairs if not np.array_equal(weight, old, equal_nan=True)]
    for weight, old in zip(net.weights, before):
        weight.assign(old)
    if changed:
        raise _depends(f"{changed[0]}, which a call in training changes")
    if any(not np.array_equal(draw, output, equal_nan=True) for draw in draws):
        raise _depends(f"{net.name}, whose output is another in training")
    alone, size = np.asarray(net(x[:1], training=False), np.float64), np.max(np.abs(np.asarray(output, np.float64)))
    if np.all(np.isfinite(alone)) and np.max(np.abs(alone - output[:1])) > max(FRACTION, _rounding(net)) * size:
        raise ConfigError(f"expected an energy of each x alone. Received: {net.name} mixes those of a batch")


def _rounding(net):
    return 0.02 if net.dtype_policy.compute_dtype == "bfloat16" else 0.0


def _depends(what):
    expected = "expected a network that is the same in training and after (no dropout, noise or batch normalisation)"
    return ConfigError(f"{expected}. Received: {what}")


def _check_gradient(net, x):
    weights = net.trainable_variables
    if not weights:
        raise ConfigError(f"expected a network with weights that train. Received: {net.name}, which has none")
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(tf.cast(net(x, training=False), tf.float32))
    read = tf.distribute.get_strategy().experimental_local_results  # under a strategy a weight has a value per device
    slope, *slopes = tape.gradient(total, [x, *[read(weight.value)[0] for weight in weights]])
    if slope is None:
        raise ConfigError(f"expected an energy with a gradient in x. Received: {net.name}, through which none flows")
    unused = [weight.path for weight, value in zip(weights, slopes) if value is None]
    if unused:
        raise ConfigError(f"expected every weight to have a part in the energy. Received: {unused[0]}, which has none")
    if not np.all(np.isfinite(total)) or not np.all(np.isfinite(slope)):
        raise ConfigError(f"expected finite energies and gradients. Received: {net.name}, which gives others")
    if not np.any(slope) and _is_flat(net, weights, x.shape[1:]):
        received = f"{net.name}, whose gradient in x is 0 at {NUM_PROBES} points, as behind a softmax of one unit"
        raise ConfigError(f"expected an energy that changes with x. Received: {received}")


def _is_flat(net, weights, event_shape):
    """Whether dE/dx is 0 at every probe, by weights near its own too: a last layer may begin at 0."""
    x, before = tf.random.stateless_normal([NUM_PROBES, *event_shape], [3, 4]), [np.array(weight) for weight in weights]
    flat = not np.any(_slope(net, x))
    for number, (weight, old) in enumerate(zip(weights, before)):
        weight.assign(old + 0.1 * tf.random.stateless_normal(old.shape, [number, 5]))
    flat = flat and not np.any(_slope(net, x))
    for weight, old in zip(weights, before):
        weight.assign(old)
    return flat


def _slope(net, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        energy = net(x, training=False)
    return tape.gradient(energy, x)


def with_dtype(network: Any, dtype: Any) -> Any:
    """A serialised network with every layer under another dtype policy."""
    name = keras.dtype_policies.get(dtype).name

    def changed(value):
        if isinstance(value, dict):
            if value.get("class_name") == "DTypePolicy":
                return {**value, "config": {**value["config"], "name": name}}
            return {key: changed(item) for key, item in value.items()}
        return [changed(item) for item in value] if isinstance(value, list) else value

    own = network.get("config", {}).get("dtype")
    is_same = own is None or keras.dtype_policies.get(own).name == name
    return network if is_same else changed(network)

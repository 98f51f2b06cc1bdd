"""Energies precise to a fraction of T, which acceptance ratios need: exp{(E(x) − E(x')) / T} with T = 5e-5.

bfloat16 keeps 8 bits and TF32, in which GPUs multiply float32 matrices by default, 11: an energy of 1 is then known to
80 T or 10 T. float32 keeps 24 bits, 0.001 T.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from ebm_tf.energies import EnergyModel

__all__ = ["compile_energy", "full_float32", "rounding_over_temperature", "with_policy"]


def with_policy(energy: EnergyModel, policy: str) -> EnergyModel:
    """The same energy, weights copied, computed under another Keras dtype policy."""
    if energy.dtype_policy.name == policy:
        return energy
    copy = type(energy).from_config({**energy.get_config(), "dtype": policy})
    copy.set_weights(energy.get_weights())
    return copy


def compile_energy(
    energy: EnergyModel, jit_compile: bool, fn: Callable | None = None
) -> tf.types.experimental.PolymorphicFunction:
    """The energy as a compiled function, float32 [B, *event] -> [B]; or fn(energy, x) of it."""
    signature = [tf.TensorSpec([None, *energy.event_shape], tf.float32)]
    compiled = tf.function(input_signature=signature, jit_compile=jit_compile, autograph=False)
    return compiled(lambda x: fn(energy, x) if fn else energy(x, training=False))


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Within it, float32 products on a GPU keep all 24 bits. What was compiled before keeps what it had."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def rounding_over_temperature(energy_fn, energy: EnergyModel, x: np.ndarray, temperature: float) -> float:
    """How far −E/T as it is computed lies from float64's, in nats: root mean square over points, mean taken out.

    A log acceptance ratio is off by about √2 times this. Its effect is benign as long as it is well below 1: a chain
    then has exp(−Ẽ/T) as its law, Ẽ being the rounded energy.

    Args:
      energy_fn: float32 [N, *event] -> [N], as the chains use it.
      energy: the model behind it.
      x: float32 [N, *event], N ≥ 2.
      temperature: T.
    """
    used = np.asarray(energy_fn(tf.constant(x)) / np.float32(temperature), np.float64)
    x = tf.constant(x, tf.float64)
    output = with_policy(energy, "float64").output_at(x)  # by_layers would round to float32 at its end
    error = used - energy.from_output(output, x).numpy() / temperature
    return float(np.std(error))

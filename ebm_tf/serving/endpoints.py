"""The functions of a trained energy that are exported, and that the Python API calls.

    energy(x) = E(x)        energy_grad(x) = ∂E/∂x        score(x) = ∂ log p(x)/∂x = −(∂E/∂x) / T

All are float32 and take any batch size. They call the Keras layers, not the form that training arranges for a GPU
(energies/image_energy.py): plain operations, which every runtime knows and which are the faster ones on a CPU.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from ebm_tf.data.images import to_unit_range
from ebm_tf.energies import EnergyModel
from ebm_tf.mcmc import chain_init
from ebm_tf.mcmc.langevin import langevin_chain
from ebm_tf.mcmc.streams import CHAINS, NOISE_STARTS, block_seed
from ebm_tf.serving.info import ModelInfo

__all__ = ["Endpoint", "endpoints"]


class Endpoint(NamedTuple):
    """A function of tensors to a dict of tensors, and the tensors it takes.

    Attributes:
      function: to be traced.
      signature: its arguments.
    """

    function: Callable[..., dict[str, Any]]
    signature: list[tf.TensorSpec]

    def compile(self) -> tf.types.experimental.PolymorphicFunction:
        """The function, traced once when it is first called."""
        return tf.function(self.function, input_signature=self.signature, autograph=False)


def endpoints(energy: EnergyModel, info: ModelInfo) -> dict[str, Endpoint]:
    """Every endpoint by its name; energy comes first.

    Args:
      energy: a model under the policy float32.
      info: gives T and the settings of chains.

    Returns:
      energy, energy_grad, score (T > 0), each also as <name>_uint8 for images 0 to 255; sample; metadata.
    """
    spec = [tf.TensorSpec([None, *info.event_shape], tf.float32, name="x")]

    energy_fn = energy.by_layers

    def energy_grad_fn(x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            e = energy_fn(x)
        return tape.gradient(e, x)

    of_x: dict[str, Callable] = {
        "energy": lambda x: {"energy": energy_fn(x)},
        "energy_grad": lambda x: {"energy_grad": energy_grad_fn(x)},
    }
    if info.temperature > 0:
        of_x["score"] = lambda x: {"score": -energy_grad_fn(x) / info.temperature}
    made = {name: Endpoint(function, spec) for name, function in of_x.items()}
    if info.is_image:
        made |= {f"{name}_uint8": _of_uint8(function, info) for name, function in of_x.items()}
    made["sample"] = _sample(energy_fn, energy, info)
    return {**made, "metadata": Endpoint(lambda: {"json": info.to_json()}, [])}


def _of_uint8(function, info: ModelInfo) -> Endpoint:
    spec = tf.TensorSpec([None, *info.event_shape], tf.uint8, name="images")
    return Endpoint(lambda images: function(to_unit_range(images)), [spec])


def _sample(energy_fn, energy: EnergyModel, info: ModelInfo) -> Endpoint:
    """Ends of num_samples chains of num_steps steps from noise.

    Law: langevin_chain's from noise, with the run's temperature and the step size of sampling.
    Limits: num_steps = 0 gives the noise. The same seed gives the chains of bin/sample.py --batch_size=num_samples, as
      far as rounding allows.
    """
    scalar = {name: tf.TensorSpec([], tf.int32, name=name) for name in ("num_samples", "num_steps", "seed")}

    def sample(num_samples, num_steps, seed):
        shape = tf.concat([num_samples[None], tf.constant(info.event_shape, tf.int32)], axis=0)
        x_init = chain_init.noise(shape, block_seed(seed, NOISE_STARTS, 0), energy.noise_spectrum)
        x_init = tf.ensure_shape(x_init, [None, *info.event_shape])
        step_size, temperature = tf.constant(info.sample_step_size), tf.constant(info.temperature)
        settings = step_size, temperature, block_seed(seed, CHAINS, 0), energy.preconditioner
        x_final, chain = langevin_chain(energy_fn, x_init, num_steps, *settings)
        return {"x_final": x_final, "energy": chain.energy_final}

    return Endpoint(sample, list(scalar.values()))

"""The functions of a trained energy that are exported, and that the Python API calls.

    energy(x) = E(x)        energy_grad(x) = ∂E/∂x        score(x) = ∂ log p(x)/∂x = −(∂E/∂x) / T

All are float32 and take any batch size. x and samples are in the data's units, also where vectors were standardised.
They call the Keras layers, not the form that training arranges for a GPU
(energies/image_energy.py): plain operations, which every runtime knows and which are the faster ones on a CPU.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from ebm_tf.data.images import to_unit_range
from ebm_tf.energies import EnergyModel
from ebm_tf.energies.statistics import Statistics
from ebm_tf.mcmc.langevin import energy_and_grad
from ebm_tf.mcmc.sampler import Sampler
from ebm_tf.serving.encoded import decode_images
from ebm_tf.serving.info import ModelInfo
from ebm_tf.streams import Stream, block_seed

__all__ = ["Endpoint", "endpoints", "of_bytes", "of_uint8"]


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


def endpoints(statistics: Statistics, info: ModelInfo) -> dict[str, Endpoint]:
    """Every endpoint by its name; energy comes first.

    Args:
      statistics: of the energy, which it holds under the policy float32.
      info: gives T and the settings of chains.

    Returns:
      energy, energy_grad, score (T > 0), each also as <name>_uint8 for images 0 to 255; of images energy_bytes, for
      encoded files; statistics; sample; metadata.
    """
    energy = statistics.energy
    spec = [tf.TensorSpec([None, *info.event_shape], tf.float32, name="x")]

    to_model, to_data = _units(energy)

    def energy_fn(x):
        return energy.by_layers(to_model(x))

    def energy_grad_fn(x):
        return energy_and_grad(energy_fn, x)[1]

    of_x: dict[str, Callable] = {
        "energy": lambda x: {"energy": energy_fn(x)},
        "energy_grad": lambda x: {"energy_grad": energy_grad_fn(x)},
    }
    if info.temperature > 0:
        of_x["score"] = lambda x: {"score": -energy_grad_fn(x) / info.temperature}
    made = {name: Endpoint(function, spec) for name, function in of_x.items()}
    if info.is_image:
        made |= {f"{name}_uint8": of_uint8(function, info) for name, function in of_x.items()}
        made |= {"energy_bytes": of_bytes(of_x["energy"], info)} if info.has_files else {}
    named = lambda x: dict(zip(("energy", "statistics"), statistics(to_model(x))))  # noqa: E731
    made["statistics"] = Endpoint(named, spec)
    made["sample"] = _sample(energy, info, to_data)
    return {**made, "metadata": Endpoint(lambda: {"json": info.to_json()}, [])}


def of_uint8(function: Callable, info: ModelInfo) -> Endpoint:
    """The endpoint of uint8 images that a function of x gives."""
    spec = tf.TensorSpec([None, *info.event_shape], tf.uint8, name="images")
    return Endpoint(lambda images: function(to_unit_range(images)), [spec])


def of_bytes(function: Callable, info: ModelInfo) -> Endpoint:
    """The endpoint of encoded files, PNG or JPEG of any size, that a function of x gives; see encoded.py."""
    spec = tf.TensorSpec([None], tf.string, name="image_bytes")
    return Endpoint(lambda image_bytes: function(to_unit_range(decode_images(image_bytes, info))), [spec])


def _units(energy: EnergyModel) -> tuple[Callable, Callable]:
    """(from the data's units to those that the energy sees, and back): vectors were standardised for training."""
    if energy.origin is None or not energy.origin.mean:
        return lambda x: x, lambda x: x
    mean, scale = tf.constant(energy.origin.mean), tf.constant(energy.origin.scale)
    return lambda x: (x - mean) / scale, lambda x: mean + scale * x


def _sample(energy: EnergyModel, info: ModelInfo, to_data: Callable) -> Endpoint:
    """Ends of num_samples chains of num_steps steps from noise.

    Law: langevin_chain's from noise, with the run's temperature and the step size of sampling.
    Limits: num_steps = 0 gives the noise. The same seed gives the chains of bin/sample.py --batch_size=num_samples, as
      far as rounding allows.
    """
    scalar = {name: tf.TensorSpec([], tf.int32, name=name) for name in ("num_samples", "num_steps", "seed")}

    kept = info.event_shape, energy.noise_spectrum, energy.preconditioner
    sampler = Sampler(info.sample_step_size, info.temperature, info.sample_num_steps, *kept)

    def sample(num_samples, num_steps, seed):
        x_init = sampler.starts(num_samples, block_seed(seed, Stream.NOISE_STARTS, 0))
        x_final, chain = sampler.run(energy.by_layers, x_init, block_seed(seed, Stream.CHAINS, 0), num_steps)
        return {"x_final": to_data(x_final), "energy": chain.energy_final}

    return Endpoint(sample, list(scalar.values()))

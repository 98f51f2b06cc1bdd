"""Energy models. build_energy chooses the one that fits the data, load_energy reads a trained one."""

import os

import keras

from ebm_tf.config import ConfigError, TrainConfig, one_line
from ebm_tf.energies.base import EnergyModel
from ebm_tf.energies.image_net import ImageNet
from ebm_tf.energies.rings_net import RingsNet

__all__ = ["EnergyModel", "ImageNet", "RingsNet", "build_energy", "load_energy"]


def build_energy(config: TrainConfig) -> EnergyModel:
    """A new energy model under config.dtype_policy, its weights drawn by config.seed."""
    keras.utils.set_random_seed(config.seed)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.dtype_policy)
    try:
        if config.dataset == "rings":
            return RingsNet(config.num_filters, config.energy_scale)
        size = config.num_filters, config.attention, config.image_size
        bound = 1 + 3 * config.data_noise  # the wall spares all but 0.1 % of the noise on a white or a black pixel
        kept = config.noise_spectrum == "data", config.preconditioner == "spectrum"
        reference = config.temperature if config.reference == "gaussian" else 0.0
        return ImageNet(*size, config.energy_scale, config.confinement, bound, reference, *kept)
    finally:
        keras.config.set_dtype_policy(previous)


def load_energy(path: str | os.PathLike, flag: str = "model") -> EnergyModel:
    """The energy in a .keras file, which a flag named.

    Raises:
      ConfigError: Keras cannot read it, or it is no energy of this package.
    """
    try:
        energy = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras, h5py and zipfile raise a dozen kinds on a foreign or damaged file
        line = one_line(error)
        raise ConfigError(f"--{flag}: expected a .keras file that Keras can read. Received: {path}: {line}") from error
    if not isinstance(energy, EnergyModel):
        kind = type(energy).__name__
        raise ConfigError(f"--{flag}: expected a file with an energy of ebm_tf. Received: {path}, a {kind}")
    return energy

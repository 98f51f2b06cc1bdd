"""Energy models. build_energy chooses the one that fits the data."""

import keras

from ebm_tf.config import TrainConfig
from ebm_tf.energies.base import EnergyModel
from ebm_tf.energies.image_net import ImageNet
from ebm_tf.energies.rings_net import RingsNet

__all__ = ["EnergyModel", "ImageNet", "RingsNet", "build_energy"]


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

"""Energy models: networks that give an energy E(x) per input."""

from ebm_tf.energies.base import EnergyModel
from ebm_tf.energies.image_net import ImageNet
from ebm_tf.energies.rings_net import RingsNet

__all__ = ["EnergyModel", "ImageNet", "RingsNet"]

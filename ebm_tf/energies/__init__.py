"""Energy models: networks that give an energy E(x) per input."""

from ebm_tf.energies.base import EnergyModel
from ebm_tf.energies.image_net import ImageNet
from ebm_tf.energies.rings_net import RingsNet
from ebm_tf.energies.terms import GaussianReference, Wall

__all__ = ["EnergyModel", "GaussianReference", "ImageNet", "RingsNet", "Wall"]

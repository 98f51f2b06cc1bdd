"""Energies in .keras files."""

import os

import keras

from ebm_tf.energies.base import EnergyModel
from ebm_tf.errors import ConfigError, one_line

__all__ = ["load_energy"]


def load_energy(path: str | os.PathLike, flag: str = "model") -> EnergyModel:
    """The energy in a .keras file, which a flag named.

    Raises:
      ConfigError: Keras cannot read it, or it is no energy of this package.
    """
    try:
        energy = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras, h5py and zipfile raise a dozen kinds on a foreign or damaged file
        line = one_line(error)
        if "Could not locate class" in str(error):
            line = "one with classes of its own; import the module that registers them first"
        raise ConfigError(f"--{flag}: expected a .keras file that Keras can read. Received: {path}: {line}") from error
    if not isinstance(energy, EnergyModel):
        kind = type(energy).__name__
        raise ConfigError(f"--{flag}: expected a file with an energy of ebm_tf. Received: {path}, a {kind}")
    return energy

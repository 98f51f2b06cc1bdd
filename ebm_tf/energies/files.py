"""Energies in .keras files."""

import os
import zipfile
from typing import Any

import keras

from ebm_tf.energies.base import EnergyModel
from ebm_tf.energies.checks import cause_of
from ebm_tf.errors import ConfigError, is_gpu_taken

__all__ = ["copy_weights", "load_energy"]


def load_energy(path: str | os.PathLike, flag: str = "model") -> EnergyModel:
    """The energy in a .keras file, which a flag named.

    Raises:
      ConfigError: Keras cannot read it, or it is no energy of this package.
    """
    if os.path.isdir(path):
        received = f"{path}, a folder; a run's energy is its model.keras"
        raise ConfigError(f"--{flag}: expected a .keras file. Received: {received}")
    if not os.path.exists(path):
        raise ConfigError(f"--{flag}: expected a .keras file. Received: {path}, which does not exist")
    try:
        energy = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras, h5py and zipfile raise a dozen kinds on a foreign or damaged file
        line = cause_of(error)
        if is_gpu_taken(error):
            expected = f"--{flag}: expected room for {path} on the GPU, whose memory another program may hold"
            raise ConfigError(f"{expected}: see nvidia-smi. Received: {line}") from error
        if "Could not locate class" in str(error):
            line = "one with classes of its own; import the module that registers them first"
        if os.path.isfile(path) and not zipfile.is_zipfile(path):  # Keras takes it for one that is not there
            line = "damaged, cut short, or no .keras file"
        raise ConfigError(f"--{flag}: expected a .keras file that Keras can read. Received: {path}: {line}") from error
    if not isinstance(energy, EnergyModel):
        kind = type(energy).__name__
        raise ConfigError(f"--{flag}: expected a file with an energy of ebm_tf. Received: {path}, a {kind}")
    return energy


def copy_weights(initial: EnergyModel, energy: EnergyModel, path: str | None) -> None:
    """All that makes the energy what it is: its weights, and the Gaussian that it tilts if it does.

    Args:
      initial: gives them.
      energy: takes them.
      path: the file of `initial`.

    Raises:
      ConfigError: it is another function of its weights.
    """
    theirs = _flags_of(initial)
    for name, ours in _flags_of(energy).items():
        if theirs.get(name) != ours:
            expected = f"--init_model: expected {name}={ours}, as in this run"
            raise ConfigError(f"{expected}. Received: {path}, {name}={theirs.get(name)}")
    pairs = [*zip(energy.trainable_variables, initial.trainable_variables, strict=True)]
    if energy.reference:
        assert energy.noise_spectrum and initial.noise_spectrum
        pairs += zip(energy.noise_spectrum, initial.noise_spectrum, strict=True)
        if energy.preconditioner is not None and initial.preconditioner is not None:
            pairs.append((energy.preconditioner, initial.preconditioner))
    for weight, value in pairs:
        weight.assign(value)


def _flags_of(energy: EnergyModel) -> dict[str, Any]:
    """What the energy depends on beside its weights, by the words of bin/train.py's flags."""
    size = len(energy.event_shape)
    flags: dict[str, Any] = {"data": "images" if size == 3 else f"vectors of {energy.event_shape[0]}"}
    names = ("num_filters", "attention", "image_size", "energy_scale")
    flags |= {name: getattr(energy, name) for name in names if hasattr(energy, name)}
    flags["wall"] = energy.wall
    if not energy.reference:
        return flags | {"reference": "none"}
    return flags | {
        "reference": "gaussian",
        "temperature": energy.reference.temperature,
        "data_noise": energy.reference.data_noise,
    }

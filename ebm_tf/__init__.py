"""Energy-based models trained with contrastive divergence, noise-initialised chains, or both at once.

A TensorFlow and Keras implementation of "Revisiting Contrastive Divergence for Density Estimation and Sample
Generation" (Abdulsalam & Makin, TMLR 2025). From a trained run to energies, gradients and samples:

    import ebm_tf
    model = ebm_tf.load("runs/demo")   # the folder of a run, or one that bin/export.py wrote
    energy = model.energy(x)           # x: float [N, *event] -> float32 [N]; p(x) ∝ exp(−E(x) / T)
    grad = model.energy_grad(x)        # ∂E/∂x, float32 [N, *event]
    samples = model.sample(1000)       # ends of Langevin chains from noise, float32 [1000, *event]

Public are the names of __all__, which docs/api.md has in a table:

- `load`, `TrainedEnergy`, `ModelInfo`: a trained energy, and what is to be known of it.
- `EnergyModel`, `GaussianReference`, `Wall`, `Trainer`: a network of your own, and its training on data of your own.
- `Sampler`, `langevin_chain`, `mala_chain`, `diagnose`, `anneal`: Markov chains on any energy function.
- `train`, `TrainConfig`: a run, and its settings; `bin/train.py --help` says what each is.
- `EnergyDensity`: a density of tables, and what does not belong in them, as a scikit-learn estimator.
- `Dataset`: data to learn, from arrays, folders, tables and TFDS.
- `rings`: the data of App. A.1, with their exact density.
- `ConfigError`, `DivergenceError`, `Stopped`, `TrainingError`, `WorkerLostError`: why a call ended, in one line.

Everything else may change. The subpackages, in the order of reading:

- `ebm_tf.settings`: every setting once.
- `ebm_tf.energies`: networks that give an energy E(x) per input.
- `ebm_tf.mcmc`: Langevin chains as pure functions of (energy_fn, state, seed).
- `ebm_tf.training`: Algorithm 1, and the Keras model around it.
- `ebm_tf.data`: the rings of App. A.1, images, arrays and tables.
- `ebm_tf.build`: where settings become batches, an energy, chains and an optimizer.
- `ebm_tf.runs`: the files of a run.
- `ebm_tf.evaluation`: what a trained model is worth, by the numbers of `ebm_tf.stats`.
- `ebm_tf.plots`: arrays in, pictures out.
- `ebm_tf.paper`: the paper's figures and tables.
- `ebm_tf.serving`: export, scoring of data, the detector.
- `ebm_tf.cli`: flags.

What a public name needs is imported when the name is first used, so `import ebm_tf` costs nothing.
"""

import importlib
import os
from typing import TYPE_CHECKING

from ebm_tf.version import __version__ as __version__

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever ~/.keras/keras.json says

if TYPE_CHECKING:
    from ebm_tf.data import rings
    from ebm_tf.data.base import Dataset
    from ebm_tf.energies import EnergyModel, GaussianReference, Wall
    from ebm_tf.errors import ConfigError
    from ebm_tf.mcmc.ais import anneal
    from ebm_tf.mcmc.diagnostics import diagnose
    from ebm_tf.mcmc.langevin import langevin_chain
    from ebm_tf.mcmc.mala import mala_chain
    from ebm_tf.mcmc.sampler import Sampler
    from ebm_tf.serving.estimator import EnergyDensity
    from ebm_tf.serving.export import load
    from ebm_tf.serving.info import ModelInfo
    from ebm_tf.serving.trained import TrainedEnergy
    from ebm_tf.settings.train import TrainConfig
    from ebm_tf.training.run import DivergenceError, Stopped, TrainingError, WorkerLostError, train
    from ebm_tf.training.trainer import Trainer

__all__ = [
    "ConfigError",
    "Dataset",
    "DivergenceError",
    "EnergyDensity",
    "EnergyModel",
    "GaussianReference",
    "ModelInfo",
    "Sampler",
    "Stopped",
    "TrainConfig",
    "TrainedEnergy",
    "Trainer",
    "TrainingError",
    "Wall",
    "WorkerLostError",
    "anneal",
    "diagnose",
    "langevin_chain",
    "load",
    "mala_chain",
    "rings",
    "train",
]

_HOMES = {
    "ConfigError": "ebm_tf.errors",
    "Dataset": "ebm_tf.data.base",
    "DivergenceError": "ebm_tf.training.run",
    "EnergyDensity": "ebm_tf.serving.estimator",
    "EnergyModel": "ebm_tf.energies",
    "GaussianReference": "ebm_tf.energies",
    "ModelInfo": "ebm_tf.serving.info",
    "Sampler": "ebm_tf.mcmc.sampler",
    "Stopped": "ebm_tf.training.run",
    "TrainConfig": "ebm_tf.settings.train",
    "TrainedEnergy": "ebm_tf.serving.trained",
    "Trainer": "ebm_tf.training.trainer",
    "TrainingError": "ebm_tf.training.run",
    "Wall": "ebm_tf.energies",
    "WorkerLostError": "ebm_tf.training.run",
    "anneal": "ebm_tf.mcmc.ais",
    "diagnose": "ebm_tf.mcmc.diagnostics",
    "langevin_chain": "ebm_tf.mcmc.langevin",
    "load": "ebm_tf.serving.export",
    "mala_chain": "ebm_tf.mcmc.mala",
    "rings": "ebm_tf.data",
    "train": "ebm_tf.training.run",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

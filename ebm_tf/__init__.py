"""Energy-based models trained with contrastive divergence, noise-initialised chains, or both at once.

A TensorFlow and Keras implementation of "Revisiting Contrastive Divergence for Density Estimation and Sample
Generation" (Abdulsalam & Makin, TMLR 2025). The subpackages, in the order of reading:

- `ebm_tf.config`: every setting once.
- `ebm_tf.energies`: networks that give an energy E(x) per input.
- `ebm_tf.mcmc`: Langevin chains as pure functions of (energy_fn, state, seed).
- `ebm_tf.training`: Algorithm 1, and the Keras model around it.
- `ebm_tf.data`: the rings of App. A.1, and images.
- `ebm_tf.evaluation`: what a trained model is worth.
- `ebm_tf.serving`: export, scoring of data, thresholds.

The public names are those of __all__; docs/serving.md has them in a table. What they need is imported when they are
first asked for, so `import ebm_tf` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebm_tf.config import ConfigError, TrainConfig
    from ebm_tf.serving.export import load
    from ebm_tf.serving.info import ModelInfo
    from ebm_tf.serving.trained import TrainedEnergy
    from ebm_tf.training.run import train

__all__ = ["ConfigError", "ModelInfo", "TrainConfig", "TrainedEnergy", "load", "train"]

__version__ = "0.1.0"

_HOMES = {
    "ConfigError": "ebm_tf.config",
    "ModelInfo": "ebm_tf.serving.info",
    "TrainConfig": "ebm_tf.config",
    "TrainedEnergy": "ebm_tf.serving.trained",
    "load": "ebm_tf.serving.export",
    "train": "ebm_tf.training.run",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

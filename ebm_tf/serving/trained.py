"""A trained energy to call from Python: energies, gradients and samples as NumPy arrays.

Whether it comes from a run or from an exported folder makes no difference to the caller. Reading an exported folder
needs TensorFlow alone, no Keras.
"""

import os
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from ebm_tf.errors import ConfigError, one_line
from ebm_tf.serving.info import ModelInfo, read_info

__all__ = ["TrainedEnergy", "load_exported"]


class TrainedEnergy:
    """E(x) of a trained model, p(x) ∝ exp(−E(x) / T), with its gradient and its chains, all in float32.

    `ebm_tf.load` makes it. x is given as floats [N, *event], images in [-1, 1]; or images as uint8 [N, S, S, 3]. N is
    any number; at most batch_size of them are computed at once.

    Attributes:
      info: what it was trained on, T, ε and more.
      event_shape: shape of one x.

    Args:
      info: see above.
      functions: by name, as endpoints.py names them; called with keywords, they return a dict of tensors.

    Source: Eq. 1, with the temperature of App. A.4.
    """

    def __init__(self, info: ModelInfo, functions: Mapping[str, Callable]):
        self.info, self._functions = info, functions
        self.event_shape = info.event_shape

    def energy(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """E(x), in the units of T. Low: like the data.

        Args:
          x: [N, *event].
          batch_size: how many at once.

        Returns:
          float32 [N].

        Raises:
          ValueError: x has another shape or type.
        """
        return self._apply("energy", x, batch_size)

    def energy_grad(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """∂E/∂x; for uint8 images too with respect to x in [-1, 1].

        Args:
          x: [N, *event].
          batch_size: how many at once.

        Returns:
          float32 [N, *event], energy per unit of x.

        Raises:
          ValueError: x has another shape or type.
        """
        return self._apply("energy_grad", x, batch_size)

    def score(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """∂ log p(x)/∂x = −(∂E/∂x) / T.

        Args:
          x: [N, *event].
          batch_size: how many at once.

        Returns:
          float32 [N, *event], nats per unit of x.

        Raises:
          ValueError: the model has T = 0, or x has another shape or type.
        """
        if not self.info.temperature:
            raise ValueError("expected a model with T above 0, for -(dE/dx)/T. Received: temperature=0")
        return self._apply("score", x, batch_size)

    def sample(self, num_samples: int, num_steps: int | None = None, seed: int = 0) -> np.ndarray:
        """Ends of Langevin chains from noise, all at once.

        Law: langevin_chain's from the training's noise, with its T and the ε of sampling (info.sample_step_size).
        Limits: num_steps = 0 gives the noise. The same seed and num_samples give the same samples.

        Args:
          num_samples: N.
          num_steps: L. None: info.sample_num_steps.
          seed: in [0, 2^31).

        Returns:
          float32 [N, *event]; images are near [-1, 1], and not clipped.

        Raises:
          ValueError: a number is out of its range.

        Source: Eq. 9 (App. A.4); L and ε of Sec. 3.
        """
        steps = self.info.sample_num_steps if num_steps is None else num_steps
        for name, value in (("num_samples", num_samples), ("num_steps", steps), ("seed", seed)):
            if not 0 <= value < 2**31:
                raise ValueError(f"expected a whole number in [0, 2^31). Received: {name}={value}")
        given = {"num_samples": num_samples, "num_steps": steps, "seed": seed}
        given_tensors = {name: tf.constant(value, tf.int32) for name, value in given.items()}
        return self._functions["sample"](**given_tensors)["x_final"].numpy()

    def _apply(self, name: str, x: np.ndarray, batch_size: int) -> np.ndarray:
        x = np.asarray(x)
        expected = f"x of shape [N, {', '.join(map(str, self.event_shape))}]"
        if x.shape[1:] != self.event_shape or x.ndim != len(self.event_shape) + 1:
            raise ValueError(f"expected {expected}. Received: shape={x.shape}")
        if x.dtype == np.uint8 and self.info.is_image:
            function, argument = self._functions[f"{name}_uint8"], "images"
        elif np.issubdtype(x.dtype, np.floating):
            function, argument, x = self._functions[name], "x", x.astype(np.float32, copy=False)
        else:
            kinds = "uint8 images, or floats in [-1, 1]" if self.info.is_image else "floats"
            raise ValueError(f"expected x as {kinds}. Received: dtype={x.dtype}")
        shape = x.shape[:1] if name == "energy" else x.shape
        result = np.empty(shape, np.float32)
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            result[part] = function(**{argument: tf.constant(x[part])})[name].numpy()
        return result


def load_exported(folder: str | os.PathLike, flag: str = "model") -> TrainedEnergy:
    """The energy in a folder that bin/export.py wrote.

    Raises:
      ConfigError: it is no such folder, or TensorFlow cannot read it.
    """
    info = read_info(folder, flag)
    try:
        loaded = tf.saved_model.load(os.fspath(folder))
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        line = one_line(error)
        expected = "a SavedModel that TensorFlow can read"
        raise ConfigError(f"--{flag}: expected {expected}. Received: {folder}: {line}") from error
    trained = TrainedEnergy(info, loaded.signatures)
    trained._owner = loaded  # type: ignore[attr-defined]  # signatures alone do not keep the variables
    return trained

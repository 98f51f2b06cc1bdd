"""A trained energy to call from Python: energies, gradients and samples as NumPy arrays.

Whether it comes from a run or from an exported folder makes no difference to the caller. Reading an exported folder
needs TensorFlow alone, no Keras.
"""

import numbers
import os
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from ebm_tf.data.crop import fit
from ebm_tf.errors import ConfigError, naming_arguments, one_line
from ebm_tf.serving.detector import (
    CONFIDENCE,
    RATE,
    Calibration,
    HeldOut,
    TrainedDetector,
    place_of,
    read_calibration,
)
from ebm_tf.serving.info import ModelInfo, read_info
from ebm_tf.serving.sources.layout import RangeSeen, as_array, find_layout
from ebm_tf.stats import usable

__all__ = ["TrainedEnergy", "calibration_at", "load_exported"]


class TrainedEnergy:
    """E(x) of a trained model, p(x) ∝ exp(−E(x) / T), with its gradient and its chains, all in float32.

    `ebm_tf.load` makes it. x is given as floats [N, *event], images in [-1, 1]; or images as uint8 [N, S, S, 3]; or, of
    a model of a table, as a data frame with its columns. N is any number, also 0; at most batch_size of them are
    computed at once. Grey images [N, S, S], channels first and one x
    without the axis for N are taken too where no other reading fits; images [N, ...] of another size are brought to the
    model's as in training (info.fit). A warning says so, and also where floats are in another range.

    Attributes:
      info: what it was trained on, T, ε and more.
      event_shape: shape of one x.

    Args:
      info: see above.
      functions: by name, as endpoints.py names them; called with keywords, they return a dict of tensors.
      calibrated: gives its calibration, when it is first asked for, or None.

    Source: Eq. 1, with the temperature of App. A.4.
    """

    def __init__(
        self,
        info: ModelInfo,
        functions: Mapping[str, Callable],
        calibrated: Callable[[], Calibration | None] = lambda: None,
    ):
        self.info, self._functions, self._calibrated = info, functions, calibrated
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

    def denoise(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """x without the noise that training added to the data, by one gradient: x − (σ² / T) ∂E/∂x.

        Law: where x has the law of noisy data, as samples have, the mean of the clean ones that x may have come from.
          Distances of pictures to data are smaller after it; the density is that of noisy data, so it is of x before.

        Args:
          x: [N, *event].
          batch_size: how many at once.

        Returns:
          float32 [N, *event]; images are near [-1, 1].

        Raises:
          ValueError: training added no noise, the model has T = 0, or x has another shape or type.

        Source: denoise of mcmc/langevin.py; not in the paper.
        """
        noise_std, temperature = self.info.data_noise, self.info.temperature
        if not noise_std * temperature:
            expected = "expected a model with data_noise and T above 0"
            raise ValueError(f"{expected}. Received: data_noise={noise_std:g}, temperature={temperature:g}")
        x = self._as_batch(as_array(x, self.info.columns))
        if x.dtype == np.uint8:
            x = x.astype(np.float32) / np.float32(127.5) - np.float32(1)
        noise_var = (noise_std * np.array(self.info.scale or 1.0, np.float32)) ** 2  # in the data's units, as x is
        return x - noise_var / np.float32(temperature) * self._apply("energy_grad", x, batch_size)

    def statistics(self, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Numbers of one gradient by which an x is told to be typical, see energies/statistics.py.

        Args:
          x: [N, *event].
          batch_size: how many at once.

        Returns:
          float32 [N, K]; info.statistics names the columns. The first is E(x).

        Raises:
          ValueError: x has another shape or type.
          ConfigError: an export of before there were statistics.
        """
        if not self.info.statistics:
            expected = "expected an export with the signature statistics: run bin/export.py again"
            raise ConfigError(f"{expected}. Received: one without, of ebm_tf {self.info.version}")
        return self._apply("statistics", x, batch_size)

    @property
    @naming_arguments(model="path")
    def detector(self) -> TrainedDetector:
        """Tells inputs that do not belong to the data.

        Raises:
          ConfigError: the model has not been calibrated, or its calibration cannot be used.
        """
        calibration = self._calibrated()
        if calibration is None:
            expected = "expected a model that bin/calibrate.py has seen, or fit_detector with held-out data"
            raise ConfigError(f"{expected}. Received: one without a calibration")
        self._calibrated = lambda: calibration  # read from its file once
        return TrainedDetector(calibration, self.statistics)

    @naming_arguments()
    def fit_detector(
        self, x: np.ndarray, false_positive_rate: float = RATE, tail: str = "both", confidence: float = CONFIDENCE
    ) -> TrainedDetector:
        """Fits the detector on held-out data, in memory alone: bin/calibrate.py keeps it.

        Args:
          x: [N, *event] that did not train, of the distribution; half of it fits, half gives p-values.
          false_positive_rate: share of new x of the distribution that may be flagged out.
          tail: both; or the energy alone, its upper or its lower one.
          confidence: of the interval for the rate in its numbers.

        Raises:
          ConfigError: too few x for the rate, floats of another range than images have, not finite, or some that
            trained.
          ValueError: x has another shape or type.
        """
        x = as_array(x, self.info.columns)
        seen = RangeSeen()
        seen.add(x)
        if self.info.is_image and (words := seen.words()):
            raise ConfigError(f"expected images in [-1, 1], or uint8. Received: {words}")
        x = self._as_batch(x)
        statistics = self.statistics(x)
        calibration = Calibration.fit(statistics, self.info, false_positive_rate, tail, confidence)
        held_out = HeldOut(self.info)
        held_out.add(x)
        held_out.check()
        if words := held_out.columns_words():
            warnings.warn(words, stacklevel=3)
        self._calibrated = lambda: calibration
        return self.detector

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

        Warns where samples are not finite, or images out of range; see stats.usable.

        Source: Eq. 9 (App. A.4); L and ε of Sec. 3.
        """
        steps = self.info.sample_num_steps if num_steps is None else num_steps
        given = {"num_samples": num_samples, "num_steps": steps, "seed": seed}
        for name, value in given.items():
            _check_whole(name, value, 0)
        if not num_samples:  # TensorFlow's convolutions refuse an empty batch
            return np.empty((0, *self.event_shape), np.float32)
        given_tensors = {name: tf.constant(value, tf.int32) for name, value in given.items()}
        x = self._functions["sample"](**given_tensors)["x_final"].numpy()
        bound = usable.bound_of() if self.info.is_image else None
        if line := usable.warning(usable.summary(usable.measure(x, bound), bound), len(x)):
            warnings.warn(line, RuntimeWarning, stacklevel=2)
        return x

    def _apply(self, name: str, x: np.ndarray, batch_size: int) -> np.ndarray:
        x = self._as_batch(as_array(x, self.info.columns))
        _check_whole("batch_size", batch_size, 1)
        if x.dtype == np.uint8 and name == "statistics":
            x = x.astype(np.float32) / np.float32(127.5) - np.float32(1)  # as data.images.to_unit_range
        if x.dtype == np.uint8:
            function, argument = self._functions[f"{name}_uint8"], "images"
        else:
            function, argument, x = self._functions[name], "x", x.astype(np.float32, copy=False)
        shapes = {"energy": x.shape[:1], "statistics": (len(x), len(self.info.statistics))}
        result = np.empty(shapes.get(name, x.shape), np.float32)
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            result[part] = function(**{argument: tf.constant(x[part])})[name].numpy()
        return result

    def _as_batch(self, x: np.ndarray) -> np.ndarray:
        """x as [N, *event], uint8 or floats. Warns of what was taken for granted, and of floats in another range."""
        is_uint8 = x.dtype == np.uint8 and self.info.is_image
        if not is_uint8 and not np.issubdtype(x.dtype, np.floating):
            kinds = "uint8 images, or floats in [-1, 1]" if self.info.is_image else "floats"
            raise ValueError(f"expected x as {kinds}. Received: dtype={x.dtype}")
        found = find_layout(x.shape, self.event_shape, any_size=False)
        words = found.words if found else ""
        if found is None and self.info.is_image:
            found = find_layout(x.shape, self.event_shape, any_size=True)
            found = None if found and found.is_single else found  # rows [N, D] look like one grey image
            side = " x ".join(map(str, self.event_shape[:2]))
            words = f"{found.words or 'images'}, brought to {side} ({self.info.fit})" if found else ""
        if found is None:
            wanted = f"[N, {', '.join(map(str, self.event_shape))}]"
            raise ValueError(f"expected x of shape {wanted}. Received: shape={x.shape}")
        if words:
            warnings.warn(f"x of shape {x.shape} is read as {words}", stacklevel=4)
        if self.info.is_image and not is_uint8:
            seen = RangeSeen()
            seen.add(x)
            if words := seen.words():
                warnings.warn(words, stacklevel=4)
        x = found.batch(x, self.event_shape)
        if not self.info.is_image or x.shape[1:] == self.event_shape:
            return x
        size = self.event_shape[0], self.event_shape[1]
        x = x if is_uint8 else x.astype(np.float32)
        with tf.device("CPU"):
            fitted = [fit(one, size, self.info.fit).numpy() for one in x]
        return np.array(fitted, x.dtype).reshape(-1, *self.event_shape)


def _check_whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= value < 2**31:
        raise ValueError(f"expected a whole number in [{least}, 2^31). Received: {name}={value}")


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
    trained = TrainedEnergy(info, loaded.signatures, lambda: calibration_at(folder, info, flag))
    trained._owner = loaded  # type: ignore[attr-defined]  # signatures alone do not keep the variables
    return trained


def calibration_at(model: str | os.PathLike, info: ModelInfo, flag: str = "model") -> Calibration | None:
    """A model's own calibration; None where there is none. Raises ConfigError where it cannot be used."""
    path = place_of(model)
    return read_calibration(path, info, flag, os.fspath(model)) if path.exists() else None

"""A calibrated model's word on inputs: does each belong to the data? Needs no Keras.

calibration.npz holds all of it: the fitted detector of stats/typicality.py, and what it was fitted on and for.
calibration.json beside it is the same numbers for people.
"""

import dataclasses
import json
import os
import pathlib
import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ebm_tf.errors import ConfigError, one_line
from ebm_tf.serving.info import ModelInfo
from ebm_tf.stats.conformal import clopper_pearson, threshold
from ebm_tf.stats.fingerprint import Lookup
from ebm_tf.stats.typicality import Detector

__all__ = ["Calibration", "Detection", "HeldOut", "TrainedDetector", "place_of", "read_calibration"]

RATE, CONFIDENCE = 0.05, 0.95  # where nothing else is asked for
MOST_SHIFT, MOST_SPREAD = 3, 10  # of a column of the calibration, in standard deviations of training: more is told


class Detection(NamedTuple):
    """What is said of N inputs.

    Attributes:
      energy: float32 [N], E(x).
      ood_score: [N], large where an input does not belong.
      p_value: [N], share of calibration inputs that are as atypical or more.
      flag: [N] of "in" and "out": out where p_value is at most the false-positive rate.
      statistic: [N], the name of the most unusual one.
      side: [N], where it lies: "low" or "high", or "not finite".
    """

    energy: np.ndarray
    ood_score: np.ndarray
    p_value: np.ndarray
    flag: np.ndarray
    statistic: np.ndarray
    side: np.ndarray


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A detector and the rate at which it flags.

    Attributes:
      detector: fitted on held-out data.
      false_positive_rate: α; an input is out at p ≤ α.
      numbers: of calibration.json.
    """

    detector: Detector
    false_positive_rate: float
    numbers: dict[str, Any]

    @classmethod
    def fit(
        cls,
        statistics: np.ndarray,
        info: ModelInfo,
        false_positive_rate: float = RATE,
        tail: str = "both",
        confidence: float = CONFIDENCE,
        **about: Any,
    ) -> "Calibration":
        """That of held-out data; see Detector.fit.

        Args:
          statistics: [N, K], as TrainedEnergy.statistics gives them.
          info: of the model.
          false_positive_rate: α.
          tail: both, upper or lower.
          confidence: of the interval for the rate.
          **about: what else calibration.json should hold.

        Raises:
          ConfigError: too few inputs for α, or statistics of which no detector can be made.
        """
        detector = Detector.fit(statistics, info.statistics, tail=tail)
        detector.check_rate(false_positive_rate, len(statistics))
        known = detector.known_scores
        value = threshold(known, false_positive_rate)
        above = int((known > value).sum())
        numbers = {
            "model": info.model,
            **about,
            "num_inputs": len(statistics),
            "num_calibration": len(known),
            "num_statistics": len(detector.kept),
            "tail": tail,
            "false_positive_rate": false_positive_rate,
            "threshold": value,
            "num_above": above,
            "confidence": confidence,
            "interval": list(clopper_pearson(above, len(known), confidence)),
        }
        return cls(detector, false_positive_rate, numbers)

    def with_rate(self, false_positive_rate: float | None) -> "Calibration":
        """The same at another rate; None: at its own. Raises ConfigError where it has too few inputs for it."""
        if false_positive_rate is None:
            return self
        self.detector.check_rate(false_positive_rate, self.numbers["num_inputs"])
        return dataclasses.replace(self, false_positive_rate=false_positive_rate)

    def detect(self, statistics: np.ndarray) -> Detection:
        """What is said of inputs with these statistics, [N, K]."""
        ood_score = self.detector.ood_score(statistics)
        p_value = self.detector.p_value(ood_score)
        flag = np.where(p_value <= self.false_positive_rate * (1 + 1e-9), "out", "in")
        unusual = np.array(self.detector.most_unusual(statistics), str).reshape(-1, 2)
        return Detection(statistics[:, 0], ood_score, p_value, flag, unusual[:, 0], unusual[:, 1])

    def write(self, path: pathlib.Path) -> None:
        """Writes it as an .npz. Raises OSError."""
        np.savez(path, **self.detector.to_arrays(), numbers=np.array(json.dumps(self.numbers)))


class HeldOut:
    """Looks at the inputs of a calibration: whether they trained, as far as the model knows what did, and whether
    vectors lie where those that trained do.

    Args:
      info: of the model.
    """

    def __init__(self, info: ModelInfo):
        self._info, self._lookup = info, Lookup(info.fingerprint, info.num_examples)
        self._num, self._sum, self._squares = 0, np.zeros(len(info.mean)), np.zeros(len(info.mean))

    def add(self, x: np.ndarray) -> None:
        """Inputs [N, *event], uint8 images or floats in the data's units."""
        if self._info.mean:
            x = (np.float32(x) - np.float32(self._info.mean)) / np.float32(self._info.scale)
            exact, self._num = x.astype(np.float64), self._num + len(x)
            self._sum, self._squares = self._sum + exact.sum(axis=0), self._squares + (exact**2).sum(axis=0)
        self._lookup.add(x)

    def columns_words(self) -> str:
        """What is odd about the columns of vectors, one line; "" where nothing is."""
        if not self._num or not self._info.mean:
            return ""
        mean = self._sum / self._num
        spread = np.sqrt(np.maximum(self._squares / self._num - mean**2, 0))
        names = self._info.columns or tuple(map(str, range(len(mean))))
        for name, z, s, centre, scale in zip(names, mean, spread, self._info.mean, self._info.scale):
            here = f"{centre + z * scale:.4g} +- {s * scale:.4g}"
            if s <= 1e-5 * max(1, abs(z)):
                here = f"{centre + z * scale:.4g} throughout"
            elif abs(z) <= MOST_SHIFT and s <= MOST_SPREAD:
                continue
            return (
                f"column {name} is {here}, where {centre:.4g} +- {scale:.4g} trained: other units, or no held-out data?"
            )
        return ""

    def check(self, start: str = "", source: str = "x") -> None:
        """Raises ConfigError where some trained.

        Args:
          start: of the line.
          source: of the inputs.
        """
        if words := self._lookup.words():
            expected = "expected data that did not train: rates of others are too low"
            raise ConfigError(f"{start}{expected}. Received: {source}: {words}")


class TrainedDetector:
    """model.detector: tells inputs that do not belong to the data, see Detection. x as TrainedEnergy takes it.

    Attributes:
      calibration: the fitted detector, its rate and its numbers.

    Args:
      calibration: see above.
      statistics: x [N, *event] -> float32 [N, K].
    """

    def __init__(self, calibration: Calibration, statistics: Callable[[np.ndarray], np.ndarray]):
        self.calibration, self._statistics = calibration, statistics

    def __call__(self, x: np.ndarray) -> Detection:
        """All that is said of x."""
        return self.calibration.detect(self._statistics(x))

    def ood_score(self, x: np.ndarray) -> np.ndarray:
        """[N], large where an input does not belong; to be compared within this detector alone."""
        return self(x).ood_score

    def p_value(self, x: np.ndarray) -> np.ndarray:
        """[N], uniform for inputs like the held-out ones, whatever their law; at least 1 / (n + 1)."""
        return self(x).p_value

    def flag(self, x: np.ndarray) -> np.ndarray:
        """[N] of "in" and "out"; of inputs like the held-out ones at most false_positive_rate are out, on average."""
        return self(x).flag


def place_of(model: str | os.PathLike) -> pathlib.Path:
    """Where a model's calibration lies: in its folder, or beside its .keras file as FILE.calibration.npz."""
    path = pathlib.Path(model)
    return path.with_suffix(".calibration.npz") if path.suffix == ".keras" else path / "calibration.npz"


def read_calibration(path: pathlib.Path, info: ModelInfo, flag: str, model: str = "") -> Calibration:
    """What Calibration.write has written.

    Args:
      path: the file.
      info: of the model that it should be of.
      flag: that named it.
      model: the model's path, for the command that renews it.

    Raises:
      ConfigError: it cannot be read, was written before there were detectors, or is of another model.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # NumPy and zipfile raise a dozen kinds on a damaged file
        expected = f"--{flag}: expected a calibration.npz that bin/calibrate.py wrote"
        raise ConfigError(f"{expected}. Received: {path}: {one_line(error)}") from None
    renew = f"renew it: {_command(path, model)}"
    try:
        detector, numbers = Detector.from_arrays(arrays), json.loads(str(arrays["numbers"]))
    except (ConfigError, KeyError, ValueError):
        expected = f"--{flag}: expected a calibration with a detector of today"
        raise ConfigError(f"{expected}. Received: {path}, written before there was one; {renew}") from None
    if numbers["model"] != info.model or detector.names != info.statistics:
        expected = f"--{flag}: expected a calibration of model {info.model}"
        raise ConfigError(f"{expected}. Received: {path}, of {numbers['model']}; {renew}")
    return Calibration(detector, numbers["false_positive_rate"], numbers)


def _command(path: pathlib.Path, model: str) -> str:
    """That makes the calibration anew, as far as the .json beside it tells of what."""
    known: dict[str, Any] = {}
    try:
        known = json.loads(path.with_suffix(".json").read_text())
        source, rate = str(known["input"]), float(known["false_positive_rate"])
    except (OSError, ValueError, KeyError, TypeError):
        source, rate = "HELD_OUT", RATE
    words = [f"--model={model or 'MODEL'}", f"--input={source}", f"--false_positive_rate={rate:g}"]
    if known.get("tail", "both") != "both":
        words.append(f"--tail={known['tail']}")
    return f"bin/calibrate.py {shlex.join(words)}"

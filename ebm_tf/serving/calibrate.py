"""From which energy on an input counts as out of distribution, at a stated false-positive rate.

An x is flagged when E(x) > t. With n energies of data like those to come, E_(1) ≤ ... ≤ E_(n), the threshold is

    t = E_(r),   r = ⌈(1 − α)(n + 1)⌉,

the smallest order statistic with E[P(E(x) > t)] ≤ α, whatever the law of the energies. For a continuous law the
false-positive rate of this t, itself random since the n are, is Beta(n − r + 1, r). The interval is Clopper and
Pearson's for k = n − r of n above t: [Beta⁻¹(β/2; k, n − k + 1), Beta⁻¹(1 − β/2; k + 1, n − k)]. Its upper end
is exact for this choice of t, its lower end is too low rather than too high: coverage is 1 − β or more.
"""

import dataclasses
import json
import math
import pathlib
from typing import Any

import numpy as np
from scipy import stats

from ebm_tf.errors import ConfigError
from ebm_tf.runs.run_dir import draft_of, replace_file
from ebm_tf.serving.info import ModelInfo
from ebm_tf.serving.table import read_energies
from ebm_tf.settings.commands import CalibrateConfig, ScoreConfig

__all__ = ["Reference", "clopper_pearson", "load_reference", "save_calibration", "threshold"]

RATE = 0.05  # where nothing else is asked for
RESIZED_SHARE = 0.01  # a difference of more makes thresholds another thing


def threshold(energy: np.ndarray, false_positive_rate: float, flag: str = "false_positive_rate") -> float:
    """t, from which on (not including it) inputs are flagged.

    Law: over draws of energy [n] and of a new x of the same law, P(E(x) > t) ≤ false_positive_rate.

    Raises:
      ConfigError: too few energies for so small a rate.
    """
    rank = math.ceil((1 - false_positive_rate) * (len(energy) + 1) - 1e-9)
    if rank > len(energy):
        least = math.ceil(1 / false_positive_rate - 1e-9) - 1
        raise ConfigError(
            f"--{flag}: expected, for {false_positive_rate:g}, energies of at least {least} in-distribution inputs. "
            f"Received: {len(energy)}"
        )
    return float(np.sort(energy)[rank - 1])


def clopper_pearson(count: int, total: int, confidence: float) -> tuple[float, float]:
    """The exact interval for a probability, of which `count` of `total` independent trials came true."""
    tail = (1 - confidence) / 2
    low = stats.beta.ppf(tail, count, total - count + 1) if count else 0.0
    high = stats.beta.ppf(1 - tail, count + 1, total - count) if count < total else 1.0
    return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class Reference:
    """Energies of in-distribution data, to tell how unusual another one is.

    Attributes:
      energy: float32 [n], sorted.
      threshold: t.
      false_positive_rate: the rate that t stands for.
    """

    energy: np.ndarray
    threshold: float
    false_positive_rate: float

    def percentile(self, energy: float) -> float:
        """Per cent of the reference with an energy as high or lower. Near 100: unusual."""
        return 100.0 * float(np.searchsorted(self.energy, np.float32(energy), side="right")) / len(self.energy)

    def flag(self, energy: float) -> str:
        """ "out" above the threshold, else "in"."""
        return "out" if np.float32(energy) > np.float32(self.threshold) else "in"


def load_reference(settings: ScoreConfig, info: ModelInfo) -> Reference | None:
    """The reference that --reference names, or else the model's own calibration; None where there is neither.

    Raises:
      ConfigError: it cannot be read, holds no finite energies, or is the calibration of another model.
    """
    own = pathlib.Path(settings.model) / "calibration.npz"
    path = pathlib.Path(settings.reference) if settings.reference else own
    if not settings.reference and not own.exists():
        if settings.false_positive_rate is not None:
            expected = "--reference, or a model that bin/calibrate.py has seen"
            raise ConfigError(f"--false_positive_rate: expected {expected}. Received: neither")
        return None
    energy = _finite(np.sort(read_energies(path, "reference")), f"--reference: expected energies in {path}")
    numbers = _read_numbers(path.with_suffix(".json")) if path.suffix == ".npz" else {}
    if numbers.get("model", info.model) != info.model:
        received = f"{path}, by {numbers['model']}"
        raise ConfigError(f"--reference: expected energies by model {info.model}. Received: {received}")
    rate = settings.false_positive_rate or numbers.get("false_positive_rate", RATE)
    return Reference(energy, threshold(energy, rate), rate)


def _read_numbers(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--reference: expected calibration.json beside calibration.npz. Received: {error}") from None


def _finite(energy: np.ndarray, what: str) -> np.ndarray:
    if not len(energy) or not np.isfinite(energy).all():
        raise ConfigError(f"{what}, all of them finite. Received: {len(energy)}, {np.isnan(energy).sum()} not a number")
    return energy


def resized_unequally(settings: ScoreConfig, num_resized: int, num: int) -> str:
    """One line where inputs were resized to another share than those of the model's own calibration; else ""."""
    path = pathlib.Path(settings.model) / "calibration.json"
    if settings.reference or not path.exists() or not num:
        return ""
    numbers = _read_numbers(path)
    before = numbers.get("num_resized")
    if before is None or abs(before / numbers["num_inputs"] - num_resized / num) <= RESIZED_SHARE:
        return ""
    return (
        f"images were resized unequally: {before} of {numbers['num_inputs']} of the calibration, {num_resized} of "
        f"{num} here. Scaling alone changes energies: calibrate on files of the kind that you score"
    )


def save_calibration(
    energy: np.ndarray, settings: CalibrateConfig, info: ModelInfo, bad: int, num_resized: int
) -> dict[str, Any]:
    """Writes calibration.json, the numbers, and calibration.npz, the sorted energies, beside the model.

    Args:
      energy: float32 [n], of held-out in-distribution data.
      settings: the rate, the confidence and where the data came from.
      info: of the model.
      bad: inputs left out because they could not be read.
      num_resized: inputs of another size than the model's.

    Returns:
      The numbers.

    Raises:
      ConfigError: energies that are not finite, or too few.
    """
    energy = np.sort(_finite(np.asarray(energy, np.float32), "--input: expected inputs with energies"))
    value = threshold(energy, settings.false_positive_rate)
    above = int((energy > np.float32(value)).sum())
    low, high = clopper_pearson(above, len(energy), settings.confidence)
    numbers = {
        "model": info.model,
        "input": settings.input,
        "num_inputs": len(energy),
        "num_bad": bad,
        "num_resized": num_resized,
        "false_positive_rate": settings.false_positive_rate,
        "threshold": value,
        "num_above": above,
        "confidence": settings.confidence,
        "interval": [low, high],
    }
    folder = pathlib.Path(settings.model)
    try:
        with draft_of(folder / "calibration.npz") as draft:
            np.savez(draft, energy=energy)
        replace_file(folder / "calibration.json", json.dumps(numbers, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"--model: expected a folder that can be written. Received: {error}") from error
    return numbers

"""Which samples can be used: those that are finite, and of images those that are pictures at all.

    out of range: a value with |x| > 1 + max(½, 6 data_noise)            images, whose pixels lie in [-1, 1]
                  a value with |x| > 1000                                vectors in units of their standard deviations
    unusable:     a sample with a value or an energy that is not finite, or with most of its values out of range

Noise that was learned does not reach that bound (six standard deviations), and clipping such a value to uint8 changes
it by a quarter of the range or more. White noise, from which chains start, has a seventh of its values beyond 1.5, so a
short chain is no failure by this rule; a chain that has left the pixels' range is. Of data that were standardised one
value in a million at most lies beyond 1000 (Chebyshev).
"""

import math
from typing import Any

import numpy as np

__all__ = ["VECTOR_BOUND", "bound_of", "finite_rows", "is_usable", "measure", "summary", "warning"]

LEAST_MARGIN, NOISE_STDS = 0.5, 6.0
VECTOR_BOUND = 1_000.0
MOST_OUT = 0.5  # share of a sample's values, above which it is no picture
TOLD = 0.01  # share of all values out of range, above which a line says so


def bound_of(data_noise: float = 0.0) -> float:
    """|x| above which a pixel is out of range."""
    return 1 + max(LEAST_MARGIN, NOISE_STDS * data_noise)


def finite_rows(x: np.ndarray) -> np.ndarray:
    """Whether all values of each x [N, ...] are finite, bool [N]."""
    return np.isfinite(_rows(x)).all(axis=1)


def _rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), math.prod(x.shape[1:]))


def measure(x: np.ndarray, bound: float | None) -> np.ndarray:
    """(share of values with |x| > bound, largest |x|) of each sample.

    Args:
      x: [N, *event].
      bound: see bound_of. None: vectors of unknown units, of which no value is out of range.

    Returns:
      float32 [N, 2]; NaN for a sample that is not finite.
    """
    size = np.abs(_rows(np.asarray(x, np.float32)))
    share = np.zeros(len(x)) if bound is None else (size > bound).mean(axis=1)
    found = np.stack([share, size.max(axis=1, initial=0)], axis=1).astype(np.float32)
    found[~finite_rows(size)] = np.nan
    return found


def is_usable(measured: np.ndarray) -> np.ndarray:
    """Whether each sample can be used, bool [N], by what measure found."""
    return np.isfinite(measured[:, 1]) & (np.nan_to_num(measured[:, 0], nan=1.0) <= MOST_OUT)


def summary(measured: np.ndarray, bound: float | None) -> dict[str, Any]:
    """What measure found, in numbers for results.json: counts of samples, and of finite ones the values.

    Returns:
      num_not_finite, num_usable, max_abs_x; with a bound also num_out_of_range (finite samples with most values out of
      range), out_of_range_share (of values) and range_bound. None where no sample is finite.
    """
    finite = measured[np.isfinite(measured).all(axis=1)].astype(np.float64)
    numbers: dict[str, Any] = {
        "num_not_finite": len(measured) - len(finite),
        "num_usable": int(is_usable(measured).sum()),
        "max_abs_x": float(finite[:, 1].max()) if len(finite) else None,
    }
    if bound is not None:
        numbers["num_out_of_range"] = len(finite) - numbers["num_usable"]
        numbers["out_of_range_share"] = float(finite[:, 0].mean()) if len(finite) else None
        numbers["range_bound"] = bound
    return numbers


def warning(numbers: dict[str, Any], total: int) -> str:
    """One line on what is wrong with samples, by summary's numbers; "" where nothing is."""
    parts = []
    if lost := numbers["num_not_finite"]:
        parts.append(f"{lost} of {total} samples are not finite")
    if (share := numbers.get("out_of_range_share") or 0) > TOLD or numbers.get("num_out_of_range"):
        bound = f"{numbers['range_bound']:g}"
        parts.append(
            f"{100 * share:.3g} % of the values of finite samples are out of range, |x| > {bound}, up to "
            f"{numbers['max_abs_x']:.4g}; {numbers['num_out_of_range']} of {total} samples are so for the most part"
        )
    if parts and not numbers["num_usable"]:
        parts.append("no sample can be used")
    return "; ".join(parts)

"""Which images are saturated: the stripes, grids and flat colours that long chains of a poor energy end at.

The rule, of images with the noise that was learned (uint8): an image is saturated where
- its variation, the mean |difference| of neighbouring pixels, lies outside the reference's 0.1 to 99.9 %, or
- its share of pixels with |x| > 0.98 lies above the reference's 99.9 %.
So about 0.3 % of the reference itself, and of other images of its law, count as saturated.
"""

from typing import NamedTuple

import numpy as np

from ebm_tf.pixels import to_uint8

__all__ = ["Bounds", "is_saturated", "noisy", "saturation_bounds"]

TAIL = 0.001
DARK, BRIGHT = 2, 253  # |x| > 0.98
BLOCK, NOISE_BLOCK = 2_000, 1_000  # images at once


class Bounds(NamedTuple):
    """What images of the reference have.

    Attributes:
      least_variation: levels of 255.
      most_variation: levels of 255.
      most_extreme: share of pixels.
    """

    least_variation: float
    most_variation: float
    most_extreme: float


def noisy(images: np.ndarray, noise_std: float) -> np.ndarray:
    """Images uint8 [N, H, W, C] with the noise that was learned, which samples have; rounded as they are."""
    rng = np.random.default_rng(0)
    parts = np.array_split(images, -(-len(images) // NOISE_BLOCK))
    found = (x / 127.5 - 1 + np.float32(noise_std) * rng.standard_normal(x.shape, dtype=np.float32) for x in parts)
    return np.concatenate([to_uint8(x) for x in found])


def saturation_bounds(reference: np.ndarray) -> Bounds:
    """The bounds that a reference gives, uint8 [N, H, W, C]."""
    variation, extreme = _measures(reference)
    low, high = np.quantile(variation, [TAIL, 1 - TAIL])
    return Bounds(float(low), float(high), float(np.quantile(extreme, 1 - TAIL)))


def is_saturated(images: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Whether each image is saturated, bool [N], of images uint8 [N, H, W, C]."""
    variation, extreme = _measures(images)
    is_outside = (variation < bounds.least_variation) | (variation > bounds.most_variation)
    return is_outside | (extreme > bounds.most_extreme)


def _measures(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(variation [N], share of extreme pixels [N])."""
    parts = [_measures_of(images[first : first + BLOCK]) for first in range(0, len(images), BLOCK)]
    variation, extreme = zip(*parts, strict=True)
    return np.concatenate(variation), np.concatenate(extreme)


def _measures_of(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = images.astype(np.int16)
    down, right = (np.abs(np.diff(x, axis=axis)).mean(axis=(1, 2, 3)) for axis in (1, 2))
    return (down + right) / 2, ((x <= DARK) | (x >= BRIGHT)).mean(axis=(1, 2, 3))

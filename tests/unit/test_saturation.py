"""Which images count as saturated."""

import numpy as np

from ebm_tf.stats.saturation import is_saturated, saturation_bounds


def smooth_images(seed, count):
    """uint8 [N, 32, 32, 3]: coarse squares in the middle of the range, made smooth, with noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 215, (count, 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
    smooth = (coarse + np.roll(coarse, 2, axis=1) + np.roll(coarse, 2, axis=2)) / 3
    return np.clip(smooth + 6 * rng.standard_normal(smooth.shape), 0, 255).astype(np.uint8)


def test_images_of_the_same_law_are_not_but_for_three_in_a_thousand():
    """The quantiles leave 0.3 % outside; of 4,000 others 12, and 40 are more than 1e-6 allows a Poisson count of 12."""
    bounds = saturation_bounds(smooth_images(1, 8_000))
    assert is_saturated(smooth_images(2, 4_000), bounds).sum() < 40


def test_stripes_flat_colours_and_clipped_images_are():
    bounds = saturation_bounds(smooth_images(1, 2_000))
    image = smooth_images(3, 1)
    stripes = np.where(np.arange(32)[:, None, None] % 2 == 0, 30, 225) + np.zeros((1, 32, 32, 3))
    flat = np.full_like(image, 128)
    clipped = np.where(image > 127, 255, 0)
    others = np.concatenate([stripes, flat, clipped, image]).astype(np.uint8)
    assert is_saturated(others, bounds).tolist() == [True, True, True, False]

"""The rings' density against quadrature and against their sampler."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats

from ebm_tf.data import rings

SEED = tf.constant([3, 4], tf.int32)


def test_plane_density_integrates_to_one():
    axis = np.linspace(-5, 5, 1001)
    x, y = np.meshgrid(axis, axis)
    assert np.exp(rings.log_prob_xy(x, y)).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("point", [(0.0, 0.0), (1.0, 0.1), (-1.2, 1.9), (2.0, 2.4)])
def test_plane_density_is_the_mean_over_angles(point):
    """A.1's integral over the angle, done numerically. The printed -(l^2 - r^2) would fail by a factor e^(r^2/s^2)."""

    def density(angle):
        means = [(r * math.cos(angle), r * math.sin(angle)) for r in rings.RADII]
        return np.mean([stats.multivariate_normal.pdf(point, mean, 0.01) for mean in means])

    angle = math.atan2(point[1], point[0])
    total, _ = integrate.quad(density, angle - math.pi, angle + math.pi, points=[angle], epsabs=1e-14)
    assert np.exp(rings.log_prob_xy(*map(np.float64, point))) == pytest.approx(total / (2 * math.pi), rel=1e-6)


def test_full_density_multiplies_the_plane_by_eight_normals():
    x = np.array([[1.0, 0.2, 0.05, 0.01, 0, 0, 0, 0, 0, -0.02]])
    rest = stats.norm.logpdf(0.05, scale=0.1) + stats.norm.logpdf([0.01, 0, 0, 0, 0, 0, -0.02], scale=0.01).sum()
    assert rings.log_prob(x)[0] == pytest.approx(rings.log_prob_xy(1.0, 0.2) + rest)


def test_sampler_draws_each_ring_a_third_of_the_time():
    """Binomial at N = 30,000: false-alarm rate 1e-6 in all; sees a ring's share off by 0.014."""
    x = rings.sample(30_000, SEED).numpy()
    nearest = np.round(np.clip(np.hypot(x[:, 0], x[:, 1]), 1, 3))
    for radius in rings.RADII:
        assert stats.binomtest(int((nearest == radius).sum()), len(x), 1 / 3).pvalue > 1e-6 / 3
    skewed = np.random.default_rng(0).choice([1, 2, 3], len(x), p=[0.36, 0.32, 0.32])
    assert stats.binomtest(int((skewed == 1).sum()), len(x), 1 / 3).pvalue < 1e-6 / 3


def test_sampler_has_the_widths_of_the_appendix():
    """Chi-squared on each of the eight narrow coordinates: false-alarm rate 1e-6 in all; sees a width off by 3 %."""
    x = rings.sample(60_000, SEED).numpy().astype(np.float64)

    def pvalues(widths):
        statistic = (np.square(x[:, 2:]) / np.square(widths)).sum(axis=0)
        tails = stats.chi2(len(x)).cdf(statistic)
        return 2 * np.minimum(tails, 1 - tails)

    assert (pvalues(rings.SIGMA[2:]) > 1e-6 / 8).all()
    assert (pvalues(1.03 * rings.SIGMA[2:]) < 1e-6 / 8).all()


def test_same_seed_same_samples():
    np.testing.assert_array_equal(rings.sample(5, SEED), rings.sample(5, SEED))
    assert not np.array_equal(rings.sample(5, SEED), rings.sample(5, SEED + 1))

"""Numbers of Fig. 2: divergence, shares on the rings, kernel density estimate."""

import math

import numpy as np
import pytest
from scipy.spatial import distance

from ebm_tf.stats import plane


def test_jensen_shannon_literals():
    p, q = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert plane.jensen_shannon(p, p) == 0
    assert plane.jensen_shannon(p, q) == pytest.approx(math.log(2))


def test_jensen_shannon_is_scipys_squared_distance():
    p, q = np.random.default_rng(0).dirichlet(np.ones(50), 2)
    assert plane.jensen_shannon(p, q) == pytest.approx(distance.jensenshannon(p, q) ** 2)


def test_density_on_grid_ignores_the_constant_and_sums_to_one():
    log_density = np.random.default_rng(0).normal(size=161 * 161)
    grid = plane.density_on_grid(log_density + 1e4)
    np.testing.assert_allclose(grid, plane.density_on_grid(log_density))
    assert grid.sum() == pytest.approx(1)


def test_grid_points_have_x_first():
    points = plane.grid_points().reshape(161, 161, 10)
    np.testing.assert_allclose(points[0, :, 0], -4)
    np.testing.assert_allclose(points[:, 0, 1], -4)
    assert not points[..., 2:].any()


def test_on_ring_shares_literals():
    x = np.zeros((6, 10))
    x[:, 0] = [1.0, 2.29, 3.0, 0.5, 1.0, 1.0]
    x[4, 2] = 0.41  # z beyond 4 * 0.1
    x[5, 9] = -0.041  # a narrow coordinate beyond 4 * 0.01
    shares = plane.on_ring_shares(x)
    assert shares["ring_1"] == shares["ring_2"] == shares["ring_3"] == pytest.approx(1 / 6)
    assert shares["on_rings"] == pytest.approx(1 / 2)
    x[:] = np.nan
    assert plane.on_ring_shares(x)["on_rings"] == 0


def test_kde_puts_its_mass_at_the_samples():
    x = np.full((3, 10), np.nan)
    x[0, :2] = [2.0, -1.0]
    grid = plane.kde_xy(x)
    x_cell, y_cell = np.unravel_index(grid.argmax(), grid.shape)
    assert plane.AXIS[x_cell] == pytest.approx(2)
    assert plane.AXIS[y_cell] == pytest.approx(-1)
    assert grid.sum() == pytest.approx(1)
    assert plane.kde_xy(x[1:]).sum() == 0

"""studies/relaxation.py: its formulas, against the recursion step by step and where the answer is known."""

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "studies"))

import relaxation

T = relaxation.TEMPERATURE


@pytest.mark.parametrize("curvature", [0.004, 0.0, -0.001])
def test_variance_after_is_the_recursion(curvature):
    variance = 0.7
    for _ in range(50):
        variance = (1 - 10 * curvature) ** 2 * variance + 2 * 10 * T
    assert relaxation.variance_after(0.7, np.array(curvature), 10, 50) == pytest.approx(variance)


def test_starts_with_the_datas_variances_leave_nothing_but_the_steps_error():
    """Langevin's own variance is 2 T / (k (2 - ε k)), ε k / 2 more than the data's."""
    variances = np.array([0.02, 0.5, 30.0])
    left = relaxation.energy_difference(variances, variances, 1.0, 100)
    assert -T / 2 * np.sum(T / variances) < left < 0
    assert relaxation.energy_difference(variances, np.ones(3), 1.0, 100) < 100 * left


def test_directions_that_vary_more_than_noise_fall_and_a_larger_lambda_lifts_them():
    variances = np.array([0.02, 1.0, 100.0])
    small, large = (relaxation.resting_curvatures(variances, 10, 100, weight) for weight in (25, 5_000))
    assert np.all(small[:2] > 0) and small[2] < 0
    assert -1 / (10 * small[2]) == pytest.approx(2 * 26 * 100, rel=0.05)  # 2 (λ + 1) L steps
    assert np.all(large > 0)
    np.testing.assert_allclose(large, T / variances, rtol=0.3)

"""The adaptive step size."""

import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.mcmc.step_size import adaptive_step_size


@pytest.mark.parametrize(
    ("energies", "expected"),
    [
        ([1.0, 3.0], 0.0005),  # standard deviation 1
        ([0.0, 20.0], 0.00005),  # 10
        ([0.0, 0.002], 0.05),  # 0.001 would give 0.5: the largest step holds
        ([7.0, 7.0], 0.05),  # equal energies
        ([7.0], 0.05),  # one sample has no spread
    ],
)
def test_literals(energies, expected):
    step_size = adaptive_step_size(tf.constant(energies), 0.05)
    assert step_size.shape == () and step_size.dtype == tf.float32
    np.testing.assert_allclose(step_size, expected, rtol=1e-4)


def test_does_not_see_the_constant_of_the_energy():
    energies = tf.random.stateless_normal([64], [71, 72])
    shifted = adaptive_step_size(energies + 100.0, 1.0)
    np.testing.assert_allclose(shifted, adaptive_step_size(energies, 1.0), rtol=1e-4)


def test_takes_half_precision_energies():
    assert adaptive_step_size(tf.constant([1.0, 3.0], tf.bfloat16), 0.05).dtype == tf.float32

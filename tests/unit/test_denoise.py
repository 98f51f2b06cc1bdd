"""The noise of training, taken out by one gradient: exact for Gaussians, in the units of x."""

import numpy as np
import pytest
import tensorflow as tf

import ebm_tf
from ebm_tf.mcmc.langevin import denoise
from tests.oracles import quadratic

SPREAD, NOISE, TEMPERATURE = 0.6, 0.3, 0.05


def test_it_is_the_mean_of_the_clean_x_of_a_gaussian():
    """x_0 ~ N(0, s²): noisy x have the energy T x²/2(s² + σ²), and E[x_0 | x] = s²/(s² + σ²) x."""
    x = tf.random.stateless_normal([50, 4], seed=[0, 1])
    energy_fn = quadratic(TEMPERATURE / (SPREAD**2 + NOISE**2))
    mean = SPREAD**2 / (SPREAD**2 + NOISE**2) * x
    np.testing.assert_allclose(denoise(energy_fn, x, NOISE, TEMPERATURE), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(denoise(energy_fn, x, 0.0, TEMPERATURE), x)


def trained(**facts):
    """E = Σ((x − mean)/scale)²/2 T of standardised x, as an export of a table gives it: in the data's units."""
    info = ebm_tf.ModelInfo("x", (2,), TEMPERATURE, 1.0, 1.0, 1, (), "0", "data", "0", **facts)
    mean, scale = np.float32(info.mean or (0, 0)), np.float32(info.scale or (1, 1))
    return ebm_tf.TrainedEnergy(info, {"energy_grad": lambda x: {"energy_grad": TEMPERATURE * (x - mean) / scale**2}})


def test_of_a_table_it_is_in_the_datas_units():
    mean, scale = (5.0, -2.0), (10.0, 0.1)
    x = np.float32([[25.0, -2.1], [5.0, -2.0]])
    found = trained(data_noise=NOISE, mean=mean, scale=scale).denoise(x)
    np.testing.assert_allclose(found, x - NOISE**2 * (x - np.float32(mean)), rtol=1e-6)


def test_where_training_added_no_noise_it_is_refused():
    with pytest.raises(ValueError, match=r"expected a model with data_noise and T above 0\. Received: data_noise=0, "):
        trained().denoise(np.zeros((1, 2), np.float32))

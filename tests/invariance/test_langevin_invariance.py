"""Does one kernel step keep its target, at a large step?

ULA at step size ε on E(x) = k|x|²/2 leaves N(0, T / (k (1 - εk/2))) unchanged. Each test draws exactly from that law,
takes one step with εk = 1.5 (a = -1/2, so a quarter of the variance is kept and three quarters are new noise), and
compares with the same law by Kolmogorov-Smirnov. Small steps cannot see these defects: there x barely moves.

False-alarm rate 1e-6 per test. On failure raise NUM_CHAINS, never the rate.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ebm_tf.mcmc.langevin import langevin_step
from tests.oracles import FALSE_ALARM_RATE, quadratic

NUM_CHAINS, NUM_COORDINATES = 20_000, 2
STIFFNESS, TEMPERATURE = 2.0, 0.1
STEP_SIZE = 1.5 / STIFFNESS
SEED = tf.constant([11, 12])


def ula(x, step_size, seed):
    return langevin_step(quadratic(STIFFNESS), x, step_size, TEMPERATURE, seed)[0]


def by_hand(noise_std, drift=1.0, shape_fn=tf.shape):
    def step(x, step_size, seed):
        z = tf.random.stateless_normal(shape_fn(x), seed)
        return x - drift * step_size * STIFFNESS * x + noise_std(step_size) * z

    return step


def sqrt_2et(step_size):
    return np.sqrt(2 * step_size * TEMPERATURE)


def one_per_coordinate(x):
    return [1, x.shape[1]]


WRONG_KERNELS = {
    "noise shared across the batch": by_hand(sqrt_2et, shape_fn=one_per_coordinate),
    "noise_std sqrt(eps T)": by_hand(lambda e: np.sqrt(e * TEMPERATURE)),
    "temperature missing": by_hand(lambda e: np.sqrt(2 * e)),
    "T in place of sqrt(T)": by_hand(lambda e: np.sqrt(2 * e) * TEMPERATURE),
    "half the gradient": by_hand(sqrt_2et, drift=0.5),
    "twice the gradient": by_hand(sqrt_2et, drift=2.0),
    "no gradient": by_hand(sqrt_2et, drift=0.0),
    "chain does not keep x": lambda x, step_size, seed: ula(tf.zeros_like(x), step_size, seed),
}


def ula_variance(step_size):
    return TEMPERATURE / (STIFFNESS * (1 - step_size * STIFFNESS / 2))


def invariance_p_value(kernel, step_size=STEP_SIZE, variance=None):
    """KS p-value, over all coordinates of all chains, that one step keeps N(0, variance)."""
    std = np.sqrt(ula_variance(step_size) if variance is None else variance)
    x = std * np.random.default_rng(13).standard_normal((NUM_CHAINS, NUM_COORDINATES)).astype(np.float32)
    x_next = kernel(tf.constant(x, tf.float32), step_size, SEED)
    return stats.kstest(np.ravel(x_next), stats.norm(scale=std).cdf).pvalue


@pytest.mark.parametrize("eps_k", [0.5, 1.0, 1.5, 1.9])
def test_one_large_step_keeps_ulas_law(eps_k):
    """False-alarm rate 1e-6. Sees: shared noise, wrong noise_std, missing temperature, wrong drift."""
    assert invariance_p_value(ula, eps_k / STIFFNESS) > FALSE_ALARM_RATE


def test_right_kernel_by_hand_is_accepted():
    """False-alarm rate 1e-6. The controls below are rejected for their defect only."""
    assert invariance_p_value(by_hand(sqrt_2et)) > FALSE_ALARM_RATE


@pytest.mark.parametrize("name", WRONG_KERNELS)
def test_wrong_kernel_is_rejected(name):
    """The negative control."""
    assert invariance_p_value(WRONG_KERNELS[name]) < FALSE_ALARM_RATE


def test_one_step_does_not_keep_the_unbiased_law():
    """ULA is not MALA: from exp(-E/T) itself one step at epsilon k = 1 doubles the variance, and KS sees it."""
    assert invariance_p_value(ula, 1.0 / STIFFNESS, variance=TEMPERATURE / STIFFNESS) < FALSE_ALARM_RATE

"""Has the Langevin chain the law it claims?

On E(x) = Σ k x²/2 every ULA step is x ← a x + √(2εT) z with a = 1 - εk, so after L steps from x₀ the state is
Gaussian with mean a^L x₀ and variance 2εT (1 - a^2L) / (1 - a²), which tends to T / (k (1 - εk/2)).

Statistical assertions here compare a p-value with FALSE_ALARM_RATE = 1e-6: a right kernel fails one of them for one
seed in a million. If one fails, raise NUM_CHAINS and look at the p-value again; never change the rate or the seed.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ebm_tf.mcmc.langevin import BLOCK, compile_chain, langevin_chain, langevin_step
from tests import oracles
from tests.oracles import FALSE_ALARM_RATE, skewed

NUM_CHAINS = 20_000
STIFFNESS = np.array([0.5, 1.0, 2.0, 3.0], np.float32)
X_INIT = np.array([1.0, -2.0, 0.5, 3.0], np.float32)
quadratic = oracles.quadratic(STIFFNESS)
STEP_SIZE, TEMPERATURE, NUM_STEPS = 0.25, 0.3, 7


@tf.function
def ula(x_init, num_steps, step_size, temperature, seed):
    return langevin_chain(quadratic, x_init, num_steps, step_size, temperature, seed)[0]


def by_hand(step):
    """A chain from one step written here: step(x, grad, z, step_size, temperature) -> x."""

    def chain(x_init, num_steps, step_size, temperature, seed):
        rng = np.random.default_rng([int(s) for s in seed])
        x, first = np.asarray(x_init), None
        for _ in range(num_steps):
            z = rng.standard_normal(x.shape).astype(np.float32)
            first = z if first is None else first
            x = step(x, STIFFNESS * x, z, np.asarray(step_size), temperature, first)
        return x

    return chain


def noise_std(step_size, temperature):
    return np.sqrt(2 * step_size * temperature)


def _shared(z):
    return np.broadcast_to(z[:1], z.shape)


def _half_shared(z):
    return np.concatenate([z[: len(z) // 2]] * 2)


def _coordinate_shared(z):
    return np.broadcast_to(z[:, :1], z.shape)


def _ornstein_uhlenbeck(x, grad, z, e, t, first):
    """The exact diffusion: what ULA would be without its bias."""
    decay = np.exp(-e * STIFFNESS)
    return decay * x + np.sqrt(t / STIFFNESS * (1 - decay**2)) * z


WRONG_KERNELS = {
    "noise_std sqrt(eps T)": by_hand(lambda x, g, z, e, t, _: x - e * g + np.sqrt(e * t) * z),
    "temperature missing": by_hand(lambda x, g, z, e, t, _: x - e * g + np.sqrt(2 * e) * z),
    "half the gradient": by_hand(lambda x, g, z, e, t, _: x - e / 2 * g + noise_std(e, t) * z),
    "gradient over T": by_hand(lambda x, g, z, e, t, _: x - e / t * g + noise_std(e, t) * z),
    "uphill": by_hand(lambda x, g, z, e, t, _: x + e * g + noise_std(e, t) * z),
    "uniform step size": by_hand(lambda x, g, z, e, t, _: x - np.mean(e) * g + noise_std(np.mean(e), t) * z * 1.05),
    "unbiased diffusion": by_hand(_ornstein_uhlenbeck),
    "noise shared by all chains": by_hand(lambda x, g, z, e, t, _: x - e * g + noise_std(e, t) * _shared(z)),
    "noise shared by two halves": by_hand(lambda x, g, z, e, t, _: x - e * g + noise_std(e, t) * _half_shared(z)),
    "noise shared by coordinates": by_hand(
        lambda x, g, z, e, t, _: x - e * g + noise_std(e, t) * _coordinate_shared(z)
    ),
    "one noise for all steps": by_hand(lambda x, g, z, e, t, first: x - e * g + noise_std(e, t) * first),
    "one step too few": lambda x, num_steps, e, t, seed: ula(x, num_steps - 1, e, t, seed),
    "one step too many": lambda x, num_steps, e, t, seed: ula(x, num_steps + 1, e, t, seed),
}


def closed_form(x_init, num_steps, step_size, temperature):
    """Mean and variance after num_steps, float64 [event]."""
    a = 1 - np.asarray(step_size, np.float64) * STIFFNESS
    variance = 2 * np.asarray(step_size, np.float64) * temperature * (1 - a ** (2 * num_steps)) / (1 - a**2)
    return a**num_steps * x_init, variance


def correlation_p(u, v):
    """Two-sided p-value of zero correlation of two independent standard normal samples."""
    u, v = np.ravel(u), np.ravel(v)
    return 2 * stats.norm.sf(np.abs(u @ v) / np.sqrt(u @ u * (v @ v)) * np.sqrt(len(u)))


def law_p_value(x, mean, variance):
    """Smallest p-value, Bonferroni-corrected, of: means, variances, chains and coordinates uncorrelated.

    x is [chain, coordinate]; under the law its columns are independent Gaussians. Means use the exact normal
    quantile, variances the exact chi-square about the known mean.
    """
    n, d = x.shape
    z = (np.asarray(x, np.float64) - mean) / np.sqrt(variance)
    p_mean = 2 * stats.norm.sf(np.abs(z.mean(0)) * np.sqrt(n))
    square = np.sum(z**2, axis=0)
    p_variance = 2 * np.minimum(stats.chi2.cdf(square, n), stats.chi2.sf(square, n))
    p_chains = [correlation_p(z[: n // 2], z[n // 2 :]), correlation_p(z[::2], z[1::2])]
    p_coordinates = [correlation_p(z[:, i], z[:, i - 1]) for i in range(d)]
    p = np.concatenate([p_mean, p_variance, p_chains, p_coordinates])
    return min(1.0, p.min() * len(p))


def run(chain, step_size, seed=(1, 2), num_steps=NUM_STEPS):
    x_init = np.tile(X_INIT, (NUM_CHAINS, 1))
    x = chain(tf.constant(x_init), num_steps, tf.constant(step_size, tf.float32), TEMPERATURE, tf.constant(seed))
    return law_p_value(np.asarray(x), *closed_form(X_INIT, num_steps, step_size, TEMPERATURE))


STEP_SIZES = {
    "scalar": STEP_SIZE,
    "per coordinate": np.array([0.4, 0.3, 0.2, 0.05], np.float32),
}


@pytest.mark.parametrize("step_size", STEP_SIZES.values(), ids=STEP_SIZES)
@pytest.mark.parametrize("num_steps", [1, NUM_STEPS])
def test_law_after_num_steps(step_size, num_steps):
    """False-alarm rate 1e-6. Sees: every kernel of WRONG_KERNELS, by mean, variance or correlation."""
    assert run(ula, step_size, num_steps=num_steps) > FALSE_ALARM_RATE


@pytest.mark.parametrize("name", WRONG_KERNELS)
def test_wrong_kernel_is_rejected(name):
    """The negative control of test_law_after_num_steps."""
    assert run(WRONG_KERNELS[name], STEP_SIZES["per coordinate"]) < FALSE_ALARM_RATE


def test_right_kernel_by_hand_is_accepted():
    """False-alarm rate 1e-6. The controls above are rejected for their defect, not for being written by hand."""
    right = by_hand(lambda x, g, z, e, t, _: x - e * g + noise_std(e, t) * z)
    assert run(right, STEP_SIZES["per coordinate"]) > FALSE_ALARM_RATE


def test_stationary_variance_has_ulas_bias():
    """False-alarm rate 1e-6. Sees: ULA corrected toward T/k (MALA, or the exact diffusion), a 2.6 % error or more."""
    x = run_stationary(ula)
    assert law_p_value(x, 0.0, TEMPERATURE / (STIFFNESS * (1 - STEP_SIZE * STIFFNESS / 2))) > FALSE_ALARM_RATE


def test_stationary_variance_rejects_the_unbiased_law():
    """The negative control: the variance T/k without the bias must be seen as wrong, in ULA and the other way round."""
    biased = TEMPERATURE / (STIFFNESS * (1 - STEP_SIZE * STIFFNESS / 2))
    assert law_p_value(run_stationary(ula), 0.0, TEMPERATURE / STIFFNESS) < FALSE_ALARM_RATE
    assert law_p_value(run_stationary(WRONG_KERNELS["unbiased diffusion"]), 0.0, biased) < FALSE_ALARM_RATE


def run_stationary(chain):
    # (1 - εk)^L < 1e-8 for the softest coordinate, so the start is forgotten to float32.
    x_init = tf.zeros([NUM_CHAINS, len(STIFFNESS)])
    return np.asarray(chain(x_init, 150, STEP_SIZE, TEMPERATURE, tf.constant([3, 4])))


def test_zero_temperature_is_gradient_descent():
    """Exact up to float32 rounding, on a skewed energy Σ (eˣ - x) whose gradient is written by hand."""
    x_init = np.linspace(-1.5, 1.5, 12, dtype=np.float32).reshape(3, 4)
    step_size = np.array([0.3, 0.2, 0.1, 0.05], np.float32)
    expected = x_init
    for _ in range(20):
        expected = expected - step_size * (np.exp(expected) - 1)
    x, info = langevin_chain(skewed, tf.constant(x_init), 20, step_size, 0.0, tf.constant([5, 6]))
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(info.energy_init, skewed(x_init), rtol=1e-6)
    assert info.energy_final.shape == (3,)
    assert np.all(info.energy_final < info.energy_init)


def test_zero_temperature_does_not_depend_on_the_seed():
    x_init = tf.constant(np.tile(X_INIT, (5, 1)))
    first, second = (ula(x_init, 5, STEP_SIZE, 0.0, tf.constant(seed)) for seed in ([1, 2], [3, 4]))
    np.testing.assert_array_equal(first, second)


def test_zero_steps_is_the_start():
    x_init = tf.constant(np.tile(X_INIT, (5, 1)))
    np.testing.assert_array_equal(ula(x_init, 0, STEP_SIZE, TEMPERATURE, tf.constant([1, 2])), x_init)


def test_same_seed_same_chain_other_seed_other_chain():
    x_init = tf.constant(np.tile(X_INIT, (5, 1)))
    first, again, other = (ula(x_init, 5, STEP_SIZE, TEMPERATURE, tf.constant(s)) for s in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first, again)
    assert np.all(np.abs(first - other) > 0)


@pytest.mark.parametrize("jit_compile", [None, True])
def test_a_chain_that_is_cut_is_the_same_chain(jit_compile):
    """Bit for bit, wherever it is cut; counted from 0 again the noise would be that of the first steps."""
    compiled = compile_chain(quadratic, (4,), jit_compile)
    x, total = np.tile(X_INIT, (6, 1)), 2 * BLOCK + 37

    def advance(x, steps, first_step):
        return compiled(x, steps, STEP_SIZE, TEMPERATURE, tf.constant([3, 4]), first_step)[0]

    whole, cut, done = advance(x, total, 0), x, 0
    for steps in (10, 20, BLOCK, total - BLOCK - 30):
        cut, done = advance(cut, steps, done), done + steps
    np.testing.assert_array_equal(cut, whole)
    assert not np.array_equal(advance(advance(x, 10, 0), total - 10, 0), whole)


def test_the_step_is_the_first_of_the_chain():
    """The same seed, the same noise."""
    x_init = tf.constant(np.tile(X_INIT, (5, 1)))
    step = langevin_step(quadratic, x_init, STEP_SIZE, TEMPERATURE, tf.constant([1, 2]))[0]
    chain = langevin_chain(quadratic, x_init, 1, STEP_SIZE, TEMPERATURE, tf.constant([1, 2]))[0]
    np.testing.assert_array_equal(step, chain)


def test_an_energy_that_prepares_is_prepared_once_outside_the_loop():
    """And its prepared form is what the chain runs on."""
    calls = []

    class Prepares:
        def prepare(self):
            calls.append(1)
            return quadratic

    arguments = (tf.constant(np.tile(X_INIT, (5, 1))), 6, STEP_SIZE, TEMPERATURE, tf.constant([1, 2]))
    prepared = langevin_chain(Prepares(), *arguments)[0]
    assert len(calls) == 1
    np.testing.assert_array_equal(prepared, langevin_chain(quadratic, *arguments)[0])


def test_one_step_returns_energy_and_gradient_at_its_start():
    x = tf.constant(np.tile(X_INIT, (5, 1)))
    x_next, energy, energy_grad = langevin_step(quadratic, x, STEP_SIZE, 0.0, tf.constant([1, 2]))
    np.testing.assert_allclose(energy, quadratic(x), rtol=1e-6)
    np.testing.assert_allclose(energy_grad, STIFFNESS * x, rtol=1e-6)
    np.testing.assert_allclose(x_next, x - STEP_SIZE * STIFFNESS * x, rtol=1e-6)


def test_info_is_about_this_chain():
    """energy_init, energy_final and max_abs against literals of a chain that only shrinks."""
    x_init = tf.constant(np.tile(X_INIT, (5, 1)))
    x_final, info = langevin_chain(quadratic, x_init, 4, 0.1, 0.0, tf.constant([1, 2]))
    np.testing.assert_allclose(info.energy_init, quadratic(x_init), rtol=1e-5)
    np.testing.assert_allclose(info.max_abs, np.max(np.abs(x_final)), rtol=1e-5)
    assert info.energy_grad_norm.shape == ()
    norms = [np.linalg.norm(STIFFNESS * (1 - 0.1 * STIFFNESS) ** step * X_INIT) for step in (4, 0)]
    assert norms[0] * 0.99 < float(info.energy_grad_norm) < norms[1] * 1.01

"""The Sampler's whitened steps on vectors: E = xᵀ C⁻¹ x / 2 with T = 1 and P = A Aᵀ.

In coordinates A⁻¹ x a step is y ← (1 − ε M) y + √(2 ε) z with M = Aᵀ C⁻¹ A. Where A Aᵀ = C, M is I, and every direction
has the same law: from y = 0 a variance of (1 − a^2L) / (1 − ε/2), a = 1 − ε, whatever C. False-alarm rate 1e-6 each.
"""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ebm_tf.mcmc.langevin import langevin_chain
from ebm_tf.mcmc.sampler import Sampler
from tests.oracles import FALSE_ALARM_RATE

NUM_CHAINS, NUM_STEPS, STEP_SIZE = 20_000, 25, 0.2
MEAN = np.array([3.0, -1.0, 0.5], np.float32)
ROTATION, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))
COVARIANCE = ((ROTATION * [0.01, 1.0, 40.0]) @ ROTATION.T).astype(np.float32)
FACTOR = np.linalg.cholesky(COVARIANCE).astype(np.float32)
PRECISION = np.linalg.inv(COVARIANCE.astype(np.float64)).astype(np.float32)
SEED = tf.constant([3, 4])


def energy(x):
    return 0.5 * tf.einsum("bi,ij,bj->b", x - MEAN, PRECISION, x - MEAN)


def p_values(x, variance):
    """By direction of C, of N(mean, variance times C's)."""
    white = np.linalg.solve(FACTOR.astype(np.float64), (np.asarray(x) - MEAN).T) / np.sqrt(variance)
    return [stats.kstest(row, "norm").pvalue for row in white]


def after_steps(step_size=STEP_SIZE):
    return (1 - (1 - step_size) ** (2 * NUM_STEPS)) / (1 - step_size / 2)


def run(root, step_size=STEP_SIZE):
    sampler = Sampler(step_size, 1.0, NUM_STEPS, preconditioner=tf.constant(root))
    return sampler.run(energy, np.broadcast_to(MEAN, (NUM_CHAINS, 3)), SEED)[0]


def test_whitened_steps_have_one_law_in_every_direction():
    """Sees: P that is not A Aᵀ, noise or drift alone preconditioned, A in place of its transpose."""
    assert min(p_values(run(FACTOR), after_steps())) > FALSE_ALARM_RATE
    symmetric = ((ROTATION * np.sqrt([0.01, 1.0, 40.0])) @ ROTATION.T).astype(np.float32)
    assert min(p_values(run(symmetric), after_steps())) > FALSE_ALARM_RATE


WRONG = {  # roots, and a step with which none diverges
    "transposed": (FACTOR.T, 0.005),
    "three times as long": (1.7 * FACTOR, STEP_SIZE),
    "noise alone": (None, STEP_SIZE),
    "drift alone": (None, STEP_SIZE),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_preconditioner_is_rejected(name):
    """Each against the law that its step would have if P were C."""
    root, step_size = WRONG[name]
    x = _by_hand(name) if root is None else run(root, step_size)
    assert np.all(np.isfinite(x))
    assert min(p_values(x, after_steps(step_size))) < FALSE_ALARM_RATE


def _by_hand(name):
    rng, x = np.random.default_rng(5), np.zeros((NUM_CHAINS, 3))
    for _ in range(NUM_STEPS):
        z = np.sqrt(2 * STEP_SIZE) * rng.standard_normal(x.shape)
        drift, scale = -x @ PRECISION.astype(np.float64), FACTOR.astype(np.float64)
        if name == "noise alone":
            x = x + 0.01 * STEP_SIZE * drift + z @ scale.T  # 0.01: the smallest variance, so that no direction diverges
        else:
            x = x + STEP_SIZE * drift @ COVARIANCE + 0.1 * z
    return x + MEAN


def test_starts_have_the_gaussians_law():
    sampler = Sampler(STEP_SIZE, 1.0, 0, start=(tf.constant(MEAN), tf.constant(FACTOR)))
    x = sampler.starts(NUM_CHAINS, SEED)
    assert x.shape == (NUM_CHAINS, 3)
    assert min(p_values(x, 1.0)) > FALSE_ALARM_RATE
    np.testing.assert_array_equal(sampler.run(energy, x, SEED)[0], x)  # L = 0
    white = Sampler(STEP_SIZE, 1.0, 0, event_shape=(3,)).starts(NUM_CHAINS, SEED)
    assert min(p_values(white, 1.0)) < FALSE_ALARM_RATE


def test_run_is_langevin_chain_compiled_once_an_energy_and_part_of_a_graph():
    sampler = Sampler([0.1, 0.2, 0.3], 0.5, 4)
    assert sampler.event_shape == (3,)
    x, traced = sampler.starts(5, SEED), []

    def counted(x):
        traced.append(1)
        return 0.5 * tf.reduce_sum(x**2, axis=-1)

    expected = langevin_chain(counted, x, 4, tf.constant([0.1, 0.2, 0.3]), 0.5, SEED)[0]
    before = len(traced)
    found = [sampler.run(counted, x, SEED)[0], sampler.run(counted, x[:2], SEED, 7)[0]]
    first = len(traced)
    found.append(sampler.run(counted, x, SEED)[0])
    assert len(traced) == first > before
    in_graph = tf.function(lambda x: sampler.run(counted, x, SEED)[0])(x)
    for value in (found[0], found[2], in_graph):
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)
    plain = Sampler(0.1, 0.5, 1)
    assert [plain.run(counted, x[:, :size], SEED)[0].shape[1] for size in (3, 2)] == [3, 2]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ((0.0, 1.0, 1), "expected step_size, a finite number, above 0. Received: step_size=0.0"),
        (([0.1, np.inf], 1.0, 1), "expected step_size, a finite number, above 0"),
        ((0.1, -1.0, 1), "expected temperature, a finite number, 0 or more. Received: temperature=-1.0"),
        ((0.1, 1.0, -1), "expected num_steps, a whole number, 0 or more. Received: num_steps=-1"),
        (([0.1, 0.2], 1.0, 1, (2,), None, 2 * np.eye(2)), "expected one step_size for all coordinates"),
    ],
)
def test_a_bad_number_is_refused(settings, text):
    with pytest.raises(ValueError, match=text):
        Sampler(*settings)
    with pytest.raises(ValueError, match="expected event_shape"):
        Sampler(0.1, 1.0, 1).starts(2, SEED)


def test_a_sampler_keeps_the_last_energies_alone(monkeypatch):
    """Of each the compiled chains, and the energy with them: one used again stays, the oldest goes."""
    monkeypatch.setattr("ebm_tf.mcmc.sampler.KEPT", 2)
    sampler, alive = Sampler(STEP_SIZE, 1.0, 0), []
    first = lambda x: tf.reduce_sum(x**2, axis=1)  # noqa: E731
    for _ in range(2):
        other = lambda x: tf.reduce_sum(x**2, axis=1)  # noqa: E731
        for energy_fn in (first, other):
            sampler.run(energy_fn, np.zeros((1, 1)), SEED)
        alive.append(weakref.ref(other))
        del other, energy_fn
    alive.append(weakref.ref(first))
    del first
    gc.collect()
    assert [one() is not None for one in alive] == [False, True, True]

"""Is our move TFP's, and TFP's the one of the textbook?

The ratio is written out in float64 from the gradient's formula,

    ln r = (E(x) - E(x')) / T + [|x' - x + ε ∂E(x)|² - |x - x' + ε ∂E(x')|²] / (4 ε T),

on a skewed energy with one step per coordinate and with one per chain.
"""

import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from ebm_tf.mcmc import mala
from ebm_tf.mcmc.langevin import langevin_step
from ebm_tf.mcmc.mala import compile_mala, init_state, mala_step
from tests.oracles import skewed, uncompiled_mala

TEMPERATURE, NUM_CHAINS = 0.3, 2_000
SEED = tf.constant([31, 32])
STEP_SIZES = {
    "one": np.float32(0.4),
    "per coordinate": np.array([0.6, 0.3, 0.1], np.float32),
    "per chain": np.linspace(0.05, 0.8, NUM_CHAINS, dtype=np.float32)[:, None],
}


def energy_fn(x):
    return skewed(x) + tf.square(x[:, 0] - x[:, 1])


def energy_and_grad(x):
    """By formula, in float64."""
    energy = np.sum(np.exp(x) - x, axis=-1) + (x[:, 0] - x[:, 1]) ** 2
    grad = np.exp(x) - 1
    grad[:, 0] += 2 * (x[:, 0] - x[:, 1])
    grad[:, 1] -= 2 * (x[:, 0] - x[:, 1])
    return energy, grad


def log_ratio(x, x_new, step_size, temperature):
    x, x_new, step_size = (np.asarray(value, np.float64) for value in (x, x_new, step_size))
    (energy, grad), (energy_new, grad_new) = energy_and_grad(x), energy_and_grad(x_new)
    forward = np.sum((x_new - x + step_size * grad) ** 2 / step_size, axis=-1)
    backward = np.sum((x - x_new + step_size * grad_new) ** 2 / step_size, axis=-1)
    return (energy - energy_new) / temperature + (forward - backward) / (4 * temperature)


def x_init():
    return tf.random.stateless_normal([NUM_CHAINS, 3], [33, 34])


@pytest.mark.parametrize("name", STEP_SIZES)
def test_ratio_is_the_one_written_out(name):
    x, step_size = x_init(), STEP_SIZES[name]
    x_next, info = mala_step(energy_fn, x, step_size, TEMPERATURE, SEED)
    expected = log_ratio(x, info.x_proposed, step_size, TEMPERATURE)
    # Differences of float32 sums of size 10 over T: rounding 1e-5 in the ratio's logarithm.
    np.testing.assert_allclose(info.log_accept_ratio, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(x_next, np.where(info.is_accepted[:, None], info.x_proposed, x))
    for wrong in (
        log_ratio(x, info.x_proposed, step_size, 1.0),
        log_ratio(x, info.x_proposed, 2 * step_size, TEMPERATURE),
        log_ratio(info.x_proposed, x, step_size, TEMPERATURE),
    ):
        assert np.mean(np.abs(info.log_accept_ratio - wrong) < 0.01) < 0.1


def test_accepted_when_the_uniform_is_below_the_ratio():
    """Certain where r ≥ 1; else with frequency r, in ten classes of r. False-alarm rate 1e-6 (5.4 standard errors of
    ten counts). Sees: ratios used squared, inverted, or without the minimum.
    """
    _, info = mala_step(energy_fn, tf.tile(x_init(), [20, 1]), STEP_SIZES["one"], TEMPERATURE, SEED)
    accept_prob = np.exp(np.minimum(info.log_accept_ratio, 0))
    accepted = np.asarray(info.is_accepted)
    assert accepted[accept_prob == 1].all()

    def worst(probability):
        classes = np.minimum((10 * probability).astype(int), 9)
        scores = []
        for number in range(10):
            inside = (classes == number) & (probability < 1)
            variance = np.sum(probability[inside] * (1 - probability[inside]))
            scores.append(abs(np.sum(accepted[inside] - probability[inside])) / np.sqrt(variance))
        return max(scores)

    assert worst(accept_prob) < 5.4
    assert worst(accept_prob**2) > 5.4
    assert worst(np.sqrt(accept_prob)) > 5.4


def test_proposal_is_equation_9():
    """The proposal less its noise is the step of langevin at T = 0, and the noise has the standard deviation
    sqrt(2 epsilon T): mean square over 6,000 numbers within 5.3 standard errors (false-alarm rate 1e-6).
    """
    x, step_size = x_init(), 0.4
    _, info = mala_step(energy_fn, x, step_size, TEMPERATURE, SEED)
    drifted, _, _ = langevin_step(energy_fn, x, step_size, 0.0, SEED)
    z = np.asarray(info.x_proposed - drifted) / np.sqrt(2 * step_size * TEMPERATURE)
    assert abs(np.mean(z**2) - 1) < 5.3 * np.sqrt(2 / z.size)
    assert abs(np.mean(z)) < 5.3 / np.sqrt(z.size)
    assert abs(np.mean(z[::2] * z[1::2])) < 5.3 / np.sqrt(z.size / 2)


def test_chain_is_tfps_own_sample_chain():
    """With the step fixed, our loop makes the moves of TFP's kernel, one after the other, number by number."""
    x, step_size, num_moves = x_init()[:50], 0.3, 25
    kernel = tfp.mcmc.MetropolisAdjustedLangevinAlgorithm(
        lambda x: -energy_fn(x) / TEMPERATURE, step_size=2 * step_size * TEMPERATURE
    )
    expected, results, num_accepted = x, kernel.bootstrap_results(x), np.zeros(50, int)
    for move in range(num_moves):
        seed = tf.random.experimental.stateless_fold_in(SEED, move)
        expected, results = kernel.one_step(expected, results, seed=seed)
        num_accepted += np.asarray(results.is_accepted)
    limits = (num_moves, np.inf, False, step_size, TEMPERATURE, 0.67, False, tf.eye(3))
    for chain in (uncompiled_mala(energy_fn), compile_mala(energy_fn, (3,), jit_compile=False)):
        state, trace = chain(init_state(x), *limits, SEED)
        np.testing.assert_allclose(state.x, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(state.num_accepted, num_accepted)
        last = int(np.flatnonzero(trace.num_moves)[-1])
        np.testing.assert_allclose(trace.energy[last], energy_fn(state.x), rtol=1e-4)
        np.testing.assert_allclose(trace.projections[last], state.x, rtol=1e-6)
        assert int(np.sum(trace.num_moves)) == num_moves
        rate = np.sum(trace.acceptance_rate * np.asarray(trace.num_moves, np.float32)) / num_moves
        assert rate == pytest.approx(num_accepted.mean() / num_moves, rel=1e-4)


def loops(fn, *arguments):
    graph = tf.function(fn, autograph=False).get_concrete_function(*arguments).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return sum(node.op in ("While", "StatelessWhile") for node in nodes)


def test_a_tfp_without_its_private_name_is_left_as_it_is(monkeypatch):
    kernel = tfp.mcmc.MetropolisAdjustedLangevinAlgorithm
    monkeypatch.delattr(sys.modules[kernel.__module__], "diag_jacobian")
    assert mala._tfps_kernel.__wrapped__() is kernel


def test_a_move_has_no_loop_over_coordinates():
    """TFP's default kernel has one, over the slopes of its constant volatility: 3,072 rounds a move of an image. Any
    other volatility keeps TFP's slopes.
    """
    x = x_init()[:5]
    assert loops(lambda x: mala_step(energy_fn, x, 0.4, TEMPERATURE, SEED)[0], x) == 0
    tfps = tfp.mcmc.MetropolisAdjustedLangevinAlgorithm(lambda x: -energy_fn(x), step_size=0.1)
    assert loops(lambda x: tfps.one_step(x, tfps.bootstrap_results(x), seed=SEED)[0], x) == 2
    curved = tfp.mcmc.MetropolisAdjustedLangevinAlgorithm(lambda x: -energy_fn(x), 0.1, lambda x: 1.0 + x**2)
    found = tf.function(lambda x: curved.bootstrap_results(x).accepted_results.grads_volatility[0])(x)
    np.testing.assert_allclose(found, 2 * (1 + x**2) * 2 * x, rtol=1e-5)

"""Has the adjusted chain the law, the acceptance and the length it claims?

Statistical assertions compare a p-value with FALSE_ALARM_RATE = 1e-6. If one fails, raise the number of chains and look
again; never change the rate or the seed.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ebm_tf.mcmc.langevin import langevin_chain
from ebm_tf.mcmc.mala import compile_mala, freeze, init_state, mala_step
from tests import oracles
from tests.oracles import FALSE_ALARM_RATE, skewed, skewed_p_value, uncompiled_mala

NUM_COORDINATES, TEMPERATURE, STIFFNESS = 10, 0.3, 4.0
NUM_CHAINS = 100
NEVER = float("inf")
NO_DIRECTIONS = tf.zeros([NUM_COORDINATES, 1])
quadratic = oracles.quadratic(STIFFNESS)


def exact_draws(num_chains, seed=0):
    std = np.sqrt(TEMPERATURE / STIFFNESS)
    return tf.constant(std * np.random.default_rng(seed).standard_normal((num_chains, NUM_COORDINATES)), tf.float32)


@pytest.fixture(scope="module")
def chain():
    return compile_mala(quadratic, (NUM_COORDINATES,), jit_compile=False)


def warmed_up(chain, step_size, target=0.67, per_chain=False, num_moves=2_000):
    settings = (step_size, TEMPERATURE, target, per_chain, NO_DIRECTIONS)
    state, _ = chain(init_state(exact_draws(NUM_CHAINS)), num_moves, NEVER, True, *settings, tf.constant([41, 42]))
    return freeze(state)


def acceptance(step_size):
    """Mean probability of acceptance at exact draws, standard error below 0.0012."""
    _, info = mala_step(quadratic, exact_draws(100_000, seed=1), step_size, TEMPERATURE, tf.constant([43, 44]))
    return float(np.mean(np.exp(np.minimum(info.log_accept_ratio, 0))))


@pytest.mark.parametrize("target", [0.67, 0.574])
@pytest.mark.parametrize("factor", [100.0, 0.01], ids=["100 times too large", "100 times too small"])
def test_adaptation_reaches_the_target(chain, factor, target):
    """Within 0.02, on a Gaussian of known scale: there epsilon k is near 1/2 in ten dimensions."""
    step_size = factor * 0.5 / STIFFNESS
    assert abs(acceptance(step_size) - target) > 0.3
    state = warmed_up(chain, step_size, target)
    assert np.ptp(state.log_step_scale) == 0
    assert abs(acceptance(step_size * np.exp(state.log_step_scale[0])) - target) < 0.02


@pytest.mark.parametrize("factor", [100.0, 0.01], ids=["100 times too large", "100 times too small"])
def test_adaptation_of_one_step_per_chain(chain, factor):
    """Each chain learns from its own moves only; averaged over chains the acceptance is the target's within 0.02."""
    step_size = factor * 0.5 / STIFFNESS
    state = warmed_up(chain, step_size, per_chain=True)
    scales = np.exp(state.log_step_scale)
    assert len(np.unique(scales)) > NUM_CHAINS / 2
    assert np.std(np.log(scales)) < 0.1  # all chains have the same law, so about the same step
    settings = (step_size, TEMPERATURE, 0.67, True, NO_DIRECTIONS)
    sampled, _ = chain(state, 1_000, NEVER, False, *settings, tf.constant([45, 46]))
    assert abs(np.mean(sampled.num_accepted) / 1_000 - 0.67) < 0.02
    np.testing.assert_array_equal(sampled.log_step_scale, state.log_step_scale)


def test_freeze_installs_the_average_and_counts_anew(chain):
    state = warmed_up(chain, 0.1, num_moves=50)
    np.testing.assert_array_equal(state.log_step_scale, state.log_step_scale_mean)
    assert not np.any(state.num_accepted)
    unadapted = freeze(init_state(exact_draws(3)))
    assert not np.any(unadapted.log_step_scale)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_law_from_a_wrong_start(jit_compile):
    """False-alarm rate 1e-6. 4,000 chains of two coordinates forget their start, at a step whose bias ULA shows."""
    x_init, step_size = -2.0 * tf.ones([4_000, 2]), 0.5
    chain = compile_mala(skewed, (2,), jit_compile=jit_compile)
    settings = (step_size, TEMPERATURE, 0.67, False, tf.zeros([2, 1]))
    state, _ = chain(init_state(x_init), 150, NEVER, False, *settings, tf.constant([47, 48]))
    assert skewed_p_value(state.x, TEMPERATURE) > FALSE_ALARM_RATE
    x_ula, _ = langevin_chain(skewed, x_init, 150, step_size, TEMPERATURE, tf.constant([47, 48]))
    assert skewed_p_value(x_ula, TEMPERATURE) < FALSE_ALARM_RATE
    early, _ = chain(init_state(x_init), 5, NEVER, False, *settings, tf.constant([47, 48]))
    assert skewed_p_value(early.x, TEMPERATURE) < FALSE_ALARM_RATE


def test_rejected_moves_do_not_count(chain):
    """The run ends at the first move at which the mean of accepted moves is what was asked for."""
    settings = (0.5 / STIFFNESS, TEMPERATURE, 0.67, False, NO_DIRECTIONS)
    start = init_state(exact_draws(NUM_CHAINS))
    state, trace = chain(start, 1_000, 100.0, False, *settings, tf.constant([49, 50]))
    num_moves, accepted = int(np.sum(trace.num_moves)), np.asarray(state.num_accepted)
    assert 100 <= accepted.mean() < 101
    assert num_moves == pytest.approx(100 / 0.67, rel=0.1)
    assert accepted.max() <= num_moves
    bins = np.asarray(trace.num_moves)
    assert list(bins[:2]) == [50, 50] and not bins[3:].any()  # 20 bins for 1,000 moves
    one_less, _ = chain(start, num_moves - 1, NEVER, False, *settings, tf.constant([49, 50]))
    assert np.mean(one_less.num_accepted) < 100
    _, trace = chain(start, 150, NEVER, False, *settings, tf.constant([49, 50]))
    assert int(np.sum(trace.num_moves)) == 150


def test_stopping_together_keeps_the_law():
    """False-alarm rate 1e-6, at E = sum (e^x - x). Chains that stop at their own first accepted move have another law,
    in which states that are rarely accepted are missing; chains that stop together have not.
    """
    x = np.log(np.random.default_rng(2).gamma(1 / TEMPERATURE, TEMPERATURE, (20_000, 2)))
    start, step_size = tf.constant(x, tf.float32), 1.0
    settings = (step_size, TEMPERATURE, 0.67, False, tf.zeros([2, 1]))
    state, _ = uncompiled_mala(skewed)(init_state(start), 50, 1.0, False, *settings, tf.constant([51, 52]))
    assert np.mean(state.num_accepted) >= 1
    assert skewed_p_value(state.x, TEMPERATURE) > FALSE_ALARM_RATE
    _, info = mala_step(skewed, start, step_size, TEMPERATURE, tf.constant([51, 52]))
    just_accepted = np.asarray(info.x_proposed)[np.asarray(info.is_accepted)]
    assert skewed_p_value(just_accepted, TEMPERATURE) < FALSE_ALARM_RATE


def test_one_gradient_a_move_and_one_trace():
    """The energy is evaluated once at the start and once a move; nothing is traced again for other sizes."""
    evaluations, traced = tf.Variable(0), []

    def counted(x):
        traced.append(x)
        with tf.control_dependencies([evaluations.assign_add(1)]):
            return quadratic(x)

    chain = compile_mala(counted, (NUM_COORDINATES,), jit_compile=False)
    per_coordinate = tf.linspace(0.01, 0.1, NUM_COORDINATES)
    shapes = []
    for num_chains, num_moves, step_size, adapt, per_chain in [
        (4, 30, 0.1, True, False),
        (7, 45, per_coordinate, False, True),
    ]:
        evaluations.assign(0)
        state = init_state(exact_draws(num_chains))
        settings = (step_size, TEMPERATURE, 0.6, per_chain, tf.zeros([NUM_COORDINATES, num_chains]))
        state, trace = chain(state, num_moves, NEVER, adapt, *settings, tf.constant([1, num_moves]))
        assert int(evaluations) == num_moves + 1
        shapes.append([value.shape[0] for value in trace])
    assert len(traced) == 2  # before the loop, and in its body
    assert chain.experimental_get_tracing_count() == 1
    assert shapes[0] == shapes[1] == [20] * 5  # the record does not grow with the moves


def test_no_moves_and_bad_proposals_leave_the_state(chain):
    """Not one chain follows a proposal whose energy is not a number."""
    start = exact_draws(5)
    settings = (0.1, TEMPERATURE, 0.67, False, NO_DIRECTIONS)
    state, trace = chain(init_state(start), 0, NEVER, True, *settings, tf.constant([1, 2]))
    np.testing.assert_array_equal(state.x, start)
    assert not np.any(trace.num_moves)

    def broken(x):
        is_start = tf.reduce_all(x == start, axis=-1)
        return tf.where(is_start, quadratic(x), float("nan") * quadratic(x))

    state, trace = uncompiled_mala(broken)(init_state(start), 10, NEVER, True, *settings, tf.constant([1, 2]))
    np.testing.assert_array_equal(state.x, start)
    assert not np.any(state.num_accepted)
    assert np.all(np.isfinite(trace.energy[:10])) and np.all(state.log_step_scale < 0)


def test_rounding_of_bfloat16_spoils_the_chain():
    """An energy of 10 known to 8 bits has steps of 0.06, 0.2 T here: the law comes out wrong or the chain stands still.
    The same energy in float32 has the law. False-alarm rate 1e-6.
    """

    def offset(x):
        return quadratic(x) * 1e-3 + 10.0

    def rounded(x):
        kept = tf.cast(tf.cast(offset(x), tf.bfloat16), tf.float32)
        return offset(x) + tf.stop_gradient(kept - offset(x))

    temperature = TEMPERATURE * 1e-3
    settings = (0.3 / (1e-3 * STIFFNESS), temperature, 0.67, False, NO_DIRECTIONS)
    law = stats.norm(scale=np.sqrt(TEMPERATURE / STIFFNESS)).cdf
    p_values = []
    for energy_fn in (offset, rounded):
        state, _ = uncompiled_mala(energy_fn)(
            init_state(exact_draws(3_000)), 30, NEVER, False, *settings, tf.constant([53, 54])
        )
        p_values.append(stats.kstest(np.ravel(state.x), law).pvalue)
    assert p_values[0] > FALSE_ALARM_RATE > p_values[1]

"""Is E[w] = Z forward and 1/Z in reverse, and do the bounds hold?

On Gaussians Z is known; on a small net in the plane it is integrated on a grid. False-alarm rate 1e-6 per test: a mean
of weights is compared with its expected value by its own standard error, 4.9 of them. On failure raise NUM_CHAINS.
"""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from ebm_tf.energies import RingsNet
from ebm_tf.mcmc import ais
from ebm_tf.mcmc.ais import AisState, Base, Schedule, anneal, compile_anneal, find_schedule, init_state
from ebm_tf.stats.log_z import log_mean_exp
from tests.oracles import FALSE_ALARM_RATE, quadratic, skewed, skewed_law, skewed_p_value

STD_ERRORS = 4.9
NUM_CHAINS, NUM_STAGES = 4_000, 60
TEMPERATURE = 0.3
STIFFNESS = np.array([1.0, 4.0, 20.0], np.float32)
CENTER = np.array([0.5, 0.0, -0.3], np.float32)
BASE = Base(tf.constant([0.0, 0.1, 0.0]), tf.constant([1.0, 0.8, 0.4]))
STEP_SHAPE = tf.constant(1.0 / STIFFNESS)
FIXED = {"step_shape": STEP_SHAPE, "temperature": TEMPERATURE, "base": BASE}
LOG_Z = 0.5 * np.sum(np.log(2 * np.pi * TEMPERATURE / STIFFNESS)) - 2.0 / TEMPERATURE


def energy_fn(x):
    return quadratic(STIFFNESS, CENTER)(x) + 2.0


def exact_draws(num_chains, seed=0):
    z = np.random.default_rng(seed).standard_normal((num_chains, 3))
    return tf.constant(CENTER + np.sqrt(TEMPERATURE / STIFFNESS) * z, tf.float32)


@pytest.fixture(scope="module")
def schedule():
    start = BASE.draw(300, tf.constant([1, 2]))
    return find_schedule(energy_fn, start, NUM_STAGES, **FIXED, seed=tf.constant([3, 4]))


@pytest.fixture(scope="module")
def weights(schedule):
    """(forward, reverse, their acceptance rates), ln w of NUM_CHAINS chains each."""
    fn = compile_anneal(energy_fn, (3,), jit_compile=False)
    fixed = FIXED.values()
    start = BASE.draw(NUM_CHAINS, tf.constant([5, 6]))
    forward, rates = fn(init_state(start), *schedule, *fixed, tf.constant([7, 8]))
    reverse, rates_back = fn(init_state(exact_draws(NUM_CHAINS)), *schedule.reverse(), *fixed, tf.constant([9, 10]))
    return forward.log_weight.numpy(), reverse.log_weight.numpy(), rates.numpy(), rates_back.numpy()


def is_unbiased(log_weight, log_z):
    """Whether the mean of w/Z is 1."""
    ratio = np.exp(np.asarray(log_weight) - log_z)
    return abs(ratio.mean() - 1) < STD_ERRORS * ratio.std(ddof=1) / math.sqrt(len(ratio))


def by_hand(adjusted, schedule, temperature_of_weights=TEMPERATURE, seed=0):
    """Forward annealing written out in NumPy for this Gaussian."""
    rng = np.random.default_rng(seed)
    mean, std = np.asarray(BASE.mean, np.float64), np.asarray(BASE.std, np.float64)
    x = mean + std * rng.standard_normal((NUM_CHAINS, 3))
    log_weight = np.zeros(NUM_CHAINS)

    def log_base(x):
        return stats.norm.logpdf(x, mean, std).sum(axis=1)

    def energy(x):
        return 0.5 * np.sum(STIFFNESS * (x - CENTER) ** 2, axis=1) + 2.0

    for beta, new_beta, log_step in zip(schedule.betas[:-1], schedule.betas[1:], schedule.log_steps):
        log_weight += (new_beta - beta) * (-energy(x) / temperature_of_weights - log_base(x))
        step = np.exp(log_step) * np.asarray(STEP_SHAPE)

        def potential(x, beta=new_beta):
            return beta * energy(x) / TEMPERATURE - (1 - beta) * log_base(x)

        def grad(x, beta=new_beta):
            return beta * STIFFNESS * (x - CENTER) / TEMPERATURE + (1 - beta) * (x - mean) / std**2

        new = x - step * grad(x) + np.sqrt(2 * step) * rng.standard_normal(x.shape)
        back = np.sum((x - new + step * grad(new)) ** 2 / (4 * step), axis=1)
        forth = np.sum((new - x + step * grad(x)) ** 2 / (4 * step), axis=1)
        log_ratio = potential(x) - potential(new) + forth - back
        accepted = (np.log(rng.uniform(size=len(x))) < log_ratio) | (not adjusted)
        x = np.where(accepted[:, None], new, x)
    return log_weight


def test_weights_are_unbiased_both_ways(weights):
    """Sees: moves that do not keep π_β, increments at the wrong β or state, a wrong p₀ or T."""
    forward, reverse, *_ = weights
    assert np.std(forward) < 1.5 and np.std(reverse) < 1.5  # else the mean of weights is no statistic
    assert is_unbiased(forward, LOG_Z)
    assert is_unbiased(reverse, -LOG_Z)
    assert not is_unbiased(forward, LOG_Z + 0.15)
    assert not is_unbiased(reverse, -LOG_Z - 0.15)


def test_controls(schedule):
    """The hand-written annealing is unbiased; without adjustment, or with weights that lack 1/T, it is not."""
    assert is_unbiased(by_hand(True, schedule), LOG_Z)
    assert not is_unbiased(by_hand(False, schedule), LOG_Z)
    assert not is_unbiased(by_hand(True, schedule, temperature_of_weights=1.0), LOG_Z)


def test_bounds_hold_and_the_estimates_lie_between(weights):
    forward, reverse, *_ = weights
    errors = [STD_ERRORS * np.std(values) / math.sqrt(NUM_CHAINS) for values in (forward, reverse)]
    assert np.mean(forward) - errors[0] < LOG_Z < -np.mean(reverse) + errors[1]
    assert np.mean(forward) < log_mean_exp(forward) and -np.mean(reverse) > -log_mean_exp(reverse)
    assert log_mean_exp(forward) == pytest.approx(LOG_Z, abs=0.1)
    assert -log_mean_exp(reverse) == pytest.approx(LOG_Z, abs=0.1)


def test_more_stages_close_the_gap(weights):
    forward, *_ = weights
    start = BASE.draw(300, tf.constant([1, 2]))
    longer = find_schedule(energy_fn, start, 10 * NUM_STAGES, **FIXED, seed=tf.constant([3, 4]))
    start, fn = init_state(BASE.draw(300, tf.constant([5, 6]))), compile_anneal(energy_fn, (3,), jit_compile=False)
    state, _ = fn(start, *longer, STEP_SHAPE, TEMPERATURE, BASE, tf.constant([7, 8]))
    assert LOG_Z - np.mean(state.log_weight) < 0.4 * (LOG_Z - np.mean(forward))


def test_schedule_goes_from_the_base_to_the_energy(schedule):
    assert schedule.betas[0] == 0 and schedule.betas[-1] == 1
    assert len(schedule.betas) == NUM_STAGES + 1 == len(schedule.log_steps) + 1
    assert np.all(np.diff(schedule.betas) > 0)
    back = schedule.reverse()
    np.testing.assert_array_equal(back.betas[::-1], schedule.betas)
    np.testing.assert_array_equal(back.log_steps[:-1][::-1], schedule.log_steps[:-1])  # the same step at the same β


def test_acceptance_is_what_the_pilot_aimed_at(weights):
    *_, rates, rates_back = weights
    for found in (rates, rates_back):
        assert abs(found.mean() - ais.TARGET_RATE) < 0.1
        assert found.min() > 0.4 and found.max() < 0.9


def test_the_base_itself_has_weights_of_one():
    """At E = -T ln p₀ + T c every ln w is -c."""

    def same(x):
        return -TEMPERATURE * BASE.log_prob_and_grad(x)[0] + 0.25 * TEMPERATURE

    betas, log_steps = np.linspace(0, 1, 6), np.full(5, -2.0, np.float32)
    start = init_state(BASE.draw(10, tf.constant([1, 2])))
    state, _ = anneal(same, start, betas, log_steps, **FIXED, seed=tf.constant([3, 4]))
    np.testing.assert_allclose(state.log_weight, -0.25, atol=1e-5)


def test_base_is_scipys_gaussian():
    x = exact_draws(5)
    log_prob, grad = BASE.log_prob_and_grad(x)
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(x, BASE.mean, BASE.std).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(grad, -(x - BASE.mean) / BASE.std**2, rtol=1e-5)
    draws = np.asarray(BASE.draw(20_000, tf.constant([1, 2])))
    assert stats.kstest(((draws - BASE.mean) / BASE.std).numpy().ravel(), "norm").pvalue > FALSE_ALARM_RATE


def test_one_large_move_keeps_the_law():
    """False-alarm rate 1e-6. On Σ (eˣ - x), whose exponentials are Gamma(1/T, scale T), at β = 1."""
    x = np.log(skewed_law(TEMPERATURE).rvs((30_000, 2), random_state=np.random.default_rng(3)))
    base = Base(tf.zeros(2), tf.ones(2))

    def look(x):
        return ais._look_at(skewed, base, TEMPERATURE, x)

    point = look(tf.constant(x, tf.float32))
    step = tf.fill([2], 0.5 * TEMPERATURE)
    moved, accept_prob = ais._move(look, point, tf.constant(1.0), step, tf.constant([11, 12]))
    assert 0.2 < np.mean(accept_prob) < 0.95
    assert skewed_p_value(moved.x, TEMPERATURE) > FALSE_ALARM_RATE
    np.testing.assert_allclose(moved.energy, skewed(moved.x) / TEMPERATURE, rtol=1e-5)  # kept with the state
    h = float(step[0])
    noise = math.sqrt(2 * h) * np.random.default_rng(4).standard_normal(x.shape)
    unadjusted = x - h * (np.exp(x) - 1) / TEMPERATURE + noise
    assert skewed_p_value(unadjusted, TEMPERATURE) < FALSE_ALARM_RATE


def test_a_net_in_the_plane_against_a_grid():
    """E = T (4 net(x/4, y/4, 0, ..., 0) + (x² + y²) / 4): the weights' mean is the integral on a grid."""
    net = RingsNet(num_filters=8, energy_scale=1.0)
    temperature = 0.05

    def plane_energy(x):
        learned = net(tf.pad(x / 4.0, [[0, 0], [0, 8]]), training=False)
        return temperature * (4.0 * learned + tf.reduce_sum(x**2, axis=-1) / 4)

    axis = np.linspace(-12, 12, 481)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)
    log_density = -np.asarray(plane_energy(tf.constant(grid)), np.float64) / temperature
    log_z = special.logsumexp(log_density) + 2 * math.log(axis[1] - axis[0])
    base = Base(tf.zeros(2), 1.5 * tf.ones(2))
    fixed = {"step_shape": tf.ones(2), "temperature": temperature, "base": base}
    pilot, seed = base.draw(200, tf.constant([1, 2])), tf.constant([3, 4])
    schedule, compiled = (
        find_schedule(plane_energy, pilot, 60, **fixed, seed=seed),
        compile_anneal(plane_energy, (2,), False),
    )
    start = init_state(base.draw(2_000, tf.constant([5, 6])))
    state, _ = compiled(start, *schedule, *fixed.values(), tf.constant([7, 8]))
    log_weight = state.log_weight.numpy()
    assert abs(log_z - math.log(2 * math.pi * 1.5**2)) > 0.3  # not the base's
    assert np.std(log_weight) < 1.5
    assert is_unbiased(log_weight, log_z)
    assert not is_unbiased(log_weight, log_z + 0.2)


def test_one_gradient_a_stage_one_trace_and_stages_in_parts():
    """Stages done in two calls are those of one, but for the seeds; nothing is traced again."""
    evaluations = tf.Variable(0)

    def counted(x):
        with tf.control_dependencies([evaluations.assign_add(1)]):
            return energy_fn(x)

    fn = compile_anneal(counted, (3,), jit_compile=False)
    schedule = Schedule(np.linspace(0, 1, 11), np.full(10, -2.0, np.float32))
    fixed = (STEP_SHAPE, TEMPERATURE, BASE, tf.constant([1, 2]))
    state, _ = fn(init_state(BASE.draw(4, tf.constant([5, 6]))), schedule.betas, schedule.log_steps, *fixed)
    assert int(evaluations) == 11
    state, rates = fn(AisState(*state), schedule.betas[:4], schedule.log_steps[:3], *fixed)
    assert rates.shape == (3,)
    assert fn.experimental_get_tracing_count() == 1
    nothing, _ = fn(state, schedule.betas[:1], schedule.log_steps[:0], *fixed)
    np.testing.assert_array_equal(nothing.log_weight, state.log_weight)

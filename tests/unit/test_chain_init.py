"""Where chains start."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ebm_tf.mcmc import chain_init
from tests.oracles import FALSE_ALARM_RATE

SEED = tf.constant([41, 42])


def test_noise_is_standard_normal():
    """False-alarm rate 1e-6. Sees: uniform noise, another width, chains that start alike."""
    x = chain_init.noise((5_000, 4), SEED).numpy()
    assert stats.kstest(x.ravel(), "norm").pvalue > FALSE_ALARM_RATE
    uniform = np.random.default_rng(43).uniform(-1, 1, 20_000)
    for wrong in (uniform, 1.1 * x.ravel(), np.tile(x[:1], (5_000, 1)).ravel()):
        assert stats.kstest(wrong, "norm").pvalue < FALSE_ALARM_RATE


@pytest.mark.parametrize("shape", [(3, 10), (2, 4, 4, 3)])
def test_noise_shape_dtype_seed(shape):
    first, again, other = (chain_init.noise(shape, tf.constant(seed)) for seed in ([1, 2], [1, 2], [1, 3]))
    assert first.shape == shape and first.dtype == tf.float32
    np.testing.assert_array_equal(first, again)
    assert np.all(np.abs(first - other) > 0)


@pytest.mark.parametrize("unit", ["batch", "chain"])
def test_refresh_limits(unit):
    """refresh_prob 0 is plain persistence; 1 is noise initialisation."""
    x_bank = 100.0 + tf.zeros([50, 2, 3])
    np.testing.assert_array_equal(chain_init.refresh(x_bank, 0.0, unit, SEED)[0], x_bank)
    assert np.all(np.abs(chain_init.refresh(x_bank, 1.0, unit, SEED)[0]) < 50)


def refreshed(unit, num_calls, batch, refresh_prob=0.25):
    """bool [num_calls, batch]: which chains restarted. A chain restarts whole or not at all."""
    x_bank = 100.0 + tf.zeros([batch, 2])
    refresh = tf.function(lambda seed: chain_init.refresh(x_bank, refresh_prob, unit, seed)[0])
    restarted = np.stack([refresh(tf.constant([44, n])) for n in range(num_calls)]) < 50
    assert np.array_equal(restarted.all(-1), restarted.any(-1))
    return restarted.all(-1)


def test_refresh_by_batch_is_all_or_none():
    """False-alarm rate 1e-6, exact binomial. Sees: another share (control: 0.4), chains restarted one by one."""
    restarted = refreshed("batch", 600, 5)
    assert np.array_equal(restarted.all(1), restarted.any(1))
    count = int(restarted[:, 0].sum())
    assert stats.binomtest(count, 600, 0.25).pvalue > FALSE_ALARM_RATE
    assert stats.binomtest(count, 600, 0.4).pvalue < FALSE_ALARM_RATE


def test_refresh_by_chain_is_independent_over_chains():
    """False-alarm rate 1e-6, exact binomial over all chains. Sees: another share (0.4), whole batches restarted."""
    restarted = refreshed("chain", 20, 500)
    count = int(restarted.sum())
    assert stats.binomtest(count, restarted.size, 0.25).pvalue > FALSE_ALARM_RATE
    assert stats.binomtest(count, restarted.size, 0.4).pvalue < FALSE_ALARM_RATE
    per_batch = restarted.sum(1)
    p_value = min(stats.binomtest(int(n), 500, 0.25).pvalue for n in per_batch) * len(per_batch)
    assert p_value > FALSE_ALARM_RATE
    assert stats.binomtest(500, 500, 0.25).pvalue < FALSE_ALARM_RATE  # the control: a whole batch at once


def test_refresh_starts_are_standard_normal():
    """False-alarm rate 1e-6. Sees: refreshed chains that share their noise or keep the bank's state."""
    x_bank = 100.0 + tf.zeros([5_000, 4])
    x = chain_init.refresh(x_bank, 1.0, "chain", SEED)[0].numpy()
    assert stats.kstest(x.ravel(), "norm").pvalue > FALSE_ALARM_RATE
    assert stats.kstest(np.tile(x[:1], (5_000, 1)).ravel(), "norm").pvalue < FALSE_ALARM_RATE


def test_refresh_unit_is_checked():
    with pytest.raises(ValueError, match="unit=sample"):
        chain_init.refresh(tf.zeros([2, 2]), 0.5, "sample", SEED)


def restarted(data_prob, noise_prob, num_calls=40, batch=250):
    """int [num_calls, batch]: 0 where a chain went on, 1 where it began at data, 2 at noise; and what restart says."""
    x_bank, x_data = 100.0 + tf.zeros([batch, 2]), 200.0 + tf.range(batch, dtype=tf.float32)[:, None] + tf.zeros([1, 2])
    restart = tf.function(lambda seed: chain_init.restart(x_bank, x_data, data_prob, noise_prob, seed))
    kinds, said = [], []
    for n in range(num_calls):
        x, is_new = (value.numpy() for value in restart(tf.constant([45, n])))
        at_data = x == x_data.numpy()  # chain n at the data of n, not of another
        at_noise = np.abs(x) < 50
        assert np.array_equal(at_data | at_noise | (x == 100), np.ones_like(at_data))
        assert at_data[:, 0].tolist() == at_data[:, 1].tolist() and at_noise[:, 0].tolist() == at_noise[:, 1].tolist()
        kinds.append(at_data[:, 0] + 2 * at_noise[:, 0])
        said.append(is_new)
    return np.array(kinds), np.array(said)


def test_restart_shares():
    """False-alarm rate 1e-6 each, exact binomial. Sees: shares in each other's place, one of them applied to the rest
    that the other has left (0.27 for 0.3).
    """
    kinds, said = restarted(0.1, 0.3)
    np.testing.assert_array_equal(said, kinds > 0)
    counts = np.bincount(kinds.ravel(), minlength=3)
    for count, share, wrong in ((counts[1], 0.1, 0.3), (counts[2], 0.3, 0.27)):
        assert stats.binomtest(int(count), kinds.size, share).pvalue > FALSE_ALARM_RATE
        assert stats.binomtest(int(count), kinds.size, wrong).pvalue < FALSE_ALARM_RATE


@pytest.mark.parametrize(("shares", "kind"), [((0.0, 0.0), 0), ((1.0, 0.0), 1), ((0.0, 1.0), 2)])
def test_restart_limits(shares, kind):
    """Persistence, contrastive divergence, noise initialisation."""
    kinds, said = restarted(*shares, num_calls=1)
    assert np.all(kinds == kind) and np.all(said == (kind > 0))


@pytest.mark.parametrize("unit", ["batch", "chain"])
def test_refresh_says_which_chains_are_new(unit):
    x_bank = 100.0 + tf.zeros([40, 2])
    for n in range(10):
        x, is_new = chain_init.refresh(x_bank, 0.5, unit, tf.constant([46, n]))
        np.testing.assert_array_equal(is_new, np.all(np.abs(x) < 50, axis=-1))

"""Where chains start."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ebm_tf.mcmc import chain_init

FALSE_ALARM_RATE = 1e-6
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
    np.testing.assert_array_equal(chain_init.refresh(x_bank, 0.0, unit, SEED), x_bank)
    assert np.all(np.abs(chain_init.refresh(x_bank, 1.0, unit, SEED)) < 50)


def refreshed(unit, num_calls, batch, refresh_prob=0.25):
    """bool [num_calls, batch]: which chains restarted. A chain restarts whole or not at all."""
    x_bank = 100.0 + tf.zeros([batch, 2])
    refresh = tf.function(lambda seed: chain_init.refresh(x_bank, refresh_prob, unit, seed))
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
    x = chain_init.refresh(x_bank, 1.0, "chain", SEED).numpy()
    assert stats.kstest(x.ravel(), "norm").pvalue > FALSE_ALARM_RATE
    assert stats.kstest(np.tile(x[:1], (5_000, 1)).ravel(), "norm").pvalue < FALSE_ALARM_RATE


def test_refresh_unit_is_checked():
    with pytest.raises(ValueError, match="unit=sample"):
        chain_init.refresh(tf.zeros([2, 2]), 0.5, "sample", SEED)

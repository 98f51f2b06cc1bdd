"""SampleBank: what is drawn, what is written, what is left alone."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ebm_tf.mcmc.sample_bank import Drawn, SampleBank
from tests.oracles import FALSE_ALARM_RATE

SEED = tf.constant([31, 32])


@pytest.fixture
def bank():
    return SampleBank(20, (2, 3), SEED)


def test_shapes_and_dtypes(bank):
    indices, x, _ = bank.draw(5, SEED)
    assert bank.samples.shape == (20, 2, 3)
    assert indices.shape == (5,) and indices.dtype == tf.int32
    assert x.shape == (5, 2, 3) and x.dtype == tf.float32


def test_starts_as_standard_normal():
    """False-alarm rate 1e-6. Sees: uniform noise, another width, one chain copied to all slots."""
    samples = SampleBank(5_000, (4,), SEED).samples.numpy()
    assert stats.kstest(samples.ravel(), "norm").pvalue > FALSE_ALARM_RATE
    assert stats.kstest(0.9 * samples.ravel(), "norm").pvalue < FALSE_ALARM_RATE
    assert stats.kstest(np.tile(samples[:1], (5_000, 1)).ravel(), "norm").pvalue < FALSE_ALARM_RATE


def test_starts_where_it_is_told():
    x_init = tf.random.stateless_normal([20, 2, 3], SEED)
    np.testing.assert_array_equal(SampleBank(20, (2, 3), SEED, x_init=x_init).samples, x_init)


def test_draw_gives_the_states_of_distinct_slots(bank):
    indices, x, _ = bank.draw(7, SEED)
    assert len(np.unique(indices)) == 7
    np.testing.assert_array_equal(x, bank.samples.numpy()[indices.numpy()])


def test_drawing_all_draws_every_slot_once(bank):
    assert sorted(bank.draw(20, SEED)[0].numpy()) == list(range(20))


def test_draw_follows_its_seed(bank):
    first, again, other = (bank.draw(10, tf.constant(seed))[0].numpy() for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def draw_p_value(indices):
    """Chi-square p-value that slots are drawn equally often; draws of one slot, so they are independent."""
    return stats.chisquare(np.bincount(indices, minlength=20)).pvalue


def test_draws_are_uniform_over_slots(bank):
    """False-alarm rate 1e-6. Sees: a bank that favours some slots, or draws the same ones again."""
    draw = tf.function(lambda seed: bank.draw(1, seed)[0][0])
    indices = np.array([int(draw(tf.constant([33, n]))) for n in range(1_000)])
    assert draw_p_value(indices) > FALSE_ALARM_RATE
    assert draw_p_value(indices // 2) < FALSE_ALARM_RATE  # the control: only half of the slots


def test_write_changes_these_slots_and_no_others(bank):
    before = bank.samples.numpy()
    indices, x, ages = bank.draw(6, SEED)
    bank.write(Drawn(indices, x + 1.0, ages + 50.0))
    expected = before.copy()
    expected[indices.numpy()] += 1.0
    np.testing.assert_array_equal(bank.samples, expected)
    np.testing.assert_array_equal(np.flatnonzero(bank.ages), np.sort(indices))
    np.testing.assert_array_equal(bank.draw(6, SEED).ages, np.full(6, 50.0))


def test_draw_changes_nothing(bank):
    before = bank.samples.numpy()
    bank.draw(6, SEED)
    np.testing.assert_array_equal(bank.samples, before)


def test_draw_and_write_in_a_graph(bank):
    @tf.function
    def shift(seed):
        drawn = bank.draw(4, seed)
        bank.write(drawn._replace(x=drawn.x + 1.0))

    before = bank.samples.numpy()
    shift(SEED)
    assert np.sum(np.any(bank.samples.numpy() != before, axis=(1, 2))) == 4


def test_is_checkpointed(bank, tmp_path):
    bank.ages.assign(tf.range(20.0))
    path = tf.train.Checkpoint(bank=bank).write(str(tmp_path / "bank"))
    other = SampleBank(20, (2, 3), tf.constant([34, 35]))
    assert not np.array_equal(other.samples, bank.samples)
    tf.train.Checkpoint(bank=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other.samples, bank.samples)
    np.testing.assert_array_equal(other.ages, bank.ages)
    assert not other.trainable_variables

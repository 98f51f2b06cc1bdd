"""Do jumps keep their target, from exact draws of it?

The target is two far modes of unequal mass and width on a line, the proposals sit elsewhere: kernels of another width,
half of them on one mode. After one jump of each chain the law is the same, by a chi-square test over 20 cells of equal
mass. Kernels without a part of Metropolis' ratio are rejected.

False-alarm rate 1e-6 per test. On failure raise NUM_CHAINS, never the rate.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ebm_tf.mcmc import jump as module
from ebm_tf.mcmc.jump import jump
from tests.oracles import FALSE_ALARM_RATE

NUM_CHAINS, TEMPERATURE, WIDTH = 40_000, 0.5, 0.8
MASSES, PLACES, WIDTHS = np.array([0.3, 0.7]), np.array([-4.0, 4.0]), np.array([0.5, 1.0])
CENTRES = tf.constant([[-4.5], [-4.0], [-3.0], [3.0], [4.0], [6.0]])


def energy_fn(x):
    z = (x - tf.constant(PLACES, tf.float32)) / tf.constant(WIDTHS, tf.float32)
    return -TEMPERATURE * tf.reduce_logsumexp(-0.5 * z**2 + np.float32(np.log(MASSES / WIDTHS)), axis=1)


def p_value(kernel):
    rng = np.random.default_rng(5)
    mode = rng.choice(2, NUM_CHAINS, p=MASSES)
    x = (PLACES[mode] + WIDTHS[mode] * rng.standard_normal(NUM_CHAINS))[:, None].astype(np.float32)
    x_next, has_jumped = kernel(tf.constant(x))
    assert 0.2 < np.mean(has_jumped) < 0.95
    quantiles = np.sum(MASSES * stats.norm.cdf(np.asarray(x_next), PLACES, WIDTHS), axis=1)
    return stats.chisquare(np.histogram(quantiles, 20, (0, 1))[0]).pvalue


def test_jumps_keep_the_law():
    """False-alarm rate 1e-6. Sees: masses of modes, the proposals' density, the temperature."""
    assert p_value(lambda x: jump(energy_fn, x, CENTRES, WIDTH, TEMPERATURE, tf.constant([1, 2]))) > FALSE_ALARM_RATE


@pytest.mark.parametrize("wrong", ["temperature missing", "proposals' density missing", "of another width"])
def test_wrong_kernels_are_rejected(wrong, monkeypatch):
    """The negative control."""
    temperature = 1.0 if wrong == "temperature missing" else TEMPERATURE
    kernels = module._log_kernels
    if wrong == "proposals' density missing":
        monkeypatch.setattr(module, "_log_kernels", lambda x, *args: tf.zeros(tf.shape(x)[:1]))
    elif wrong == "of another width":
        monkeypatch.setattr(module, "_log_kernels", lambda x, centres, width: kernels(x, centres, 1.5 * width))
    assert p_value(lambda x: jump(energy_fn, x, CENTRES, WIDTH, temperature, tf.constant([1, 2]))) < FALSE_ALARM_RATE


def test_every_jump_is_accepted_where_the_energy_is_theirs():
    """E/T = -log q: the limit of the docstring. Images too."""
    centres = tf.random.stateless_normal([5, 2, 2, 1], [1, 2])

    def own(x):
        return -TEMPERATURE * module._log_kernels(x, centres, WIDTH)

    x = tf.zeros([50, 2, 2, 1])
    x_next, has_jumped = jump(own, x, centres, WIDTH, TEMPERATURE, tf.constant([3, 4]))
    assert np.all(has_jumped) and np.all(x_next != x)


def test_the_proposals_density_is_precise_far_from_the_origin():
    """Squared distances of 0.01 between places of 1,000, which float32's products would round by 0.1."""
    x, centres = tf.constant([[0.0, 0.125]]), tf.constant([[0.0625, 0.0], [0.125, 0.125]])
    far = module._log_kernels(x + 1024, centres + 1024, 0.1)
    np.testing.assert_allclose(far, module._log_kernels(x, centres, 0.1), atol=1e-5)

"""What statistical tests share: the rate of false alarms, and energies whose laws are known."""

import numpy as np
import tensorflow as tf
from scipy import stats

from ebm_tf.mcmc.mala import mala_chain

FALSE_ALARM_RATE = 1e-6  # of each assertion: a right kernel fails it for one seed in a million


def quadratic(stiffness=1.0, center=0.0):
    """E = Σ k (x - c)² / 2 over all axes but the first. The law of exp(-E/T) is N(c, T / k)."""

    def energy_fn(x):
        return 0.5 * tf.reduce_sum(stiffness * tf.square(x - center), axis=list(range(1, len(x.shape))))

    return energy_fn


def uncompiled_mala(energy_fn):
    """mala_chain as a function of the arguments that compile_mala's has, in their order."""
    names = ("num_moves", "enough_accepted", "adapt", "step_size", "temperature", "target_rate", "per_chain")
    names += ("projections", "seed")
    return lambda state, *arguments: mala_chain(energy_fn, state, **dict(zip(names, arguments, strict=True)))


def skewed(x):
    """E = Σ (eˣ - x) over the last axis, with the gradient eˣ - 1."""
    return tf.reduce_sum(tf.exp(x) - x, axis=-1)


def skewed_law(temperature):
    """Under exp(-E/T) of `skewed` the exponentials of x have this law."""
    return stats.gamma(1 / temperature, scale=temperature)


def skewed_p_value(x, temperature):
    """By Kolmogorov and Smirnov, over all numbers of x, that they have the law of exp(-E/T)."""
    return stats.kstest(np.exp(np.ravel(x)), skewed_law(temperature).cdf).pvalue

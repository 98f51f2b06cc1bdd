"""The detector: p-values of inputs like the held-out ones are uniform, whatever the statistics; a wrong detector's are
not. False-alarm rate of each statistical assertion: 1e-6.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import stats

from ebm_tf.stats.typicality import TAILS, Detector

FALSE_ALARMS = 1e-6
NAMES = ("energy", "tied", "skewed", "constant", "half zero", "heavy")


def draw(num, seed, rotation=0):
    """Statistics that depend on each other: with ties, skewed, constant, of two kinds, without a variance."""
    mix = np.random.default_rng(rotation).standard_normal((6, 6))
    x = np.random.default_rng(seed).standard_normal((num, 6)) @ mix
    x[:, 1], x[:, 2], x[:, 3] = np.round(x[:, 1]), np.exp(x[:, 2]), 7.0
    x[:, 4], x[:, 5] = np.maximum(x[:, 4], 0), np.tan(np.arctan(x[:, 5]) / 1.01)
    return x.astype(np.float32)


def p_values(fit, tail):
    """Of one new input each, for 500 detectors: only so are they independent."""
    found = []
    for seed in range(500):
        x = draw(41, 100 + seed)
        one = fit(x[:40], seed, tail)
        found.append(one.p_value(one.ood_score(x[40:]))[0])
    return np.array(found)


def is_uniform(p, num_calibration):
    """Whether p lie on {1, ..., n + 1} / (n + 1) with equal probabilities, by the counts of quarters."""
    ranks = np.round(p * (num_calibration + 1)).astype(int)
    assert ranks.min() >= 1 and ranks.max() <= num_calibration + 1
    edges = np.linspace(0, num_calibration + 1, 5).astype(int)
    counts = [np.sum((ranks > low) & (ranks <= high)) for low, high in itertools.pairwise(edges)]
    expected = len(p) * np.diff(edges) / (num_calibration + 1)
    return stats.chisquare(counts, expected).pvalue > FALSE_ALARMS


@pytest.mark.parametrize("tail", TAILS)
def test_p_values_of_new_inputs_are_uniform(tail):
    """Sees an off-by-one in the rank's share, a calibration half that also fitted, and a side that is lost."""
    assert is_uniform(p_values(lambda x, seed, tail: Detector.fit(x, NAMES, seed, tail), tail), 20)


def test_a_detector_that_is_calibrated_on_what_fitted_it_is_rejected():
    """The planted fault: inputs of the half that fitted are less atypical than new ones."""

    def wrong(x, seed, tail):
        one = Detector.fit(x, NAMES, seed)
        first = x[np.random.default_rng(seed).permutation(len(x))[:20]]
        return dataclasses.replace(one, calibration=np.sort(one.ood_score(first)))

    assert not is_uniform(p_values(wrong, "both"), 20)

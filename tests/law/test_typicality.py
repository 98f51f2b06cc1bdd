"""The detector: p-values of inputs like the held-out ones are uniform, whatever the statistics; a wrong detector's are
not. False-alarm rate of each statistical assertion: 1e-6.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import stats

from ebm_tf.stats.typicality import TAILS, Detector

FALSE_ALARMS, NUM = 1e-6, 20  # NUM inputs fit, and as many give p-values
NAMES = ("energy", "tied", "skewed", "constant", "half zero", "heavy")


def draw(num, seed):
    """Statistics that depend on each other: with ties, skewed, constant, of two kinds, without a variance."""
    mix = np.random.default_rng(0).standard_normal((6, 6))
    x = np.random.default_rng(seed).standard_normal((num, 6)) @ mix
    x[:, 1], x[:, 2], x[:, 3] = np.round(x[:, 1]), np.exp(x[:, 2]), 7.0
    x[:, 4], x[:, 5] = np.maximum(x[:, 4], 0), np.tan(np.arctan(x[:, 5]) / 1.01)
    return x.astype(np.float32)


@pytest.fixture(scope="module")
def p_values():
    """name -> p-values of one new input each, for 500 detectors: only so are they independent. For every tail, and for
    the planted fault: a detector calibrated on the half that fitted it, whose inputs are less atypical than new ones.
    """
    found = {name: [] for name in (*TAILS, "wrong")}
    for seed in range(500):
        x = draw(2 * NUM + 1, 100 + seed)
        one = Detector.fit(x[:-1], NAMES, seed)
        first = x[np.random.default_rng(seed).permutation(2 * NUM)[:NUM]]
        each = {tail: dataclasses.replace(one, tail=tail) for tail in TAILS}
        each["wrong"] = dataclasses.replace(one, calibration=np.sort(one.ood_score(first)))
        for name, detector in each.items():
            found[name].append(detector.p_value(detector.ood_score(x[-1:]))[0])
    return {name: np.array(values) for name, values in found.items()}


def is_uniform(p):
    """Whether p lie on {1, ..., n + 1} / (n + 1) with equal probabilities, by the counts of quarters."""
    ranks = np.round(p * (NUM + 1)).astype(int)
    assert ranks.min() >= 1 and ranks.max() <= NUM + 1
    edges = np.linspace(0, NUM + 1, 5).astype(int)
    counts = [np.sum((ranks > low) & (ranks <= high)) for low, high in itertools.pairwise(edges)]
    expected = len(p) * np.diff(edges) / (NUM + 1)
    return stats.chisquare(counts, expected).pvalue > FALSE_ALARMS


@pytest.mark.parametrize("tail", TAILS)
def test_p_values_of_new_inputs_are_uniform(p_values, tail):
    """Sees an off-by-one in the rank's share, and calibration on what fitted."""
    assert is_uniform(p_values[tail])


def test_a_detector_that_is_calibrated_on_what_fitted_it_is_rejected(p_values):
    assert not is_uniform(p_values["wrong"])

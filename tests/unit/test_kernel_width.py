"""The width of a kernel, against scikit-learn, and with rows that are there twice."""

import numpy as np
from sklearn.neighbors import KernelDensity

from ebm_tf.stats.kernel_width import WIDTHS, kernel_width

RNG = np.random.default_rng(1)


def leave_one_out(x, width):
    scores = [KernelDensity(bandwidth=width).fit(np.delete(x, n, axis=0)).score(x[n : n + 1]) for n in range(len(x))]
    return np.sum(scores)


def test_it_foretells_best():
    x = np.concatenate([RNG.normal(size=(30, 2)) * 0.1, RNG.normal(size=(30, 2)) * 0.1 + 2])
    found = kernel_width(x)
    place = int(np.argmin(np.abs(WIDTHS - found)))
    scores = [leave_one_out(x, WIDTHS[i]) for i in (place - 3, place, place + 3)]
    assert scores[1] == max(scores)


def test_it_follows_the_detail_and_the_number():
    x = RNG.normal(size=(1_000, 2))
    assert 0.2 < kernel_width(x) < 0.5 < kernel_width(x[:20])
    fine = RNG.integers(0, 5, (1_000, 2)) + 0.03 * RNG.normal(size=(1_000, 2))
    assert kernel_width(fine) < 0.05
    assert kernel_width(np.repeat(x[:300], 2, axis=0)) == kernel_width(x[:300])  # though it would foretell itself

"""Detection by a score against rank sums, a loop over thresholds, and cases done by hand."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from ebm_tf.stats.detection import detection


def scores(name):
    rng = np.random.default_rng(0)
    score_in, score_out = rng.normal(0.5, 1, 300), rng.normal(0, 2, 500)
    if name == "ties":
        return np.round(2 * score_in) / 2, np.round(2 * score_out) / 2
    if name == "one value":
        return np.ones(3), np.ones(5)
    return score_in, score_out


CASES = ("continuous", "ties", "one value")


@pytest.mark.parametrize("case", CASES)
def test_auroc_is_the_rank_sum(case):
    """Mann and Whitney: the sum of the positives' mid-ranks, less its least value, over N M."""
    score_in, score_out = scores(case)
    ranks = stats.rankdata(np.concatenate([score_in, score_out]))[: len(score_in)]
    count = len(score_in)
    expected = (ranks.sum() - count * (count + 1) / 2) / (count * len(score_out))
    assert detection(score_in, score_out)["auroc"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_auroc_is_the_share_of_pairs_and_scikit_learns(case):
    score_in, score_out = scores(case)
    found = detection(score_in, score_out)
    pairs = np.sign(score_in[:, None] - score_out[None, :])
    assert found["auroc"] == pytest.approx((pairs.mean() + 1) / 2, abs=1e-12)
    label = np.concatenate([np.ones(len(score_in)), np.zeros(len(score_out))])
    score = np.concatenate([score_in, score_out])
    assert found["auroc"] == metrics.roc_auc_score(label, score)
    assert found["average_precision"] == metrics.average_precision_score(label, score)
    assert found["average_precision_out"] == metrics.average_precision_score(1 - label, -score)
    assert found["chance"] == label.mean() and found["chance_out"] == pytest.approx(1 - label.mean())


@pytest.mark.parametrize("case", CASES)
def test_fpr_at_95_tpr_by_a_loop_over_thresholds(case):
    score_in, score_out = scores(case)
    thresholds = np.concatenate([score_in, score_out])
    passing = [t for t in thresholds if np.mean(score_in >= t) >= 0.95]
    assert detection(score_in, score_out)["fpr_at_95_tpr"] == min(np.mean(score_out >= t) for t in passing)


def test_by_hand():
    """20 positives 1 to 20: 95 % are the 19 from 2 up. At or above 2 are 3 of the 4 negatives."""
    found = detection(np.arange(1.0, 21.0), np.array([0.0, 2.0, 2.5, 100.0]))
    assert (found["num_in"], found["num_out"]) == (20, 4)
    assert found["fpr_at_95_tpr"] == 0.75
    # Pairs won: 20 against 0, 18.5 against 2 (one tie), 18 against 2.5, none against 100.
    assert found["auroc"] == pytest.approx((20 + 18.5 + 18) / 80, abs=1e-12)


def test_the_better_side_is_in_distribution():
    better = detection(np.array([2.0, 3.0]), np.array([0.0, 1.0]))
    worse = detection(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    assert (better["auroc"], better["fpr_at_95_tpr"], better["average_precision"]) == (1.0, 0.0, 1.0)
    assert (worse["auroc"], worse["fpr_at_95_tpr"]) == (0.0, 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_gives_none(bad):
    found = detection(np.array([1.0, bad]), np.array([0.0]))
    assert (found["num_in"], found["num_out"]) == (2, 1)
    names = "auroc", "fpr_at_95_tpr", "average_precision", "average_precision_out"
    assert all(found[name] is None for name in names)

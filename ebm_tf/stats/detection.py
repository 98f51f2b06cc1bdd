"""How well a score tells one data set from another."""

from typing import Any

import numpy as np
from sklearn import metrics

__all__ = ["detection"]

TPR = 0.95
SCORED = ("auroc", "fpr_at_95_tpr", "average_precision", "average_precision_out")


def detection(score_in: np.ndarray, score_out: np.ndarray) -> dict[str, Any]:
    """How well a score tells in-distribution, the positive class, from the rest.

    Args:
      score_in: [N], large where an x is taken for in-distribution.
      score_out: [M].

    Returns:
      num_in, num_out;
      auroc: P(score_in > score_out) + P(equal) / 2;
      fpr_at_95_tpr: the smallest share of score_out at or above a threshold that has at least 95 % of score_in at or
        above it;
      average_precision, average_precision_out: the area under precision and recall, with each of the two as positive.
        They depend on N : M;
      chance, chance_out: what a score that says nothing has there, N / (N + M) and M / (N + M);
      None in the numbers of the score where one is not finite.
    """
    num_in, num_out = len(score_in), len(score_out)
    chance = num_in / (num_in + num_out)
    counts = {"num_in": num_in, "num_out": num_out, "chance": chance, "chance_out": 1 - chance}
    score = np.concatenate([score_in, score_out])
    if not np.isfinite(score).all():
        return {**counts, **dict.fromkeys(SCORED)}
    label = np.repeat([1, 0], [num_in, num_out])
    fpr, tpr, _ = metrics.roc_curve(label, score, drop_intermediate=False)
    return {
        **counts,
        "auroc": float(metrics.roc_auc_score(label, score)),
        "fpr_at_95_tpr": float(fpr[np.argmax(tpr >= TPR)]),
        "average_precision": float(metrics.average_precision_score(label, score)),
        "average_precision_out": float(metrics.average_precision_score(1 - label, -score)),
    }

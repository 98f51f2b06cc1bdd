"""How well a score tells one data set from another."""

from typing import Any

import numpy as np
from sklearn import metrics

__all__ = ["detection"]

TPR = 0.95


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
      average_precision: the precision's mean over the steps in recall, which hangs on N : M;
      None in the last three where a score is not finite.
    """
    counts = {"num_in": len(score_in), "num_out": len(score_out)}
    score = np.concatenate([score_in, score_out])
    if not np.isfinite(score).all():
        return {**counts, **dict.fromkeys(("auroc", "fpr_at_95_tpr", "average_precision"))}
    label = np.repeat([1, 0], [len(score_in), len(score_out)])
    fpr, tpr, _ = metrics.roc_curve(label, score, drop_intermediate=False)
    return {
        **counts,
        "auroc": float(metrics.roc_auc_score(label, score)),
        "fpr_at_95_tpr": float(fpr[np.argmax(tpr >= TPR)]),
        "average_precision": float(metrics.average_precision_score(label, score)),
    }

"""How well a score tells one data set from another."""

from typing import Any

import numpy as np
from sklearn import metrics

from ebm_tf.stats.typicality import Detector

__all__ = ["RATE", "Trial", "detection"]

TPR = 0.95
RATE = 0.05  # of false alarms, at which a p-value flags
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


class Trial:
    """A detector fitted on some held-out examples, and how well it tells the rest of them from other sets.

    Args:
      names: of the statistics.
      statistics: of each set, [N, K]; the held-out examples under the name "in".
      fit, told: which of the held-out examples fit it, and which are told.
      seed: of the detector's halves.
    """

    def __init__(self, names, statistics: dict[str, np.ndarray], fit, told, seed):
        self.detector = Detector.fit(statistics["in"][np.sort(fit)], names, seed)
        self._statistics = {**statistics, "in": statistics["in"][np.sort(told)]}
        self.scores = {name: self.detector.ood_score(values) for name, values in self._statistics.items()}

    def itself(self) -> dict[str, Any]:
        """The held-out examples that are told against those that gave p-values."""
        row = _row(self.detector.calibration, self.scores["in"])
        return {**row, "flagged": self._flagged("in")}

    def against(self) -> dict[str, Any]:
        """A row per set."""
        own, others = self.scores["in"], {name: score for name, score in self.scores.items() if name != "in"}
        return {name: {**_row(own, score), "flagged": self._flagged(name)} for name, score in others.items()}

    def by_statistic(self) -> dict[str, dict[str, float]]:
        """{statistic: {set: P(larger there than here)}}; 0.5 where it says nothing. NaN counts as the largest."""
        found: dict[str, dict[str, float]] = {}
        own = self._statistics["in"]
        label = {name: np.repeat([0, 1], [len(own), len(x)]) for name, x in self._statistics.items() if name != "in"}
        for place in self.detector.kept:
            column = found[self.detector.names[place]] = {}
            for name in label:
                values = np.concatenate([own[:, place], self._statistics[name][:, place]])
                finite = np.nan_to_num(values, nan=np.finfo(values.dtype).max)
                column[name] = float(metrics.roc_auc_score(label[name], finite))
        return found

    def _flagged(self, name: str) -> float | None:
        """The share with a p-value of at most RATE; None where the smallest p-value is above."""
        if self.detector.num_calibration + 1 < 1 / RATE:
            return None
        return float(np.mean(self.detector.p_value(self.scores[name]) <= RATE))


def _row(own: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    """As detection; an infinite score is the largest of all."""
    most = np.finfo(np.float64).max
    return detection(-np.minimum(own, most), -np.minimum(score, most))

"""The detector of ebm_tf.stats.typicality in TensorFlow, for a SavedModel: the same numbers to float32's rounding."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

__all__ = ["detect_fn"]

Detect = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def detect_fn(arrays: Mapping[str, np.ndarray]) -> Detect:
    """The function statistics float32 [B, K] -> (ood_score float32 [B], p_value float32 [B]).

    Args:
      arrays: of Detector.to_arrays(). They become constants of the graph that the function is traced into.
    """
    kept = np.asarray(arrays["kept"], np.int32)
    floats = {name: np.asarray(arrays[name], np.float32) for name in arrays if name not in ("names", "kept", "tail")}
    tail = str(arrays["tail"])
    energy = np.sort(floats["energy"])
    known = {"both": floats["calibration"], "upper": energy, "lower": -energy[::-1]}[tail]

    def score(statistics: tf.Tensor) -> tf.Tensor:
        if tail != "both":
            return statistics[:, 0] if tail == "upper" else -statistics[:, 0]
        z = _normal_scores(tf.gather(statistics, kept, axis=1), floats["knots"], floats["scores"], floats["slopes"])
        white = tf.einsum("nm,pmk->npk", z - floats["mean"], floats["whitening"])
        logs = tf.math.log1p(tf.reduce_sum(tf.square(white), axis=2))
        return tf.reduce_mean((logs - floats["level"]) / floats["spread"], axis=1)

    def detect(statistics: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        finite = tf.math.is_finite(statistics)
        found = score(tf.where(finite, statistics, 0.0))
        ood_score = tf.where(tf.reduce_all(finite, axis=1), found, np.inf)
        below = tf.searchsorted(tf.constant(known), ood_score, side="left")
        return ood_score, tf.cast(1 + len(known) - below, tf.float32) / (len(known) + 1.0)

    return detect


def _normal_scores(statistics, knots, scores, slopes):
    """See Detector.normal_scores; [B, M]."""
    s = tf.transpose(statistics)
    right = tf.clip_by_value(tf.searchsorted(knots, s, side="right"), 1, knots.shape[1] - 1)
    (x0, x1), (z0, z1) = ([tf.gather(one, right - i, batch_dims=1) for i in (1, 0)] for one in (knots, scores))
    share = tf.clip_by_value(tf.math.divide_no_nan(s - x0, x1 - x0), 0.0, 1.0)
    beyond = tf.minimum(s - knots[:, :1], 0.0) + tf.maximum(s - knots[:, -1:], 0.0)
    return tf.transpose(z0 + share * (z1 - z0) + slopes[:, None] * beyond)

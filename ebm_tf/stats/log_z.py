"""log Z and log p from the weights of annealed importance sampling, by chains from both sides.

    mean ln w ≤ log Z ≤ −mean ln w',    w of chains that start in the base, w' of chains that start in the model

The first holds for any chains; the second in so far as the starts are draws of the model.
"""

import math
from typing import Any

import numpy as np

__all__ = ["against_the_truth", "bits_per_dimension", "bounds", "log_mean_exp", "verdict"]

USEFUL_GAP = 0.1  # bits per dimension
NO_DRAWS = "test data are no draws of this model, and only the lower bound of log Z holds"


def log_mean_exp(log_weights: np.ndarray) -> float:
    """ln of the mean weight."""
    largest = np.max(log_weights)
    return float(largest + np.log(np.mean(np.exp(log_weights - largest))))


def bounds(forward: np.ndarray, reverse: np.ndarray, unnormalised: np.ndarray, dimensions: int) -> dict[str, Any]:
    """log Z and the mean log p of some points, each with both bounds, in nats.

    Args:
      forward: ln w of each chain from the base.
      reverse: ln w' of each chain from the points.
      unnormalised: −E(x)/T of each point.
      dimensions: of one x.

    Returns:
      log_z_nats, gap_nats (between its bounds), gap_bits_per_dimension and log_likelihood_nats.
    """
    weights = np.exp(forward - forward.max())
    log_z = {
        "lower": float(np.mean(forward)),
        "lower_std_error": _std_error(forward),
        "estimate": log_mean_exp(forward),
        "estimate_reverse": -log_mean_exp(reverse),
        "upper": -float(np.mean(reverse)),
        "upper_std_error": _std_error(reverse),
        "ess_of_weights": float(weights.sum() ** 2 / np.sum(weights**2)),
    }
    mean, gap = float(np.mean(unnormalised)), log_z["upper"] - log_z["lower"]
    log_p = {"lower": mean - log_z["upper"], "estimate": mean - log_z["estimate"], "upper": mean - log_z["lower"]}
    return {
        "log_z_nats": log_z,
        "gap_nats": gap,
        "gap_bits_per_dimension": gap / dimensions / math.log(2),
        "log_likelihood_nats": {**log_p, "std_error": float(np.std(unnormalised) / math.sqrt(len(unnormalised)))},
    }


def _std_error(log_weights):
    return float(np.std(log_weights, ddof=1) / math.sqrt(len(log_weights)))


def bits_per_dimension(log_p: dict[str, float], dimensions: int, level: float) -> dict[str, float]:
    """Bits per dimension of values on levels that far apart, with noise over one, from the bounds on log p in nats."""
    turned = {"lower": "upper", "estimate": "estimate", "upper": "lower"}  # most bits where log p is least
    return {name: -(log_p[turned[name]] / dimensions + math.log(level)) / math.log(2) for name in turned}


def against_the_truth(true: np.ndarray, unnormalised: np.ndarray, log_p: dict[str, float]) -> dict[str, Any]:
    """The mean of the points' true log density, the KL from it, and Z by importance sampling from it.

    Args:
      true: log density of each point.
      unnormalised: −E(x)/T of each point.
      log_p: their mean log p by the model, see bounds.
    """
    ratio = unnormalised - true
    weights = np.exp(ratio - ratio.max())
    return {
        "true_log_likelihood_nats": float(true.mean()),
        "kl_nats": {
            "lower": float(true.mean()) - log_p["upper"],
            "estimate": float(true.mean()) - log_p["estimate"],
            "upper": float(true.mean()) - log_p["lower"],
        },
        "log_z_by_importance": {
            "estimate": log_mean_exp(ratio),
            "std_error": float(np.std(weights) / weights.mean() / math.sqrt(len(weights))),
        },
    }


def verdict(log_z: dict[str, float], dimensions: int) -> str:
    """In words. What can be used has a gap, and errors of it, that are small for each dimension."""
    gap = log_z["upper"] - log_z["lower"]
    error = math.hypot(log_z["lower_std_error"], log_z["upper_std_error"])
    if not (math.isfinite(gap) and math.isfinite(error)):
        return "no verdict: weights are not finite"
    gap_bits, error_bits = gap / dimensions / math.log(2), error / dimensions / math.log(2)
    bounds = f"log Z between {log_z['lower']:.2f} and {log_z['upper']:.2f} nats"
    words = f"{bounds}, a gap of {gap_bits:.3f} ± {error_bits:.3f} bits per dimension"
    apart = abs(log_z["estimate"] - log_z["estimate_reverse"]) / dimensions / math.log(2)
    if gap < -4 * error:
        return f"{words}: the bounds cross; {NO_DRAWS}"
    if abs(gap_bits) + 2 * error_bits > USEFUL_GAP:
        return f"{words}: too wide to use (above {USEFUL_GAP}); raise --ais_steps"
    if apart > USEFUL_GAP:
        return f"{words}: narrow, but the estimates from the two sides lie {apart:.3f} apart; {NO_DRAWS}"
    return f"{words}: narrow enough to use (at most {USEFUL_GAP})"

"""Histograms of energies."""

import numpy as np

__all__ = ["histogram"]

BINS = (5, 40)  # least and most bars of a histogram


def histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(edges [B + 1], heights [B]) of the finite values, the highest 1. B: the root of their number, within BINS."""
    values = values[np.isfinite(values)].astype(np.float64)
    bins = int(np.clip(np.sqrt(len(values)), *BINS))
    if not len(values):
        return np.linspace(0, 1, bins + 1), np.zeros(bins)
    low, high = values.min(), values.max()
    margin = 0.5 * max(abs(low), 1.0) * 1e-6 if high == low else 0.0
    counts, edges = np.histogram(values, bins=bins, range=(low - margin, high + margin))
    return edges, counts / counts.max()

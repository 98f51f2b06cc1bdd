"""Nearest rows, exact.

Every distance is computed, by |a - b|² = |a|² + |b|² - 2 a·b in float64 with the products as matrix products, and those
that rounding could have put in the wrong order again, as sum (a - b)².
"""

import numpy as np

__all__ = ["nearest"]

BLOCK = 4_096


def nearest(queries: np.ndarray, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows nearest to each query by Euclidean distance, the nearest first; of equal ones the lower index first.

    Args:
      queries: [M, ...], flattened.
      rows: [N, ...], flattened and read in blocks (a memmap streams).
      count: k, at most N.

    Returns:
      (index int64 [M, k], distance float64 [M, k]), in units of the entries.
    """
    flat = np.asarray(queries, np.float64).reshape(len(queries), -1)
    squared = np.empty((len(flat), len(rows)))
    largest = 0.0
    for start in range(0, len(rows), BLOCK):
        block = np.asarray(rows[start : start + BLOCK], np.float64)
        block = block.reshape(len(block), -1)
        norms = np.einsum("nd,nd->n", block, block)
        squared[:, start : start + BLOCK] = norms - 2 * flat @ block.T
        largest = max(largest, float(norms.max()))
    squared += np.einsum("md,md->m", flat, flat)[:, None]
    index, distance = np.empty((len(flat), count), np.int64), np.empty((len(flat), count))
    for i, query in enumerate(flat):
        # Rounding moves a squared distance by far less than this.
        slack = 4 * flat.shape[1] * np.finfo(np.float64).eps * (largest + query @ query)
        candidates = np.flatnonzero(squared[i] <= np.partition(squared[i], count - 1)[count - 1] + slack)
        differences = np.asarray(rows[candidates], np.float64).reshape(len(candidates), -1) - query
        exact = np.einsum("nd,nd->n", differences, differences)
        order = np.argsort(exact, kind="stable")[:count]
        index[i], distance[i] = candidates[order], np.sqrt(exact[order])
    return index, distance

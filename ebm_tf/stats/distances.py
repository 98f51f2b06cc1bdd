"""Distances between two sets of images, by features: Frechet (FID) and kernel (KID).

Frechet distance of two Gaussians with the features' means m and covariances C (Heusel et al. 2017):

    d² = |m₁ − m₂|² + tr C₁ + tr C₂ − 2 tr (C₁ C₂)^½

The last trace is the nuclear norm of C₁^½ C₂^½: with S = C^½ symmetric, (S₂S₁)ᵀ(S₂S₁) = S₁C₂S₁, which has the
eigenvalues of C₁C₂, so their roots are the singular values of S₂S₁. Unlike a general matrix root this is real, needs no
small number added to singular covariances, and does not square the condition number.

Kernel distance (Bińkowski et al. 2018): the unbiased estimate of MMD² with k(x, y) = (x·y/d + 1)³.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

__all__ = ["KernelDistance", "Moments", "both_distances", "frechet_distance", "kernel_distance", "unbiased_mmd"]

KERNEL_SUBSET = 1_000
MIN_SUBSETS = 10


class Moments(NamedTuple):
    """Number, mean [D] and scatter [D, D] (sum of outer products about the mean) of rows, in float64."""

    num_rows: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, block: int = 4096) -> "Moments":
        """Moments of rows [N, D], read block by block (a memmap streams)."""
        dimension = rows.shape[1]
        total = cls(0, np.zeros(dimension), np.zeros((dimension, dimension)))
        for start in range(0, len(rows), block):
            part = np.asarray(rows[start : start + block], np.float64)
            mean = part.mean(axis=0)
            total = total.merge(cls(len(part), mean, (part - mean).T @ (part - mean)))
        return total

    def merge(self, other: "Moments") -> "Moments":
        """Moments of both sets together, exactly (Chan, Golub & LeVeque 1983)."""
        num_rows = self.num_rows + other.num_rows
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.num_rows / num_rows)
        scatter = self.scatter + other.scatter + np.outer(shift, shift) * (self.num_rows * other.num_rows / num_rows)
        return Moments(num_rows, mean, scatter)

    @property
    def covariance(self) -> np.ndarray:
        """With N - 1, as the original FID has it."""
        return self.scatter / (self.num_rows - 1)


def frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """d² of the head of this file, of N(mean1, cov1) and N(mean2, cov2).

    Limits: 0 for equal Gaussians; |mean1 − mean2|² for equal covariances; singular covariances are exact.

    Args:
      mean1: [D].
      cov1: [D, D], symmetric and positive semidefinite up to rounding.
      mean2: [D].
      cov2: [D, D].

    Returns:
      The squared distance, as FID is reported.

    Source: Heusel et al. 2017; Dowson & Landau 1982.
    """
    root1, root2 = (_symmetric_root(np.asarray(cov, np.float64)) for cov in (cov1, cov2))
    overlap = linalg.svdvals(root2 @ root1).sum()
    shift = np.asarray(mean1, np.float64) - np.asarray(mean2, np.float64)
    return float(shift @ shift + np.trace(cov1) + np.trace(cov2) - 2 * overlap)


def _symmetric_root(covariance: np.ndarray) -> np.ndarray:
    """C^½. Eigenvalues that rounding cannot tell from 0 count as 0: else a null space of n directions would add
    n times the root of the rounding error to the trace.
    """
    values, vectors = linalg.eigh(covariance)
    values[values < len(values) * np.finfo(np.float64).eps * values[-1]] = 0
    return (vectors * np.sqrt(values)) @ vectors.T


class KernelDistance(NamedTuple):
    """MMD² with its standard error, and the disjoint subsets it is the mean of."""

    value: float
    std_error: float | None
    subset_size: int
    num_subsets: int


def kernel_distance(x: np.ndarray, y: np.ndarray, subset_size: int = KERNEL_SUBSET, seed: int = 0) -> KernelDistance:
    """Kernel inception distance: mean over disjoint random subsets of the unbiased MMD² with (x·y/d + 1)³.

    Law: mean MMD² of the two distributions, without bias, so it can be below 0. Subsets share no row, so their values
      are independent and std_error is their standard deviation over the root of their number.
    Limits: sets too small for 10 subsets of subset_size get smaller ones; below 4 rows there is one, and no std_error.

    Args:
      x: features [N, D].
      y: features [M, D].
      subset_size: rows of each set in a subset.
      seed: of the division into subsets.

    Source: Bińkowski et al. 2018, Sec. 4.
    """
    count = min(len(x), len(y))
    size = max(2, min(subset_size, count // MIN_SUBSETS))
    num_subsets = count // size
    rng = np.random.default_rng([seed, 7])
    x_order, y_order = rng.permutation(len(x)), rng.permutation(len(y))
    values = []
    for start in range(0, num_subsets * size, size):
        part = slice(start, start + size)
        # Sorted: a memmap is read in order.
        values.append(unbiased_mmd(x[np.sort(x_order[part])], y[np.sort(y_order[part])]))
    error = float(np.std(values, ddof=1) / np.sqrt(num_subsets)) if num_subsets > 1 else None
    return KernelDistance(float(np.mean(values)), error, size, num_subsets)


def unbiased_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """MMD² of x [N, D] and y [M, D] with k(x, y) = (x·y/D + 1)³: means of k over pairs of different rows.

    Law: mean MMD² of the two distributions, exactly.

    Source: Gretton et al. 2012, Lemma 6.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a):
        gram = kernel(a, a)
        return (gram.sum() - np.trace(gram)) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


def both_distances(rows: np.ndarray, reference: np.ndarray, moments: Moments, seed: int) -> dict[str, Any]:
    """Both distances of a set's features from a reference's, for results.json.

    Args:
      rows: features of the set [N, D].
      reference: those of the reference [M, D].
      moments: of the reference.
      seed: see kernel_distance.
    """
    own = Moments.of(rows)
    kernel = kernel_distance(rows, reference, seed=seed)
    return {
        "num_samples": len(rows),
        "frechet_distance": frechet_distance(own.mean, own.covariance, moments.mean, moments.covariance),
        "kid": kernel.value,
        "kid_std_error": kernel.std_error,
        "kid_subset_size": kernel.subset_size,
        "kid_num_subsets": kernel.num_subsets,
    }

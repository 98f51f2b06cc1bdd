"""Densities and samples on the plane of the rings.

The plane is a 161x161 grid over [-4, 4]^2 with the other eight coordinates 0. There A.1's density is proportional to
its XY marginal, and the model's to exp(−E/T).
"""

import numpy as np
from scipy import special, stats

from ebm_tf.data import rings

__all__ = [
    "AXIS",
    "data_density",
    "density_on_grid",
    "grid_points",
    "jensen_shannon",
    "kde_xy",
    "on_ring_shares",
]

AXIS = np.linspace(-4.0, 4.0, 161)
BANDWIDTH = 0.1  # the width of A.1's rings


def grid_points() -> np.ndarray:
    """The grid's points, float32 [161 * 161, 10], x varying slowest."""
    points = np.zeros((AXIS.size**2, 10), np.float32)
    x, y = np.meshgrid(AXIS, AXIS, indexing="ij")
    points[:, 0], points[:, 1] = x.ravel(), y.ravel()
    return points


def density_on_grid(log_density: np.ndarray) -> np.ndarray:
    """Unnormalised log density [161 * 161] to probabilities of the grid's cells [161, 161], which sum to 1."""
    log_density = np.asarray(log_density, np.float64)
    return np.exp(log_density - special.logsumexp(log_density)).reshape(AXIS.size, AXIS.size)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence in nats of two arrays of probabilities: 0 if equal, ln 2 if they share no cell."""
    mixture = 0.5 * (p + q)
    return float(0.5 * (special.rel_entr(p, mixture).sum() + special.rel_entr(q, mixture).sum()))


def on_ring_shares(x: np.ndarray) -> dict[str, float]:
    """Shares of x [N, 10] that lie on a ring: within 0.3 of it in the plane, and within 4 standard deviations of 0 in
    each of the eight other coordinates. "on_rings" is their sum, "ring_1" to "ring_3" each ring's.
    """
    radius = np.hypot(x[:, 0], x[:, 1])
    near_plane = (np.abs(x[:, 2:]) <= 4 * rings.SIGMA[2:]).all(axis=1)
    shares = {f"ring_{int(ring)}": float(np.mean(near_plane & (np.abs(radius - ring) <= 0.3))) for ring in rings.RADII}
    return {"on_rings": sum(shares.values()), **shares}


def kde_xy(x: np.ndarray) -> np.ndarray:
    """Gaussian kernel density estimate of the x and y of samples [N, 10], on the grid: [161, 161], sums to 1.

    Samples that are not finite, or far outside the grid, are left out; with none left the estimate is 0 everywhere.
    """
    xy = x[:, :2][np.isfinite(x[:, :2]).all(axis=1)]
    kernels = [stats.norm.pdf(AXIS[:, None], loc=xy[:, axis], scale=BANDWIDTH) for axis in (0, 1)]
    density = kernels[0] @ kernels[1].T
    return density / max(density.sum(), np.finfo(float).tiny)


def data_density() -> np.ndarray:
    """A.1's density on the grid, [161, 161]."""
    points = grid_points()
    return density_on_grid(rings.log_prob_xy(points[:, 0], points[:, 1]))

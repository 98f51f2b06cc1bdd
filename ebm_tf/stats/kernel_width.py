"""How far apart examples let one see: the width of the Gaussian kernel that foretells held-out examples best.

log p_h(x) = log 1/(N − 1) Σ_{m ≠ n} N(x_n; x_m, h² I),  summed over the examples x_n themselves (leave one out)
"""

import numpy as np
from scipy import special

__all__ = ["kernel_width"]

MOST = 1_000  # examples that are looked at; their squared distances are 8 MB
WIDTHS = np.geomspace(0.01, 3.0, 58)  # a tenth from one to the next; of whitened data, whose own width is 1


def kernel_width(x: np.ndarray) -> float:
    """The h of WIDTHS with the largest log p_h of at most MOST whitened examples x [N, D], of which two differ."""
    x = np.unique(np.asarray(x[:MOST], np.float64), axis=0)  # a row that is there twice would foretell itself
    squares = np.sum(x**2, axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0)
    np.fill_diagonal(distances, np.inf)
    logs = [special.logsumexp(-distances / (2 * h**2), axis=1).sum() - x.size * np.log(h) for h in WIDTHS]
    return float(WIDTHS[int(np.argmax(logs))])

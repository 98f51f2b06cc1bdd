"""Concentric rings in ten dimensions: sampler and exact log density (App. A.1).

    z ~ U{1, 2, 3},  φ ~ U(0, 2π),  x | z, φ ~ N(r_z (cos φ, sin φ, 0, …), D),  D = diag(0.1² × 3, 0.01² × 7)

With ℓ = √(x₁² + x₂²) and σ = 0.1 the marginal of the plane is

    p(x₁, x₂) = Σ_z 1/3 · 1/(2πσ²) · exp(−(ℓ² + r_z²) / 2σ²) I₀(r_z ℓ / σ²)

The appendix prints −(ℓ² − r_z²) in the line with I₀; the next line, with the scaled Bessel function, has it right.

Attributes:
  NAME: of the data set.
  RADII: radii of the rings.
  SIGMA: [10], standard deviation of each coordinate around its ring.
  NUM_WIDE: how many coordinates have the large one: x, y, z.
  STEP_SHAPE: float32 [10], relative step sizes: in the wide ones 6 times the noise, where the widths are 10 times the
    narrow ones'.
"""

import math

import numpy as np
import tensorflow as tf
from scipy import special, stats

__all__ = ["NAME", "NUM_WIDE", "RADII", "SIGMA", "STEP_SHAPE", "log_prob", "log_prob_xy", "sample"]

NAME = "rings"
RADII = (1.0, 2.0, 3.0)
NUM_WIDE = 3
SIGMA = np.array([0.1] * NUM_WIDE + [0.01] * 7)
STEP_SHAPE = np.float32([36.0] * NUM_WIDE + [1.0] * 7)


def sample(num_samples: int, seed: tf.Tensor) -> tf.Tensor:
    """Draws from the rings.

    Law: A.1's, exactly.
    Limits: none.

    Args:
      num_samples: N.
      seed: int32 [2].

    Returns:
      float32 [N, 10].

    Source: App. A.1.
    """
    ring_seed, angle_seed, noise_seed = tf.unstack(tf.random.split(seed, 3))
    rings = tf.random.stateless_uniform([num_samples], ring_seed, 0, len(RADII), tf.int32, alg="philox")
    radius = tf.gather(tf.constant(RADII), rings)
    angle = tf.random.stateless_uniform([num_samples], angle_seed, 0.0, 2 * math.pi, alg="philox")
    center = tf.stack([radius * tf.cos(angle), radius * tf.sin(angle)], axis=1)
    noise = tf.random.stateless_normal([num_samples, 10], noise_seed, alg="philox") * SIGMA.astype(np.float32)
    return noise + tf.pad(center, [[0, 0], [0, 8]])


def log_prob_xy(x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
    """log p(x1, x2), the marginal of the plane of the rings, normalised, in nats. Shapes broadcast."""
    length = np.hypot(x1, x2)
    variance = SIGMA[0] ** 2
    terms = [
        np.log(special.i0e(radius * length / variance)) - (length - radius) ** 2 / (2 * variance) for radius in RADII
    ]
    return special.logsumexp(terms, axis=0) - math.log(len(RADII) * 2 * math.pi * variance)


def log_prob(x: np.ndarray) -> np.ndarray:
    """log p(x) of x [N, 10], normalised, in nats: [N]."""
    x = np.asarray(x, np.float64)
    return log_prob_xy(x[:, 0], x[:, 1]) + stats.norm.logpdf(x[:, 2:], scale=SIGMA[2:]).sum(axis=1)

"""Preconditioned Langevin steps: longer where the data vary more.

    x̂_{l+1} = x̂_l − ε P ∂E/∂x(x̂_l) + √(2 ε T) P^{1/2} ẑ_l,    ẑ_l ~ N(0, I)

Drift and noise are scaled together, so the law of the continuous-time dynamics is p(x) ∝ exp(−E(x) / T) for every
constant, positive definite P; P = I is Eq. 9. Of images P is diagonal in the cosine transform but for the colours; of
vectors it is any A Aᵀ, and with the data's covariance the steps are Eq. 9's in whitened coordinates A⁻¹ x.
"""

import numpy as np
import tensorflow as tf

from ebm_tf.mcmc.cosines import cosine_transform, inverse_cosine_transform

__all__ = ["precondition", "root_of_spectrum"]


def root_of_spectrum(factor: np.ndarray) -> np.ndarray:
    """P^{1/2} at every frequency, for P = (C / c)^{1/2}: C is the covariance of images, c its smallest eigenvalue.

    A direction of variance v relaxes in about v / (ε P T) steps. Those are v / (ε T) for P = I, the same for all under
    P = C / c, and as √(v c) under this one: half way, since an image by itself leaves less room than C has.

    Args:
      factor: [S, S, C, C], a square root A of the covariance A Aᵀ of the C channels at every frequency.

    Returns:
      float32 [S, S, C, C], symmetric: (C / c)^{1/4}, with eigenvalues of 1 and more.
    """
    values, vectors = np.linalg.eigh(factor.astype(np.float64) @ factor.swapaxes(-1, -2))
    fourth_roots = (values / values.min()) ** 0.25
    return ((vectors * fourth_roots[..., None, :]) @ vectors.swapaxes(-1, -2)).astype(np.float32)


def precondition(root: tf.Tensor | tf.Variable, drift: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """P drift + P^{1/2} noise.

    Args:
      root: for images P^{1/2} at every frequency, [H, W, C, C], symmetric; for vectors any A [D, D] with P = A Aᵀ.
      drift: [B, H, W, C] or [B, D].
      noise: as drift, N(0, v I).

    Returns:
      float32, as drift.
    """
    if len(root.shape) == 2:
        white = tf.linalg.matmul(tf.ensure_shape(drift, [None, root.shape[0]]), root) + noise
        return tf.linalg.matmul(white, root, transpose_b=True)
    drift = tf.ensure_shape(drift, [None, *root.shape[:-1]])
    coefficients = noise + tf.einsum("klij,bklj->bkli", root, cosine_transform(drift))  # the noise is as white there
    return inverse_cosine_transform(tf.einsum("klij,bklj->bkli", root, coefficients))

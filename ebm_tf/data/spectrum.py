"""The Gaussian of the data: where chains start with --gaussian=start, and what the reference is."""

import numpy as np
from scipy import fft

from ebm_tf.data.base import Dataset

__all__ = ["noise_spectrum"]

MOST = 4_096
MIN_VARIANCE = 1e-6  # a fifth of what rounding to 8 bits adds to a pixel; a covariance of 0 has no factor


def noise_spectrum(data: Dataset, data_noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spectrum of the images that train, or mean and covariance of vectors, with the noise of data_noise.

    The cosine transform (orthonormal DCT-II) of images is close to their principal components; what is kept of them are
    the covariances of the channels at every frequency, 0.4 % of the full covariance matrix of 32x32 colour images.
    Memory: 1,024 examples, by two walks over all. Images that are decoded as they are needed would keep training
    waiting: of them it is MOST, evenly spread, whose variances are 2 % off by chance.

    Args:
      data: images or vectors.
      data_noise: standard deviation of the noise added to them.

    Returns:
      (mean [H, W, C], factor [H, W, C, C]), of vectors ([D], [D, D]), the factors lower triangular, float32:
      `chain_init.noise` takes them.

    Raises:
      ConfigError: the data are not there.
    """
    most = MOST if data.is_image and not data.is_in_memory else None
    count, total = 0, np.zeros(data.event_shape)
    for x in data.examples(most):
        count, total = count + len(x), total + x.sum(axis=0, dtype=np.float64)
    mean = (total / count).astype(np.float32)
    squares = np.zeros((*mean.shape, mean.shape[-1]))
    for x in data.examples(most):
        white = fft.dctn(x - mean, axes=(1, 2), norm="ortho") if data.is_image else np.asarray(x - mean, np.float64)
        squares += np.einsum("n...i,n...j->...ij", white, white)
    covariance = squares / count + max(data_noise**2, MIN_VARIANCE) * np.eye(mean.shape[-1])
    return mean, np.linalg.cholesky(covariance).astype(np.float32)

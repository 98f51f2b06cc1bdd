"""The cosine transform of images."""

import numpy as np
import tensorflow as tf
from scipy import fft

__all__ = ["cosine_transform", "inverse_cosine_transform"]


def cosine_transform(x: tf.Tensor) -> tf.Tensor:
    """Coefficients [B, H, W, C] of the orthonormal DCT-II of images [B, H, W, C], whose H and W are known."""
    return tf.einsum("yk,xl,byxi->bkli", _cosines(x, 1), _cosines(x, 2), x)


def inverse_cosine_transform(coefficients: tf.Tensor) -> tf.Tensor:
    """Images from their coefficients, the inverse of cosine_transform."""
    return tf.einsum("yk,xl,bkli->byxi", _cosines(coefficients, 1), _cosines(coefficients, 2), coefficients)


def _cosines(x, axis):
    """[place, frequency] of an axis."""
    return tf.constant(fft.idct(np.eye(x.shape[axis]), axis=0, norm="ortho"), x.dtype)

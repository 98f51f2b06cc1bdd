"""The cosine transform of images."""

import numpy as np
import tensorflow as tf
from scipy import fft

__all__ = ["cosine_transform", "inverse_cosine_transform"]


def cosine_transform(x: tf.Tensor) -> tf.Tensor:
    """Coefficients [B, S, S, C] of the orthonormal DCT-II of images [B, S, S, C], whose S is known."""
    matrix = _cosines(x)
    return tf.einsum("yk,xl,byxi->bkli", matrix, matrix, x)


def inverse_cosine_transform(coefficients: tf.Tensor) -> tf.Tensor:
    """Images from their coefficients, the inverse of cosine_transform."""
    matrix = _cosines(coefficients)
    return tf.einsum("yk,xl,bkli->byxi", matrix, matrix, coefficients)


def _cosines(x):
    """[place, frequency]."""
    return tf.constant(fft.idct(np.eye(x.shape[1]), axis=0, norm="ortho"), x.dtype)

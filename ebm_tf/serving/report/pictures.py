"""Pictures of a report: an input, and where its energy's gradient is large."""

import base64
import io

import matplotlib
import numpy as np
from PIL import Image
from scipy import ndimage

from ebm_tf.pixels import to_uint8

__all__ = ["gradient_map", "to_uri"]

SMOOTHED = 1 / 20  # of the shorter side, the standard deviation in pixels


def gradient_map(grad: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: the square root of |∂E/∂x|², summed over channels and smoothed, dark to bright by its maximum.

    Args:
      grad: ∂E/∂x [H, W, C].
    """
    power = np.square(grad.astype(np.float64)).sum(axis=-1)
    size = np.sqrt(ndimage.gaussian_filter(power, SMOOTHED * min(power.shape), mode="nearest"))
    share = size / size.max() if size.max() > 0 else size
    return (255 * matplotlib.colormaps["magma"](share)[..., :3]).astype(np.uint8)


def to_uri(image: np.ndarray) -> str:
    """A PNG as a data URI, of an image [H, W, C], uint8 or floats in [-1, 1]."""
    image, file = to_uint8(image), io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()

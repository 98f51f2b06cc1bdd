"""Brings an image to another size: cut, padded or stretched, with antialiasing.

    out(i) ∝ Σ_j k(s (j + ½) + t - (i + ½)) in(j)   along each side, of length n before and S after,

with k(t) = max(0, 1 - |t| / max(s, 1)) the triangle of bilinear interpolation, widened when the image shrinks, and

    crop:     s = max over sides of S / n,          t = (S - s n) / 2: the short side fits, the long one is cut
    pad:      s = min(1, min over sides of S / n),  t = ⌊(S - s n) / 2⌋: never enlarged; around it black, alpha 0
    stretch:  s = S / n for each side by itself,    t = 0
"""

import tensorflow as tf

__all__ = ["FITS", "fit"]

FITS = ("crop", "pad", "stretch")


def fit(image: tf.Tensor, size: tuple[int, int], how: str = "crop") -> tf.Tensor:
    """An image at another size.

    Limits: an image of this size stays as it is. A square is only resized.

    Args:
      image: uint8 [h, w, C], or float32 in [-1, 1].
      size: height and width.
      how: crop, pad or stretch.

    Returns:
      [*size, C] of the same type.
    """
    image = tf.convert_to_tensor(image)
    fits = tf.reduce_all(tf.shape(image)[:2] == tf.constant(size))
    fitted = tf.cond(fits, lambda: image, lambda: _scale(image, size, how))
    return tf.ensure_shape(fitted, [*size, image.shape[-1]])


def _scale(image, size, how):
    is_uint8 = image.dtype == tf.uint8
    sides, wanted = tf.cast(tf.shape(image)[:2], tf.float32), tf.constant(size, tf.float32)
    scale = wanted / sides
    if how == "crop":
        scale = tf.fill([2], tf.reduce_max(scale))
    elif how == "pad":
        scale = tf.fill([2], tf.minimum(tf.reduce_min(scale), 1.0))
    left = (wanted - scale * sides) / 2
    # Scaling and cutting in one op: the long side of a 1 x 100,000 image is never made.
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=image[None] if is_uint8 else image[None] + 1,  # black is 0, which the op pads with
        size=size,
        scale=scale,
        # Whole pixels, so that none is blurred; left is 0 where one side fits, but for rounding.
        translation=tf.floor(left + 1e-3) if how == "pad" else left,
        kernel_type="triangle",
        antialias=True,
    )[0]
    if is_uint8:
        return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)
    return tf.clip_by_value(pixels, 0, 2) - 1

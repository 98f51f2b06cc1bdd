"""Scales an image until its short side fits, with antialiasing, and cuts the square at its centre.

    s = S / min(h, w),  out(i) ∝ Σ_j k(s (j + ½) - s n/2 + S/2 - (i + ½)) in(j)   along each side of length n,

with k(t) = max(0, 1 - |t| / max(s, 1)) the triangle of bilinear interpolation, widened when the image shrinks.
"""

import tensorflow as tf

__all__ = ["center_crop"]


def center_crop(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """The centre square of an image at another size.

    Limits: image_size x image_size stays as it is. A square is only resized.

    Args:
      image: uint8 [h, w, 3].
      image_size: S.

    Returns:
      uint8 [S, S, 3].
    """
    fits = tf.reduce_all(tf.shape(image)[:2] == image_size)
    square = tf.cond(fits, lambda: image, lambda: _scale_and_cut(image, image_size))
    return tf.ensure_shape(square, [image_size, image_size, 3])


def _scale_and_cut(image, image_size):
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = image_size / tf.reduce_min(sides)
    # Scaling and cutting in one op: the long side of a 1 x 100,000 image is never made.
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=[image_size, image_size],
        scale=tf.stack([scale, scale]),
        translation=(image_size - scale * sides) / 2,
        kernel_type="triangle",
        antialias=True,
    )[0]
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)

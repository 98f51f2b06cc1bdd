"""Images as encoded files within a graph: PNG and JPEG by data/decode.py's rules, as far as TensorFlow's operations go.

The same as there: palettes, grey and one bit, alpha on white, of 16 bits the upper 8, grey of colours by 299, 587 and
114 thousandths, and images of another size. Not the same: other formats, which are refused; a
JPEG's EXIF orientation, which is not applied; a JPEG of CMYK; large JPEGs, which are decoded at their full size. A file
that cannot be decoded is an error of the whole batch.
"""

import tensorflow as tf

from ebm_tf.data.crop import fit
from ebm_tf.serving.info import ModelInfo

__all__ = ["decode_images"]

LUMA = (19595, 38470, 7471)  # of red, green and blue, of 65,536: Pillow's


def decode_images(encoded: tf.Tensor, info: ModelInfo) -> tf.Tensor:
    """The pixels of files, uint8 [N, *event], by their contents, string [N]."""
    height, width, channels = info.event_shape

    def one(content: tf.Tensor) -> tf.Tensor:
        return fit(_channels(_rgba(content), channels), (height, width), info.fit)

    return tf.map_fn(one, encoded, fn_output_signature=tf.TensorSpec(info.event_shape, tf.uint8))


def _rgba(content: tf.Tensor) -> tf.Tensor:
    """int32 [h, w, 4]."""

    def jpeg():
        pixels = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.concat([pixels, tf.fill([*tf.unstack(tf.shape(pixels)[:2]), 1], tf.constant(255, tf.uint8))], axis=-1)

    pixels = tf.cond(tf.io.is_jpeg(content), jpeg, lambda: _png(content))
    return tf.cast(tf.ensure_shape(pixels, [None, None, 4]), tf.int32)


def _png(content: tf.Tensor) -> tf.Tensor:
    """uint8 [h, w, 4]. Where a pixel has less than 8 bits and the file no alpha, TensorFlow's is 1, 3 or 15."""
    pixels = tf.io.decode_png(content, channels=4)
    bits = tf.io.decode_raw(tf.strings.substr(content, 24, 1), tf.uint8)[0]  # of the header
    has_none = (bits < 8) & ~tf.strings.regex_full_match(content, r"\C*tRNS\C*")
    return tf.where(has_none & (tf.range(4) == 3), tf.constant(255, tf.uint8), pixels)


def _channels(rgba: tf.Tensor, channels: int) -> tf.Tensor:
    """uint8 [h, w, channels]; without alpha, composed on white to Pillow's rounding."""
    if channels < 4:
        colours, alpha = rgba[..., :3], rgba[..., 3:]
        value = (colours * alpha + 255 * (255 - alpha)) * 128 + (128 << 7)
        rgba = (((value // 256) + value) // 256) // 128
    if channels == 1:
        rgba = (tf.reduce_sum(rgba * tf.constant(LUMA), axis=-1, keepdims=True) + 32768) // 65536
    return tf.cast(rgba, tf.uint8)

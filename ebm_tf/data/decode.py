"""The one decoder of image files, for folders, TFDS, TFRecords and scoring: a file has the same pixels everywhere.

| of a file | rule |
| --- | --- |
| EXIF orientation | applied |
| more than 8 bits a channel | the upper 8 of 16; files of 32 bits are refused, since nothing says what is white |
| CMYK, palettes, one bit | made RGB or grey |
| alpha | composed on white, unless 4 channels are asked for |
| animations, several pages | the first |
| pixels | at most MAX_PIXELS, as they are decoded |
| JPEG of more than DRAFT_PIXELS | decoded at 1/2, 1/4 or 1/8, where twice the size asked for is left |
"""

import io
import os
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin, UnidentifiedImageError

from ebm_tf.errors import one_line

__all__ = ["DRAFT_PIXELS", "MAX_PIXELS", "decode", "header"]

MAX_PIXELS = 2**27  # 134 million: 400 MB of RGB. Pillow warns from 89 million on
DRAFT_PIXELS = 2**22  # 4.2 million; smaller ones keep every bit of a full decoding
WHITE = (255, 255, 255, 255)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF: those by which height and width change places

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS holds in its place


def decode(
    source: bytes | str | os.PathLike, channels: int | None = 3, size: tuple[int, int] | None = None
) -> np.ndarray:
    """The pixels of an image file, by the rules above.

    Args:
      source: a file's content, or its path.
      channels: 1, 3 or 4; None: 1 for grey files, else 3.
      size: height and width that the image will be scaled to. None: it will not be scaled.

    Returns:
      uint8 [h, w, C].

    Raises:
      ValueError: it cannot be read; one line.
    """
    try:
        with _opened(source) as file, _image(file) as image:
            _draft(image, size)
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ValueError(f"{width} x {height} pixels, more than {MAX_PIXELS:,}: a decompression bomb")
            if image.mode in ("I", "F") and not _is_deep(image):
                raise ValueError(f"mode {image.mode}, more than 16 bits per channel")
            channels = channels or _channels(image)
            turned = ImageOps.exif_transpose(image)
            if _is_deep(image):  # of coloured images Pillow itself keeps the upper 8 bits
                turned = Image.fromarray((np.asarray(turned).astype(np.uint16) >> 8).astype(np.uint8))
            pixels = np.asarray(_without_alpha(turned, channels).convert(MODES[channels]))
    except UnidentifiedImageError as error:
        raise ValueError("cannot identify image file") from error
    except Exception as error:  # Pillow's plugins raise many kinds: OSError, SyntaxError, struct.error, ...
        raise ValueError(one_line(error)) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def header(source: bytes | str | os.PathLike) -> tuple[int, int, int]:
    """(height, width, 1 or 3 channels) that decode gives, without decoding. Raises ValueError, one line."""
    try:
        with _opened(source) as file, _image(file) as image:
            width, height = image.size
            is_turned = image.getexif().get(ORIENTATION) in TURNED
            return (width, height, _channels(image)) if is_turned else (height, width, _channels(image))
    except UnidentifiedImageError as error:
        raise ValueError("cannot identify image file") from error
    except Exception as error:
        raise ValueError(one_line(error)) from error


def _opened(source: bytes | str | os.PathLike) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def _image(file: BinaryIO) -> Image.Image:
    start = file.read(3)
    file.seek(0)
    if start == b"\xff\xd8\xff":  # Image.open would refuse by its size what can be decoded at a smaller scale
        return JpegImagePlugin.JpegImageFile(file)
    return Image.open(file)


def _draft(image, size) -> None:
    if size is not None and image.format == "JPEG" and image.width * image.height > DRAFT_PIXELS:
        image.draft(None, (2 * max(size), 2 * max(size)))


def _channels(image: Image.Image) -> int:
    return 1 if image.mode in ("1", "L", "LA", "La") or _is_deep(image) else 3


def _is_deep(image: Image.Image) -> bool:
    """Whether it is grey with 16 bits."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")


def _without_alpha(image: Image.Image, channels: int) -> Image.Image:
    if channels == 4 or not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)

"""What kind of input a file is, by its content; by its name only where the content is damaged."""

import os
import warnings
import zipfile

import tensorflow as tf
from PIL import Image

__all__ = ["kind_of"]


def kind_of(path: str) -> str:
    """npy, npz, table, image or tfrecord; "" for any other file, and for what is none, as a folder or a pipe.

    A damaged file counts as what its name says, so that the reader of that kind can say what is wrong with it.

    Raises:
      OSError: the file cannot be read.
    """
    if not os.path.isfile(path):  # a pipe can be read only once, and waits for who writes to it
        return ""
    with open(path, "rb") as file:
        start = file.read(16)
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith(b"PAR1"):
        return "table"
    if start.startswith(b"PK") and _holds_arrays(path):
        return "npz"
    if _is_image(path):
        return "image"
    if _is_tfrecord(path, start):
        return "tfrecord"
    return "" if start.startswith(b"PK") and not path.endswith(".npz") else _by_name(path)


def _holds_arrays(path: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _is_image(path: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the reader refuses it as a row
            with Image.open(path) as image:  # TGA has no mark of its own, and may be anything
                return image.format != "TGA" or path.lower().endswith((".tga", ".icb", ".vda", ".vst"))
    except Image.DecompressionBombError:
        return True
    except Exception:  # Pillow's plugins raise many kinds
        return False


def _is_tfrecord(path: str, start: bytes) -> bool:
    """Whether its first record is whole: its length and its content have checksums."""
    compression = "GZIP" if start.startswith(b"\x1f\x8b") else ""
    try:
        with tf.device("CPU"):
            return any(True for _ in tf.data.TFRecordDataset(path, compression_type=compression).take(1))
    except tf.errors.OpError:
        return False


def _by_name(path: str) -> str:
    name = os.path.basename(path).lower()
    ending = os.path.splitext(name)[1]
    if ending in (".npy", ".npz"):
        return ending[1:]
    if ending in (".csv", ".tsv", ".parquet"):
        return "table"
    if "tfrecord" in name:
        return "tfrecord"
    formats = Image.registered_extensions()  # loads Pillow's plugins, which fill Image.OPEN
    return "image" if formats.get(ending) in Image.OPEN else ""

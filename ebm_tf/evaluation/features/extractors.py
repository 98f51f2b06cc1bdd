"""Features of images, for distances and neighbours: the 2015 Inception graph, a .keras file, or a SavedModel folder.

Every extractor takes uint8 images [N, S, S, 3] and gives float32 features [N, D]:

- `inception`: the graph gets the pixels as they are. It scales them bilinearly to 299x299 (corners not aligned) and
  takes (x - 128) / 128, as the original FID does. D = 2048.
- a .keras file: the model gets x / 127.5 - 1.
- a SavedModel folder: signature serving_default. A uint8 input gets the pixels, a float32 input x / 127.5 - 1.

The output of the last two is [N, D], or a dict in which "features" is.
"""

import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ebm_tf.data.images import to_unit_range
from ebm_tf.energies.precision import full_float32
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.evaluation.features import inception

__all__ = ["FeatureExtractor", "load_extractor"]

CIFAR_FEATURES = "cifar_features.keras"

CallFn = Callable[[np.ndarray], np.ndarray]


class FeatureExtractor(NamedTuple):
    """A function of images, and what it is called.

    Attributes:
      name: inception, or the name of the file.
      distance_name: of the Frechet distance by these features. Only the 2015 Inception graph gives "FID".
      sha256: of the file, or of all files of the folder.
      dimension: D.
      batch_size: images at once.
      call_fn: uint8 [B, S, S, 3] -> float32 [B, D].
    """

    name: str
    distance_name: str
    sha256: str
    dimension: int
    batch_size: int
    call_fn: CallFn

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Features float32 [N, D] of uint8 images [N, S, S, 3]."""
        starts = range(0, len(pixels), self.batch_size)
        with full_float32():  # a distance does not depend on the device
            return np.concatenate([self.call_fn(pixels[start : start + self.batch_size]) for start in starts])


def load_extractor(source: str, image_size: int, inception_graph: str | None = None) -> FeatureExtractor:
    """The extractor that --fid_features names.

    Args:
      source: inception, a .keras file, or a SavedModel folder.
      image_size: S of the images that it is to take.
      inception_graph: file of the 2015 graph. None: the one in the cache, downloaded if it is not there.

    Raises:
      ConfigError: no such file or network, not a features model, or one for other images.
    """
    path = pathlib.Path(os.path.expanduser(source))
    if source == "inception":
        call_fn = inception.load_graph(inception.graph_file(inception_graph))
        dimension = _dimension(source, call_fn, image_size)
        return FeatureExtractor("inception", "FID", inception.SHA256, dimension, 100, call_fn)
    if os.path.isdir(path):  # False, and no error, for names that the system refuses
        call_fn, shape, files = *_saved_model(path), sorted(path.rglob("*"))
    elif os.path.isfile(path):
        call_fn, shape, files = *_keras_file(path), [path]
    else:
        raise _bad("inception, a .keras file or a SavedModel folder", f"fid_features={source}, which is not there")
    _check_input(source, shape, image_size)
    digest = hashlib.sha256()
    for file in files:
        if path.is_dir():  # names and sizes keep contents apart; one file has its own sha256
            digest.update(f"{file.relative_to(path)}\0{file.stat().st_size * file.is_file()}\0".encode())
        digest.update(file.read_bytes() if file.is_file() else b"")
    name = "FD (CIFAR features)" if path.name == CIFAR_FEATURES else f"FD ({path.name})"
    dimension = _dimension(source, call_fn, image_size)
    return FeatureExtractor(path.name, name, digest.hexdigest(), dimension, 500, call_fn)


def _bad(expected: str, received: str) -> ConfigError:
    return ConfigError(f"--fid_features: expected {expected}. Received: {received}")


def _keras_file(path: pathlib.Path) -> tuple[CallFn, Any]:
    """(function of pixels, shape of its input)."""
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        shape = model.input_shape
    except Exception as error:  # Keras raises ValueError, TypeError, KeyError, BadZipFile and more on a foreign file
        raise _bad("a .keras file that Keras can read", f"{path}: {one_line(error)}") from error

    @tf.function(autograph=False, reduce_retracing=True)
    def call(pixels):
        return model(to_unit_range(pixels), training=False)

    return lambda pixels: _features_of(call(tf.constant(pixels))), shape


def _saved_model(path: pathlib.Path) -> tuple[CallFn, Any]:
    """(function of pixels, shape of its input)."""
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
    except Exception as error:  # OSError, KeyError, and errors of protocol buffers
        expected = "a SavedModel folder with the signature serving_default"
        raise _bad(expected, f"{path}: {one_line(error)}") from error
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise _bad("a SavedModel of one input, images", f"{path}, with inputs {', '.join(sorted(inputs))}")
    ((name, spec),) = inputs.items()
    if spec.dtype not in (tf.uint8, tf.float32):
        raise _bad("a SavedModel of images as uint8 or float32", f"{path}, which takes {spec.dtype.name}")

    def call(pixels, _alive=loaded):  # a signature alone does not keep its variables
        x = tf.constant(pixels) if spec.dtype == tf.uint8 else to_unit_range(tf.constant(pixels))
        return _features_of(signature(**{name: x}))

    return call, tuple(spec.shape.as_list()) if spec.shape.rank is not None else None


def _features_of(output: Any) -> np.ndarray:
    """The output, or in a dict the one named features, or the only one."""
    if isinstance(output, dict):
        output = output.get("features", next(iter(output.values())) if len(output) == 1 else output)
    if not tf.is_tensor(output):
        raise TypeError(f"several outputs, none of them named features: {len(output)}")
    return tf.cast(output, tf.float32).numpy()


def _check_input(source: str, shape: Any, image_size: int) -> None:
    known = isinstance(shape, tuple) and len(shape) == 4
    if not known or shape[0] is not None or shape[3] != 3:
        raise _bad("a model of images [N, S, S, 3]", f"{source}, of input {shape}")
    if any(size not in (None, image_size) for size in shape[1:3]):
        raise _bad(f"features of {image_size}x{image_size} images", f"{source}, which takes {shape[1]}x{shape[2]}")


def _dimension(source: str, call_fn: CallFn, image_size: int) -> int:
    """D, found by two black images."""
    try:
        shape = call_fn(np.zeros((2, image_size, image_size, 3), np.uint8)).shape
    except Exception as error:  # whatever a foreign model raises
        raise _bad("a features model, of output [N, D]", f"{source}: {one_line(error)}") from error
    if len(shape) != 2 or shape[0] != 2 or shape[1] < 1:
        raise _bad("a features model, of output [N, D]", f"{source}, which gives {list(shape)} for 2 images")
    return shape[1]

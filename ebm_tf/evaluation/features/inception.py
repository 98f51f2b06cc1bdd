"""The 2015 Inception graph of the original FID, run by TensorFlow as it is: finding its file, and loading it.

classify_image_graph_def.pb is a frozen graph for one image: DecodeJpeg -> Cast -> ExpandDims -> ResizeBilinear
(299x299) -> Sub (128) -> Mul (1/128) -> convolutions -> pool_3 [1, 1, 1, 2048]. Batches enter in place of ExpandDims,
as in the original's code (Heusel et al. 2017), so resizing and scaling are the graph's own.
"""

import hashlib
import os
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ebm_tf.data.download import fetch_member
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.runs.cache import cache_dir

__all__ = ["SHA256", "cached_graph", "graph_file", "load_graph"]

URL = "http://download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz"  # as in the original's code
MEMBER = "classify_image_graph_def.pb"
# Public copies of the graph agree on size and checksum; the size is also that in the archive's listing.
SIZE = 95_673_916
SHA256 = "009d6814d1bc560d4e7b236e170e9b2d5ca6f4b57bd8037f6db05776204415c6"


def cached_graph() -> pathlib.Path:
    """Where the graph's file lies once it has been downloaded."""
    return cache_dir() / MEMBER


def graph_file(given: str | None) -> pathlib.Path:
    """The graph's file: the one given, or the one in the cache, which is downloaded if it is not there.

    Raises:
      ConfigError: the file is not there or is another, or it cannot be downloaded.
    """
    path = cached_graph() if given is None else pathlib.Path(os.path.expanduser(given))
    if given is None and not path.exists():
        _download(path)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise _bad(f"the file {MEMBER}", str(error)) from error
    if digest != SHA256:
        hint = "" if given else "; remove it, and it is downloaded anew"
        raise _bad(f"{MEMBER} of 2015, sha256 {SHA256[:16]}...", f"{path}, sha256 {digest[:16]}...{hint}")
    return path


def _bad(expected: str, received: str) -> ConfigError:
    return ConfigError(f"--inception_graph: expected {expected}. Received: {received}")


def _download(path: pathlib.Path) -> None:
    """Fetches the graph into the cache."""
    print(f"downloading {URL} (85 MiB, once) to {path}", flush=True)
    try:
        fetch_member(URL, MEMBER, SIZE, SHA256, path)
    except OSError as error:
        expected = f"{MEMBER}, from {URL} or given by --inception_graph=FILE"
        raise _bad(expected, f"a failure to get it: {one_line(error)}") from error


def load_graph(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """The graph's features: uint8 [B, S, S, 3] -> float32 [B, 2048], for any B and S.

    A session runs it: its BatchNormWithGlobalNormalization is refused in a tf.function, since it was taken out of
    newer graph versions, but runs in a graph that keeps its own old version.

    Raises:
      ConfigError: the file is no graph, or has not these tensors.
    """
    graph_def = tf.compat.v1.GraphDef()
    graph = tf.Graph()
    try:
        graph_def.ParseFromString(path.read_bytes())
        for node in graph_def.node:  # shapes for one image
            node.attr.pop("_output_shapes", None)
        with graph.as_default():
            images = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3])
            (pool,) = tf.import_graph_def(graph_def, {"ExpandDims:0": images}, ["pool_3:0"], name="")
    except Exception as error:  # DecodeError of protocol buffers, ValueError of the import
        line = one_line(error)
        raise _bad("a frozen graph with ExpandDims:0 and pool_3:0", f"{path}: {line}") from error
    session = tf.compat.v1.Session(graph=graph)

    def call(pixels: np.ndarray) -> np.ndarray:
        features = session.run(pool, {images: np.asarray(pixels, np.float32)})
        return features.reshape(len(pixels), -1)

    return call

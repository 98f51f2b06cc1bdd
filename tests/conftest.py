"""Settings that all tests share. They must stand before TensorFlow is imported."""

import functools
import gc
import os
import pathlib
import types

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pytest
import tensorflow as tf

from tests import processes

NUM_THREADS = int(os.environ.get("EBM_TF_TEST_THREADS", "2"))
tf.config.threading.set_intra_op_parallelism_threads(NUM_THREADS)
tf.config.threading.set_inter_op_parallelism_threads(NUM_THREADS)


def pytest_collection_finish():
    """What is imported stays: Python need not look through it for garbage. Nor do tests call gc.collect, half a second
    each, as keras.utils.clear_session does unless told not to.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _no_search_for_garbage():
    """After every picture training collects garbage, which takes half a second among all that tests keep."""
    from ebm_tf.training import callbacks

    callbacks.gc = types.SimpleNamespace(collect=lambda: None)
    yield
    callbacks.gc = gc


@pytest.fixture(autouse=True, scope="session")
def _read_splits_once():
    """A whole split, prepared outside of tests, takes seconds to decode: it is kept, and cannot be written to."""
    from ebm_tf.data import images

    load, folder = images.load, processes.ROOT.parent / "shared" / "tfds"
    folder = pathlib.Path(os.environ.get("EBM_TF_DATA", folder))
    kept = {str(folder), str(folder.resolve())}

    @functools.lru_cache(maxsize=8)
    def load_once(*args, **kwargs):
        x = load(*args, **kwargs)
        x.flags.writeable = False
        return x

    def load_or_kept(name, split, data_dir, *args, **kwargs):
        return (load_once if data_dir in kept else load)(name, split, data_dir, *args, **kwargs)

    images.load = load_or_kept
    yield
    images.load = load


@pytest.fixture(autouse=True)
def _fresh_keras_state():
    """Fixed initial weights, and no dtype policy that outlives its test."""
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy(policy)

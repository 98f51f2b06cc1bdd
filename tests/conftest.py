"""Settings that all tests share. They must stand before TensorFlow is imported."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pytest
import tensorflow as tf

NUM_THREADS = int(os.environ.get("EBM_TF_TEST_THREADS", "2"))
tf.config.threading.set_intra_op_parallelism_threads(NUM_THREADS)
tf.config.threading.set_inter_op_parallelism_threads(NUM_THREADS)


def pytest_collection_finish():
    """What is imported stays: keras.utils.clear_session, after many tests, need not look through it for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _fresh_keras_state():
    """Fixed initial weights, and no dtype policy that outlives its test."""
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy(policy)

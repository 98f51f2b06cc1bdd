"""Settings that all tests share. They must stand before TensorFlow is imported."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pytest
import tensorflow as tf

NUM_THREADS = int(os.environ.get("EBM_TF_TEST_THREADS", "2"))
tf.config.threading.set_intra_op_parallelism_threads(NUM_THREADS)
tf.config.threading.set_inter_op_parallelism_threads(NUM_THREADS)


@pytest.fixture(autouse=True)
def _fresh_keras_state():
    """Fixed initial weights, and no dtype policy that outlives its test."""
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy(policy)

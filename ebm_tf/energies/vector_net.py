"""The default network for vectors: a perceptron."""

import keras

__all__ = ["vector_net"]


def vector_net(num_columns: int, num_filters: int = 128, detail: float = 1.0, depth: int = 2) -> keras.Sequential:
    """[B, D] -> [B, 1]: `depth` dense layers of num_filters with SiLU between them, and one number.

    SiLU has a smooth gradient, by which chains move. It expects vectors whose columns have about mean 0 and variance 1,
    as ebm_tf.Dataset gives them, and makes them longer, so that their detail has size 1.

    Args:
      num_columns: D.
      num_filters: width of the layers.
      detail: how fine the data are, their noise. 1: nothing finer than the data as a whole.
      depth: how many there are.

    Source: not in the paper; docs/own_data.md has what it was measured at.
    """
    hidden = [keras.layers.Dense(num_filters, "silu") for _ in range(depth)]
    first = keras.layers.Rescaling(1.0 / detail)
    return keras.Sequential([keras.Input((num_columns,)), first, *hidden, keras.layers.Dense(1)], name="vector_net")

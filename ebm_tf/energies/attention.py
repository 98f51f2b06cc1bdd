"""Non-local block: self-attention over the positions of a feature map (Wang et al. 2018, SAGAN)."""

import keras
from keras import ops

__all__ = ["NonLocalBlock"]


@keras.saving.register_keras_serializable(package="ebm_tf")
class NonLocalBlock(keras.layers.Layer):
    """x + g · W softmax(q kᵀ) v, with C/2 inner channels and 2x2 average-pooled keys and values.

    The output convolution starts at zero, so a new block is the identity. Pooling is by average: the gradient of
    max pooling has no deterministic kernel under XLA on a GPU.

    Call: [B, H, W, C] -> [B, H, W, C]; H and W even.

    Source: Sec. 3, "attention layers"; placement and size are ours (docs/paper_notes.md).
    """

    def build(self, input_shape):
        channels = input_shape[-1]
        inner = channels // 2
        self.query = keras.layers.Conv2D(inner, 1, use_bias=False, dtype=self.dtype_policy, name="query")
        self.key = keras.layers.Conv2D(inner, 1, use_bias=False, dtype=self.dtype_policy, name="key")
        self.value = keras.layers.Conv2D(inner, 1, use_bias=False, dtype=self.dtype_policy, name="value")
        self.output_conv = keras.layers.Conv2D(
            channels, 1, kernel_initializer="zeros", dtype=self.dtype_policy, name="output"
        )
        self.pool = keras.layers.AveragePooling2D(2, dtype=self.dtype_policy)
        pooled = (*input_shape[:1], input_shape[1] // 2, input_shape[2] // 2, channels)
        self.query.build(input_shape)
        self.key.build(pooled)
        self.value.build(pooled)
        self.output_conv.build((*input_shape[:-1], inner))

    def call(self, x):
        height, width, channels = x.shape[1:]
        positions, pooled_positions, inner = height * width, height * width // 4, channels // 2
        pooled = self.pool(x)
        query = ops.reshape(self.query(x), (-1, positions, inner))
        key = ops.reshape(self.key(pooled), (-1, pooled_positions, inner))
        value = ops.reshape(self.value(pooled), (-1, pooled_positions, inner))
        weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))) / inner**0.5)
        mixed = ops.reshape(ops.matmul(weights, value), (-1, height, width, inner))
        return x + self.output_conv(mixed)

    def compute_output_shape(self, input_shape):
        return input_shape

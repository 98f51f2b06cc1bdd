"""ImageNet's energy as a function of its weights, arranged for Langevin steps on a GPU.

A chain needs E and ∂E/∂x thousands of times with the same weights. The layers in image_net.py say what is computed;
here the same numbers, to rounding, are computed in fewer passes over memory (measurements: docs/performance.md):

- What depends on weights alone (reading, casting, joining) is done once, by `prepare`, outside the loop over steps.
- The 3x3 convolution of 1 to 4 channels is a product of windows of 3 rows by TILE + 2 pixels with a banded matrix
  that gives TILE pixels at once, and so is its gradient: convolution kernels for so few channels are slow both ways.
- Attention joins the matrices that follow one another. With pooled positions p, q kᵀ = x W_q (p W_k)ᵀ = x (p A)ᵀ with
  A = W_k W_qᵀ / √(C/2), and v W_o = p M with M = W_v W_o: queries are never made, and nothing is transposed.
- The last convolution gives one number, so it is a weighted sum, taken in float32 whatever the dtype policy.

float16 keeps 11 bits where bfloat16 keeps 8, but holds no sizes above 65,504 and none below 6e-8. Gradients are small,
so within the float16 part they are FACTOR times as large: `_enter` and `_leave`, at its two ends, see to it, and nobody
outside has to know. A size above becomes inf or NaN, never the largest number that there is.
"""

from typing import NamedTuple

import tensorflow as tf

__all__ = ["Attention", "Weights", "energy", "prepare"]

SLOPE = 0.2  # of LeakyReLU
TILE = 16  # pixels of one row that are computed together; every image's width is a multiple
FACTOR = 256.0  # on gradients in float16; a power of two, so it rounds nothing (docs/performance.md, "float16")
UNIT = 8  # a window's numbers are a multiple of this, which matrix units like


class Attention(NamedTuple):
    """One non-local block. keys: A [C, C]; values: M [C, C]; bias [C]."""

    keys: tf.Tensor
    values: tf.Tensor
    bias: tf.Tensor


class Weights(NamedTuple):
    """All that the energy needs.

    Attributes:
      first: [3 (TILE + 2) C + _ones(C), TILE n_f], the banded matrix of the first convolution and its bias.
      convolutions: (kernel [4, 4, C, 2C], bias [2C]) each.
      attentions: after the first convolutions of these, one each; may be empty.
      last: float32 [H, W, C] kernel of the last convolution, [] bias.
    """

    first: tf.Tensor
    convolutions: list[tuple[tf.Tensor, tf.Tensor]]
    attentions: list[Attention]
    last: tuple[tf.Tensor, tf.Tensor]


def prepare(convolutions, blocks, dtype) -> Weights:
    """Reads, casts and joins weights. Differentiable: gradients reach the layers' variables.

    Args:
      convolutions: the five Conv2D layers of ImageNet, in order.
      blocks: its NonLocalBlocks, in order; may be empty.
      dtype: in which the products are taken.
    """
    first, *middle, last = convolutions
    wide = _wide(dtype)
    kernel, bias = _read(last.kernel, wide), _read(last.bias, wide)
    return Weights(
        first=_banded(_read(first.kernel, dtype), _read(first.bias, dtype)),
        convolutions=[(_read(layer.kernel, dtype), _read(layer.bias, wide)) for layer in middle],
        attentions=[_join(block, dtype) for block in blocks],
        last=(tf.cast(kernel[..., 0], tf.float32), tf.cast(bias[0], tf.float32)),
    )


def energy(weights: Weights, x: tf.Tensor) -> tf.Tensor:
    """The network's output at x [B, H, W, C], float32 [B]."""
    height, width = x.shape[1:3]
    state = tf.matmul(_windows(_enter(x, weights.first.dtype)), weights.first)
    state = tf.nn.leaky_relu(tf.reshape(state, [-1, height, width, state.shape[-1] // TILE]), SLOPE)
    for level, (kernel, bias) in enumerate(weights.convolutions):
        state = tf.nn.leaky_relu(_add(tf.nn.conv2d(state, kernel, 2, "SAME"), bias), SLOPE)
        if level < len(weights.attentions):
            state = _attend(weights.attentions[level], state)
    kernel, bias = weights.last
    return tf.reduce_sum(_leave(state) * kernel, axis=[1, 2, 3]) + bias


def _wide(dtype):
    """Dtype of weights whose gradients are sums, not products of matrices: sums in float16 stop growing at 2,048."""
    return "float32" if dtype == "float16" else dtype


def _read(variable, dtype) -> tf.Tensor:
    """Rounded to dtype at once, as Keras does within its layers."""
    return _enter(tf.convert_to_tensor(variable), dtype)


def _enter(value, dtype) -> tf.Tensor:
    """value in dtype. In float16 its gradient, which is FACTOR times as large there, leaves at its own size."""
    if dtype != "float16":
        return tf.cast(value, dtype)

    @tf.custom_gradient
    def cast(value):
        return tf.cast(value, dtype), lambda upstream: tf.cast(upstream, value.dtype) / FACTOR

    return cast(value)


def _leave(value) -> tf.Tensor:
    """value in float32. In float16 its gradient enters FACTOR times as large."""
    if value.dtype != "float16":
        return tf.cast(value, tf.float32)

    @tf.custom_gradient
    def cast(value):
        return tf.cast(value, tf.float32), lambda upstream: tf.cast(FACTOR * upstream, value.dtype)

    return cast(value)


def _add(state, bias) -> tf.Tensor:
    """state + bias. The gradient of a float32 bias of float16 states is summed in float32."""
    if bias.dtype == state.dtype:
        return state + bias

    @tf.custom_gradient
    def add(state, bias):
        def gradient(upstream):
            over = list(range(upstream.shape.rank - 1))
            return upstream, tf.reduce_sum(tf.cast(upstream, bias.dtype), axis=over) / FACTOR

        return state + tf.cast(bias, state.dtype), gradient

    return add(state, bias)


def _join(block, dtype) -> Attention:
    layers = (block.query, block.key, block.value, block.output_conv)
    query, key, value, output = (tf.cast(_read(layer.kernel, dtype)[0, 0], tf.float32) for layer in layers)
    keys = tf.matmul(key, query, transpose_b=True) / query.shape[1] ** 0.5
    return Attention(
        tf.cast(keys, dtype), tf.cast(tf.matmul(value, output), dtype), _read(block.output_conv.bias, _wide(dtype))
    )


def _attend(block: Attention, state: tf.Tensor) -> tf.Tensor:
    """state + softmax(x (p A)ᵀ) (p M) + bias, [B, H, W, C]."""
    height, width, channels = state.shape[1:]
    pooled = tf.reshape(_pool(state), [-1, channels])
    keys, values = (
        tf.reshape(tf.matmul(pooled, w), [-1, height * width // 4, channels]) for w in (block.keys, block.values)
    )
    x = tf.reshape(state, [-1, height * width, channels])
    x += _add(tf.matmul(_softmax(tf.matmul(x, keys, transpose_b=True)), values), block.bias)
    return tf.reshape(x, [-1, height, width, channels])


@tf.custom_gradient
def _pool(state):
    """Means of 2x2 positions. Slices, and a broadcast backward, fuse with their neighbours; pooling ops do not."""
    height, width, channels = state.shape[1:]

    def gradient(upstream):
        shape = [tf.shape(upstream)[0], height // 2, 2, width // 2, 2, channels]
        spread = tf.broadcast_to(0.25 * upstream[:, :, None, :, None, :], shape)
        return tf.reshape(spread, [-1, height, width, channels])

    corners = [state[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return 0.25 * tf.add_n(corners), gradient


@tf.custom_gradient
def _softmax(logits):
    """Computed in float32, and its gradient too, but kept in the dtype of the logits between the two."""
    shares = tf.cast(tf.nn.softmax(tf.cast(logits, tf.float32)), logits.dtype)

    def gradient(upstream):
        weights, slopes = tf.cast(shares, tf.float32), tf.cast(upstream, tf.float32)
        products = weights * slopes
        return tf.cast(products - weights * tf.reduce_sum(products, axis=-1, keepdims=True), logits.dtype)

    return shares, gradient


def _banded(kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Matrix of a kernel [3, 3, C, F]; entry (row r, pixel p, channel c; pixel j, filter f): kernel[r, p - j, c, f]."""
    channels, filters = kernel.shape[2:]
    eye = tf.eye(TILE + 2, TILE, dtype=kernel.dtype)
    shifts = tf.stack([tf.roll(eye, shift, axis=0) for shift in range(3)])  # shifts[d, p, j] = 1 where p - j = d
    band = tf.einsum("dpj,rdcf->rpcjf", shifts, kernel)
    biases = tf.pad(tf.tile(bias, [TILE])[None], [[0, _ones(channels) - 1], [0, 0]])
    return tf.concat([tf.reshape(band, [-1, TILE * filters]), biases], axis=0)


def _ones(channels: int) -> int:
    """How many ones: the first meets the bias, the others fill a window's numbers up to a multiple of UNIT."""
    return UNIT - 3 * (TILE + 2) * channels % UNIT


def _windows(x: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [B H W/TILE, 3 (TILE + 2) C + _ones(C)]: what the pixels of a tile see, 0 outside, then ones."""
    height, width, channels = x.shape[1:]
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    tiles = [-1, height + 2, width // TILE, TILE * channels]
    last_two = tf.reshape(x[:, :, 2:], tiles)[..., -2 * channels :]  # the pixels after a tile's own, as TILE > 2
    wide = tf.concat([tf.reshape(x[:, :, :-2], tiles), last_two], axis=-1)
    rows = [wide[:, row : row + height] for row in range(3)]
    windows = tf.concat([*rows, tf.ones_like(rows[0][..., : _ones(channels)])], axis=-1)
    return tf.reshape(windows, [-1, windows.shape[-1]])

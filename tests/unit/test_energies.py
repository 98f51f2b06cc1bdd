"""Energy models: shapes, dtypes, files, attention, error texts."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.build import build_energy
from ebm_tf.energies import ImageNet, RingsNet, Wall
from ebm_tf.energies.attention import NonLocalBlock
from ebm_tf.energies.files import copy_weights
from ebm_tf.errors import ConfigError
from ebm_tf.settings.train import TrainConfig

IMAGE = {"dataset": "cifar10", "num_filters": 4}
RINGS = {"dataset": "rings", "num_filters": 8}
CONFIGS = {
    "rings": RINGS,
    "image": IMAGE,
    "image without attention": {**IMAGE, "attention": False},
    "image of 48 pixels": {**IMAGE, "image_size": 48},
    "rings in bfloat16": {**RINGS, "dtype_policy": "mixed_bfloat16"},
    "image in bfloat16": {**IMAGE, "dtype_policy": "mixed_bfloat16"},
    "image in float16": {**IMAGE, "dtype_policy": "mixed_float16"},
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def config(request):
    return TrainConfig(energy_scale=0.5, **request.param)


def draw(config, batch=3):
    return tf.random.stateless_normal([batch, *config.event_shape], [51, 52])


def move_weights(model, by=0.02):
    """Away from the zeros at which attention is the identity."""
    rng = np.random.default_rng(53)
    for variable in model.trainable_variables:
        variable.assign_add(by * rng.standard_normal(variable.shape))


def test_energy_is_one_float32_per_x(config):
    model = build_energy(config)
    energy = model(draw(config))
    assert energy.shape == (3,) and energy.dtype == tf.float32
    assert all(variable.dtype == "float32" for variable in model.trainable_variables)


def test_a_new_model_is_built(config):
    model = build_energy(config)
    assert model.built and model.count_params() > 0


def test_energy_of_a_sample_does_not_depend_on_its_batch(config):
    model, x = build_energy(config), draw(config)
    np.testing.assert_allclose(model(x)[1:2], model(x[1:2]), rtol=2e-2, atol=1e-3)


def test_training_flag_changes_nothing(config):
    model, x = build_energy(config), draw(config)
    np.testing.assert_array_equal(model(x, training=True), model(x, training=False))


def test_energy_and_grad(config):
    model, x = build_energy(config), draw(config)
    energy, energy_grad = model.energy_and_grad(x)
    np.testing.assert_array_equal(energy, model(x))
    assert energy_grad.shape == x.shape and energy_grad.dtype == tf.float32
    assert np.all(np.isfinite(energy_grad))


def test_energy_grad_by_finite_differences():
    """Central difference along a random direction; the float32 energy limits it to 1 %."""
    model = RingsNet(num_filters=8)
    x = tf.random.stateless_normal([4, 10], [54, 55]) / 10
    direction = tf.random.stateless_normal([4, 10], [56, 57])
    h = 1e-3
    difference = (model(x + h * direction) - model(x - h * direction)) / (2 * h)
    slope = tf.reduce_sum(model.energy_and_grad(x)[1] * direction, axis=-1)
    np.testing.assert_allclose(slope, difference, rtol=1e-2, atol=1e-2)


def test_energy_scale_multiplies_the_energy():
    models = [RingsNet(num_filters=8, energy_scale=scale) for scale in (1.0, 0.005)]
    models[1].set_weights(models[0].get_weights())
    x = tf.random.stateless_normal([4, 10], [54, 55])
    np.testing.assert_allclose(models[1](x), 0.005 * models[0](x), rtol=1e-5)


def test_keras_file_keeps_energies_and_settings(config, tmp_path):
    """Bit for bit, so under mixed_bfloat16 the layers must keep their policy too."""
    model, x = build_energy(config), draw(config)
    move_weights(model)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded) is type(model)
    assert loaded.get_config() == model.get_config()
    policies = [[layer.dtype_policy.name for layer in each.network.layers] for each in (loaded, model)]
    assert policies[0] == policies[1]
    np.testing.assert_array_equal(loaded(x), model(x))


def test_build_energy_follows_the_seed_and_leaves_the_policy_alone():
    configs = [TrainConfig(**RINGS, seed=seed, dtype_policy="mixed_bfloat16") for seed in (1, 1, 2)]
    first, again, other = (build_energy(config).get_weights()[0] for config in configs)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (lambda: RingsNet(num_filters=4), (2, 9)),
        (lambda: RingsNet(num_filters=4), (2, 32, 32, 3)),
        (lambda: ImageNet(num_filters=4), (2, 28, 28, 3)),
        (lambda: ImageNet(num_filters=4), (2, 32, 32, 1)),
        (lambda: ImageNet(num_filters=4), (2, 10)),
    ],
)
def test_wrong_shape_says_what_was_expected(model, shape):
    with pytest.raises(ValueError, match=r"expected x of shape \[B, (10|32, 32, 3)\]"):
        model()(tf.zeros(shape))


@pytest.mark.parametrize("image_size", [8, 40, (32, 40)])
def test_wrong_image_size_says_what_was_expected(image_size):
    with pytest.raises(ValueError, match=re.escape(f"multiples of 16. Received: {image_size}")):
        ImageNet(num_filters=4, image_size=image_size)
    with pytest.raises(ValueError, match=r"expected 1 to 4 channels\. Received: channels=5"):
        ImageNet(num_filters=4, channels=5)


@pytest.mark.parametrize(("image_size", "channels"), [(16, 3), ((48, 32), 1), ((32, 64), 2), (32, 4)])
def test_images_of_any_size_and_channels(image_size, channels, tmp_path):
    model = ImageNet(num_filters=4, image_size=image_size, channels=channels)
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    assert model.event_shape == (height, width, channels)
    x = tf.random.stateless_normal((2, *model.event_shape), [1, 2])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), model(x))


def test_files_of_before_keep_their_terms():
    """Wall and reference were numbers among ImageNet's arguments."""
    old = {"num_filters": 4, "attention": False, "image_size": 32, "energy_scale": 0.5, "dtype": "float32"}
    terms = {"confinement": 0.02, "bound": 1.3, "reference": 0.0, "has_noise_spectrum": False}
    walled = ImageNet.from_config({**old, **terms, "has_preconditioner": False})
    assert (walled.wall, walled.reference, walled.noise_spectrum) == (Wall(0.02, 1.3), None, None)
    tilted = ImageNet.from_config({**old, **terms, "confinement": 0.0, "reference": 0.3, "has_noise_spectrum": True})
    assert tilted.wall is None and tilted.noise_spectrum is not None and tilted.preconditioner is None
    assert (tilted.reference.temperature, tilted.reference.bound) == (0.3, 1.3)


def test_paper_size_has_1024_output_channels():
    """Sec. 3: n_f = 128, "1024 output channels in the final convolutional layer"; 11.03 M without attention."""
    model = ImageNet(num_filters=128, attention=False)
    assert model.network.layers[-3].output.shape[-1] == 1024
    assert round(model.count_params() / 1e6, 2) == 11.03


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_wall_adds_squares_of_what_lies_beyond_the_bound(policy):
    confined, free = (ImageNet(num_filters=4, wall=wall, dtype=policy) for wall in (Wall(0.02, 1.25), None))
    free.set_weights(confined.get_weights())
    x = 1.5 * np.random.default_rng(60).standard_normal((3, 32, 32, 3)).astype(np.float32)
    outside = np.maximum(np.abs(x) - 1.25, 0)
    (energy, grad), (energy_free, grad_free) = confined.energy_and_grad(x), free.energy_and_grad(x)
    np.testing.assert_allclose(energy - energy_free, 0.02 * np.sum(outside**2, axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(grad - grad_free, 0.04 * outside * np.sign(x), atol=1e-6)
    inside = np.clip(x, -1.25, 1.25)
    np.testing.assert_array_equal(confined(inside), free(inside))


def test_a_wall_is_part_of_the_models_file(tmp_path):
    model = ImageNet(num_filters=4, wall=Wall(0.02, 1.3))
    model.save(tmp_path / "model.keras")
    x = np.full((1, 32, 32, 3), 2.0, np.float32)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (loaded.wall.strength, loaded.wall.bound) == (0.02, pytest.approx(1.3))
    np.testing.assert_array_equal(loaded(x), model(x))
    with pytest.raises(ConfigError, match=r"^--init_model: expected wall=None, as in this run.*Wall\(strength=0.02"):
        copy_weights(loaded, ImageNet(num_filters=4), "model.keras")


def test_attention_adds_two_blocks_that_start_as_nothing():
    """With the same convolutions, attention changes the energy only once its output weights move."""
    with_attention, without = ImageNet(num_filters=4), ImageNet(num_filters=4, attention=False)
    blocks = [layer for layer in with_attention.network.layers if isinstance(layer, NonLocalBlock)]
    assert [block.output.shape[1:3] for block in blocks] == [(16, 16), (8, 8)]
    assert not any(isinstance(layer, NonLocalBlock) for layer in without.network.layers)
    convolutions = [layer for layer in with_attention.network.layers if isinstance(layer, keras.layers.Conv2D)]
    without.set_weights([weight for layer in convolutions for weight in layer.get_weights()])
    x = tf.random.stateless_normal([2, 32, 32, 3], [58, 59])
    np.testing.assert_allclose(with_attention(x), without(x), rtol=1e-5, atol=1e-6)
    move_weights(blocks[0], by=1.0)
    assert np.all(np.abs(with_attention(x) - without(x)) > 1e-4)


def test_non_local_block_starts_as_identity_and_then_mixes_positions():
    block = NonLocalBlock()
    x = tf.random.stateless_normal([2, 8, 8, 6], [60, 61])
    np.testing.assert_array_equal(block(x), x)
    move_weights(block, by=0.5)
    mask = np.zeros((1, 8, 8, 1), np.float32)
    mask[:, 7, 7] = 1.0
    change = np.abs(block(x + mask) - block(x)).sum(axis=(0, 3))
    assert change[0, 0] > 1e-4  # a change in one corner reaches the other


def test_non_local_block_against_numpy():
    """x + W softmax(q kᵀ/√(C/2)) v + b with pooled keys and values, written out position by position."""
    block = NonLocalBlock()
    x = tf.random.stateless_normal([1, 4, 4, 4], [62, 63])
    block(x)
    move_weights(block, by=0.5)
    state = x.numpy()[0].astype(np.float64)
    pooled = state.reshape(2, 2, 2, 2, 4).mean(axis=(1, 3)).reshape(4, 4)
    query, key, value, output = (
        layer.kernel.numpy()[0, 0] for layer in (block.query, block.key, block.value, block.output_conv)
    )
    logits = state.reshape(16, 4) @ query @ (pooled @ key).T / np.sqrt(2)
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = state.reshape(16, 4) + weights @ (pooled @ value) @ output + block.output_conv.bias.numpy()
    np.testing.assert_allclose(block(x)[0], expected.reshape(4, 4, 4), rtol=1e-4, atol=1e-5)

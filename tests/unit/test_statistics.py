"""The statistics of one energy gradient: which there are for what energy, and their values by another way."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ebm_tf.energies import EnergyModel, GaussianReference, ImageNet, RingsNet, Wall
from ebm_tf.energies.statistics import Statistics, pixel_statistics

X = np.random.default_rng(0).uniform(-1.2, 1.2, (5, 16, 16, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def image_energy():
    """A tiny ImageNet that tilts a Gaussian, behind a wall, in bfloat16."""
    keras.utils.set_random_seed(3)
    terms = {"reference": GaussianReference(2.0, bound=1.1), "wall": Wall(3.0, 1.0), "has_noise_spectrum": True}
    return ImageNet(4, image_size=16, dtype="mixed_bfloat16", **terms)


@pytest.fixture(scope="module")
def found(image_energy):
    own = Statistics(image_energy)
    energy, values = own(X)
    return own, energy.numpy(), dict(zip(own.names, values.numpy().T, strict=True))


def test_an_image_energy_has_all(image_energy, found):
    own, energy, values = found
    assert own.energy.dtype_policy.name == "float32" and image_energy.dtype_policy.name == "mixed_bfloat16"
    assert own.names[0] == "energy"
    grads = [f"{name}_grad" for name in ("network", "rest", "energy")]
    assert {name.split(".")[0] for name in own.names} == {
        *("energy", "network", "rest", "cosine", *grads),
        *("pixels", *(f"layer_{number}" for number in range(1, 7))),
    }
    assert len(own.names) == 4 + 3 * (3 + 2 * 8 + 4) + 2 * 8 + 6 * 8
    np.testing.assert_allclose(energy, own.energy(X), rtol=1e-6)
    np.testing.assert_allclose(values["energy"], values["network"] + values["rest"], rtol=1e-4)
    assert all(np.isfinite(one).all() for one in values.values())


def test_gradients_by_another_way(found):
    """The reference is N(0, I) as long as nothing has been assigned, so the gradient of the rest has a formula."""
    own, _, values = found
    outside = np.sign(X) * np.maximum(np.abs(X) - 1, 0)
    rest = 2.0 * X + 2 * 3.0 * outside
    whole = own.energy.energy_and_grad(X)[1].numpy()
    for name, grad in (("rest_grad", rest), ("energy_grad", whole), ("network_grad", whole - rest)):
        axes = (1, 2, 3)
        close = {"rtol": 1e-3, "atol": 1e-5}
        np.testing.assert_allclose(values[f"{name}.power"], np.sum(grad**2, axes), **close)
        np.testing.assert_allclose(values[f"{name}.largest"], np.max(np.abs(grad), axes), **close)
        np.testing.assert_allclose(values[f"{name}.along_x"], np.sum(X * grad, axes), **close)
        bands = [values[f"{name}.{part}_{band}"] for part in ("luminance", "chroma") for band in range(8)]
        np.testing.assert_allclose(np.sum(bands, axis=0), values[f"{name}.power"], rtol=1e-3)  # Parseval
        patches = np.log(np.mean((grad**2).reshape(5, 4, 4, 4, 4, 3), (2, 4, 5))).reshape(5, 16)
        np.testing.assert_allclose(values[f"{name}.patches_variance"], patches.var(1), rtol=1e-2)
        np.testing.assert_allclose(values[f"{name}.patches_highest"], patches.max(1), rtol=1e-3, atol=1e-3)
        kurtosis = stats.kurtosis(patches, axis=1, fisher=False)
        np.testing.assert_allclose(values[f"{name}.patches_kurtosis"], kurtosis, rtol=1e-2)


def test_layers_by_another_way(found):
    """State and signal of the first layer: the rest of the network as a model of its own."""
    own, _, values = found
    layers = own.energy.network.layers
    state = layers[1](layers[0](np.clip(X, -1.1, 1.1)))
    with tf.GradientTape() as tape:
        tape.watch(state)
        output = state
        for layer in layers[2:]:
            output = layer(output)
    signal = tape.gradient(output, state).numpy()
    state, axes = state.numpy(), (1, 2, 3)
    np.testing.assert_allclose(values["layer_1.power"], np.mean(state**2, axes), rtol=1e-4)
    np.testing.assert_allclose(values["layer_1.variance"], np.var(state, axes), rtol=1e-4)
    np.testing.assert_allclose(values["layer_1.positive"], np.mean(state > 0, axes), rtol=1e-6)
    np.testing.assert_allclose(values["layer_1.signal"], np.sum(signal**2, axes), rtol=1e-4)
    places = np.log(np.mean(state**2, -1)).reshape(5, -1)
    np.testing.assert_allclose(values["layer_1.places_lowest"], places.min(1), rtol=1e-4)


def test_the_docs_explain_every_part_of_a_name(found):
    """In the table of names, and no others; a number is N there."""
    page = (pathlib.Path(__file__).parents[2] / "docs" / "detection.md").read_text(encoding="utf-8")
    section = page.partition("\n## What the names of statistics mean\n")[2].partition("\n## ")[0]
    table = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    names = [*found[0].names, *Statistics(vectors()).names, *pixel_statistics(tf.zeros((1, 3)))]
    parts = {re.sub(r"_\d+$", "_N", part) for name in names for part in name.split(".")}
    assert set(re.findall(r"`(\w+)`", " ".join(table))) == parts


def test_bands_are_of_frequency():
    """A constant image is in the first band, a checkerboard in the last; grey has no chroma."""
    rows, columns = np.indices((32, 32))
    checkers = np.where((rows + columns) % 2, 1.0, -1.0)
    x = np.stack([np.ones((32, 32)), checkers])[..., None] * np.ones(3)
    values = {name: one.numpy() for name, one in pixel_statistics(tf.constant(x, tf.float32)).items()}
    assert list(values) == [f"{part}_{band}" for part in ("luminance", "chroma") for band in range(8)]
    np.testing.assert_allclose(values["luminance_0"][0], 3 * 32 * 32, rtol=1e-5)
    assert values["luminance_7"][1] > 0.9 * 3 * 32 * 32 and values["luminance_0"][1] < 1
    assert max(abs(values[f"chroma_{band}"]).max() for band in range(8)) < 1e-2


def test_rows_depend_on_their_x_alone_and_it_can_be_traced(found):
    own, _, values = found
    traced = tf.function(lambda x: own(x)[1], input_signature=[tf.TensorSpec([None, 16, 16, 3])], autograph=False)
    alone = np.concatenate([traced(X[row : row + 1]) for row in range(5)])
    np.testing.assert_allclose(alone.T, list(values.values()), rtol=2e-3, atol=1e-5)


def foreign():
    """No Sequential: its layers are not known."""
    x = keras.Input((16, 24, 1))
    state = keras.layers.Conv2D(3, 3, activation="silu")(x)
    return EnergyModel.from_network(keras.Model(x, keras.layers.Dense(1)(keras.layers.Flatten()(state))))


def vectors():
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.ReLU(), keras.layers.Dense(1)])
    return EnergyModel.from_network(net)


SHORT = ["energy_grad.power", "energy_grad.largest", "energy_grad.along_x"]
LAYERS = ["power", "variance", "positive", "signal"]


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (vectors, ["energy", *SHORT, *(f"layer_1.{name}" for name in LAYERS)]),
        (lambda: RingsNet(4), ["energy", *SHORT, *(f"layer_{i}.{name}" for i in (1, 2, 3) for name in LAYERS)]),
        (
            foreign,  # grey, and not square
            [
                *("energy", *SHORT, *(f"energy_grad.luminance_{band}" for band in range(8))),
                *(f"energy_grad.patches_{name}" for name in ("variance", "lowest", "highest", "kurtosis")),
                *(f"pixels.luminance_{band}" for band in range(8)),
            ],
        ),
    ],
)
def test_other_energies_have_what_any_gives(build, names):
    energy = build()
    own = Statistics(energy)
    assert list(own.names) == names
    x = np.random.default_rng(1).standard_normal((3, *energy.event_shape)).astype(np.float32)
    value, found = own(x)
    np.testing.assert_allclose(value, energy(x), rtol=1e-5)
    power = np.sum(energy.energy_and_grad(x)[1].numpy().reshape(3, -1) ** 2, axis=1)
    np.testing.assert_allclose(found[:, 1], power, rtol=1e-4)


def test_without_a_model_vectors_have_their_columns():
    x = tf.random.stateless_normal([3, 2], [1, 2])
    found = pixel_statistics(x)
    assert list(found) == ["x_0", "x_1"]
    np.testing.assert_array_equal(found["x_1"], x[:, 1])

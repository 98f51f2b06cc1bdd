"""EnergyModel.from_network: what it takes, what it refuses, and what its file keeps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.energies import EnergyModel, GaussianReference, Wall
from ebm_tf.energies.files import load_energy
from ebm_tf.energies.precision import with_policy
from ebm_tf.errors import ConfigError
from tests import processes

layers = keras.layers
X = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)


def net(*inner, columns=2, last=1):
    return keras.Sequential([keras.Input((columns,)), *inner, layers.Dense(last)])


@keras.saving.register_keras_serializable(package="test_from_network")
class Subclassed(keras.Model):
    """Of a user's own: [B, 2] -> [B]."""

    def __init__(self, width=8, **kwargs):
        super().__init__(**kwargs)
        self.width, self.hidden, self.out = width, layers.Dense(width, "silu"), layers.Dense(1)

    def call(self, x):
        return self.out(self.hidden(x))[:, 0]

    def get_config(self):
        return {**super().get_config(), "width": self.width}


class Round(layers.Layer):
    def call(self, x):
        return tf.cast(tf.cast(x, tf.int32), tf.float32)


class Centre(layers.Layer):
    def call(self, x):
        return x - keras.ops.mean(x, axis=0, keepdims=True)


class Switch(layers.Layer):
    def call(self, x, training=False):
        return 2 * x if training else x


def functional():
    x = keras.Input((2,))
    return keras.Model(x, keras.ops.sum(layers.Dense(8, "silu")(x), axis=-1))


def two_inputs():
    inputs = keras.Input((2,)), keras.Input((2,))
    return keras.Model(inputs, layers.Dense(1)(inputs[0] + inputs[1]))


def with_unused():
    class Unused(Subclassed):
        def call(self, x):
            self.hidden(x)
            return self.out(x)

    return Unused()


TAKEN = {
    "sequential": lambda: net(layers.Dense(8, "silu")),
    "functional, [B]": functional,
    "subclassed": Subclassed,
    "flat at first": lambda: keras.Sequential([keras.Input((2,)), layers.Dense(1, kernel_initializer="zeros")]),
    "no dropout": lambda: net(layers.Dense(8), layers.Dropout(0.0)),
    "images": lambda: keras.Sequential(
        [keras.Input((8, 6, 1)), layers.Conv2D(3, 3, activation="silu"), layers.Flatten(), layers.Dense(1)]
    ),
}
IN_TRAINING = "expected a network that is the same in training and after .*Received: "
REFUSED = {
    "one of one": (
        lambda: keras.Sequential([keras.Input((2,)), layers.Dense(8, "silu"), layers.Dense(1, "softmax")]),
        "expected an energy that changes with x. Received: .* gradient in x is 0 at 64 points",
    ),
    "two outputs": (lambda: net(last=2), r"expected one energy per x, \[B\] or \[B, 1\]. Received: .*\[None, 2\]"),
    "lambda": (lambda: net(layers.Lambda(lambda z: 2 * z)), "expected layers that a .keras file holds.*Lambda"),
    "batch norm": (lambda: net(layers.BatchNormalization()), IN_TRAINING + ".*a BatchNormalization"),
    "dropout": (lambda: net(layers.Dense(8), layers.Dropout(0.1)), IN_TRAINING + ".*a Dropout"),
    "noise": (lambda: net(layers.GaussianNoise(0.1)), IN_TRAINING + ".*a GaussianNoise"),
    "hidden behind zeros": (
        lambda: keras.Sequential([keras.Input((2,)), layers.Dropout(0.5), layers.Dense(1, kernel_initializer="zeros")]),
        IN_TRAINING + ".*a Dropout",
    ),
    "own switch": (lambda: net(Switch()), IN_TRAINING + ".*whose output is another"),
    "no gradient": (lambda: net(Round()), "expected an energy with a gradient in x"),
    "batch mixed": (lambda: net(layers.Dense(4), Centre()), "expected an energy of each x alone"),
    "two inputs": (two_inputs, "expected a network of one input, x. Received: .* with 2 inputs"),
    "unused weight": (with_unused, "expected every weight to have a part in the energy. Received: .*kernel"),
    "no weights": (lambda: keras.Sequential([keras.Input((1,)), layers.Activation("tanh")]), "weights that train"),
    "a layer": (lambda: layers.Dense(1), "expected net, a keras.Model. Received: net=Dense"),
    "rows": (
        lambda: keras.Sequential([keras.Input((3, 2)), layers.Flatten(), layers.Dense(1)]),
        r"expected one x as \[D\] or \[H, W, C\]. Received: event_shape=\(3, 2\)",
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_networks_of_every_kind_give_energies(name):
    network = TAKEN[name]()
    shape = (8, 6, 1) if name == "images" else (2,)
    energy = EnergyModel.from_network(network, energy_scale=0.5, event_shape=None if network.built else shape)
    x = tf.random.stateless_normal([4, *shape], [1, 2])
    value, grad = energy.energy_and_grad(x)
    assert energy.event_shape == shape and value.shape == (4,) and grad.shape == x.shape
    np.testing.assert_allclose(value, 0.5 * np.reshape(network(x), [4]), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:You are using a softmax")
@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused_in_one_line(name):
    make, text = REFUSED[name]
    network = make()
    before = [np.array(weight) for weight in getattr(network, "weights", [])]
    shape = (2,) if name in ("own switch", "unused weight") else None
    with pytest.raises(ConfigError, match=text) as error:
        EnergyModel.from_network(network, event_shape=shape)
    assert "\n" not in str(error.value)
    for weight, old in zip(getattr(network, "weights", []), before):
        np.testing.assert_array_equal(weight, old)  # the look at it changed nothing


def test_a_subclassed_model_says_that_its_shape_is_not_known():
    with pytest.raises(ConfigError, match="expected event_shape beside a network that has not been built"):
        EnergyModel.from_network(Subclassed())


def test_terms_are_added_to_any_network():
    """Against NumPy, energy and gradient: wall at 0.5, and the full covariance."""
    mean, covariance = np.array([1.0, -1.0]), np.array([[2.0, 0.6], [0.6, 0.5]])
    network = net(layers.Dense(8, "silu"))
    plain = EnergyModel.from_network(network)
    terms = {"reference": GaussianReference(0.3, mean, covariance), "wall": Wall(0.2, 0.5)}
    energy = EnergyModel.from_network(network, **terms)
    outside, away = np.maximum(np.abs(X) - 0.5, 0), X - mean
    solved = away @ np.linalg.inv(covariance)
    (value, grad), (value_plain, grad_plain) = energy.energy_and_grad(X), plain.energy_and_grad(X)
    expected = 0.15 * np.sum(away * solved, axis=1) + 0.2 * np.sum(outside**2, axis=1)
    np.testing.assert_allclose(value - value_plain, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(grad - grad_plain, 0.3 * solved + 0.4 * outside * np.sign(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0.0,), "expected temperature above 0"),
        ((1.0, [0.0, 0.0]), "expected mean with covariance or with factor"),
        ((1.0, [0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "expected a covariance .*positive definite"),
        ((1.0, [0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), "expected a covariance .*symmetric.*not symmetric"),
        ((1.0, [0.0, 0.0], [[np.nan, 0.0], [0.0, 1.0]]), "expected a covariance "),
        ((1.0, [np.nan, 0.0], [[1.0, 0.0], [0.0, 1.0]]), "expected finite mean and factor"),
        ((1.0, None, None, None, -1.0), "expected bound above 0. Received: bound=-1.0"),
        ((1.0, [0.0, 0.0], None, [[1.0, 2.0], [0.0, 1.0]]), "expected a lower triangular factor"),
        ((1.0, [0.0, 0.0], None, [[1.0, 0.0], [0.0, 0.0]]), "expected a factor with a diagonal above 0"),
    ],
)
def test_a_bad_reference_is_refused(arguments, text):
    with pytest.raises(ConfigError, match=text):
        GaussianReference(*arguments)


def test_a_reference_of_another_size_is_refused():
    with pytest.raises(ConfigError, match=r"expected mean of shape \[2\]. Received: \[3\]"):
        EnergyModel.from_network(net(), reference=GaussianReference(1.0, np.zeros(3), np.eye(3)))


def test_another_policy_computes_the_same_energy():
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        energy = EnergyModel.from_network(net(layers.Dense(8, "silu")))
    finally:
        keras.config.set_dtype_policy(previous)
    exact = with_policy(energy, "float32")
    assert exact.network.layers[0].compute_dtype == "float32" and energy(X).dtype == tf.float32
    np.testing.assert_allclose(energy(X), exact(X), rtol=0.05, atol=0.02)
    assert np.any(np.asarray(energy(X)) != exact(X))


FRESH = """
import sys
import numpy as np
from ebm_tf.energies.files import load_energy
own, custom, folder = sys.argv[1:]
np.save(own + ".npy", load_energy(own)(np.load(own + ".x.npy")))
try:
    load_energy(custom)
except ValueError as error:
    print(error)
sys.path.insert(0, folder)
import test_from_network
np.save(custom + ".npy", load_energy(custom)(np.load(own + ".x.npy")))
"""


def test_its_file_is_read_in_a_fresh_process(tmp_path):
    """Keras' own layers as they are; a class of a user's own once its module is imported, and before with a hint."""
    reference = GaussianReference(1.0, np.zeros(2), np.array([[2.0, 0.5], [0.5, 1.0]]))
    own = EnergyModel.from_network(net(layers.Dense(8, "silu")), reference=reference)
    custom = EnergyModel.from_network(Subclassed(), event_shape=(2,), wall=Wall(0.1, 1.0))
    paths = [str(tmp_path / name) for name in ("own.keras", "custom.keras")]
    np.save(f"{paths[0]}.x.npy", X)
    for energy, path in zip((own, custom), paths):
        energy.save(path)
    done = processes.run(["-c", FRESH, *paths, __file__.rpartition("/")[0]])
    assert done.returncode == 0, done.stderr[-2000:]
    assert "import the module that registers them first" in done.stdout
    for energy, path in zip((own, custom), paths):
        np.testing.assert_array_equal(np.load(f"{path}.npy"), energy(X))
    loaded = load_energy(paths[1])
    assert loaded.wall == Wall(0.1, 1.0) and loaded.network.width == 8


def test_a_class_that_is_not_registered_is_told_before_its_file_is_written(tmp_path):
    class Unknown(keras.layers.Layer):
        def call(self, x):
            return x

    energy = EnergyModel.from_network(net(Unknown()))
    with pytest.raises(ConfigError, match=r"^expected @keras\.saving\.register_\w+\(\) on the class Unknown"):
        energy.save(tmp_path / "x.keras")
    assert not list(tmp_path.iterdir())


@keras.saving.register_keras_serializable(package="test_from_network")
class WithoutKwargs(keras.Model):
    def __init__(self, width=8):
        super().__init__()
        self.width = width
        self.inner = net(layers.Dense(width, "silu"))

    def call(self, x):
        return self.inner(x)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="test_from_network")
class Scaled(keras.layers.Layer):
    """One number has a name in get_config, the other has not."""

    def __init__(self, width=4, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.width, self.factor, self.inner = width, factor, layers.Dense(width, "silu")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.factor * self.inner(x)

    def get_config(self):
        return {"name": self.name, "dtype": "float32"}


@pytest.mark.parametrize(
    ("network", "cause"),
    [
        (lambda: WithoutKwargs(), r"WithoutKwargs\. Received: .*__init__\(\) got an unexpected keyword argument '\w+'"),
        (lambda: net(Scaled(width=8)), r"Scaled\. Received: .*expected axis -1 .* value 8, .* shape \(None, 4\)"),
        (lambda: net(Scaled(factor=2.0)), r"Scaled\. Received: a copy with other energies"),
    ],
)
def test_a_class_that_cannot_be_made_again_is_refused_with_its_cause_before_its_file(network, cause, tmp_path):
    energy = EnergyModel.from_network(network(), event_shape=(2,))
    with pytest.raises(ConfigError, match=rf"^expected classes that can be made again, .*: {cause}[^\n]*$"):
        energy.save(tmp_path / "own.keras")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_is_refused_with_the_cause(tmp_path):
    energy = EnergyModel.from_network(WithoutKwargs(), event_shape=(2,))
    keras.Model.save(energy, tmp_path / "own.keras")
    with pytest.raises(ConfigError, match=r"own\.keras: .*__init__\(\) got an unexpected keyword argument '\w+'$"):
        load_energy(tmp_path / "own.keras")


def test_a_network_under_a_strategy_is_taken():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert EnergyModel.from_network(net(layers.Dense(4, "silu"))).event_shape == (2,)


@keras.saving.register_keras_serializable(package="test_from_network")
class WithoutConfig(keras.Model):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x):
        return self.inner(x)


def test_a_class_that_keras_cannot_write_is_told_before_a_file_is_begun(tmp_path):
    energy = EnergyModel.from_network(WithoutConfig(net(layers.Dense(4, "silu"))), event_shape=(2,))
    with pytest.raises(ConfigError, match=r"the class WithoutConfig to have get_config\(\), .* Received: one without"):
        energy.save(tmp_path / "own.keras")
    assert not list(tmp_path.iterdir())

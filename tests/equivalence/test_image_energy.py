"""ImageNet's energy as image_energy.py arranges it for a GPU, against its Keras layers with the same weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.energies import ImageNet, Wall, image_energy
from ebm_tf.mcmc.langevin import compile_chain

SETTINGS = {
    "attention": {},
    "no attention": {"attention": False},
    "48 pixels": {"image_size": 48},
    "E / T": {"energy_scale": 0.005},
    "wall": {"wall": Wall(0.02, 1.0)},
    "48 x 32, grey": {"image_size": (48, 32), "channels": 1},
    "4 channels": {"channels": 4},
    "16 x 32, 2 channels": {"image_size": (16, 32), "channels": 2},
}


def build(policy="float32", by=0.05, **settings):
    """An ImageNet moved away from the zeros at which attention is the identity and biases do not matter."""
    keras.utils.set_random_seed(91)
    model = ImageNet(num_filters=8, dtype=policy, **settings)
    rng = np.random.default_rng(92)
    for variable in model.trainable_variables:
        variable.assign_add(by * rng.standard_normal(variable.shape))
    return model


def draw(model, batch=3):
    return tf.random.stateless_normal([batch, *model.event_shape], [93, 94])


def by_layers(model):
    """The energy written out, not by the model's own from_output."""

    def energy(x):
        output = tf.cast(model.network(x, training=False)[:, 0], tf.float32)
        if model.wall is None:
            return model.energy_scale * output
        outside = tf.maximum(tf.abs(x) - model.wall.bound, 0)
        return model.energy_scale * output + model.wall.strength * tf.reduce_sum(outside**2, axis=[1, 2, 3])

    return energy


def energy_and_grads(energy_fn, x, variables):
    with tf.GradientTape() as tape:
        tape.watch(x)
        energy = energy_fn(x)
    return [energy, *tape.gradient(energy, [x, *variables])]


def relative_error(value, expected):
    value, expected = (np.asarray(v, np.float64) for v in (value, expected))
    return np.linalg.norm(value - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_energy_and_every_gradient_to_rounding(settings):
    """Of E by x and by each weight: sums of up to 2,000 products in float32, another order."""
    model = build(**settings)
    x, variables = draw(model), model.trainable_variables
    expected = energy_and_grads(by_layers(model), x, variables)
    values = energy_and_grads(lambda x: model.prepare_for_gpu()(x), x, variables)
    for value, wanted in zip(values, expected, strict=True):
        assert value.shape == wanted.shape
        assert relative_error(value, wanted) < 1e-5


def test_the_comparison_sees_a_wrong_formula():
    """The negative control: one row too low, a bias left out, keys not scaled."""
    model = build()
    x = draw(model)
    weights = image_energy.prepare(*layers_of(model), "float32")
    expected = by_layers(model)(x)
    keys = [block._replace(keys=2 * block.keys) for block in weights.attentions]
    biases = [(kernel, 0 * bias) for kernel, bias in weights.convolutions]
    wrong = [
        weights._replace(first=tf.roll(weights.first, 3, axis=0)),
        weights._replace(convolutions=biases),
        weights._replace(attentions=keys),
    ]
    for each in wrong:
        assert relative_error(image_energy.energy(each, x), expected) > 1e-4


def layers_of(model):
    layers = model.network.layers
    blocks = [layer for layer in layers if layer.name.startswith("non_local")]
    return [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)], blocks


def test_bfloat16_errs_no_more_than_the_layers_do():
    """Both against float32; the two round in different places."""
    exact, half = build(), build("mixed_bfloat16")
    x = draw(exact, batch=16)
    expected = energy_and_grads(by_layers(exact), x, [])
    layers = energy_and_grads(by_layers(half), x, [])
    arranged = energy_and_grads(half.prepare_for_gpu(), x, [])
    for value, plain, wanted in zip(arranged, layers, expected, strict=True):
        assert value.dtype == tf.float32
        assert relative_error(value, wanted) < 1.5 * relative_error(plain, wanted) < 0.15


MIXED = "mixed_bfloat16", "mixed_float16"
EPSILON = 2.0**-11  # of float16
GRADIENT_ERROR = 1.5 * EPSILON**0.5  # a share of epsilon of the units takes LeakyReLU's other slope


@pytest.mark.parametrize("energy_scale", [1.0, 1e-4])
def test_float16_errs_an_eighth_of_bfloat16(energy_scale):
    """Three more bits. Of E and its gradients by x and by each weight, through a call, as training makes it. At 1e-4
    the gradients are beyond float16's own range, as the next test shows.
    """
    exact, wide, model = (build(kind, energy_scale=energy_scale) for kind in ("float32", *MIXED))
    x = draw(exact, batch=16)
    expected = energy_and_grads(by_layers(exact), x, exact.trainable_variables)
    values = [energy_and_grads(each, x, each.trainable_variables) for each in (model, wide)]
    errors, wide_errors = ([relative_error(*pair) for pair in zip(each, expected, strict=True)] for each in values)
    assert errors[0] < 4 * EPSILON and errors[0] < wide_errors[0] / 4
    assert max(errors[1:]) < GRADIENT_ERROR and errors[1] < wide_errors[1] / 2


def test_without_its_factor_float16_loses_small_gradients(monkeypatch):
    """The negative control of the test above: of E by x, and queries and keys wholly."""
    exact, model = (build(policy, energy_scale=1e-4) for policy in ("float32", "mixed_float16"))
    x = draw(exact, batch=16)
    monkeypatch.setattr(image_energy, "FACTOR", 1.0)
    pairs = [energy_and_grads(each, x, each.trainable_variables) for each in (model, exact)]
    errors = [relative_error(value, wanted) for value, wanted in zip(*pairs, strict=True)]
    assert errors[0] < 4 * EPSILON and errors[1] > 2 * GRADIENT_ERROR and max(errors[2:]) > 0.9


def test_sums_of_float16_are_taken_in_float32():
    """Of 16,384 gradients of 1; float16 would stop at 2,048, since from there on its neighbours are 2 apart."""
    states, bias = tf.zeros([16, 32, 32, 1], tf.float16), tf.zeros([1])
    with tf.GradientTape() as tape:
        tape.watch(bias)
        sum_of_states = image_energy._add(states, bias)
    gradient = tape.gradient(sum_of_states, bias)
    assert sum_of_states.dtype == tf.float16 and gradient * image_energy.FACTOR == 16 * 32 * 32


def enlarge(model, names):
    """Weights whose layers' names hold one of these, times 1e4."""
    for variable in model.trainable_variables:
        if any(name in variable.path for name in names):
            variable.assign(1e4 * variable)


@pytest.mark.parametrize(
    "names", [("conv2d",), ("query", "key"), ("value", "output")], ids=["states", "logits", "values"]
)
def test_what_float16_cannot_hold_is_not_finite(names):
    """Nowhere the largest number that it has: an energy is inf or NaN, and its gradient too. float32 holds both."""
    for policy in ("float32", "mixed_float16"):
        model = build(policy)
        enlarge(model, names)
        x = draw(model)
        energy, grad = model.energy_and_grad(x)
        assert np.all(np.isfinite(energy)) == np.all(np.isfinite(grad)) == (policy == "float32")


def test_float16_without_its_factor_is_refused():
    with pytest.raises(ValueError, match=r"expected the policy float32 or mixed_bfloat16\. Received: mixed_float16"):
        model = build("mixed_float16")
        model.by_layers(draw(model))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_call_is_the_prepared_energy(policy, monkeypatch):
    """Where there is a GPU. Under mixed_bfloat16 Keras casts x and weights on the way into a call."""
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    model = build(policy)
    x = draw(model)
    np.testing.assert_array_equal(model(x), model.prepare_for_gpu()(x))
    assert model(x).dtype == tf.float32


def test_on_a_cpu_a_call_is_the_layers(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    model = build()
    x = draw(model)
    np.testing.assert_array_equal(model(x), by_layers(model)(x))


def test_prepared_is_at_the_weights_of_then():
    model = build()
    x = draw(model)
    prepared = model.prepare_for_gpu()
    before = prepared(x)
    for variable in model.trainable_variables:
        variable.assign(2.0 * variable)
    np.testing.assert_array_equal(prepared(x), before)
    assert relative_error(model.prepare_for_gpu()(x), before) > 0.1


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_chain_on_the_arranged_energy_is_the_chain(jit_compile):
    """At T = 0, where no random number enters; 3 steps, so rounding has little time to grow."""
    model = build(by=0.02)
    x_init, seed = draw(model, batch=2), tf.constant([95, 96])
    expected = compile_chain(by_layers(model), model.event_shape, jit_compile)(x_init, 3, 0.1, 0.0, seed)
    value = compile_chain(Prepared(model), model.event_shape, jit_compile)(x_init, 3, 0.1, 0.0, seed)
    assert relative_error(value[0] - x_init, expected[0] - x_init) < 1e-4
    for one, other in zip(value[1], expected[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


class Prepared:
    """An energy_fn with prepare, which a chain must use in place of the call."""

    def __init__(self, model):
        self.prepare = model.prepare_for_gpu

    def __call__(self, x):
        raise AssertionError("the chain did not prepare its energy")

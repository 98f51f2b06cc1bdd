"""Is the compiled chain the chain?

From one seed TensorFlow's Philox draws the same numbers eagerly and in a graph, but XLA's stateless_normal draws others
(seen with TensorFlow 2.21 on a CPU). So eager and graph are compared number by number at T > 0; XLA is compared with
them number by number at T = 0, and by its law at T > 0 (false-alarm rate 1e-6).
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ebm_tf.build import build_energy
from ebm_tf.energies import ImageNet, RingsNet
from ebm_tf.mcmc.langevin import BLOCK, compile_chain, energy_and_grad, in_halves, langevin_chain
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training.algorithm1 import one_step_update
from tests import oracles
from tests.oracles import FALSE_ALARM_RATE

SEED = tf.constant([81, 82])
quadratic = oracles.quadratic()
# Float32 rounding (6e-8) of sums in another order, grown over 10 steps by at most (1 + step_size |E''|)^10.
ERROR = {"rtol": 1e-4, "atol": 1e-5}


def energy_fn(model):
    return lambda x: model(x, training=False)


@pytest.fixture
def rings_net():
    return RingsNet(num_filters=8)


def draw(*shape):
    return tf.random.stateless_normal(shape, [83, 84])


@pytest.mark.parametrize("jit_compile", [False, True, None])
def test_traced_once(jit_compile):
    """Whatever the batch, num_steps, step_size ([] or [event]), temperature and seed."""
    traces = []

    def counting(x):
        traces.append(x)
        return quadratic(x)

    chain = compile_chain(counting, (3,), jit_compile)
    per_coordinate = tf.constant([0.1, 0.2, 0.3])
    traces_of_first_call = None
    for batch, num_steps, step_size, temperature, seed in [
        (4, 5, 0.1, 0.0, [1, 2]),
        (4, tf.constant(7), tf.constant(0.2), tf.constant(0.5), [3, 4]),
        (6, 1, per_coordinate, 1.0, [5, 6]),
        (1, 0, per_coordinate, 0.0, [7, 8]),
    ]:
        x_final, _ = chain(draw(batch, 3), num_steps, step_size, temperature, tf.constant(seed))
        assert x_final.shape == (batch, 3)
        traces_of_first_call = traces_of_first_call or len(traces)
    assert chain.experimental_get_tracing_count() == 1
    assert len(traces) == traces_of_first_call


@pytest.mark.parametrize("num, sizes", [(1, [0, 1]), (2, [1, 1]), (5, [2, 3])])
def test_halves_of_a_batch_are_the_batch(num, sizes):
    """Every row once, in order, its gradient too; prepared once."""
    calls, seen = [], []

    class Prepares:
        def prepare(self):
            calls.append(1)
            return lambda x: seen.append(len(x)) or quadratic(x)

    x = draw(num, 3)
    energy, grad = energy_and_grad(in_halves(Prepares(), (3,), True).prepare(), x)
    expected, expected_grad = energy_and_grad(quadratic, x)
    assert (calls, seen) == ([1], sizes)
    np.testing.assert_allclose(energy, expected, rtol=1e-6)
    np.testing.assert_allclose(grad, expected_grad, rtol=1e-6)


def test_halves_are_for_vectors_that_xla_compiles_for_a_cpu(monkeypatch):
    assert in_halves(quadratic, (3,), True) is not quadratic
    for event_shape, jit_compile in [((3,), False), ((3,), None), ((4, 4, 3), True)]:
        assert in_halves(quadratic, event_shape, jit_compile) is quadratic
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [kind])
    assert in_halves(quadratic, (3,), True) is quadratic


@pytest.mark.parametrize("step_size", [0.01, np.linspace(0.005, 0.02, 10, dtype=np.float32)], ids=["scalar", "vector"])
def test_graph_equals_eager_for_the_same_seed(rings_net, step_size):
    x_init = draw(4, 10) / 10
    arguments = (x_init, 10, step_size, 0.005, SEED)
    eager, eager_info = langevin_chain(energy_fn(rings_net), *arguments)
    graph, graph_info = compile_chain(energy_fn(rings_net), (10,), jit_compile=False)(*arguments)
    np.testing.assert_allclose(graph, eager, **ERROR)
    for one, other in zip(graph_info, eager_info, strict=True):
        np.testing.assert_allclose(one, other, **ERROR)
    assert np.all(np.abs(eager - x_init) > 0)


@pytest.fixture(scope="module")
def chains():
    """Compiled once each, for any number of steps."""
    return {jit_compile: compile_chain(quadratic, (3,), jit_compile) for jit_compile in (False, True)}


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("num_steps", [BLOCK - 1, BLOCK, 2 * BLOCK + 3])
def test_a_chain_of_blocks_has_all_its_steps_in_order(num_steps, jit_compile, chains):
    """A chain that is given its length goes in blocks; one that is built for it does not. Same seed, same noise."""
    x_init, step_size, temperature = draw(4, 3), tf.constant(0.1), tf.constant(0.3)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def built_for_it():
        return langevin_chain(quadratic, x_init, num_steps, step_size, temperature, SEED)

    x_expected, expected = built_for_it()
    x_final, info = chains[jit_compile](x_init, num_steps, step_size, temperature, SEED)
    np.testing.assert_allclose(x_final, x_expected, **ERROR)
    np.testing.assert_allclose(info.energy_grad_norm, expected.energy_grad_norm, **ERROR)


def test_xla_equals_eager_at_zero_temperature(rings_net):
    x_init = draw(4, 10) / 10
    eager, eager_info = langevin_chain(energy_fn(rings_net), x_init, 10, 0.01, 0.0, SEED)
    xla, xla_info = compile_chain(energy_fn(rings_net), (10,), jit_compile=True)(x_init, 10, 0.01, 0.0, SEED)
    np.testing.assert_allclose(xla, eager, **ERROR)
    for one, other in zip(xla_info, eager_info, strict=True):
        np.testing.assert_allclose(one, other, **ERROR)


def noise_p_values(x, num_steps, step_size, temperature):
    """Of an L-step chain from 0 on |x|²/2: KS of all coordinates, and correlation of neighbouring chains."""
    a = 1 - step_size
    z = np.asarray(x) / np.sqrt(2 * step_size * temperature * (1 - a ** (2 * num_steps)) / (1 - a**2))
    correlation = np.mean(z[::2] * z[1::2]) * np.sqrt(z.size // 2)
    return stats.kstest(z.ravel(), "norm").pvalue, 2 * stats.norm.sf(abs(correlation))


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_compiled_chain_has_the_law(jit_compile):
    """False-alarm rate 1e-6 each. Sees: one noise for all steps, noise shared by chains, a wrong noise_std."""
    chain = compile_chain(quadratic, (2,), jit_compile)
    num_steps, step_size, temperature = 4, 0.5, 0.3
    x, _ = chain(tf.zeros([20_000, 2]), num_steps, step_size, temperature, SEED)
    assert min(noise_p_values(x, num_steps, step_size, temperature)) > FALSE_ALARM_RATE / 2
    rng = np.random.default_rng(85)
    z = rng.standard_normal((20_000, 2)) * np.sqrt(2 * step_size * temperature)
    one_noise_for_all_steps = z * np.sum((1 - step_size) ** np.arange(num_steps))
    shared_by_pairs = np.repeat(np.asarray(x)[::2], 2, axis=0)
    for wrong in (one_noise_for_all_steps, shared_by_pairs, np.asarray(x) / np.sqrt(2)):
        assert min(noise_p_values(wrong, num_steps, step_size, temperature)) < FALSE_ALARM_RATE / 2


def test_xla_draws_other_numbers_than_eager(chains):
    """The fact this file's comparisons rest on. If a later TensorFlow fails here, compare XLA at T > 0 as well."""
    arguments = (tf.zeros([4, 3]), 1, 0.1, 1.0, SEED)
    eager = langevin_chain(quadratic, *arguments)[0]
    xla = chains[True](*arguments)[0]
    assert not np.allclose(xla, eager, **ERROR)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_sampling_changes_no_variable(jit_compile):
    """Parameters, and states that layers might keep. The model's energies stay too."""
    model = ImageNet(num_filters=4)
    x_init = draw(2, 32, 32, 3)
    before, energy = [variable.numpy() for variable in model.variables], model(x_init)
    chain = compile_chain(energy_fn(model), (32, 32, 3), jit_compile)
    x_final, _ = chain(x_init, 2, 1.0, 5e-5, SEED)
    assert np.all(np.isfinite(x_final)) and not np.array_equal(x_final, x_init)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    np.testing.assert_array_equal(model(x_init), energy)


def test_one_step_update_in_a_graph_and_under_xla(rings_net):
    """Its gradient at T = 0 equals the eager one."""
    x, x_noise = draw(6, 10) / 10, draw(6, 10)

    def update():
        theta = rings_net.trainable_variables
        settings = {"num_steps": 3, "step_size": 1e-4, "temperature": 0.0, "seed": SEED}
        return one_step_update(energy_fn(rings_net), theta, x, [x_noise, x], [1.0, 25.0], **settings)

    eager = update().gradient
    for jit_compile in (False, True):
        compiled = tf.function(update, jit_compile=jit_compile, autograph=False)().gradient
        for one, other in zip(compiled, eager, strict=True):
            # Rounding relative to the largest entry: entries near 0 are differences of large ones.
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("dataset", ["rings", "cifar10"])
def test_chain_state_is_float32_under_mixed_bfloat16(dataset, jit_compile):
    """A step far below bfloat16's spacing (1/256 at 1) must survive: 100 of them add up."""
    config = TrainConfig(dataset=dataset, num_filters=4, dtype_policy="mixed_bfloat16")
    model = build_energy(config)
    assert {layer.compute_dtype for layer in model.network.layers} == {"bfloat16"}
    states = []

    def tilted(x):
        states.append(x.dtype)
        return 0.0 * energy_fn(model)(x) + tf.reduce_sum(tf.reshape(x, [tf.shape(x)[0], -1]), axis=-1)

    x_init = tf.ones([2, *config.event_shape])
    x_final, info = compile_chain(tilted, config.event_shape, jit_compile)(x_init, 100, 1e-4, 0.0, SEED)
    assert set(states) == {tf.float32}
    assert x_final.dtype == tf.float32 and {value.dtype for value in info} == {tf.float32}
    np.testing.assert_allclose(x_final, x_init - 0.01, rtol=1e-4)

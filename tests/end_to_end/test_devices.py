"""Evaluation's blocks over several devices: in a process of its own with three logical CPU devices, and here on one."""

import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.energies import ImageNet, RingsNet, devices
from ebm_tf.mcmc.langevin import compile_chain
from ebm_tf.runs import progress
from tests import processes

CODE = """
import sys
import numpy as np
import tensorflow as tf
three = [tf.config.LogicalDeviceConfiguration()] * 3
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], three)
from ebm_tf.energies import RingsNet
from ebm_tf.energies import devices
from ebm_tf.mcmc.langevin import compile_chain

energy = RingsNet(num_filters=8)
placed = []

def make_fn(energy):
    placed.append(energy.trainable_variables[0].value.device)
    return compile_chain(lambda x: energy(x, training=False), (10,), jit_compile=len(placed) == 2)

replicas = devices.replicate(energy, make_fn)
assert [device[-1] for device in placed] == [replica.device[-1] for replica in replicas] == ["0", "1", "2"], placed
x = tf.random.stateless_normal([7, 10], [0, 1]).numpy()
arguments = lambda seed: (tf.constant(3), tf.constant(1e-4), tf.constant(0.0), tf.constant([seed, 0]))
results = devices.run_on_all(replicas, x, arguments)
assert [len(x_final) for x_final, _ in results] == [3, 2, 2]
assert [x_final.device[-1] for x_final, _ in results] == ["0", "1", "2"]
together = devices.run_on_all(replicas[:1], x, arguments)[0]
np.testing.assert_allclose(np.concatenate([part for part, _ in results]), together[0], rtol=1e-5, atol=1e-6)
energies = np.concatenate([info.energy_final for _, info in results])
np.testing.assert_allclose(energies, together[1].energy_final, rtol=1e-5, atol=1e-6)
assert len(devices.run_on_all(replicas, x[:2], arguments)) == 2

from ebm_tf.settings.train import TrainConfig
from ebm_tf.evaluation.finished import FinishedRun, energies, run_chains
from ebm_tf.runs.run_dir import RunDir

settings = dict(dataset="rings", num_filters=8, energy_scale=0.005, step_size=0.01, temperature=0.005)
run = FinishedRun(RunDir("."), TrainConfig(**settings), RunDir(".").model, loaded=energy)
x_final, energy_final = run_chains(run, np.repeat(x[:1], 7, axis=0), 2, 0.01, tf.constant([5, 6]))
assert len(np.unique(x_final, axis=0)) == 7, "parts share their noise"
np.testing.assert_allclose(energies(run, x_final, batch_size=7), energy_final, rtol=1e-5, atol=1e-6)
np.testing.assert_allclose(energies(run, x_final, batch_size=4), energy_final, rtol=1e-5, atol=1e-6)
assert len(run.chain_fns) == len(run.energy_fns) == 3
print("done")
"""


def test_three_devices_share_a_block():
    """At T = 0 the parts are those of the whole; each was computed on its device, from weights there."""
    done = processes.run(["-c", CODE])
    assert done.stdout.endswith("done\n"), done.stderr[-2000:]


def test_pieces_of_chains_are_the_whole(monkeypatch, capsys):
    """Quick pieces become longer; fn sees each piece once, and x as the one before left it. Long work says how far."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    seen = []

    def fn(x, steps, first_step):
        seen.append((steps, first_step))
        return x + steps, "info"

    replicas = [devices.Replica("CPU:0", fn)] * 2
    found = devices.in_pieces(replicas, np.zeros((3, 2), np.float32), 100, lambda part, *piece: piece)
    assert [info for _, info in found] == ["info", "info"]
    assert all((x.numpy() == 100).all() for x, _ in found)
    assert sorted(set(seen), key=seen.index) == [(10, 0), (20, 10), (40, 30), (30, 70)] and len(seen) == 8
    lines = [line.partition("  ")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["chains at work: 30/100 steps", "chains at work: 70/100 steps"]
    seen.clear()
    devices.in_pieces(replicas[:1], np.zeros((3, 2), np.float32), 0, lambda part, *piece: piece)
    assert seen == [(0, 0)]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_copy_is_the_energy(policy):
    """Two replicas on one device: weights, settings and dtype policy are copied."""
    energy = ImageNet(num_filters=4, energy_scale=0.5, dtype=policy)
    for weight in energy.weights:
        weight.assign(tf.random.stateless_normal(weight.shape, [3, 4]) / 10)
    seen = []
    (device,) = devices.local_devices()
    replicas = devices.replicate(energy, lambda model: seen.append(model) or model, [device, device])
    x = tf.random.stateless_normal([4, 32, 32, 3], [0, 1])
    assert seen[0] is energy and seen[1] is not energy
    np.testing.assert_array_equal(replicas[1].fn(x), energy(x))
    assert seen[1].dtype_policy.name == policy and np.std(energy(x)) > 0


def test_one_device_gets_the_block_whole():
    energy = RingsNet(num_filters=8)
    chain = compile_chain(energy, (10,))
    replicas = devices.replicate(energy, lambda model: chain)
    x = np.random.default_rng(5).normal(size=(5, 10)).astype(np.float32)
    arguments = (tf.constant(2), tf.constant(1e-3), tf.constant(0.1), tf.constant([1, 2]))
    ((x_final, _),) = devices.run_on_all(replicas, x, lambda part: arguments)
    np.testing.assert_array_equal(x_final, chain(x, *arguments)[0])


def test_an_error_on_a_device_is_raised():
    def fail(x):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        devices.run_on_all([devices.Replica("CPU:0", fail)] * 2, np.zeros((2, 10), np.float32))

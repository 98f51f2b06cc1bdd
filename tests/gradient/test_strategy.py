"""Is the update of R replicas the single-device update of the same global batch?

run.train runs on 2 and 4 logical CPU devices, in processes of their own: TensorFlow fixes its devices at the start.
Each update is then done again here on one device from the checkpoint before it: Algorithm 1 on the parts of the batch
with the same seeds, and the mean of the gradients. Nothing here is statistical.
"""

import dataclasses
import functools
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from ebm_tf import build
from ebm_tf.data import images
from ebm_tf.errors import ConfigError
from ebm_tf.mcmc import chain_init
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import replicas, run
from tests import processes
from tests.asked import config_of

KINDS = {
    "hybrid": dict(scheme="hybrid"),
    "persistent": dict(scheme="persistent", ema_momentum=0.9),
    "adaptive": dict(scheme="data", temperature=0.0, step_size_rule="adaptive", step_size=0.05, energy_scale=1.0),
    "refresh": dict(scheme="persistent_refresh", refresh_unit="chain", refresh_prob=0.5),
    "xla": dict(scheme="hybrid", jit_compile="true"),
    "old": dict(
        scheme="hybrid",
        bank_weight=3.0,
        bank_start="data",
        bank_burn_in=6,
        bank_restart_data=0.2,
        bank_restart_noise=0.2,
    ),
    "spectrum": dict(
        scheme="hybrid",
        dataset="cifar10",
        num_filters=4,
        attention=False,
        gaussian="start+steps",
        step_size=1.0,
        data_noise=0.1,
        temperature=5e-5,
        energy_scale=1.0,
    ),
}
RUNS = [(2, name) for name in ("hybrid", "persistent", "adaptive", "xla", "old", "spectrum")]
RUNS += [(4, name) for name in ("hybrid", "refresh")]
ERROR = 1e-5  # of the largest entry

IMAGES = """
import numpy as np
from ebm_tf.data import images
images.load = lambda *_: np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), np.uint8)
"""
TRAIN = """
import json, shutil, sys
import tensorflow as tf
devices = [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[1])
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import run
exec(sys.argv[3])
for settings, begun in json.loads(sys.argv[2]):
    if begun:
        shutil.copytree(begun, settings["workdir"])
    trainer = run.train(TrainConfig.from_dict(settings))
    for weight in trainer.energy.weights:
        values = [value.numpy() for value in trainer.strategy.experimental_local_results(weight.value)]
        assert len(values) == int(sys.argv[1]) and all((value == values[0]).all() for value in values)
"""


def make_config(workdir, **changes):
    settings = dict(
        dataset="rings",
        num_filters=8,
        batch_size=8,
        num_steps=3,
        step_size=0.005,
        temperature=0.005,
        energy_scale=0.005,
        bank_size=32,
        train_steps=2,
        learning_rate=1e-3,
        log_every=1,
        checkpoint_every=1,
        workdir=str(workdir),
        jit_compile="false",
        strategy="mirrored",
    )
    return config_of(settings, **changes)


def train_on(num_devices, begun, *configs):
    """In a process with so many devices; those that resume go on with a copy of the run in the folder `begun`."""
    tasks = [(config.to_dict(), str(begun) if config.resume else None) for config in configs]
    done = processes.run(["-c", TRAIN, str(num_devices), json.dumps(tasks), IMAGES], timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module", autouse=True)
def no_download():
    """Random images in place of CIFAR-10, here as in train_on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "load", images.load)  # put back at the end
        exec(IMAGES, {})
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs by (number of devices, what)."""
    root = tmp_path_factory.mktemp("runs")

    def config(count, name, **changes):
        return make_config(root / f"{name}_{count}", **changes)

    found = {(count, name): config(count, name, **KINDS[name]) for count, name in RUNS}
    found[2, "straight"] = config(2, "straight", train_steps=4, **KINDS["persistent"])
    # What two devices began, one, two and four go on with.
    for count, last in ((1, 3), (2, 4), (4, 3)):
        found[count, "resumed"] = config(count, "resumed", train_steps=last, resume=True, **KINDS["persistent"])
    for count in (2, 4):
        train_on(count, root / "persistent_2", *[value for (where, _), value in found.items() if where == count])
    shutil.copytree(root / "persistent_2", found[1, "resumed"].workdir)
    run.train(found[1, "resumed"])
    return found


def restored(config, update):
    """A trainer on one device with the checkpoint after `update`."""
    trainer = run.build_trainer(config)
    path = RunDir(config.workdir).checkpoints / f"update-{update}"
    trainer.checkpoint.restore(str(path)).assert_existing_objects_matched()
    assert int(trainer.update_count) == update
    return trainer


def starts_of(config, spectrum, part, shard, ages, seed):
    """Per group its starts and weight, and the slots of the shard, whose chains' ages it moves on."""
    seeds = tf.unstack(tf.random.split(seed, 2))
    noise = chain_init.noise(part.shape, seeds[0], spectrum)
    own = ([noise, part], [1.0, 25.0]) if config.scheme == "hybrid" else ([part], [1.0])
    if shard is None:
        return *own, None
    if config.bank_weight:
        seeds = tf.unstack(tf.random.split(seeds[1], 2))
    keys = tf.random.stateless_uniform([len(shard)], seeds[0], 0, 2**31 - 1, tf.int32, alg="philox").numpy()
    slots = np.argsort(-keys.astype(np.int64))[: len(part)]
    x_bank, is_new = tf.constant(shard[slots]), np.zeros(len(part), bool)
    if config.scheme == "persistent_refresh":
        x_bank, is_new = chain_init.refresh(x_bank, config.refresh_prob, config.refresh_unit, seeds[1])
    if config.bank_weight:
        shares = config.bank_restart_data, config.bank_restart_noise
        x_bank, is_new = chain_init.restart(x_bank, part, *shares, seeds[1], spectrum)
    ages[slots] = np.where(is_new, 0, ages[slots]) + config.num_steps
    if not config.bank_weight:
        return [x_bank], [1.0], slots
    counts = tf.constant(ages[slots] >= config.bank_burn_in, tf.float32)
    return [*own[0], x_bank], [*own[1], config.bank_weight * counts], slots


@functools.cache
def single_device_update(config, update, num_replicas, seed_of=tf.random.experimental.stateless_fold_in):
    """The update after a run's checkpoint `update`: (before it, StepResult per replica, mean gradient, (samples, ages)
    of the bank).
    """
    trainer = restored(config, update)
    step_seed = tf.random.experimental.stateless_fold_in(tf.constant([config.seed, 0]), update)
    x = next(iter(build.make_dataset(config, update)))
    bank = trainer.bank.samples.numpy() if trainer.bank else None
    shards = np.split(bank, num_replicas) if trainer.bank else [None] * num_replicas
    ages = np.split(trainer.bank.ages.numpy(), num_replicas) if trainer.bank else [None] * num_replicas
    step_size = trainer._step_size(x)  # of the whole batch
    results = []
    for replica, (part, shard, age) in enumerate(zip(tf.split(x, num_replicas), shards, ages)):
        seed = seed_of(step_seed, replica) if num_replicas > 1 else step_seed
        init_seed, chain_seed = tf.unstack(tf.random.split(seed, 2))
        x_inits, weights, slots = starts_of(config, trainer.energy.noise_spectrum, part, shard, age, init_seed)
        results.append(trainer.one_step_update(part, x_inits, weights, step_size, chain_seed))
        if shard is not None:
            shard[slots] = results[-1].x_final[-1]
    gradient = [np.mean(values, axis=0) for values in zip(*(result.gradient for result in results))]
    return trainer, results, gradient, None if bank is None else (np.concatenate(shards), np.concatenate(ages))


def adam_momenta(trainer):
    """(first, second) moments, one of each per weight."""
    variables = trainer.optimizer.variables
    return tuple([value.numpy() for value in variables if kind in value.path] for kind in ("_momentum", "_velocity"))


def relative_error(actual, expected):
    """The largest error, each tensor's over its largest entry; the last bias has the gradient 0."""
    pairs = zip(actual, expected, strict=True)
    return max(np.abs(one - other).max() / (np.abs(other).max() or 1.0) for one, other in pairs)


@pytest.mark.parametrize("count, name", [*RUNS, (1, "resumed"), (4, "resumed")])
def test_the_update_is_the_single_device_update(runs, count, name):
    """The gradient is read off Adam's momentum, as exact as float32; a difference of weights is not. Then the weights
    are Adam's, once. The bank's shards too are those of the parts.
    """
    config = runs[count, name]
    last = config.train_steps
    before, _, gradient, bank = single_device_update(config, last - 1, count)
    after = restored(config, last)
    old_momentum, new_momentum = adam_momenta(before)[0], adam_momenta(after)[0]
    assert relative_error(new_momentum, [0.9 * m + 0.1 * g for m, g in zip(old_momentum, gradient)]) < ERROR
    rate = config.learning_rate * np.sqrt(1 - 0.999**last) / (1 - 0.9**last)
    theta = [trainer.energy.trainable_variables for trainer in (before, after)]
    for old, new, m, v in zip(*theta, *adam_momenta(after), strict=True):
        np.testing.assert_allclose(new, old - rate * m / (np.sqrt(v) + 1e-7), rtol=ERROR, atol=1e-7)
    if bank is not None:
        np.testing.assert_allclose(after.bank.samples, bank[0], rtol=ERROR, atol=ERROR)
        np.testing.assert_array_equal(after.bank.ages, bank[1])
        changed = np.any(after.bank.samples.numpy() != before.bank.samples.numpy(), axis=1)
        assert [part.sum() for part in np.split(changed, count)] == [config.batch_size // count] * count


@pytest.mark.parametrize("count", [2, 4])
def test_replicas_do_not_share_their_noise(runs, count):
    """The comparison above sees replicas that draw the same numbers."""
    config = runs[count, "hybrid"]
    gradient = single_device_update(config, 1, count)[2]
    shared = single_device_update(config, 1, count, seed_of=lambda seed, replica: seed)[2]
    assert relative_error(shared, gradient) > 100 * ERROR


@pytest.mark.parametrize("count, name", RUNS)
def test_metrics_are_those_of_the_global_batch(runs, count, name):
    config = runs[count, name]
    _, results, gradient, _ = single_device_update(config, 1, count)
    row = RunDir(config.workdir).read_metrics()[1]
    energy_data = np.concatenate([result.energy_data for result in results])
    groups = {"hybrid": ("noise_init", "data_init"), "data": ("data_init",)}.get(config.scheme, ())
    groups += ("persistent_init",) if config.has_bank else ()
    for group, title in enumerate(groups):
        energy_final = np.concatenate([result.energy_final[group] for result in results])
        scale = float(np.abs([energy_data, energy_final]).max())
        expected = {"std": np.std(energy_data - energy_final), "energy_difference": np.mean(energy_data - energy_final)}
        for key, value in expected.items():
            assert row[f"{title}/{key}"] == pytest.approx(value, abs=ERROR * scale)
        assert row[f"energy/{title}"] == pytest.approx(np.mean(energy_final), abs=ERROR * scale)
    infos = [result.info for result in results]
    assert row["max_abs"] == pytest.approx(max(float(info.max_abs) for info in infos), rel=ERROR)
    assert row["energy_grad_norm"] == pytest.approx(np.mean([info.energy_grad_norm for info in infos]), rel=ERROR)
    assert row["gradient_norm"] == pytest.approx(float(tf.linalg.global_norm(gradient)), rel=ERROR)
    is_adapted = config.step_size_rule == "adaptive"  # to the energies of the whole batch
    assert (row["step_size"] < 0.9 * config.step_size) == is_adapted
    assert row["step"] == 2 and len(RunDir(config.workdir).read_metrics()) == 2


def test_one_device_takes_the_whole_batch_in_one(runs):
    """At T = 0 there is no noise: replicas and the plain one-device run end at the same weights and metrics."""
    config = runs[2, "adaptive"]
    workdir = config.workdir + "_alone"
    alone = run.train(dataclasses.replace(config, workdir=workdir, strategy="one_device"))
    together = restored(config, 2)
    weights = ([weight.numpy() for weight in trainer.energy.trainable_variables] for trainer in (together, alone))
    assert relative_error(*weights) < ERROR
    for one, other in zip(*(RunDir(path).read_metrics() for path in (config.workdir, workdir))):
        for row in (one, other):  # every replica is traced; snr is a ratio of two small differences
            for name in [name for name in row if name in ("updates_per_second", "traces") or "snr" in name]:
                del row[name]
        assert one == pytest.approx(other, rel=1e-3, abs=1e-7)


def test_resuming_on_two_replicas_is_bit_for_bit_a_straight_run(runs):
    straight, resumed = restored(runs[2, "straight"], 4), restored(runs[2, "resumed"], 4)
    for one, other in zip(
        [*straight.energy.weights, *straight.optimizer.variables, straight.bank.samples, straight.bank.ages],
        [*resumed.energy.weights, *resumed.optimizer.variables, resumed.bank.samples, resumed.bank.ages],
        strict=True,
    ):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_the_average_of_the_weights_is_saved(runs):
    """Keras' average under MirroredStrategy: model.keras holds it, the checkpoint the weights."""
    trainer = restored(runs[2, "straight"], 4)
    saved = keras.models.load_model(RunDir(runs[2, "straight"].workdir).model)
    for weight, mean in zip(saved.weights, trainer.optimizer._model_variables_moving_average, strict=True):
        np.testing.assert_array_equal(weight, mean)
    assert not np.array_equal(saved.weights[0], trainer.energy.weights[0])


def test_mirrored_with_one_device_says_so(tmp_path, capfd):
    """This process has one CPU device."""
    trainer = run.train(make_config(tmp_path / "run", train_steps=1))
    assert trainer.strategy.num_replicas_in_sync == 1
    assert "--strategy=mirrored: one device" in capfd.readouterr().err


class ThreeReplicas:
    num_replicas_in_sync = 3


@pytest.mark.parametrize(
    "changes, text",
    [
        (dict(batch_size=8), "--batch_size: expected a multiple of 3"),
        (dict(batch_size=9, bank_size=32, scheme="persistent"), "--bank_size: expected a multiple of 3"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(tmp_path, monkeypatch, changes, text):
    monkeypatch.setattr(replicas, "_mirrored", lambda devices: ThreeReplicas())
    monkeypatch.setattr(replicas, "_local_devices", lambda: ("CPU:0",) * 3)
    with pytest.raises(ConfigError, match=text) as error:
        run.train(make_config(tmp_path / "run", **changes))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_fit_is_keras_own_on_one_device():
    """A Trainer is a keras.Model: compile and fit with any tf.data.Dataset."""
    config = TrainConfig(dataset="rings", num_filters=8, batch_size=4, num_steps=2, step_size=0.005, train_steps=3)
    trainer = run.build_trainer(config)
    history = trainer.fit(build.make_dataset(config), steps_per_epoch=3, verbose=0)
    assert int(trainer.update_count) == 3 and np.isfinite(history.history["loss"]).all()

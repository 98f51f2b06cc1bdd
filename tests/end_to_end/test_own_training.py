"""An energy of one's own on data of one's own: the lines that a user writes, from data to samples."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import ebm_tf
from ebm_tf import build
from ebm_tf.defaults import preset_of, with_preset
from ebm_tf.training.losses import held_out_loss
from ebm_tf.training.run import build_trainer

RNG = np.random.default_rng(7)
# Two clusters, of another size and another place in every column.
POINTS = (RNG.integers(0, 2, (800, 1)) * [3.0, -40.0] + [10.0, 500.0] + RNG.normal(size=(800, 2)) * [0.3, 4.0]).astype(
    np.float32
)


@pytest.fixture(scope="module")
def data():
    return ebm_tf.Dataset.from_array(POINTS, name="made_up")


def new_energy(shape=(2,), **terms):
    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.Input(shape), keras.layers.Dense(16, "silu"), keras.layers.Dense(1)])
    return ebm_tf.EnergyModel.from_network(net, **terms)


def new_trainer(data, energy=None, optimizer=None, **settings):
    energy = energy or new_energy(reference=ebm_tf.GaussianReference(1.0))
    bank = {"bank_size": 64} if settings.get("bank_weight", 1.0) else {}
    trainer = ebm_tf.Trainer(energy, data, **{"batch_size": 32, **bank, **settings})
    trainer.compile(optimizer=optimizer or keras.optimizers.Adam(1e-2))
    return trainer


def batches():
    return tf.data.Dataset.from_tensor_slices(POINTS).batch(32, drop_remainder=True).repeat()


def test_a_users_lines_from_data_to_samples(data, tmp_path, capsys):
    """As in docs/own_data.md. Energies, gradients and samples are in the data's units, whatever training saw."""
    net = keras.Sequential([keras.Input(data.event_shape), keras.layers.Dense(16, "silu"), keras.layers.Dense(1)])
    trainer = ebm_tf.Trainer(ebm_tf.EnergyModel.from_network(net, reference=ebm_tf.GaussianReference(1.0)), data)
    trainer.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = trainer.fit(train_steps=40)
    assert "update 40/40" in capsys.readouterr().err
    assert {"loss", "val_loss", "val_energy", "val_energy_difference"} <= set(history.history)
    assert all(len(values) == 20 and np.isfinite(values).all() for values in history.history.values())
    trainer.energy.save(tmp_path / "mine.keras")
    model = ebm_tf.load(tmp_path / "mine.keras")
    assert (model.info.dataset, model.info.temperature, model.info.scheme) == ("made_up", 1.0, "data")
    x = POINTS[:5]
    white = (x - data.mean) / data.scale
    energy, grad = trainer.energy.energy_and_grad(white)
    np.testing.assert_allclose(model.energy(x), energy, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.energy_grad(x), grad / data.scale, rtol=1e-3, atol=1e-4)
    samples = model.sample(500, num_steps=0)  # the Gaussian that chains start from: mean to 5.5 standard errors
    assert np.all(np.abs(samples.mean(axis=0) - POINTS.mean(axis=0)) < 5.5 * POINTS.std(axis=0) / np.sqrt(500))
    assert np.isfinite(model.sample(20)).all()
    assert np.all(model.energy(np.array([[1e3, 1e4]], np.float32)) > 1e3)


def test_the_gaussian_and_the_steps_are_the_datas(data):
    trainer = new_trainer(data)
    white = next(data.examples())
    noise = trainer.config.data_noise
    mean, factor = (np.asarray(value) for value in trainer.energy.noise_spectrum)
    np.testing.assert_allclose(mean, white.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(factor @ factor.T, np.cov(white.T, bias=True) + noise**2 * np.eye(2), rtol=1e-4)
    np.testing.assert_array_equal(trainer.sampler.preconditioner, factor)
    assert trainer.sampler.temperature == 1.0 and 0 < trainer.sampler.step_size < noise**2


def test_a_sampler_of_ones_own_is_taken_as_it_is(data, tmp_path):
    sampler = ebm_tf.Sampler(0.03, 0.5, 4)
    trainer = new_trainer(data, new_energy(), sampler=sampler, scheme="noise", bank_weight=0.0, bank_restart_noise=0.0)
    assert trainer.sampler.preconditioner is None
    history = trainer.fit(train_steps=2, verbose=0)
    assert history.history["num_steps"] == [4.0] * 2
    np.testing.assert_allclose(history.history["step_size"], 0.03)
    x_init = tf.random.stateless_normal([5, 2], [1, 2])
    expected = ebm_tf.langevin_chain(trainer.energy, x_init, 4, 0.03, 0.5, tf.random.split([3, 2], 2)[1])[0]
    np.testing.assert_allclose(trainer.sample_chain(5, 4, seed=3, x_init=x_init), expected, atol=1e-5)
    trainer.save(tmp_path / "mine.keras")  # without whitening in the file, too
    np.testing.assert_array_equal(ebm_tf.EnergyModel.from_config(trainer.energy.get_config()).preconditioner, np.eye(2))
    info = ebm_tf.load(tmp_path / "mine.keras").info
    assert info.sample_step_size == pytest.approx(0.03) and (info.temperature, info.sample_num_steps) == (0.5, 4)


def test_a_sampler_at_temperature_0_trains_an_energy_without_reference(data):
    trainer = new_trainer(data, new_energy(), sampler=ebm_tf.Sampler(0.03, 0.0, 2))
    assert np.isfinite(trainer.fit(train_steps=2, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("name", ["sgd", "AdamW", "Lion", "Nadam", "RMSprop", "Adafactor"])
def test_any_optimizer_of_keras_trains(data, name):
    trainer = new_trainer(data, optimizer=name, scheme="data", bank_weight=0.0, bank_restart_noise=0.0)
    before = trainer.energy.get_weights()
    trainer.fit(train_steps=2, validation=False, verbose=0)
    assert any(np.any(new != old) for new, old in zip(trainer.energy.get_weights(), before, strict=True))


def test_keras_callbacks_see_held_out_data(data, tmp_path):
    """EarlyStopping by its default, val_loss; the best energy's file; the rate. Nothing is better by 10: two blocks."""
    best = tmp_path / "best.keras"
    callbacks = [
        keras.callbacks.EarlyStopping(patience=1, min_delta=10.0, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(best, save_best_only=True),
        keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=10.0),
    ]
    trainer = new_trainer(data)
    history = trainer.fit(train_steps=30, validation_every=3, callbacks=callbacks, verbose=0)
    assert len(history.history["loss"]) == 2 and int(trainer.update_count) == 6
    assert isinstance(ebm_tf.load(best), ebm_tf.TrainedEnergy)
    again = trainer.fit(train_steps=6, validation_every=3, callbacks=[callbacks[2]], verbose=0)  # goes on
    assert int(trainer.update_count) == 12 and len(again.history["val_loss"]) == 2
    assert float(trainer.optimizer.learning_rate) < 2e-3


def test_two_fits_are_one(data):
    """Weights bit for bit: data, noise and chains of update i depend on i alone."""
    once, twice = new_trainer(data), new_trainer(data)
    once.fit(train_steps=6, verbose=0)
    for _ in range(2):
        twice.fit(train_steps=3, validation=False, verbose=0)
    for one, other in zip(once.energy.get_weights(), twice.energy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_held_out_data_it_says_how_to_train():
    data = ebm_tf.Dataset.from_array(np.random.default_rng(0).normal(size=(40, 2)), held_out=0)
    trainer = new_trainer(data)
    expected = r"^expected examples .* Received: array with none. To train without: fit.validation=False.$"
    with pytest.raises(ebm_tf.ConfigError, match=expected):
        trainer.fit(train_steps=1)


def test_held_out_numbers(data):
    trainer = new_trainer(data)
    found = trainer.evaluate()
    x, noise = data.held_out(), trainer.config.data_noise
    x_train = next(data.examples(most=len(x)))
    z = tf.random.stateless_normal(x.shape, [0, 5], alg="philox")
    energies, grads = trainer.energy.energy_and_grad(x + noise * z)
    loss = 0.5 * np.mean((noise * np.asarray(grads) - z) ** 2)
    difference = np.mean(energies) - np.mean(trainer.energy(x_train + noise * z))
    expected = {"loss": loss, "energy": np.mean(energies), "energy_difference": difference}
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_held_out_loss_is_smallest_at_the_noisy_datas_energy():
    """x of N(0, s²), noise σ: x + σ z has the energy |x|² / 2 (s² + σ²). Others, 10 % narrower or wider, have more, and
    a flat one has a half.
    """
    x, z = tf.random.stateless_normal([200_000, 1], [1, 2]), tf.random.stateless_normal([200_000, 1], [3, 4])
    s, noise = 0.8, 0.5

    def loss(share):
        k = share / (s**2 + noise**2)
        losses, _ = held_out_loss(lambda x: 0.5 * k * tf.reduce_sum(x**2, -1), s * x, z, noise, 1.0)
        return float(tf.reduce_mean(losses))

    losses = [loss(share) for share in (0.9, 1.0, 1.1)]
    assert losses[1] < min(losses[0], losses[2]) and max(losses) < 0.5
    assert losses[1] == pytest.approx(0.5 * s**2 / (s**2 + noise**2), rel=0.02)
    flat = held_out_loss(lambda x: 0.0 * tf.reduce_sum(x, -1), x, z, noise, 1.0)[0]
    assert float(tf.reduce_mean(flat)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda data: new_trainer(data, new_energy((3,))), r"data of the energy's shape, \[3\]. Received: \[2\]"),
        (lambda data: new_trainer(data, learning_rate=1.0), "expected settings: .*Received: learning_rate, which is"),
        (lambda data: new_trainer(data, scheme="cd"), "^scheme: expected one of"),
        (lambda data: new_trainer(data, preset="best"), "^preset: expected one of density, detector"),
        (lambda data: new_trainer(data).fit(), "expected train_steps, a whole number, 1 or more. Received: .*None"),
        (lambda data: new_trainer(data).fit(train_steps=10, validation_every=3), "that divides train_steps=10"),
        (lambda data: new_trainer(data).fit(batches(), train_steps=10), "as Keras has them.*Received: train_steps$"),
        (lambda data: new_trainer(data).fit(batches(), validation=np.ones((5, 2))), "Received: validation$"),
        (lambda data: new_trainer(data).fit(train_steps=1, validation=np.ones((0, 2))), r"Received: \[0, 2\]$"),
        (
            lambda data: new_trainer(data, sampler=ebm_tf.Sampler([0.1] * 3, 1.0, 2)),
            r"sampler of the energy's shape, \[2\]. Received: \[3\]",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(data, call, text):
    with pytest.raises(ebm_tf.ConfigError, match=text) as error:
        call(data)
    assert "\n" not in str(error.value)


def test_divergence_ends_a_fit(data):
    trainer = new_trainer(data, optimizer=keras.optimizers.SGD(1e12))
    with pytest.raises(ebm_tf.DivergenceError, match="training diverged"):
        trainer.fit(train_steps=50, validation=False, verbose=0)


def test_bounds_on_energies_are_in_units_of_their_scale(data):
    sampler = ebm_tf.Sampler(1e-8, 1e6, 2)
    trainer = new_trainer(data, new_energy(energy_scale=1e6), keras.optimizers.Adam(1e-4), sampler=sampler)
    assert np.isfinite(trainer.fit(train_steps=2, validation=False, verbose=0).history["loss"]).all()


def test_settings_of_a_preset_stand_in_for_those_not_given(data):
    images = ebm_tf.Dataset.from_array(np.zeros((5, 32, 32, 3), np.uint8))
    config = with_preset(ebm_tf.TrainConfig(num_steps=7), {"num_steps"}, preset_of(images, "density"))
    assert (config.num_steps, config.gaussian, config.batch_size) == (7, "start+steps+reference", 4)


def test_a_run_by_settings_alone(data, tmp_path):
    """As bin/train.py does it: the preset's settings, the default network, the data's Gaussian."""
    config = with_preset(ebm_tf.TrainConfig(), {"batch_size"}, preset_of(data, "density"))
    assert (config.batch_size, config.gaussian, config.train_steps) == (100, "start+reference", 3_000)
    trainer = build_trainer(dataclasses.replace(config, num_filters=8, num_steps=2, bank_size=200), data=data)
    own = new_trainer(data).energy.noise_spectrum
    for one, other in zip(trainer.energy.noise_spectrum, own, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    history = trainer.fit(build.make_dataset(config, 0, data), steps_per_epoch=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    trainer.save(tmp_path / "model.keras")
    model = ebm_tf.load(tmp_path / "model.keras")
    x, white = POINTS[:4], (POINTS[:4] - data.mean) / data.scale
    np.testing.assert_allclose(model.energy(x), trainer.energy(white), rtol=1e-4, atol=1e-4)


def test_images_train(tmp_path):
    images = RNG.uniform(-1, 1, (40, 32, 48, 1)).astype(np.float32)
    layers = [keras.Input((32, 48, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(1)]
    energy = ebm_tf.EnergyModel.from_network(keras.Sequential(layers))
    data, sampler = ebm_tf.Dataset.from_array(images), ebm_tf.Sampler(0.1, 1e-3, 2)
    trainer = ebm_tf.Trainer(energy, data, sampler=sampler, batch_size=8)
    trainer.compile("adam")
    assert np.isfinite(trainer.fit(train_steps=2, verbose=0).history["val_loss"]).all()
    trainer.save(tmp_path / "mine.keras")
    model = ebm_tf.load(tmp_path / "mine.keras")
    assert model.sample(3).shape == (3, 32, 48, 1)

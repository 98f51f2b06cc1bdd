"""Starts with the data's spectrum: the law, what is fitted, and where it is kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import fft, stats

from ebm_tf import build
from ebm_tf.build import build_energy
from ebm_tf.data import images
from ebm_tf.data.spectrum import noise_spectrum
from ebm_tf.energies import GaussianReference, ImageNet
from ebm_tf.mcmc import chain_init
from ebm_tf.mcmc.sample_bank import SampleBank
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training.run import build_trainer
from tests.oracles import FALSE_ALARM_RATE

SEED = tf.constant([51, 52])
SIZE = 32


@pytest.fixture(scope="module")
def spectrum():
    """A mean, and a factor that falls with frequency and mixes the colours."""
    rng = np.random.default_rng(53)
    mean = rng.uniform(-0.2, 0.2, (SIZE, SIZE, 3)).astype(np.float32)
    frequency = np.hypot(*np.meshgrid(np.arange(SIZE), np.arange(SIZE)))[:, :, None, None]
    mix = np.tril(rng.uniform(0.5, 1.0, (3, 3)))
    return mean, (mix / (1 + frequency)).astype(np.float32)


def white_coefficients(x, spectrum):
    """Cosine coefficients of x, made N(0, I) if x has the law: by SciPy's transform, not by its matrix."""
    mean, factor = spectrum
    coefficients = fft.dctn(np.asarray(x, np.float64) - mean, axes=(1, 2), norm="ortho")
    return np.linalg.solve(factor[None].astype(np.float64), coefficients[..., None])[..., 0]


def looks_right(x, spectrum):
    """Whether x may have the law: all numbers N(0, 1), their means over chains 0, neighbours uncorrelated. False-alarm
    rate 1e-6 each.
    """
    white = white_coefficients(x, spectrum)
    largest_mean = np.abs(white.mean(axis=0)).max() * np.sqrt(len(x))
    p_values = [stats.kstest(white.ravel(), "norm").pvalue, white[0].size * 2 * stats.norm.sf(largest_mean)]
    for first, second in ((white[:, 1:], white[:, :-1]), (white[..., 0], white[..., 1]), (white[1:], white[:-1])):
        p_values.append(2 * stats.norm.sf(abs(np.sum(first * second)) / np.sqrt(first.size)))
    return min(p_values) > FALSE_ALARM_RATE


def test_law(spectrum):
    """Sees: another mean or width, colours or axes swapped, chains that share their noise."""
    mean, factor = spectrum
    # Falls faster along one axis than along the other, so that swapped axes show.
    factor = factor / (1 + 0.1 * np.arange(SIZE, dtype=np.float32)[:, None, None, None])
    x = chain_init.noise((200, SIZE, SIZE, 3), SEED, (mean, factor)).numpy()
    assert looks_right(x, (mean, factor))
    swapped = factor[..., ::-1, ::-1], factor.swapaxes(0, 1)
    wrong = [(mean + 0.1, factor), *((mean, other) for other in (1.05 * factor, *swapped))]
    assert not any(looks_right(x, law) for law in wrong)
    assert not looks_right(np.tile(x[:2], (100, 1, 1, 1)), (mean, factor))


def test_limit_is_white_noise():
    """Mean 0 and factor I: N(0, I). False-alarm rate 1e-6."""
    identities = np.tile(np.eye(3, dtype=np.float32), (SIZE, SIZE, 1, 1))
    x = chain_init.noise((20, SIZE, SIZE, 3), SEED, (np.zeros((SIZE, SIZE, 3), np.float32), identities))
    assert stats.kstest(x.numpy().ravel(), "norm").pvalue > FALSE_ALARM_RATE


def test_refresh_and_bank_start_by_it(spectrum):
    shape = (4, SIZE, SIZE, 3)
    bank = SampleBank(4, shape[1:], SEED, spectrum=spectrum)
    np.testing.assert_array_equal(bank.samples, chain_init.noise(shape, SEED, spectrum))
    restarted, _ = chain_init.refresh(100 + tf.zeros(shape), 1.0, "chain", SEED, spectrum)
    assert np.abs(white_coefficients(restarted, spectrum)).max() < 6  # 12,288 numbers of N(0, 1): 2e-5 of them beyond
    assert np.all(chain_init.refresh(100 + tf.zeros(shape), 0.0, "chain", SEED, spectrum)[0] == 100)


@pytest.fixture
def drawn_images(spectrum, monkeypatch):
    """4,000 images of the law in place of a data set's."""
    x = images.to_uint8(0.3 * chain_init.noise((4_000, SIZE, SIZE, 3), SEED, spectrum).numpy())
    monkeypatch.setattr(images, "load", lambda *args: x)
    return x


def test_fit_finds_the_law_that_drew_the_images(spectrum, drawn_images):
    """Variances of 4,000 Gaussians err by 2.2 %, one standard deviation; eight are allowed over 9,216 numbers."""
    mean, factor = noise_spectrum(build.dataset(TrainConfig()), 0.1)
    spread = drawn_images.std() / 127.5
    np.testing.assert_allclose(mean, 0.3 * spectrum[0], atol=8 * spread / np.sqrt(4_000))
    expected = 0.09 * np.einsum("klij,klmj->klim", spectrum[1], spectrum[1]) + 0.01 * np.eye(3)
    found = np.einsum("klij,klmj->klim", factor, factor)
    scale = np.sqrt(np.einsum("klii->kli", expected)[..., None] * np.einsum("klii->kli", expected)[:, :, None])
    assert np.max(np.abs(found - expected) / scale) < 8 * 0.022
    without = noise_spectrum(build.dataset(TrainConfig()))[1]  # no noise: what rounding to 8 bits leaves
    assert np.einsum("klij,klij->kli", without, without)[-1, -1].max() < 0.003


def test_trainer_starts_chains_by_the_fit_and_the_file_keeps_it(drawn_images, tmp_path):
    settings = {"num_filters": 4, "gaussian": "start", "bank_size": 8, "batch_size": 4, "scheme": "persistent"}
    config = TrainConfig(**settings)
    trainer, fitted = build_trainer(config), noise_spectrum(build.dataset(config), config.data_noise)
    starts = trainer.sample_chain(16, 0, seed=0)
    for x in (starts, trainer.bank.samples):  # 3,072 numbers an image: the standard deviation errs by 1.3 % each
        assert np.std(white_coefficients(x, fitted)) == pytest.approx(1.0, abs=0.1)
    assert len(trainer.energy.trainable_variables) == len(build_energy(TrainConfig(num_filters=4)).trainable_variables)
    trainer.energy.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for found, value in zip(loaded.noise_spectrum, fitted, strict=True):
        np.testing.assert_array_equal(found, value)


def test_white_noise_keeps_no_weights():
    energy = build_energy(TrainConfig(num_filters=4))
    assert energy.noise_spectrum is None and not energy.non_trainable_variables


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_reference_adds_half_t_times_the_squared_mahalanobis_distance(spectrum, policy, tmp_path):
    """Energy and gradient, against SciPy's transform and solver in float64, and from the model's file."""
    plain, tilted = (
        ImageNet(num_filters=4, reference=reference, has_noise_spectrum=True, dtype=policy)
        for reference in (None, GaussianReference(0.01, bound=10.0))
    )
    tilted.network.set_weights(plain.network.get_weights())
    for weight, value in zip(tilted.noise_spectrum, spectrum, strict=True):
        weight.assign(value)
    x = tf.random.stateless_normal((3, SIZE, SIZE, 3), SEED)
    (energy, grad), (energy_plain, grad_plain) = tilted.energy_and_grad(x), plain.energy_and_grad(x)
    white = white_coefficients(x, spectrum)
    np.testing.assert_allclose(energy - energy_plain, 0.005 * np.sum(white**2, axis=(1, 2, 3)), rtol=1e-4)
    back = np.linalg.solve(spectrum[1].swapaxes(-1, -2)[None].astype(np.float64), white[..., None])[..., 0]
    expected = 0.01 * fft.idctn(back, axes=(1, 2), norm="ortho")
    np.testing.assert_allclose(grad - grad_plain, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    tilted.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), tilted(x))


def test_reference_of_a_run_is_its_temperatures():
    """So that without a network exp(-E/T) is the Gaussian."""
    config = TrainConfig(num_filters=4, gaussian="start+reference", temperature=0.3)
    assert build_energy(config).reference.temperature == 0.3
    assert build_energy(TrainConfig(num_filters=4)).reference is None


def test_beyond_the_bound_the_reference_is_alone(spectrum):
    model = ImageNet(num_filters=4, reference=GaussianReference(0.01, bound=1.15), has_noise_spectrum=True)
    for weight, value in zip(model.noise_spectrum, spectrum, strict=True):
        weight.assign(value)
    x = tf.random.stateless_uniform((2, SIZE, SIZE, 3), SEED, 1.2, 3.0)
    white = white_coefficients(x, spectrum)
    network = model(x) - 0.005 * np.sum(white**2, axis=(1, 2, 3))
    edge = model.network(tf.fill(x.shape, 1.15))[:, 0]
    np.testing.assert_allclose(network, edge, atol=1e-4 * 0.005 * np.sum(white**2, axis=(1, 2, 3)).max())

"""Preconditioned Langevin steps: P itself, the law they leave unchanged, and where P is kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import fft, stats

from ebm_tf import build
from ebm_tf.build import build_energy
from ebm_tf.data import images
from ebm_tf.data.spectrum import noise_spectrum
from ebm_tf.mcmc.langevin import compile_chain, langevin_chain
from ebm_tf.mcmc.preconditioner import precondition, root_of_spectrum
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training.run import build_trainer
from tests.oracles import FALSE_ALARM_RATE, quadratic

SEED = tf.constant([61, 62])
SIZE = 8
SHAPE = (SIZE, SIZE, 3)
NUMBERS = SIZE * SIZE * 3


@pytest.fixture(scope="module")
def factor():
    """Square roots of covariances that fall with frequency, differently along the axes, and mix the colours."""
    rng = np.random.default_rng(63)
    y, x = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    scale = 1 / (1 + y + 2 * x)
    return (scale[..., None, None] * np.tril(rng.uniform(0.5, 1.0, (SIZE, SIZE, 3, 3)))).astype(np.float32)


def dense(root):
    """P^{1/2} as a matrix of pixels, by SciPy's transform."""
    columns = np.eye(NUMBERS).reshape(NUMBERS, *SHAPE)
    coefficients = fft.dctn(columns, axes=(1, 2), norm="ortho")
    coefficients = np.einsum("klij,nklj->nkli", root, coefficients)
    return fft.idctn(coefficients, axes=(1, 2), norm="ortho").reshape(NUMBERS, NUMBERS).T


def test_root_is_the_fourth_root_of_the_covariance(factor):
    root = root_of_spectrum(factor).astype(np.float64)
    fourth = root @ root @ root @ root
    covariance = factor.astype(np.float64) @ factor.swapaxes(-1, -2)
    smallest = np.linalg.eigvalsh(covariance).min()
    np.testing.assert_allclose(fourth * smallest, covariance, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(root, root.swapaxes(-1, -2), atol=1e-6)
    assert np.linalg.eigvalsh(root).min() == pytest.approx(1, abs=1e-4)


def test_drift_is_P_times_it(factor):
    """Against the matrix in float64; sees the root once in place of twice, and axes or colours swapped."""
    root = root_of_spectrum(factor)
    drift = np.random.default_rng(64).normal(size=(5, *SHAPE)).astype(np.float32)
    half = dense(root)
    expected = (drift.reshape(5, -1) @ (half @ half).T).reshape(drift.shape)
    found = precondition(tf.constant(root), tf.constant(drift), tf.zeros_like(drift))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_noise_has_covariance_P(factor):
    """The noise, whitened by the matrix, is N(0, 1), and neighbours are uncorrelated. False-alarm rate 1e-6 each."""
    root = root_of_spectrum(factor)
    z = tf.random.stateless_normal((500, *SHAPE), SEED)
    noise = precondition(tf.constant(root), tf.zeros_like(z), z).numpy().reshape(500, -1)
    for matrix, is_right in ((dense(root), True), (1.05 * dense(root), False), (dense(root.swapaxes(0, 1)), False)):
        white = np.linalg.solve(matrix, noise.T).T
        correlation = np.sum(white[:, 1:] * white[:, :-1]) / np.sqrt(white[:, 1:].size)
        p_values = [stats.kstest(white.ravel(), "norm").pvalue, 2 * stats.norm.sf(abs(correlation))]
        assert (min(p_values) > FALSE_ALARM_RATE) == is_right


def test_identity_is_plain_langevin():
    """P = I: the drift of Eq. 9 and noise of its law, N(0, 2 ε T)."""
    identity = tf.eye(3, batch_shape=SHAPE[:2])
    x = tf.random.stateless_normal((200, *SHAPE), SEED)
    energy_fn = quadratic()
    still = langevin_chain(energy_fn, x, 3, 0.1, 0.0, SEED)[0]
    np.testing.assert_allclose(langevin_chain(energy_fn, x, 3, 0.1, 0.0, SEED, identity)[0], still, atol=1e-5)
    warm = langevin_chain(energy_fn, x, 1, 0.1, 0.3, SEED, identity)[0]
    moved = warm - langevin_chain(energy_fn, x, 1, 0.1, 0.0, SEED)[0]
    assert stats.kstest(moved.numpy().ravel() / np.sqrt(2 * 0.1 * 0.3), "norm").pvalue > FALSE_ALARM_RATE


def test_leaves_the_law_unchanged_and_relaxes_faster(factor):
    """A Gaussian with the covariance that P was made of, T = 1, c its smallest variance. A step shrinks one of
    variance v by 1 - r, r = ε / √(v c), so the variance of chains that start at 0 is known, ULA's bias 1 / (1 - r / 2)
    included; plain steps have r = ε / v.
    """
    covariance = factor.astype(np.float64) @ factor.swapaxes(-1, -2)
    precision = np.linalg.inv(covariance)
    root = root_of_spectrum(factor)
    values, vectors = np.linalg.eigh(covariance)
    smallest = values.min()
    cosine = fft.idct(np.eye(SIZE), axis=0, norm="ortho").astype(np.float32)
    energy_fn = make_gaussian(precision.astype(np.float32), cosine)
    step_size, num_steps = 0.1 * smallest, 40
    rates = step_size * np.sqrt(values / smallest) / values  # ε P over v, of every direction
    chain = compile_chain(energy_fn, SHAPE, preconditioner=tf.constant(root))
    x = chain(tf.zeros((2_000, *SHAPE)), num_steps, step_size, 1.0, SEED)[0].numpy().astype(np.float64)
    coefficients = np.einsum("klij,nkli->nklj", vectors, fft.dctn(x, axes=(1, 2), norm="ortho"))
    expected = values / (1 - rates / 2) * (1 - (1 - rates) ** (2 * num_steps))
    # A variance over 2,000 chains errs by 3.2 %, one standard deviation; six are allowed over 192 directions.
    np.testing.assert_allclose(coefficients.var(axis=0) / expected, 1, atol=6 * 0.032)
    widest = expected.ravel()[values.argmax()] / values.max()
    plain = 1 - (1 - step_size / values.max()) ** (2 * num_steps)
    assert widest > 5 * plain  # that the test is about directions in which the two differ


def make_gaussian(precision, cosine):
    def energy_fn(x):
        coefficients = tf.einsum("yk,xl,byxi->bkli", cosine, cosine, x)
        return 0.5 * tf.einsum("bkli,klij,bklj->b", coefficients, precision, coefficients)

    return energy_fn


def test_trainer_fits_it_and_the_file_keeps_it(monkeypatch, tmp_path):
    rng = np.random.default_rng(65)
    smooth = rng.normal(size=(200, 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
    monkeypatch.setattr(images, "load", lambda *args: images.to_uint8(0.3 * smooth))
    settings = {"num_filters": 4, "gaussian": "start+steps", "batch_size": 4}
    config = TrainConfig(**settings, data_noise=0.1, num_steps=2, attention=False)
    trainer = build_trainer(config)
    root = root_of_spectrum(noise_spectrum(build.dataset(config), config.data_noise)[1])
    np.testing.assert_array_equal(trainer.energy.preconditioner, root)
    trainer.energy.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.preconditioner, root)
    x_init = tf.random.stateless_normal((2, 32, 32, 3), SEED)
    expected = langevin_chain(loaded, x_init, 2, config.step_size, config.temperature, SEED, root)[0]
    found = trainer.sampler.run(trainer.energy, x_init, SEED, 2)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_none_keeps_no_weight():
    energy = build_energy(TrainConfig(num_filters=4, gaussian="start"))
    assert energy.preconditioner is None and len(energy.non_trainable_variables) == 2

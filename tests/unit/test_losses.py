"""Energy differences."""

import numpy as np
import tensorflow as tf

from ebm_tf.settings.train import TrainConfig
from ebm_tf.training.losses import energy_difference
from ebm_tf.training.run import build_trainer


def test_literals():
    result = energy_difference(tf.constant([1.0, 2.0, 3.0]), tf.constant([0.0, 3.0, 2.0]))  # differences 1, -1, 1
    std = np.sqrt(8.0) / 3.0
    assert set(result) == {"energy_difference", "std", "snr"}
    assert all(value.shape == () for value in result.values())
    np.testing.assert_allclose(result["energy_difference"], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(result["std"], std, rtol=1e-6)
    np.testing.assert_allclose(result["snr"], 1 / 3 / std, rtol=1e-6)


def test_samples_are_paired_with_their_chains():
    """A chain that stays at its sample's energy has no spread, however wide the data's energies are."""
    energies = tf.constant([-50.0, 0.0, 80.0])
    result = energy_difference(energies + 2.0, energies)
    np.testing.assert_allclose(result["energy_difference"], 2.0, rtol=1e-6)
    np.testing.assert_allclose(result["std"], 0.0, atol=1e-6)
    reversed_chains = energy_difference(energies + 2.0, energies[::-1])
    np.testing.assert_allclose(reversed_chains["energy_difference"], 2.0, rtol=1e-6)
    assert reversed_chains["std"] > 50


def test_nothing_to_tell_apart_gives_zeros():
    result = energy_difference(tf.ones([4]), tf.ones([4]))
    assert [float(result[key]) for key in ("energy_difference", "std", "snr")] == [0.0, 0.0, 0.0]


def test_sign_is_data_minus_chain():
    assert energy_difference(tf.zeros([2]), tf.ones([2]))["energy_difference"] == -1.0


def test_a_trainer_logs_paired_spreads():
    """Fig. 6 reads these. Chains of no length stay at the data: paired, data-initialised differences are all 0, while
    those of the noise component have the spread of E(x) - E(x_hat) and the total is the noise component alone.
    """
    config = TrainConfig(dataset="rings", batch_size=32, num_filters=4, cd_weight=7.0, step_size=1e-12, temperature=0.0)
    trainer = build_trainer(config)
    x = tf.random.stateless_normal((32, 10), [1, 2])
    starts = trainer._chain_starts(x, tf.constant([3, 4]))
    assert list(starts.x_inits) == ["noise_init", "data_init"] and starts.drawn is None
    np.testing.assert_array_equal(starts.x_inits["data_init"], x)
    energy = trainer.energy(x, training=False)
    scalars = trainer.train_step(x)
    assert float(tf.math.reduce_std(energy)) > 1e-3  # unpaired, the data component would have about this times root 2
    np.testing.assert_allclose(scalars["data_init/std"], 0.0, atol=1e-6)
    assert scalars["noise_init/std"] > 1e-3
    np.testing.assert_allclose(scalars["total/std"], scalars["noise_init/std"], rtol=1e-3)

"""The settings that fit data of one's own: the rule of presets.py, and what it looks at."""

import numpy as np
import pytest
import tensorflow as tf

from ebm_tf import defaults
from ebm_tf.data import folder, spectrum
from ebm_tf.data.base import Dataset
from ebm_tf.defaults import preset_of, with_preset
from ebm_tf.settings.presets import settings_for
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training.run import build_trainer
from tests.unit.test_dataset import PHOTOS, save_folder

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("preset", ["density", "detector"])
def test_noise_and_steps_follow_the_kernel_width(preset):
    """In whitened units; and what is set has a use, so that it is in the run's config as it stands here."""
    one, half = (settings_for((2,), 900, width, preset) for width in (0.2, 0.1))
    assert half["data_noise"] == pytest.approx(one["data_noise"] / 2)
    assert half["step_size"] == pytest.approx(one["step_size"] / 4) == pytest.approx(0.3 * half["data_noise"] ** 2)
    config = with_preset(TrainConfig(dataset="table:x.csv"), (), one)
    kept = {name: value for name, value in one.items() if name != "cd_weight" or preset == "detector"}
    assert {name: getattr(config, name) for name in kept} == kept


def test_a_density_jumps_and_a_detector_has_chains_from_noise():
    density, detector = (settings_for((2,), 900, 0.2, preset) for preset in ("density", "detector"))
    assert density["scheme"] == "data" and density["bank_jump"] and density["bank_weight"] > 0
    assert detector["scheme"] == "hybrid" and "bank_jump" not in detector
    assert settings_for((2,), 50, 0.2)["batch_size"] == 50


def test_images_on_a_cpu_take_noise_and_steps_from_the_kernel_width_and_a_network_of_a_cpu():
    """And what is set has a use; a GPU has the settings of a flag file, whatever the width."""
    one, half = (settings_for((32, 32, 1), 900, width) for width in (0.4, 0.2))
    assert half["data_noise"] == pytest.approx(one["data_noise"] / 2) == pytest.approx(0.75 * 0.2)
    assert half["step_size"] * half["temperature"] == pytest.approx(0.05 * half["data_noise"] ** 2)
    assert settings_for((64, 64, 1), 900, 0.4)["batch_size"] == 8 < one["batch_size"] == 32
    config = with_preset(TrainConfig(dataset="folder:x"), (), one)
    assert {name: getattr(config, name) for name in one} == one
    assert config.sample_num_steps == 20 * config.num_steps  # a twentieth of the bank's chains start anew
    gpu = [settings_for((32, 32, 1), 900, width, has_gpu=True) for width in (0.4, 0.2)]
    assert gpu[0] == gpu[1] and gpu[0]["num_filters"] == 64 and gpu[0]["batch_size"] == 100


def test_the_kernel_width_of_images_is_that_of_the_pixels_that_vary():
    """A black half, as padding adds a frame, would divide it by the root of 2."""
    whole = RNG.integers(0, 256, (100, 32, 32)).astype(np.uint8)
    half = np.where(np.arange(32) < 16, whole, 0).astype(np.uint8)
    noises = [preset_of(Dataset.from_array(x), "density")["data_noise"] for x in (whole, half)]
    assert noises[0] == pytest.approx(noises[1], rel=0.15)  # the widths that are tried are a tenth apart


def test_jumps_go_where_they_have_no_use():
    """Without noise on the data nothing can be proposed; the rest of the preset stays."""
    config = with_preset(TrainConfig(dataset="table:x.csv"), {"data_noise"}, settings_for((2,), 900, 0.2))
    assert not config.bank_jump and config.data_noise == 0 and config.bank_weight == 1.0


def test_some_examples_are_spread_over_all():
    """So that the kernel width of a sorted table is not that of its first rows."""
    data = Dataset.from_array(np.arange(200.0).reshape(100, 2), held_out=0.0)
    some = np.concatenate(list(data.examples(most=10)))
    np.testing.assert_allclose(data.to_stored(some)[:, 0], np.arange(0, 200, 20), atol=1e-4)
    assert len(next(data.examples(most=1_000))) == data.num_examples == 100


def test_chains_of_the_bank_jump():
    """Two clusters 40 standard deviations apart: of chains that lie in one, part start an update from the other."""
    x = (RNG.integers(0, 2, (500, 1)) * 40.0 + RNG.normal(size=(500, 2))).astype(np.float32)
    data = Dataset.from_array(x)
    given = {"batch_size": 200, "bank_size": 300, "num_filters": 4, "bank_restart_noise": 0.0}
    config = with_preset(TrainConfig(bank_weight=1.0, **given), {*given}, preset_of(data, "density"))
    trainer = build_trainer(config, data=data)
    trainer.energy.network.layers[-1].kernel.assign(np.zeros((4, 1)))  # a new one is rough: the Gaussian alone
    white = next(data.examples())
    trainer.bank.samples.assign(white[white[:, 0] < 0][RNG.integers(0, 200, 300)])
    starts = trainer._chain_starts(tf.constant(white[:200]), tf.constant([1, 2]))
    ends = starts.x_inits["persistent_init"].numpy()
    assert 0.1 < np.mean(ends[:, 0] > 0) < np.mean(starts.has_jumped) < 1
    np.testing.assert_array_equal(starts.drawn.x, ends)  # what the update writes back


def test_a_folder_that_streams_starts_by_a_few_images(tmp_path, monkeypatch):
    """The kernel width decodes MOST, and the Gaussian twice that, evenly spread, however many there are."""
    files = save_folder(tmp_path / "photos", PHOTOS)
    whole = spectrum.noise_spectrum(Dataset.from_folder(files, held_out=0.0))
    monkeypatch.setattr(folder, "MOST_BYTES", 0)
    monkeypatch.setattr(spectrum, "MOST", 12)
    monkeypatch.setattr(defaults, "MOST", 12)
    read, names = folder.Files._read, []
    monkeypatch.setattr(folder.Files, "_read", lambda self, name: names.append(name) or read(self, name))
    data = Dataset.from_folder(files, held_out=0.0)
    preset_of(data, "density")
    some = spectrum.noise_spectrum(data)
    assert sorted({*names}) == [f"{index:05d}.png" for index in range(0, 60, 5)] and len(names) == 36
    assert np.abs(some[0] - whole[0]).mean() < 0.3  # the mean of 12 images of uniform noise
    monkeypatch.setattr(spectrum, "MOST", 60)
    np.testing.assert_allclose(spectrum.noise_spectrum(data)[1], whole[1], atol=1e-5)

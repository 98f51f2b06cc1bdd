"""--checkpoint: an energy as a checkpoint has it, sampled, evaluated and exported; and a foreign .keras file."""

import csv
import dataclasses
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import ebm_tf
from ebm_tf.energies.files import load_energy
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation import tasks
from ebm_tf.evaluation.opening import checkpoint_run
from ebm_tf.evaluation.sampling import sample
from ebm_tf.serving.calibrate import calibrate
from ebm_tf.serving.export import export
from ebm_tf.serving.score import score
from ebm_tf.settings.commands import EvaluateConfig, ExportConfig, SampleConfig
from ebm_tf.settings.scoring import CalibrateConfig, ScoreConfig
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import run

CONFIG = TrainConfig(
    dataset="rings",
    num_filters=2,
    batch_size=8,
    num_steps=1,
    step_size=0.01,
    train_steps=4,
    learning_rate=0.02,
    checkpoint_every=1,
    keep_checkpoints=4,
    ema_momentum=0.5,
)
X = np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32)


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """A run that has lost its model.keras, and the energy that was in it."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    run.train(dataclasses.replace(CONFIG, workdir=str(folder)))
    energy = load_energy(folder / "model.keras")
    (folder / "model.keras").unlink()
    return folder, energy


def test_the_last_one_is_the_model_with_its_averages(unfinished):
    folder, energy = unfinished
    last = checkpoint_run(str(folder), "4", None, None)
    np.testing.assert_allclose(last.energy(X), energy(X), rtol=1e-6)
    assert last.energy.origin == energy.origin
    older = checkpoint_run(str(folder), "2", None, None)
    assert np.abs(older.energy(X) - energy(X)).max() > 1e-4 and older.model_id != last.model_id


def test_a_run_says_that_it_goes_on_otherwise_where_it_does(unfinished, tmp_path, capsys):
    """And not before it refuses."""
    folder = shutil.copytree(unfinished[0], tmp_path / "run")
    other = dataclasses.replace(CONFIG, workdir=str(folder), resume=True, learning_rate=0.03)
    with pytest.raises(ConfigError, match=r"^--train_steps: expected 4 or more"):
        run.train(dataclasses.replace(other, train_steps=3))
    assert "goes on with other settings" not in capsys.readouterr().err
    run.train(dataclasses.replace(other, train_steps=5))
    told = "goes on with other settings, and keeps them: --learning_rate=0.03 (was 0.02)"
    assert capsys.readouterr().err.count(told) == 1


def test_it_is_sampled_evaluated_and_exported(unfinished, tmp_path):
    folder, energy = unfinished
    chains = {"workdir": str(folder), "checkpoint": "4", "num_samples": 3}
    sample(SampleConfig(**chains, output=str(tmp_path / "samples")))
    done = tasks.evaluate(EvaluateConfig(**chains, tasks="short_run"))
    assert done.results == folder / "update-4" / "results.json" and not (folder / "results.json").exists()
    with np.load(tmp_path / "samples" / "samples.npz") as arrays, np.load(done.npz("short_run")) as again:
        np.testing.assert_allclose(arrays["x_final"], again["x_from_noise"], rtol=1e-5)
    model = ebm_tf.load(export(ExportConfig(workdir=str(folder), checkpoint="4", output=str(tmp_path / "made"))))
    np.testing.assert_allclose(model.energy(X), energy(X), rtol=1e-5)
    assert (model.info.model, model.info.sample_num_steps) == (done.model_id, 1)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ("5", r"--checkpoint: expected the update of a checkpoint in .*, of 1, 2, 3, 4\. Received: .*=5"),
        ("-1", "Received: checkpoint=-1"),
        ("newest", "Received: checkpoint=newest"),
    ],
)
def test_one_that_is_not_there_is_refused(checkpoint, message, unfinished, tmp_path):
    folder, _ = unfinished
    with pytest.raises(ConfigError, match=message) as caught:
        sample(SampleConfig(workdir=str(folder), checkpoint=checkpoint, output=str(tmp_path / "out")))
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_damaged_one_is_refused(unfinished, tmp_path, monkeypatch):
    monkeypatch.setattr("ebm_tf.training.checkpoints.manifests.damage", lambda *_: "it has changed")
    with pytest.raises(ConfigError, match="checkpoint=3, which is damaged"):
        checkpoint_run(str(unfinished[0]), "3", None, None)


def test_a_checkpoint_goes_with_workdir():
    with pytest.raises(ConfigError, match="--checkpoint: expected one with --workdir alone"):
        SampleConfig(model="m.keras", checkpoint="3", output="out")


def foreign(folder, step_size):
    """An energy of three standardised columns by a network of a user's own, whose chains take the steps given."""
    rng = np.random.default_rng(1)
    data = ebm_tf.Dataset.from_array((rng.standard_normal((60, 3)) * [1, 10, 100] + [5, -50, 0]).astype(np.float32))
    layers = [keras.Input((3,)), keras.layers.Dense(8, "silu"), keras.layers.Dense(1)]
    energy = ebm_tf.EnergyModel.from_network(keras.Sequential(layers))
    trainer = ebm_tf.Trainer(energy, data, sampler=ebm_tf.Sampler(step_size, 0.5, 3), batch_size=20)
    trainer.energy.save(folder / "mine.keras")
    return data, energy


def test_a_foreign_file_is_sampled_and_exported_in_the_datas_units(tmp_path):
    """Each coordinate with the step of its own: without noise a chain of one step shows it."""
    steps = (0.01, 0.02, 0.04)
    data, energy = foreign(tmp_path, np.float32(steps))
    given = {"model": str(tmp_path / "mine.keras"), "num_samples": 5, "num_steps": 1, "temperature": 0.0}
    sample(SampleConfig(**given, output=str(tmp_path / "out")))
    with np.load(tmp_path / "out" / "samples.npz") as arrays:
        x_init, x_final = ((arrays[name] - data.mean) / data.scale for name in ("x_init", "x_final"))
    _, grad = energy.energy_and_grad(x_init)
    np.testing.assert_allclose(x_final, x_init - np.float32(steps) * grad, rtol=1e-3, atol=1e-5)
    folder = export(ExportConfig(model=given["model"], output=str(tmp_path / "made")))
    for model in (ebm_tf.load(folder), ebm_tf.load(given["model"])):
        np.testing.assert_allclose(model.energy(X[:, :3]), energy((X[:, :3] - data.mean) / data.scale), rtol=1e-5)
        np.testing.assert_allclose(model.info.sample_step_size, steps, rtol=1e-6)
        assert (model.info.temperature, model.info.sample_num_steps, model.info.dataset) == (0.5, 3, "array")


def test_a_foreign_file_is_calibrated_and_scored_in_the_datas_units(tmp_path):
    """A row of the third column's mean and spread is far out in the others. The export has the detector, too."""
    data, energy = foreign(tmp_path, 0.01)
    x = np.random.default_rng(2).standard_normal((81, 3)) * [1, 10, 100] + [5, -50, 0]
    x[80] = 500
    np.save(tmp_path / "held_out.npy", x[:40])
    np.save(tmp_path / "x.npy", x[40:])
    file = str(tmp_path / "mine.keras")
    calibrate(CalibrateConfig(model=file, input=str(tmp_path / "held_out.npy"), false_positive_rate=0.1))
    score(ScoreConfig(model=file, input=str(tmp_path / "x.npy"), output=str(tmp_path / "x.csv")))
    with open(tmp_path / "x.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    expected = energy(((x[40:] - data.mean) / data.scale).astype(np.float32))
    np.testing.assert_allclose([float(row["energy"]) for row in rows], expected, rtol=1e-4, atol=1e-5)
    assert rows[-1]["flag"] == "out" and float(rows[-1]["p_value"]) == pytest.approx(1 / 21)
    folder = export(ExportConfig(model=file, output=str(tmp_path / "made")))
    for end in ("npz", "json"):
        assert (folder / f"calibration.{end}").stat().st_size == (tmp_path / f"mine.calibration.{end}").stat().st_size
    detect = tf.saved_model.load(str(folder)).signatures["detect"](x=tf.constant(x[40:], tf.float32))
    np.testing.assert_allclose(detect["p_value"], [float(row["p_value"]) for row in rows], rtol=1e-5)

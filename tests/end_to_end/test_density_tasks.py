"""The tasks mala, diagnostics, likelihood and the scores of ood: right where the law is known, and resumable."""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ebm_tf.build import build_energy
from ebm_tf.data import images, rings
from ebm_tf.energies import EnergyModel
from ebm_tf.energies.precision import rounding_over_temperature, with_policy
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation import tasks
from ebm_tf.evaluation.chains import diagnostics, likelihood
from ebm_tf.evaluation.detection import ood
from ebm_tf.evaluation.finished import load_run
from ebm_tf.evaluation.sampling import sample
from ebm_tf.mcmc.diagnostics import projections
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.commands import EvaluateConfig, SampleConfig
from ebm_tf.settings.train import TrainConfig
from ebm_tf.stats import log_z
from tests.asked import read_by
from tests.oracles import FALSE_ALARM_RATE

STIFFNESS, TEMPERATURE, STEP_SIZE = 2.0, 0.3, 0.25
QUADRATIC = TrainConfig(dataset="rings", num_steps=60, step_size=STEP_SIZE, temperature=TEMPERATURE)
NUMBERS = {
    "num_chains": 60,
    "mala_steps": 400,
    "mala_warmup_steps": 300,
    "long_run_steps": 600,
    "batch_size": 1_000,
    "ais_steps": 500,
    "num_samples": 500,
}


@keras.saving.register_keras_serializable(package="ebm_tf_tests")
class Quadratic(EnergyModel):
    """E = k|x|²/2 in ten dimensions."""

    event_shape = (10,)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        half_norm = keras.layers.Lambda(_half_norm, output_shape=(1,), dtype=self.dtype_policy)
        self.network = keras.Sequential([keras.Input((10,)), half_norm])
        self.built = True


@keras.saving.register_keras_serializable(package="ebm_tf_tests")
def _half_norm(x):
    return 0.5 * STIFFNESS * tf.reduce_sum(tf.square(x), axis=-1, keepdims=True)


def finished_run(folder: pathlib.Path, config: TrainConfig, energy: EnergyModel) -> pathlib.Path:
    """A run's folder as training leaves it, with this energy."""
    run_dir = RunDir(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), "workdir": str(folder)}))
    energy.save(run_dir.model)
    return folder


def test_denoised_ends_are_those_of_the_same_chains_a_step_down_the_energy(tmp_path):
    """By the T of training, whatever T the chains have."""
    config = dataclasses.replace(QUADRATIC, data_noise=0.2)
    folder = finished_run(tmp_path / "run", config, Quadratic())
    ends = []
    for denoise in (False, True):
        output = str(tmp_path / str(denoise))
        sample(SampleConfig(workdir=str(folder), output=output, num_samples=5, temperature=0.1, denoise=denoise))
        with np.load(tmp_path / str(denoise) / "samples.npz") as arrays:
            ends.append(arrays["x_final"])
    np.testing.assert_allclose(ends[1], (1 - 0.2**2 / TEMPERATURE * STIFFNESS) * ends[0], rtol=1e-4, atol=1e-6)


def evaluate(folder, names, **settings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnostics, "NUM_RECORDS", 300)
        tasks.evaluate(EvaluateConfig(workdir=str(folder), tasks=names, **{**read_by(names, NUMBERS), **settings}))
    run = load_run(folder)
    return run.read_results(), {name: run.arrays(name) for name in names.split(",")}


@pytest.fixture(scope="module")
def quadratic(tmp_path_factory):
    """(results, arrays) of both tasks on the quadratic energy."""
    folder = finished_run(tmp_path_factory.mktemp("runs") / "quadratic", QUADRATIC, Quadratic())
    return evaluate(folder, "mala,diagnostics")


def agrees(numbers, expected):
    """Student's t of the mean over chains, at the false-alarm rate."""
    quantile = stats.t.isf(FALSE_ALARM_RATE / 2, NUMBERS["num_chains"] - 1)
    return abs(numbers["mean"] - expected) < quantile * numbers["mean_std_error"]


def test_energies_have_their_closed_forms_with_and_without_adjustment(quadratic):
    """False-alarm rate 1e-6. Sees: ULA in place of MALA and the other way round, in the tasks as a whole."""
    results, _ = quadratic
    exact = 10 * TEMPERATURE / 2
    biased = exact / (1 - STEP_SIZE * STIFFNESS / 2)
    mala, ula = (results[task]["diagnostics"]["energy"] for task in ("mala", "diagnostics"))
    assert agrees(mala, exact) and not agrees(mala, biased)
    assert agrees(ula, biased) and not agrees(ula, exact)
    bias = results["diagnostics"]["bias"]
    assert bias["difference_over_temperature"] == pytest.approx((ula["mean"] - mala["mean"]) / TEMPERATURE)
    assert abs(bias["difference"] - (biased - exact)) < 6 * bias["std_error"]


def test_autocorrelation_time_is_ulas(quadratic):
    """Projections are autoregressions with a = 1 - εk = 1/2: τ = 3 steps, recorded at every second step."""
    results, arrays = quadratic
    assert np.all(np.diff(arrays["diagnostics"]["steps"]) == 2)
    numbers = results["diagnostics"]["diagnostics"]["projection_0"]
    a = (1 - STEP_SIZE * STIFFNESS) ** 2
    assert numbers["autocorrelation_time"] == pytest.approx(2 * (1 + a) / (1 - a), rel=0.05)
    assert results["diagnostics"]["verdict"].startswith("settled: ")
    variance = TEMPERATURE / STIFFNESS / (1 - STEP_SIZE * STIFFNESS / 2)
    assert numbers["std"] == pytest.approx(np.sqrt(variance), rel=0.05)


def test_mala_leaves_what_fig_8_needs(quadratic):
    results, arrays = quadratic
    numbers, made = results["mala"], arrays["mala"]
    assert numbers["is_complete"] and numbers["finite"]
    assert 400 <= numbers["accepted_moves"]["mean"] < 401
    assert numbers["num_moves"] == made["steps"][-1] == pytest.approx(400 / 0.67, rel=0.1)
    assert made["steps_warmup"][-1] == 300
    assert numbers["acceptance_rate"] == pytest.approx(0.67, abs=0.05)
    mean_rate = np.average(made["acceptance_sampling"], weights=np.diff(made["steps"], prepend=0))
    assert mean_rate == pytest.approx(numbers["acceptance_rate"], rel=1e-4)
    assert len(made["acceptance_warmup"]) == len(made["steps_warmup"]) == len(made["energy_warmup"])
    assert len(made["acceptance_sampling"]) == len(made["steps"]) == len(made["energy"])
    assert made["energy"].shape[1:] == (60,) and made["projections"].shape[1:] == (60, 4)
    step_sizes = made["step_size_trace"]
    assert len(step_sizes) == len(made["steps_warmup"]) + len(made["steps"])
    assert len(set(step_sizes[: len(made["steps_warmup"])])) > 10
    np.testing.assert_allclose(step_sizes[len(made["steps_warmup"]) :], numbers["step_size"], rtol=1e-5)
    np.testing.assert_allclose(made["x_final"] @ projections((10,)), made["projections"][-1], rtol=1e-4, atol=1e-5)
    assert numbers["energy_rounding_nats"] < 1e-4
    assert "on_rings" in numbers["from_noise"]
    assert numbers["verdict"].startswith("acceptance 0.6") and "settled" in numbers["verdict"]


def test_directions_are_unit_and_fixed():
    directions = projections((4, 4, 3))
    assert directions.shape == (48, 4)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(directions, projections((4, 4, 3)))


LOG_Z = 5 * np.log(2 * np.pi * TEMPERATURE / STIFFNESS)


def gaussian_sample(num_samples, seed):
    """The quadratic energy's own law, in place of the rings."""
    return np.float32(np.sqrt(TEMPERATURE / STIFFNESS)) * tf.random.stateless_normal([num_samples, 10], seed)


@pytest.fixture(scope="module")
def its_likelihood(tmp_path_factory):
    """(results, arrays) of likelihood on the quadratic energy, with test points that are draws of it."""
    folder = finished_run(tmp_path_factory.mktemp("runs") / "likelihood", QUADRATIC, Quadratic())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rings, "sample", gaussian_sample)
        return evaluate(folder, "likelihood")


def test_likelihood_of_a_gaussian(its_likelihood):
    """False-alarm rate 1e-6 (5.3 standard errors of 60 chains). The test points' mean log p is -d/2 ln(2 pi e T/k)."""
    results, arrays = its_likelihood
    numbers, log_z = results["likelihood"], results["likelihood"]["log_z_nats"]
    assert log_z["lower"] - 5.3 * log_z["lower_std_error"] < LOG_Z < log_z["upper"] + 5.3 * log_z["upper_std_error"]
    for name, sign in (("forward", 1), ("reverse", -1)):
        ratio = np.exp(arrays["likelihood"][f"log_weight_{name}"] - sign * LOG_Z)
        assert abs(ratio.mean() - 1) < 5.3 * ratio.std(ddof=1) / np.sqrt(60)
    exact = -5 * np.log(2 * np.pi * np.e * TEMPERATURE / STIFFNESS)
    log_p = numbers["log_likelihood_nats"]
    assert abs(log_p["estimate"] - exact) < 5.3 * log_p["std_error"] + 0.1
    assert log_p["estimate"] == pytest.approx(
        np.mean(arrays["likelihood"]["minus_energy_over_temperature"]) - log_z["estimate"]
    )
    assert numbers["verdict"].endswith("narrow enough to use (at most 0.1)")
    assert numbers["gap_nats"] == pytest.approx(log_z["upper"] - log_z["lower"])
    assert numbers["num_points"] == 500


def test_test_data_that_are_no_draws_of_the_model_are_seen(tmp_path):
    """The rings are no draws of this Gaussian: whatever the bounds are, they are not called narrow."""
    folder = finished_run(tmp_path / "run", QUADRATIC, Quadratic())
    results, _ = evaluate(folder, "likelihood", ais_steps=200)
    numbers = results["likelihood"]
    assert numbers["log_z_nats"]["lower"] - 5.3 * numbers["log_z_nats"]["lower_std_error"] < LOG_Z
    assert "narrow enough" not in numbers["verdict"]
    assert numbers["true_log_likelihood_nats"] == pytest.approx(20.5, abs=0.2)
    kl, log_p = numbers["kl_nats"], numbers["log_likelihood_nats"]
    assert kl["estimate"] == pytest.approx(numbers["true_log_likelihood_nats"] - log_p["estimate"])
    assert kl["lower"] == pytest.approx(numbers["true_log_likelihood_nats"] - log_p["upper"])


@pytest.mark.parametrize("task", ["mala", "diagnostics", "likelihood"])
@pytest.mark.parametrize("when", ["early", "late"])
def test_killed_task_goes_on_bit_for_bit(task, when, quadratic, its_likelihood, tmp_path, monkeypatch):
    """In and after the warm-up (300 moves are 15 blocks of 20); among the records; after the pilot and in reverse."""
    expected = {**quadratic[1], **its_likelihood[1]}
    killed_at = {"mala": (7, 31), "diagnostics": (1, 4), "likelihood": (1, 5)}[task][when == "late"]
    monkeypatch.setattr(rings, "sample", gaussian_sample)
    folder = finished_run(tmp_path / "run", QUADRATIC, Quadratic())
    mark, marked = PartialArrays.mark, []

    def mark_then_die(self, blocks_done):
        mark(self, blocks_done)
        marked.append(blocks_done)
        if len(marked) == killed_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(PartialArrays, "mark", mark_then_die)
    with pytest.raises(KeyboardInterrupt):
        evaluate(folder, task)
    assert (folder / "partial" / task).is_dir() and not (folder / f"{task}.npz").exists()
    _, found = evaluate(folder, task)
    assert marked[killed_at] == killed_at + 1  # it went on, and did not begin again
    for name, values in expected[task].items():
        np.testing.assert_array_equal(found[task][name], values)


def test_all_moves_count_and_each_chain_has_its_step(tmp_path):
    folder = finished_run(tmp_path / "run", QUADRATIC, Quadratic())
    options = {"mala_count": "all", "mala_step_sizes": "per_chain", "mala_steps": 50, "mala_warmup_steps": 30}
    results, arrays = evaluate(folder, "mala", num_chains=5, **options)
    assert results["mala"]["num_moves"] == 50 == arrays["mala"]["steps"][-1]
    smallest, largest = results["mala"]["step_size_range"]
    assert smallest < results["mala"]["step_size"] < largest
    assert results["mala"]["is_complete"]


def test_chains_that_accept_nothing_come_to_an_end(tmp_path):
    """Ten moves for each accepted one asked for, then the verdict says so."""
    config = TrainConfig(dataset="rings", num_steps=5, step_size=1e6, temperature=TEMPERATURE)
    folder = finished_run(tmp_path / "run", config, Quadratic())
    results, _ = evaluate(folder, "mala", num_chains=3, mala_steps=40, mala_warmup_steps=2)
    numbers = results["mala"]
    assert not numbers["is_complete"] and numbers["num_moves"] == 400
    assert "of 40 accepted" in numbers["verdict"] and "raise --mala_warmup_steps" in numbers["verdict"]


@pytest.fixture(scope="module")
def bfloat16_images(tmp_path_factory):
    config = TrainConfig(dataset="cifar10", num_filters=4, dtype_policy="mixed_bfloat16", num_steps=2, temperature=5e-5)
    keras.utils.set_random_seed(1)
    return config, finished_run(tmp_path_factory.mktemp("runs") / "images", config, build_energy(config))


def test_images_in_bfloat16_are_computed_in_float32(bfloat16_images, tmp_path, capsys):
    """From the model's file alone."""
    config, folder = bfloat16_images
    options = {"num_chains": 3, "mala_steps": 20, "mala_warmup_steps": 20, "step_size": 0.5}
    run = tasks.evaluate(
        EvaluateConfig(model=str(folder / "model.keras"), output=str(tmp_path), tasks="mala", **options)
    )
    assert "the energy is computed in float32: mixed_bfloat16" in capsys.readouterr().out
    numbers, samples = run.read_results()["mala"], run.arrays("mala")["samples"]
    assert (numbers["energy_dtype"], numbers["training_dtype_policy"]) == ("float32", "mixed_bfloat16")
    assert (numbers["temperature"], numbers["training_step_size"]) == (config.temperature, 0.5)
    assert samples.shape == (3, 32, 32, 3) and samples.dtype == np.uint8
    assert (tmp_path / "figures" / "mala.png").stat().st_size > 1_000


def test_rounding_is_measured(bfloat16_images):
    """bfloat16 knows an energy of 1 to about 80 T, float32 to a hundredth; the copy has the same weights."""
    _, folder = bfloat16_images
    energy = load_run(folder).energy
    copy = with_policy(energy, "float32")
    assert with_policy(copy, "float32") is copy
    for one, other in zip(energy.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    x = np.random.default_rng(0).standard_normal((8, 32, 32, 3)).astype(np.float32)
    size = np.abs(copy(x)).max() / 5e-5
    rounding = [rounding_over_temperature(model, model, x, 5e-5) for model in (energy, copy)]
    assert rounding[1] < 1e-5 * size
    assert rounding[0] > 1e-4 * size


def test_ood_has_a_detector_and_goes_on_after_a_kill(bfloat16_images, tmp_path, monkeypatch, capsys):
    """Flat images have other statistics than noise, with the model and without; a third of noise is told from them."""
    config, folder = bfloat16_images
    noise = np.random.default_rng(4).integers(0, 256, (120, 32, 32, 3), dtype=np.uint8)
    flat = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None, None], (60, 32, 32, 3))
    monkeypatch.setattr(ood, "_images", lambda source, *_: {"svhn_cropped": flat}[source])
    monkeypatch.setattr(images, "short_sides", lambda *_: np.full(60, 32))
    monkeypatch.setattr(images, "load", lambda *_: noise)
    results, arrays = evaluate(folder, "ood")
    found = results["ood"]["detector"]
    assert (found["num_fit"], found["num_calibration"], found["itself"]["num_out"]) == (40, 40, 40)
    for row in (found["against"]["svhn_cropped"], found["without_a_model"]["svhn_cropped"]):
        assert (row["auroc"], row["flagged"], row["num_in"], row["chance"]) == (1.0, 1.0, 40, 0.4)
    assert found["itself"]["flagged"] < 0.5
    assert all(0 <= column["svhn_cropped"] <= 1 for column in found["by_statistic"].values())
    assert found["by_statistic"]["energy_grad.luminance_7"]["svhn_cropped"] < 0.01
    assert {name: array.shape for name, array in arrays["ood"].items()} == {
        **{"energy_in": (120,), "ood_score_in": (40,), "p_value_in": (40,)},
        **{f"{name}_svhn_cropped": (60,) for name in ("energy", "ood_score", "p_value")},
    }
    assert results["ood"]["against"]["svhn_cropped"]["num_in"] == 120
    printed = capsys.readouterr().out
    assert "fitted on 40 + 40 of cifar10/test" in printed and "by_statistic" not in printed

    killed = finished_run(tmp_path / "run", config, load_run(folder).energy)
    mark = PartialArrays.mark

    def mark_then_die(self, blocks_done):
        mark(self, blocks_done)
        if blocks_done == 3:  # two blocks of energies, then among the statistics
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PartialArrays, "mark", mark_then_die)
        evaluate(killed, "ood")
    _, found = evaluate(killed, "ood")
    for name, values in arrays["ood"].items():
        np.testing.assert_array_equal(found["ood"][name], values)


LOG_Z_NUMBERS = {
    "lower": 10.0,
    "upper": 10.1,
    "lower_std_error": 0.05,
    "upper_std_error": 0.05,
    "estimate": 10.05,
    "estimate_reverse": 10.04,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "a gap of 0.014 ± 0.010 bits per dimension: narrow enough to use"),
        ({"upper": 11.0}, "too wide to use"),
        ({"upper_std_error": 0.5}, "too wide to use"),
        ({"upper": 9.5}, "the bounds cross; test data are no draws of this model"),
        ({"estimate_reverse": 8.0}, "the estimates from the two sides lie 0.296 apart"),
        ({"upper": np.inf}, "no verdict: weights are not finite"),
    ],
)
def test_verdict_on_bounds(changes, words):
    assert words in log_z.verdict({**LOG_Z_NUMBERS, **changes}, dimensions=10)


def test_bits_per_dimension_of_images(bfloat16_images, monkeypatch):
    """bits = -(log p / D + ln(2/255)) / ln 2 of images with noise within one level. Four stages are too few."""
    _, folder = bfloat16_images
    pixels = np.random.default_rng(2).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    monkeypatch.setattr(images, "load", lambda *_: pixels)
    results, arrays = evaluate(folder, "likelihood", num_chains=2, ais_steps=4)
    numbers, dimensions = results["likelihood"], 32 * 32 * 3
    for bound, other in (("lower", "upper"), ("estimate", "estimate"), ("upper", "lower")):
        log_p = numbers["log_likelihood_nats"][other]
        bits = -(log_p / dimensions + np.log(2 / 255)) / np.log(2)
        assert numbers["bits_per_dimension"][bound] == pytest.approx(bits)
    assert "raise --ais_steps" in numbers["verdict"] or "the bounds cross" in numbers["verdict"]
    settings = EvaluateConfig(workdir=str(folder), tasks="likelihood", num_samples=20)
    points = likelihood._test_points(load_run(folder), settings)
    distance = points - (pixels / 127.5 - 1)
    assert np.abs(distance).max() < 1.001 / 255 and np.std(distance) == pytest.approx(2 / 255 / np.sqrt(12), rel=0.02)
    assert len(arrays["likelihood"]["minus_energy_over_temperature"]) == 20


COLD = {"temperature": 0.0}
FEW = {"num_chains": 7, "batch_size": 3}


@pytest.mark.parametrize(
    ("task", "changes", "settings", "line"),
    [
        ("mala", COLD, {}, "--tasks: expected mala for a run with temperature above 0"),
        ("likelihood", COLD, {}, "--tasks: expected likelihood for a run with temperature above 0"),
        ("mala", {}, FEW, "--num_chains: expected at most batch_size, for mala"),
        ("diagnostics", {}, FEW, "--num_chains: expected at most batch_size, for diagnostics"),
        ("likelihood", {}, FEW, "--num_chains: expected at most 3 for likelihood"),
        ("likelihood", {}, {"num_samples": 20, "num_chains": 21}, "--num_chains: expected at most 20 for likelihood"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(task, changes, settings, line, tmp_path):
    config = TrainConfig(**{**QUADRATIC.to_dict(), **changes})
    folder = finished_run(tmp_path / "run", config, Quadratic())
    with pytest.raises(ConfigError, match=line):
        evaluate(folder, task, **settings)
    assert not (folder / "results.json").exists()

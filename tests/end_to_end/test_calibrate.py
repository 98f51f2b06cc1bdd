"""bin/calibrate.py: the threshold keeps its promise, and bin/score.py uses it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import ebm_tf
from ebm_tf.cli.commands import calibrate as command
from ebm_tf.errors import ConfigError
from ebm_tf.serving import calibrate, score
from ebm_tf.serving.calibrate import clopper_pearson, threshold
from ebm_tf.settings.commands import CalibrateConfig, ScoreConfig


def test_threshold_is_the_order_statistic():
    energy = np.random.default_rng(0).permutation(99).astype(np.float32)
    assert threshold(energy, 0.05) == 94  # the 95th smallest: rank 0.95 * 100
    assert threshold(energy, 0.5) == 49
    assert threshold(energy, 0.01) == 98
    with pytest.raises(ConfigError, match=r"expected, for 0.001, energies of at least 999 in-distribution inputs. Rec"):
        threshold(energy, 0.001)
    assert threshold(np.zeros(999), 0.001) == 0


def test_false_positive_rate_is_kept_on_average():
    """Exactly: for uniform energies the rate at the threshold is 1 - t, whose mean is 1 - r / (n + 1).

    20,000 draws of n = 30 at rate 0.1; r = 28 of 31, so the mean is 3/31 = 0.0968, at most 0.1. Standard error 0.0004;
    five of them, false alarm below 1e-6. The defects seen: r = 27 (0.129) and r = 29 (0.065).
    """
    energies = np.random.default_rng(1).random((20_000, 30))
    rates = 1 - np.array([threshold(energy, 0.1) for energy in energies])
    assert abs(rates.mean() - 3 / 31) < 5 * rates.std() / len(rates) ** 0.5


def test_interval_is_the_binomials():
    """Its ends are the probabilities at which the count seen is just in the tail."""
    for count, total in ((0, 10), (3, 10), (10, 10), (50, 1000)):
        low, high = clopper_pearson(count, total, 0.9)
        assert low == 0 if count == 0 else stats.binom.sf(count - 1, total, low) == pytest.approx(0.05)
        assert high == 1 if count == total else stats.binom.cdf(count, total, high) == pytest.approx(0.05)
        expected = stats.binomtest(count, total).proportion_ci(0.9, "exact")
        assert (low, high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("total", "rate"), [(20, 0.05), (100, 0.05), (1000, 0.01), (57, 0.2)])
def test_interval_covers_the_rate_of_the_chosen_threshold(total, rate):
    """The rate at E_(r) is Beta(n - r + 1, r), for any continuous law: coverage by its distribution function."""
    energy = np.arange(total, dtype=np.float32)
    above = int((energy > threshold(energy, rate)).sum())
    low, high = clopper_pearson(above, total, 0.95)
    law = stats.beta(above + 1, total - above)
    assert law.sf(high) == pytest.approx(0.025)
    assert law.cdf(low) <= 0.025
    assert law.mean() <= rate + 1e-12


@pytest.fixture
def model(image_export, tmp_path):
    """An export of its own, since calibration is written into it, and 40 images."""
    folder = Path(shutil.copytree(image_export, tmp_path / "model"))
    coarse = np.random.default_rng(3).integers(0, 256, (40, 4, 4, 3), np.uint8)
    np.save(tmp_path / "held_out.npy", coarse.repeat(8, axis=1).repeat(8, axis=2))
    return folder


def test_score_uses_the_calibration(model, tmp_path):
    held_out = str(tmp_path / "held_out.npy")
    numbers = score.calibrate(CalibrateConfig(model=str(model), input=held_out, false_positive_rate=0.2, batch_size=16))
    assert json.loads((model / "calibration.json").read_text()) == numbers
    energy = np.sort(ebm_tf.load(model).energy(np.load(held_out)))
    rank = 33  # ceil(0.8 * 41)
    assert numbers["threshold"] == pytest.approx(energy[rank - 1], abs=1e-5)
    assert (numbers["num_inputs"], numbers["num_above"], numbers["num_bad"]) == (40, 7, 0)
    assert numbers["interval"] == list(clopper_pearson(7, 40, 0.95))

    def flags(**settings):
        output = tmp_path / f"{len(list(tmp_path.iterdir()))}.csv"
        score.score(ScoreConfig(model=str(model), input=held_out, output=str(output), **settings))
        rows = [line.split(",") for line in output.read_text().splitlines()[1:]]
        return [row[3] for row in rows], np.array([float(row[1]) for row in rows], np.float32)

    found, scored = flags()
    assert found == ["out" if e > np.float32(numbers["threshold"]) else "in" for e in scored]
    assert found.count("out") == 7
    assert flags(false_positive_rate=0.5)[0].count("out") == 19  # ceil(0.5 * 41) = 21 are in


def test_a_calibration_of_another_model_is_told(model, tmp_path):
    held_out = str(tmp_path / "held_out.npy")
    score.calibrate(CalibrateConfig(model=str(model), input=held_out))
    numbers = json.loads((model / "calibration.json").read_text())
    (model / "calibration.json").write_text(json.dumps({**numbers, "model": "0123456789abcdef"}))
    with pytest.raises(ConfigError, match=r"--reference: expected energies by model .* by 0123456789abcdef"):
        score.score(ScoreConfig(model=str(model), input=held_out, output=str(tmp_path / "out.csv")))


def test_bad_inputs_are_refused_or_left_out(model, tmp_path):
    images = np.load(tmp_path / "held_out.npy") / np.float32(127.5) - 1
    images[5] = np.nan
    np.save(tmp_path / "bad.npy", images)
    settings = {"model": str(model), "input": str(tmp_path / "bad.npy")}
    with pytest.raises(
        ConfigError, match=r"--input: expected inputs that can be read, or --skip_bad. Received: 5: val"
    ):
        score.calibrate(CalibrateConfig(**settings))
    with pytest.raises(ConfigError, match=r"--false_positive_rate: expected, for 0.001, energies of at least 999"):
        score.calibrate(CalibrateConfig(**settings, skip_bad=True, false_positive_rate=0.001))
    assert not list(model.glob("calibration*"))
    numbers = score.calibrate(CalibrateConfig(**settings, skip_bad=True))
    assert (numbers["num_inputs"], numbers["num_bad"]) == (39, 1)


def test_a_reference_that_is_not_finite_is_told(tmp_path, image_export):
    (tmp_path / "reference.csv").write_text("id,energy,error\na,nan,\nb,1,\n")
    settings = ScoreConfig(model=str(image_export), input="x", output="y", reference=str(tmp_path / "reference.csv"))
    with pytest.raises(ConfigError, match=r"--reference: expected energies in .*, all of them finite"):
        calibrate.load_reference(settings, ebm_tf.load(image_export).info)


def test_the_command_says_the_threshold(model, tmp_path, capsys):
    command.main(CalibrateConfig(model=str(model), input=str(tmp_path / "held_out.npy")))
    out = capsys.readouterr().out
    assert out.startswith(f"wrote {model}/calibration.json: 40 inputs, 0 left out\nout above ")
    assert out.endswith("false-positive rate 0.05, 95% interval [0.0006327, 0.1316]\n")

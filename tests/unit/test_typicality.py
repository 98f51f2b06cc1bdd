"""The detector's numbers by hand, in TensorFlow, on disk, and what it refuses."""

import dataclasses
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from sklearn.covariance import LedoitWolf

from ebm_tf.data.stores import split_indices
from ebm_tf.errors import ConfigError
from ebm_tf.serving.detect import detect_fn
from ebm_tf.settings.train import TrainConfig
from ebm_tf.stats.detection import Trial
from ebm_tf.stats.typicality import LEAST, TAILS, Detector

NAMES = ("energy", "tied", "skewed", "constant", "half zero")


def draw(num, seed):
    """Statistics that depend on each other: with ties, skewed, constant, of two kinds."""
    mix = np.random.default_rng(0).standard_normal((5, 5))
    x = np.random.default_rng(seed).standard_normal((num, 5)) @ mix
    x[:, 1], x[:, 2], x[:, 3], x[:, 4] = np.round(x[:, 1]), np.exp(x[:, 2]), 7.0, np.maximum(x[:, 4], 0)
    return x.astype(np.float32)


@pytest.fixture(scope="module")
def detector():
    return Detector.fit(draw(400, 1), NAMES)


REST, PIXELS = "rest_grad.power", "pixels.chroma_1"


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("energy", "a", "b"), [[0, 1, 2]]),
        (("energy", REST, REST), [[0, 1, 2], [1, 2]]),
        (("energy", "a", PIXELS), [[0, 1, 2], [2]]),
        (("energy", REST, PIXELS), [[0, 1], [1], [2]]),
    ],
)
def test_scores_by_an_independent_way(names, parts):
    """Of few inputs without ties every one is a knot, so that its normal score is that of its rank."""
    x = np.random.default_rng(2).standard_normal((60, 3)) @ np.array([[1.0, 0.8, 0.0], [0, 1, 0.5], [0, 0, 1]])
    found = Detector.fit(x, names, seed=5)
    first, second = np.split(x[np.random.default_rng(5).permutation(60)], 2)
    expected = stats.norm.ppf((stats.rankdata(first, axis=0) - 0.5) / 30)
    np.testing.assert_allclose(found.normal_scores(first), expected, atol=0.05)
    score, z, new = 0, found.normal_scores(first), found.normal_scores(second)
    for part in parts:
        fitted = LedoitWolf().fit(z[:, part])
        logs, own = (np.log1p(fitted.mahalanobis(values[:, part])) for values in (new, z))
        score += (logs - own.mean()) / own.std() / len(parts)
    np.testing.assert_allclose(found.ood_score(second), score, rtol=1e-9)
    np.testing.assert_array_equal(found.calibration, np.sort(found.ood_score(second)))


def test_p_values_by_hand(detector):
    ones = dataclasses.replace(detector, calibration=np.array([1.0, 2.0, 2.0, 3.0]))
    assert ones.p_value(np.array([0.0, 1.0, 2.0, 2.5, 3.0, 4.0, np.inf, np.nan])).tolist() == [
        *(1.0, 1.0, 0.8, 0.4, 0.4, 0.2, 0.2, 0.2)
    ]


def test_tails_are_of_the_energy_alone(detector):
    x = draw(50, 3)
    upper, lower = (dataclasses.replace(detector, tail=tail) for tail in ("upper", "lower"))
    np.testing.assert_array_equal(upper.ood_score(x), x[:, 0])
    np.testing.assert_array_equal(lower.ood_score(x), -x[:, 0])
    n = detector.num_calibration
    np.testing.assert_allclose(
        upper.p_value(x[:, 0]) + lower.p_value(-x[:, 0]), (n + 2) / (n + 1)
    )  # no ties: each of the n is above or below


def test_every_side_counts(detector):
    """One statistic far out on either side is enough, and farther out is more atypical."""
    x = np.repeat(draw(400, 1).mean(axis=0, keepdims=True), 4, axis=0)
    x[:, 2] += np.array([-50.0, 0.0, 50.0, 500.0])
    low, inside, high, higher = detector.ood_score(x)
    assert inside < low and inside < high < higher
    assert detector.most_unusual(x)[0] == ("skewed", "low") and detector.most_unusual(x)[3] == ("skewed", "high")


@pytest.mark.parametrize("tail", TAILS)
def test_tensorflow_gives_the_same_numbers(detector, tail):
    """Inside, at the knots, far outside and where nothing is finite, traced."""
    one = dataclasses.replace(detector, tail=tail)
    x = np.concatenate([draw(200, 4), draw(3, 5), 1e4 * draw(20, 6)])
    x[200, 2], x[201, 0], x[202, 3] = np.nan, -np.inf, np.inf
    x[:100, detector.kept] = detector.knots[:, :100].T
    fn = tf.function(detect_fn(one.to_arrays()), input_signature=[tf.TensorSpec([None, 5])], autograph=False)
    ood_score, p_value = (values.numpy() for values in fn(tf.constant(x)))
    expected = one.ood_score(x)
    np.testing.assert_allclose(ood_score, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(p_value, one.p_value(expected), atol=1.5 / (one.num_calibration + 1))
    assert np.all(np.isinf(expected[200:203])) and np.allclose(p_value[200:203], 1 / 201)


def test_tensorflow_flags_what_is_beyond_float32():
    """A statistic that is finite, but by so many standard deviations that its normal score is not."""
    x = np.float32(1e-6) * draw(400, 1)
    found = Detector.fit(x, NAMES)
    x[0, 4] = 1e36
    ood_score, p_value = detect_fn(found.to_arrays())(tf.constant(x[:1]))
    assert ood_score.numpy() == np.inf and p_value.numpy() == pytest.approx(1 / 201)
    assert found.p_value(found.ood_score(x[:1])) == pytest.approx(1 / 201)


def test_what_is_not_finite_is_named(detector):
    x = draw(3, 7)
    x[1, 3] = np.nan
    assert detector.most_unusual(x)[1] == ("constant", "not finite")
    assert all(side in ("low", "high") for _, side in detector.most_unusual(x)[::2])


def test_constant_statistics_are_left_out(detector):
    assert detector.dropped == ("constant",)
    x = draw(5, 8)
    before = detector.ood_score(x)
    x[:, 3] = 8.0
    np.testing.assert_array_equal(detector.ood_score(x), before)


def test_a_file_keeps_it(detector, tmp_path):
    np.savez(tmp_path / "detector.npz", **detector.to_arrays())
    with np.load(tmp_path / "detector.npz") as arrays:
        again = Detector.from_arrays(arrays)
    x = draw(20, 9)
    np.testing.assert_array_equal(again.ood_score(x), detector.ood_score(x))
    assert (again.names, again.tail, again.dropped) == (detector.names, "both", ("constant",))
    with pytest.raises(ConfigError, match=r"expected the arrays of a detector\. Received: none named knots$"):
        Detector.from_arrays({name: value for name, value in detector.to_arrays().items() if name != "knots"})


def test_bad_input_is_refused(detector):
    x = draw(10, 0)
    with pytest.raises(ConfigError, match=r"expected statistics \[N, 5\] of 5 held-out inputs or more\. Received: \[4"):
        Detector.fit(x[:4], NAMES)
    with pytest.raises(ConfigError, match=r"Received: \[10, 4\]"):
        Detector.fit(x[:, :4], NAMES)
    x[2, 1] = np.nan
    with pytest.raises(ConfigError, match=r"whose statistics are finite\. Received: 1 of 10 with others"):
        Detector.fit(x, NAMES)
    with pytest.raises(ConfigError, match="statistics that are all alike"):
        Detector.fit(np.ones((10, 5)), NAMES)
    two_kinds = np.empty((8, 5))
    two_kinds[np.random.default_rng(0).permutation(8)] = draw(2, 0)[[0, 0, 1, 1] * 2]
    with pytest.raises(ConfigError, match=r"^expected held-out .* Received: a singular covariance of the 4 that fit$"):
        Detector.fit(two_kinds, NAMES)
    with pytest.raises(ConfigError, match=r"--tail: expected one of both, upper, lower\. Received: tail=left"):
        dataclasses.replace(detector, tail="left")


def test_the_fewest_inputs_fit():
    for seed in range(20):
        found = Detector.fit(draw(LEAST, seed), NAMES, seed)
        assert np.isfinite(found.calibration).all() and found.num_calibration == 2


def test_a_rate_needs_inputs():
    one = Detector.fit(draw(38, 0), NAMES)
    one.check_rate(0.05, 38)
    with pytest.raises(ConfigError) as caught:
        one.check_rate(0.01, 38, "rate")
    assert str(caught.value) == (
        "--rate: expected, for 0.01, 198 held-out inputs or more. Received: 38, of which the fit takes 19 and 19 are "
        "left for p-values; give more, or --rate=0.05 or more"
    )
    page = (pathlib.Path(__file__).parents[2] / "docs" / "own_data.md").read_text(encoding="utf-8")
    most = int(re.search(r"a table of (\d+) rows or more in all", page)[1])
    split = [split_indices(count, TrainConfig.held_out, 0, "data") for count in (most - 1, most)]
    assert [len(parts["held_out"]) for parts in split] == [37, 38]
    odd = Detector.fit(draw(37, 0), NAMES)  # 19 fit
    with pytest.raises(ConfigError, match=r"Received: 37, .* takes 19 and 18 are left .* or --rate=0\.0527 or more$"):
        odd.check_rate(0.05, 37, "rate")
    odd.check_rate(0.0527, 37)
    assert one.p_value(np.array([np.inf]))[0] == pytest.approx(0.05)


def test_one_told_example_that_is_not_finite_is_the_most_unusual():
    """Against others and against its own alike: it does not take the numbers away."""
    x = draw(90, 3)
    x[-1, 0] = np.nan
    trial = Trial(NAMES, {"in": x, "out": draw(20, 4)}, np.arange(60), np.arange(60, 90), 0)
    own, other = trial.itself(), trial.against()["out"]
    assert 0 < own["auroc"] < 1 and 0 < other["auroc"] < 1 and own["flagged"] >= 1 / 30
    trial = Trial(NAMES, {"in": draw(90, 3), "out": np.full((20, 5), np.nan)}, np.arange(60), np.arange(60, 90), 0)
    assert all(column == {"out": 1.0} for column in trial.by_statistic().values())

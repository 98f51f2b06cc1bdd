"""ebm_tf.EnergyDensity: scikit-learn's own checks, its laws, and what it refuses."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import _get_feature_names

import ebm_tf

RNG = np.random.default_rng(5)
# Correlated columns of other sizes and places; two clusters.
ROWS = (RNG.integers(0, 2, (1500, 1)) * 4 + RNG.normal(size=(1500, 3)) @ [[1, 0.9, 0], [0, 0.4, 0], [0, 0, 1]]) * [
    1e-3,
    1.0,
    50.0,
] + [0.0, 7.0, -900.0]
FALSE_ALARM = 1e-6


class Frame:
    """What scikit-learn asks of a data frame, where pandas is not installed."""

    def __init__(self, columns):
        self._columns, self.columns = columns, list(columns)
        self.shape = len(next(iter(columns.values()))), len(columns)

    def __getitem__(self, name):
        return np.asarray(self._columns[name])

    def __array__(self, dtype=None, copy=None):
        return np.asarray(np.stack([self[name] for name in self.columns], axis=1), dtype)

    def __dataframe__(self):
        return self

    def column_names(self):
        return self.columns


@pytest.fixture(scope="module")
def fitted():
    return ebm_tf.EnergyDensity(random_state=0).fit(ROWS[:1000])


def test_scikit_learns_own_checks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)  # of those that need pandas
        warnings.simplefilter("ignore", UserWarning)  # they fit a dozen rows
        check_estimator(ebm_tf.EnergyDensity(num_centres=100))


def test_it_is_scikit_learns_kernel_density_of_whitened_rows(fitted):
    mean, scale = ROWS[:1000].mean(axis=0), ROWS[:1000].std(axis=0)
    factor = np.linalg.cholesky(0.7 * np.corrcoef(ROWS[:1000].T) + 0.3 * np.eye(3))
    z, new = (np.linalg.solve(factor, ((x - mean) / scale).T).T for x in (ROWS[:1000], ROWS[1000:]))
    expected = KernelDensity(bandwidth=fitted.width_).fit(z).score_samples(new)
    expected -= np.log(np.diag(factor)).sum() + np.log(scale).sum()
    np.testing.assert_allclose(fitted.score_samples(ROWS[1000:]), expected, atol=1e-4)
    assert fitted.score(ROWS[1000:]) == pytest.approx(expected.mean(), abs=1e-4)


def test_so_many_of_the_rows_that_belong_are_flagged():
    """As a beta-binomial says. Rows that are scored with their own kernels would set the limit too high."""
    draw = np.random.default_rng(11).normal
    fit, new, rate = draw(size=(600, 8)), draw(size=(4000, 8)), 0.1
    model = ebm_tf.EnergyDensity(false_positive_rate=rate, random_state=0).fit(fit)
    rank = int(rate * 601)
    law = stats.betabinom(4000, rank, 601 - rank)
    low, high = law.ppf(FALSE_ALARM / 2), law.ppf(1 - FALSE_ALARM / 2)
    assert low <= np.sum(model.predict(new) == -1) <= high
    wrong = np.sort(model.score_samples(fit))[rank - 1]
    assert np.sum(model.score_samples(new) < wrong) > high


def test_of_few_rows_with_many_columns_no_more_are_flagged():
    """Rows that are scored without their own kernels, but by a whitening that they have made, would flag 47 %."""
    draw = np.random.default_rng(12).normal
    fit, new = draw(size=(100, 50)), draw(size=(4000, 50))
    flagged = np.sum(ebm_tf.EnergyDensity(random_state=0).fit(fit).predict(new) == -1)
    assert flagged <= stats.betabinom(4000, 5, 101 - 5).ppf(1 - FALSE_ALARM)


def test_samples_have_the_moments_of_the_density(fitted):
    """Mean to 5.2 standard errors in each of three columns; the covariance is the centres' and the kernels'."""
    samples = fitted.sample(20_000, random_state=1)
    mean, scale = ROWS[:1000].mean(axis=0), ROWS[:1000].std(axis=0)
    shape = 0.7 * np.corrcoef(ROWS[:1000].T) + 0.3 * np.eye(3)
    covariance = np.cov(ROWS[:1000].T, bias=True) + fitted.width_**2 * shape * np.outer(scale, scale)
    std = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(samples.mean(axis=0) - mean) < 5.2 * std / np.sqrt(20_000))
    np.testing.assert_allclose(np.cov(samples.T) / np.outer(std, std), covariance / np.outer(std, std), atol=0.06)
    np.testing.assert_array_equal(samples, fitted.sample(20_000, random_state=1))


def test_it_is_pickled_cloned_piped_and_searched(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(ROWS[1000:]), fitted.predict(ROWS[1000:]))
    assert clone(fitted).get_params() == fitted.get_params()
    piped = make_pipeline(StandardScaler(), ebm_tf.EnergyDensity(random_state=0)).fit(ROWS[:1000])
    volume = np.log(ROWS[:1000].std(axis=0)).sum()
    np.testing.assert_allclose(piped.score_samples(ROWS[1000:]) - volume, fitted.score_samples(ROWS[1000:]), atol=1e-4)
    widths = [fitted.width_ / 5, fitted.width_, fitted.width_ * 5]
    search = GridSearchCV(ebm_tf.EnergyDensity(random_state=0), {"width": widths}, cv=2).fit(ROWS[:400])
    assert search.best_params_["width"] == fitted.width_


def test_a_table_with_names():
    x = ROWS[:200].copy()
    table = Frame({"age": x[:, 0], "height": x[:, 1], "constant": np.full(200, 3.0)})
    model = ebm_tf.EnergyDensity(random_state=0).fit(table)
    known = _get_feature_names(table) is not None  # newer scikit-learn knows frames of some libraries alone
    assert not known or model.feature_names_in_.tolist() == ["age", "height", "constant"]
    assert model.n_features_in_ == 3
    assert np.all(model.sample(5)[:, 2] == 3.0)
    other = np.column_stack([x[:, :2], np.full(200, 9.0)])  # another constant
    other = Frame(dict(zip(table.columns, other.T)))
    assert np.all(model.score_samples(other) < model.score_samples(table).min())
    if known:
        with pytest.raises(ValueError, match="feature names"):
            model.predict(Frame({"age": x[:, 0], "weight": x[:, 1], "constant": x[:, 2]}))
    x[7, 1] = np.nan
    with pytest.raises(ebm_tf.ConfigError, match=rf"finite numbers.* NaN in column {'height' if known else 1}, row 7"):
        model.fit(Frame({"age": x[:, 0], "height": x[:, 1]}))
    with pytest.raises(ebm_tf.ConfigError, match=r"columns of numbers.* column sex of <U1; encode it"):
        model.fit(Frame({"age": x[:, 0], "sex": np.array(["m", "f"] * 100)}))
    with pytest.raises(ebm_tf.ConfigError, match=r"columns of numbers.* column day of datetime64\[D\]; encode it"):
        model.fit(Frame({"age": x[:, 0], "day": np.datetime64("2026-01-01") + np.arange(200)}))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_centres": 1}, "num_centres 2 or more"),
        ({"width": 0.0}, "width above 0"),
        ({"false_positive_rate": 0.0}, r"false_positive_rate in \(0, 1\)"),
        ({"contamination": 0.7}, "contamination in"),
        ({"contamination": "auto"}, "contamination in"),
    ],
)
def test_settings_out_of_their_range(settings, words):
    with pytest.raises(ebm_tf.ConfigError, match=words):
        ebm_tf.EnergyDensity(**settings).fit(ROWS[:50])


def test_tables_of_which_no_density_can_be_had(fitted):
    with pytest.raises(ebm_tf.ConfigError, match="a column that varies"):
        ebm_tf.EnergyDensity().fit(np.ones((30, 2)))
    with pytest.raises(ebm_tf.ConfigError, match="infinity in column 1, row 2500"):
        fitted.score_samples(np.vstack([np.ones((2500, 3)), [[0, np.inf, 0]]]))
    with pytest.raises(ebm_tf.ConfigError, match=r"squares are finite. Received: 1e.300 in column 1"):
        ebm_tf.EnergyDensity().fit(np.vstack([ROWS[:50], [[0, 1e300, 0]]]))
    with pytest.raises(ebm_tf.ConfigError, match=r"numbers. Received: 'red' in column 1, row 1; encode it"):
        ebm_tf.EnergyDensity().fit([[1, "2"], [2, "red"]])
    with pytest.raises(ebm_tf.ConfigError, match="expected n, a whole number"):
        fitted.sample(0)


def test_the_rate_and_the_contamination():
    with pytest.warns(UserWarning, match="12 rows of fit are too few for false_positive_rate=0.05: 0.077 is"):
        ebm_tf.EnergyDensity().fit(ROWS[:12])
    model = ebm_tf.EnergyDensity(contamination=0.2, num_centres=200).fit(ROWS[:500])
    assert len(model.centres_) == 200 and np.sum(model.fit_predict(ROWS[:500]) == -1) == 100

"""Are R-hat, effective sample size, autocorrelation time and drift what their closed forms say?

An autoregression x ← a x + √(1 - a²) z is ULA on a Gaussian with a = 1 - εk. Its autocorrelation time is
(1 + a) / (1 - a); half chains of n records have means of variance τ/n about, so R̂² is 1 + τ/n.

Estimates are averaged over NUM_SETS independent sets, and compared by Student's t at a false-alarm rate of 1e-6 plus a
bias of 2 % that the truncated sum may have. Each test rejects a number that is wrong by a known defect.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from ebm_tf.data import rings
from ebm_tf.mcmc.diagnostics import bulk_ess, diagnose, drift, rank_r_hat, verdict
from ebm_tf.mcmc.langevin import langevin_step
from tests.oracles import FALSE_ALARM_RATE, quadratic

NUM_RECORDS, NUM_CHAINS, NUM_SETS = 1_000, 20, 15
BIAS = 0.02


def autoregression(a, rng, num_records=NUM_RECORDS, num_chains=NUM_CHAINS):
    """[N, C], stationary from the first record."""
    x = rng.standard_normal((num_records, num_chains))
    x[1:] *= np.sqrt(1 - a**2)
    for record in range(1, num_records):
        x[record] += a * x[record - 1]
    return x


def sets(a, **sizes):
    return [autoregression(a, np.random.default_rng([71, number]), **sizes) for number in range(NUM_SETS)]


def agree(estimates, expected):
    """Whether the mean of independent estimates is the expected number: Student's t, plus the bias allowed."""
    estimates = np.asarray(estimates) / expected
    error = stats.t.isf(FALSE_ALARM_RATE / 2, len(estimates) - 1) * estimates.std(ddof=1) / np.sqrt(len(estimates))
    return abs(estimates.mean() - 1) < error + BIAS


@pytest.mark.parametrize("a", [0.0, 0.5, 0.9, -0.5])
def test_ess_of_an_autoregression(a):
    """Sees: ESS that ignores autocorrelation, that counts one chain of many, τ by the sum without its factor 2."""
    values = sets(a)
    expected = NUM_RECORDS * NUM_CHAINS * (1 - a) / (1 + a)
    estimates = [bulk_ess(value) for value in values]
    assert agree(estimates, expected)
    assert not agree(estimates, expected / NUM_CHAINS)
    assert not agree(estimates, expected * (1 - a) ** -1 if a else 1.5 * expected)


def test_autocorrelation_time_of_ula():
    """Of langevin_step itself, recorded at every fifth step: τ in steps, not in records, where they differ.

    The records are an autoregression with a = (1 - εk)^5, so τ is 5 (1 + a) / (1 - a) steps.
    """
    stiffness, step_size, temperature, every = 2.0, 0.025, 0.3, 5
    energy_fn = quadratic(stiffness)
    variance = temperature / (stiffness * (1 - step_size * stiffness / 2))

    @tf.function
    def chain(x, seed):
        records = tf.TensorArray(tf.float32, 1_000)
        for step in tf.range(1_000):
            step_seed = tf.random.experimental.stateless_fold_in(seed, step)
            x = langevin_step(energy_fn, x, step_size, temperature, step_seed)[0]
            records = records.write(step, x[:, 0])
        return records.stack()

    num_chains = NUM_SETS * NUM_CHAINS
    x_init = np.sqrt(variance) * np.random.default_rng(72).standard_normal((num_chains, 1))
    records = np.asarray(chain(tf.constant(x_init, tf.float32), tf.constant([73, 74])))[::every]
    a = (1 - step_size * stiffness) ** every
    found = [diagnose(part, every) for part in np.split(records, NUM_SETS, axis=1)]
    # Half chains of 100 records are 13 τ long: their means take 1/13 of the variance into the pairs that are summed.
    times = [number.autocorrelation_time for number in found]
    expected = every * (1 + a) / (1 - a)
    assert agree(times, expected)
    assert not agree(times, expected / every)
    assert agree([number.std**2 for number in found], variance)


@pytest.mark.parametrize("a", [0.5, 0.8])
def test_r_hat_of_settled_chains(a):
    """R̂² - 1 is τ/n - 1/n to first order, n records in a half chain. Sees: R̂ not split, or its square."""
    tau, half = (1 + a) / (1 - a), NUM_RECORDS // 2
    excess = [rank_r_hat(value) ** 2 - 1 for value in sets(a, num_chains=80)]
    error = stats.t.isf(FALSE_ALARM_RATE / 2, NUM_SETS - 1) * np.std(excess, ddof=1) / np.sqrt(NUM_SETS)
    assert abs(np.mean(excess) - (tau - 1) / half) < error + 0.1 * (tau - 1) / half
    assert abs(np.mean(excess) - (tau - 1) / NUM_RECORDS) > error


def test_r_hat_of_chains_with_different_means():
    """√(1 + variance of means), 2 % allowed: about 1.12 for means ±0.5, whose mixture is nearly normal."""
    rng = np.random.default_rng(75)
    means = np.repeat([-0.5, 0.5], NUM_CHAINS // 2)
    values = rng.standard_normal((NUM_RECORDS, NUM_CHAINS)) + means
    assert rank_r_hat(values) == pytest.approx(np.sqrt(1.25), rel=0.02)
    assert rank_r_hat(values) != pytest.approx(1.25, rel=0.02)


def test_split_sees_a_change_within_chains():
    """All chains move from mean 0 to mean 1 half-way: unsplit R̂ is 1, split √1.25."""
    values = np.random.default_rng(76).standard_normal((NUM_RECORDS, NUM_CHAINS))
    values[NUM_RECORDS // 2 :] += 1
    assert rank_r_hat(values) == pytest.approx(np.sqrt(1.25), rel=0.02)


def unranked(values):
    """√(V/W) of half chains as they are: what neither a heavy tail nor another spread shows."""
    halves = np.concatenate(np.split(values, 2), axis=1)
    within = halves.var(axis=0, ddof=1).mean()
    return np.sqrt(1 - 1 / len(halves) + halves.mean(axis=0).var(ddof=1) / within)


@pytest.mark.parametrize(
    ("shift", "scale", "arviz"), [(0, 1, 0.9988094545654211), (5, 1, 1.2092657220762675), (0, 3, 1.051624943321784)]
)
def test_r_hat_of_a_heavy_tail_is_arvizs(shift, scale, arviz):
    """Tangents of evenly spread angles have Cauchy's law. Of four chains one is shifted, or wider; the literals are
    arviz.rhat's of ArviZ 0.23.4. Sees: R̂ of the values themselves, or without the distances from the median.
    """
    record, chain = np.mgrid[1:401, 1:5]
    values = np.tan(record * np.sqrt([2, 3, 5, 7])) * np.where(chain == 4, scale, 1) + np.where(chain == 4, shift, 0)
    assert rank_r_hat(values) == pytest.approx(arviz, rel=1e-12)
    assert unranked(values) < 1.01


def test_on_the_rings():
    """Independent draws of A.1 count in full; chains that stay each on its ring do not, by closed form.

    By its rank a record stands in the lower, middle or upper third of a standard normal law, whatever it is within its
    ring: 2/3 of m² is the variance of the thirds' means, m that of the upper one, and R̂ = √(1 + B / (1 - 2/3 m²)).
    """
    x = rings.sample(30_000, tf.constant([77, 78])).numpy()
    radius = np.hypot(x[:, 0], x[:, 1])
    free = radius.reshape(1_000, 30)
    assert rank_r_hat(free) < 1.005
    assert bulk_ess(free) == pytest.approx(free.size, rel=0.1)
    ring = np.rint(radius).clip(1, 3)
    length = 500
    stuck = np.concatenate([radius[ring == number][: 10 * length].reshape(length, 10) for number in (1, 2, 3)], axis=1)
    between = 2 / 3 * (3 * stats.norm.pdf(stats.norm.ppf(1 / 3))) ** 2
    assert rank_r_hat(stuck) == pytest.approx(np.sqrt(1 + between / (1 - between)), rel=0.03)
    assert bulk_ess(stuck) < 100
    assert verdict({"radius": diagnose(stuck, 1)}).startswith("not settled: R-hat")
    assert verdict({"radius": diagnose(free, 1)}).startswith("settled: ")


def test_drift_of_a_line_with_noise():
    """The slope is recovered, and its error is right: 400 sets, t within its law (KS, false-alarm rate 1e-6)."""
    scores, wrong = [], []
    slope, moves_per_record = 0.3, 50.0
    for number in range(400):
        values = autoregression(0.9, np.random.default_rng([79, number]), 200, 10)
        values += slope * (np.arange(200) * moves_per_record / 1_000)[:, None]
        estimate, error = drift(values, moves_per_record)
        scores.append((estimate - slope) / error)
        # The defect: error bars of least squares, as though records were independent.
        time = np.arange(200) * moves_per_record / 1_000
        wrong.append((estimate - slope) / (1 / np.sqrt(10 * np.sum((time - time.mean()) ** 2))))
    assert stats.kstest(scores, stats.t(9).cdf).pvalue > FALSE_ALARM_RATE
    assert stats.kstest(wrong, stats.norm.cdf).pvalue < FALSE_ALARM_RATE


def test_standard_error_of_the_mean():
    """From chain means: standardised errors of 300 sets follow Student's t, where independent records' would not."""
    scores, wrong = [], []
    for number in range(300):
        values = autoregression(0.9, np.random.default_rng([80, number]), 200, 10)
        found = diagnose(values, 1)
        scores.append(found.mean / found.mean_std_error)
        wrong.append(found.mean / (found.std / np.sqrt(values.size)))
    assert stats.kstest(scores, stats.t(9).cdf).pvalue > FALSE_ALARM_RATE
    assert stats.kstest(wrong, stats.norm.cdf).pvalue < FALSE_ALARM_RATE


def ess_by_hand(values):
    """Equations 10 to 14 of Vehtari et al. (2021), by sums, on rank-normalised half chains."""
    half = len(values) // 2
    chains = np.concatenate([values[:half], values[half : 2 * half]], axis=1)
    order = np.argsort(np.argsort(chains, axis=None)).reshape(chains.shape) + 1
    z = stats.norm.ppf((order - 3 / 8) / (chains.size + 1 / 4))
    n, m = z.shape
    centred = z - z.mean(axis=0)
    covariance = np.array([np.sum(centred[lag:] * centred[: n - lag], axis=0) / (n - lag) for lag in range(n)])
    within = np.mean(np.sum(centred**2, axis=0)) / n
    total = within + np.var(z.mean(axis=0), ddof=1)
    rho = 1 - (within - covariance.mean(axis=1)) / total
    tau = -1.0
    for lag in range(0, n - n % 2, 2):
        if rho[lag] + rho[lag + 1] < 0:
            break
        tau += 2 * (rho[lag] * (n - lag) / n + rho[lag + 1] * (n - lag - 1) / n)
    return n * m / tau


@pytest.mark.parametrize("a", [0.0, 0.9])
def test_ess_equals_the_one_written_out(a):
    """Also where chains drift, and for an odd number of records. Sees: not split, or not rank-normalised."""
    values = autoregression(a, np.random.default_rng(85), 101, 5) + np.linspace(0, 2, 101)[:, None]
    assert bulk_ess(values) == pytest.approx(ess_by_hand(values), rel=1e-6)


def test_ess_sees_ranks_only():
    """A heavy tail cannot spoil it: any increasing function of the records has the same ESS."""
    values = autoregression(0.7, np.random.default_rng(81))
    assert bulk_ess(np.sinh(4 * values)) == pytest.approx(bulk_ess(values), rel=1e-9)


def test_verdicts_name_what_is_wrong():
    good = diagnose(autoregression(0.5, np.random.default_rng(82), 4_000), 1)
    assert verdict({"energy": good}).startswith("settled: ")
    trend = autoregression(0.5, np.random.default_rng(82), 4_000) + np.linspace(0, 0.3, 4_000)[:, None]
    other = diagnose(trend, 1)
    assert "of other over the record (a trend)" in verdict({"energy": good, "other": other})
    unsure = good._replace(drift=1.0, drift_std_error=1.0, drift_over_std=5.0)  # more, by accident: hides no other
    assert "of other over the record (a trend)" in verdict({"energy": unsure, "other": other})
    slow = diagnose(autoregression(0.999, np.random.default_rng(83), 1_000), 1)
    assert "below 400" in verdict({"energy": slow}) and "above 1.01" in verdict({"energy": slow})


def test_records_that_do_not_vary():
    found = diagnose(np.ones((10, 3)), 1)
    assert (found.r_hat, found.ess, found.drift, found.drift_over_std) == (1.0, 1.0, 0.0, 0.0)
    stuck = diagnose(np.tile(np.arange(3.0), (10, 1)), 1)  # only between chains
    assert stuck.r_hat == np.inf and stuck.ess < 10
    assert "not settled: R-hat inf" in verdict({"energy": stuck})


@pytest.mark.parametrize("values", [np.zeros((7, 3)), np.zeros((10, 1)), np.zeros(10), np.full((10, 3), np.nan)])
def test_bad_records_are_refused(values):
    with pytest.raises(ValueError, match="expected"):
        diagnose(values, 1)


def test_energy_of_gaussian_chains_has_its_closed_form():
    """E = k|x|²/2 in d coordinates has mean dT/2 and variance dT²/2 under exp(-E/T). False-alarm rate 1e-6 (mean)."""
    temperature, d = 0.3, 10
    x = np.random.default_rng(84).standard_normal((NUM_RECORDS, NUM_CHAINS, d)) * np.sqrt(temperature)
    found = diagnose(0.5 * np.sum(x**2, axis=-1), 1)
    quantile = stats.t.isf(FALSE_ALARM_RATE / 2, NUM_CHAINS - 1)
    assert abs(found.mean - d * temperature / 2) < quantile * found.mean_std_error
    assert found.std == pytest.approx(temperature * np.sqrt(d / 2), rel=0.05)

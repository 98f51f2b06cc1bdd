"""Frechet and kernel distance: closed forms, independent implementations, and what the estimates do at small counts.

Laws are tested by z-scores of means over replicates: |z| > 4.9 has probability 1e-6 under the law.
"""

import numpy as np
import pytest
from scipy import linalg

from ebm_tf.stats import distances
from ebm_tf.stats.distances import Moments, frechet_distance, kernel_distance, unbiased_mmd

Z_LIMIT = 4.9


def z_score(values, mean):
    return (np.mean(values) - mean) / (np.std(values, ddof=1) / np.sqrt(len(values)))


def positive(rng, dimension, rank=None):
    """A symmetric matrix of this rank, with eigenvalues of several magnitudes."""
    factor = rng.normal(size=(dimension, rank or dimension)) * np.logspace(0, -2, rank or dimension)
    return factor @ factor.T


def features(count=400, dimension=32):
    """Two sets of features like those of a network: positive, correlated, of different scales."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(dimension, dimension)) / np.sqrt(dimension)
    x, y = (np.maximum(rng.normal(size=(count, dimension)) @ mixing + shift, 0) for shift in (0.0, 0.3))
    return x.astype(np.float32), y.astype(np.float32)


def distance_of(x, y):
    a, b = Moments.of(x), Moments.of(y)
    return frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


# Frechet distance.


def test_equal_gaussians_have_distance_0():
    covariance = positive(np.random.default_rng(0), 50)
    assert abs(frechet_distance(np.ones(50), covariance, np.ones(50), covariance)) < 1e-12 * np.trace(covariance)


def test_diagonal_gaussians():
    rng = np.random.default_rng(1)
    mean1, mean2, std1, std2 = rng.normal(size=(4, 20))
    expected = np.sum((mean1 - mean2) ** 2) + np.sum((np.abs(std1) - np.abs(std2)) ** 2)
    assert frechet_distance(mean1, np.diag(std1**2), mean2, np.diag(std2**2)) == pytest.approx(expected, rel=1e-12)


def test_gaussians_in_the_plane():
    """Of 2x2 matrices, tr (C1 C2)^½ = √(tr C1 C2 + 2 √(det C1 C2)), also where they do not commute."""
    rng = np.random.default_rng(2)
    cov1, cov2 = positive(rng, 2), positive(rng, 2)
    assert np.abs(cov1 @ cov2 - cov2 @ cov1).max() > 1e-3
    product = cov1 @ cov2
    overlap = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(cov1) + np.trace(cov2) - 2 * overlap
    assert frechet_distance(np.zeros(2), cov1, np.zeros(2), cov2) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("rank", [40, 7])
def test_transported_gaussians(rank):
    """x -> A x with A positive is the best transport, so d² = E|x - A x|² = tr (I - A) C (I - A), C singular or not."""
    rng = np.random.default_rng(3)
    covariance, transport = positive(rng, 40, rank), np.eye(40) + positive(rng, 40)
    gap = np.eye(40) - transport
    expected = np.trace(gap @ covariance @ gap)
    moved = transport @ covariance @ transport
    assert frechet_distance(np.zeros(40), covariance, np.zeros(40), moved) == pytest.approx(expected, rel=1e-6)


def test_fewer_rows_than_features_against_themselves():
    x = np.random.default_rng(4).normal(size=(30, 200))
    moments = Moments.of(x)
    assert abs(distance_of(x, x)) < 1e-10 * np.trace(moments.covariance)


def test_null_spaces_that_differ():
    """Singular Gaussians on orthogonal subspaces share nothing: d² = tr C1 + tr C2."""
    cov1, cov2 = np.zeros((2, 60, 60))
    rng = np.random.default_rng(5)
    cov1[:20, :20], cov2[20:40, 20:40] = positive(rng, 20), positive(rng, 20)
    rotation = linalg.qr(rng.normal(size=(60, 60)))[0]
    cov1, cov2 = rotation @ cov1 @ rotation.T, rotation @ cov2 @ rotation.T
    expected = np.trace(cov1) + np.trace(cov2)
    assert frechet_distance(np.zeros(60), cov1, np.zeros(60), cov2) == pytest.approx(expected, rel=1e-6)


def test_general_matrix_root_gives_the_same():
    x, y = features()
    cov1, cov2 = np.cov(x, rowvar=False, dtype=np.float64), np.cov(y, rowvar=False, dtype=np.float64)
    shift = x.mean(0, dtype=np.float64) - y.mean(0, dtype=np.float64)
    overlap = np.trace(linalg.sqrtm(cov1 @ cov2)).real
    expected = shift @ shift + np.trace(cov1) + np.trace(cov2) - 2 * overlap
    assert distance_of(x, y) == pytest.approx(expected, rel=1e-6)


def test_clean_fid_gives_the_same():
    fid = pytest.importorskip("cleanfid.fid", reason="an extra of this test: pip install clean-fid")
    x, y = features()
    statistics = [np.mean(x, axis=0), np.cov(x, rowvar=False), np.mean(y, axis=0), np.cov(y, rowvar=False)]
    assert distance_of(x, y) == pytest.approx(fid.frechet_distance(*statistics), rel=1e-4)
    assert unbiased_mmd(x, y) == pytest.approx(fid.kernel_distance(x, y, 1, len(x)), rel=1e-4)


def test_torch_fidelity_gives_the_same():
    torch = pytest.importorskip("torch", reason="an extra of this test: pip install torch-fidelity")
    metric_fid = pytest.importorskip("torch_fidelity.metric_fid", reason="as above")
    metric_kid = pytest.importorskip("torch_fidelity.metric_kid", reason="as above")
    x, y = features()
    statistics = [metric_fid.fid_features_to_statistics(torch.tensor(rows)) for rows in (x, y)]
    value = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert distance_of(x, y) == pytest.approx(value, rel=1e-6)
    options = {"kid_subsets": 1, "kid_subset_size": len(x), "verbose": False}
    value = metric_kid.kid_features_to_metric(torch.tensor(x), torch.tensor(y), **options)
    assert unbiased_mmd(x, y) == pytest.approx(value["kernel_inception_distance_mean"], rel=1e-6)


# Moments.


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_moments_are_numpys_however_cut(block):
    x = 1e4 + features()[0]
    moments = Moments.of(x, block)
    assert moments.num_rows == len(x)
    np.testing.assert_allclose(moments.mean, x.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(x, rowvar=False, dtype=np.float64), rtol=1e-9, atol=1e-9)


def test_merged_moments_are_those_of_all_rows():
    x, y = features()
    merged, whole = Moments.of(x).merge(Moments.of(y[:50])), Moments.of(np.concatenate([x, y[:50]]))
    assert merged.num_rows == whole.num_rows
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-9, atol=1e-9)


# Bias of the Frechet distance.

DIMENSION, REPLICATES = 4, 400


def same_law_distances(count, distance=distance_of):
    """Distances of pairs of sets of `count` draws, all from N(0, I)."""
    rng = np.random.default_rng(6)
    return [distance(*rng.normal(size=(2, count, DIMENSION))) for _ in range(REPLICATES)]


def small_count_bias(count):
    """E d² of two sets from N(0, I) to first order in 1/n: 2D/n of the means, D(D + 1)/2n of the covariances."""
    return (2 * DIMENSION + DIMENSION * (DIMENSION + 1) / 2) / count


@pytest.mark.parametrize("count", [100, 400])
def test_bias_is_upward_and_inverse_to_the_count(count):
    # The spread of one distance is a third of its mean, so a mean off by 9 % is seen; the next order is below 4 %.
    assert abs(z_score(same_law_distances(count), small_count_bias(count))) < Z_LIMIT


def test_a_distance_without_means_is_told_apart():
    def without_means(x, y):
        return distance_of(x - x.mean(0), y - y.mean(0))

    assert abs(z_score(same_law_distances(100, without_means), small_count_bias(100))) > Z_LIMIT


# Kernel distance.


def test_mmd_is_the_double_loop():
    x, y = features(count=9, dimension=5)
    y = y[:6]

    def k(a, b):
        return (float(np.dot(a.astype(np.float64), b.astype(np.float64))) / 5 + 1) ** 3

    within_x = [k(x[i], x[j]) for i in range(9) for j in range(9) if i != j]
    within_y = [k(y[i], y[j]) for i in range(6) for j in range(6) if i != j]
    between = [k(a, b) for a in x for b in y]
    expected = np.mean(within_x) + np.mean(within_y) - 2 * np.mean(between)
    assert unbiased_mmd(x, y) == pytest.approx(expected, rel=1e-10)


def test_subsets_are_disjoint_and_of_the_stated_size(monkeypatch):
    seen = []
    monkeypatch.setattr(distances, "unbiased_mmd", lambda x, y: seen.append((x, y)) or 0.0)
    x, y = np.arange(107.0)[:, None], np.arange(250.0)[:, None]
    result = kernel_distance(x, y, subset_size=8)
    assert (result.subset_size, result.num_subsets) == (8, 13)
    for side in (0, 1):
        rows = np.concatenate([pair[side] for pair in seen])
        assert len(np.unique(rows)) == len(rows) == 8 * 13


@pytest.mark.parametrize("count, size, subsets", [(20_000, 1_000, 20), (500, 50, 10), (8, 2, 4), (3, 2, 1)])
def test_small_sets_get_small_subsets(count, size, subsets, monkeypatch):
    monkeypatch.setattr(distances, "unbiased_mmd", lambda x, y: float(len(x)))
    result = kernel_distance(np.zeros((count, 1)), np.zeros((30_000, 1)))
    assert (result.value, result.subset_size, result.num_subsets) == (size, size, subsets)
    assert (result.std_error is None) == (subsets == 1)


def disjoint(x, y, seed):
    value, error, *_ = kernel_distance(x, y, 4, seed)
    return value, error


def overlapping(x, y, seed):
    """As is usual: subsets drawn anew from all rows, and their spread taken for that of independent ones."""
    rng = np.random.default_rng(seed)
    parts = [(x[rng.permutation(len(x))[:20]], y[rng.permutation(len(y))[:20]]) for _ in range(5)]
    values = [unbiased_mmd(a, b) for a, b in parts]
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))


def with_self_pairs(x, y, seed):
    """Means of k over all pairs of rows, a row with itself among them."""

    def mean_kernel(a, b):
        return np.mean((a @ b.T / a.shape[1] + 1) ** 3)

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y), 0.0


@pytest.fixture(scope="module")
def null_estimates():
    """Of 1,500 pairs of sets of one law, whose MMD² is 0: by each way, values and standard errors, [2, 1500]."""
    rng = np.random.default_rng(7)
    pairs = rng.normal(size=(1_500, 2, 40, 2))
    ways = (disjoint, overlapping, with_self_pairs)
    return {way: np.array([way(x, y, seed) for seed, (x, y) in enumerate(pairs)]).T for way in ways}


def test_kernel_distance_has_no_bias_and_its_standard_error(null_estimates):
    """E value = 0, and E std_error² = Var value = E value², exactly and whatever the shape of their law."""
    value, error = null_estimates[disjoint]
    assert abs(z_score(value, 0)) < Z_LIMIT
    assert abs(z_score(value**2 - error**2, 0)) < Z_LIMIT


def test_overlapping_subsets_and_self_pairs_are_told_apart(null_estimates):
    value, error = null_estimates[overlapping]
    assert z_score(value**2 - error**2, 0) > Z_LIMIT
    assert z_score(null_estimates[with_self_pairs][0], 0) > Z_LIMIT


def test_kernel_distance_of_two_gaussians():
    """In one dimension k = 1 + 3xy + 3x²y² + x³y³, so MMD² = 3 Δm₁² + 3 Δm₂² + Δm₃², m the moments."""
    mean, std = 0.7, 1.3
    moments = np.array([mean, mean**2 + std**2, mean**3 + 3 * mean * std**2])
    expected = np.sum(np.array([3, 3, 1]) * (moments - [0, 1, 0]) ** 2)
    rng = np.random.default_rng(8)
    draws = ((rng.normal(size=(50, 1)), rng.normal(mean, std, size=(50, 1))) for _ in range(1_000))
    assert abs(z_score([kernel_distance(x, y, 5).value for x, y in draws], expected)) < Z_LIMIT

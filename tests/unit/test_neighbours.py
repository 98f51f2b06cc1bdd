"""Nearest neighbours: exact against a direct double loop, ties, blocks; and the task."""

import dataclasses

import keras
import numpy as np
import pytest

from ebm_tf.data import images
from ebm_tf.evaluation.features import fid, neighbours
from ebm_tf.evaluation.features.extractors import load_extractor
from ebm_tf.evaluation.finished import FinishedRun
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.commands import EvaluateConfig, resolve
from ebm_tf.settings.train import TrainConfig
from ebm_tf.stats import nearest as nearest_module
from ebm_tf.stats.nearest import nearest

RNG = np.random.default_rng(0)
SPLIT = RNG.integers(0, 256, (50, 32, 32, 3)).astype(np.uint8)


def by_double_loop(queries, rows, count):
    """Sorted by (squared distance, index), each distance summed on its own."""
    index, distance = [], []
    for query in queries.astype(np.float64):
        squared = [np.sum((query - row.astype(np.float64)) ** 2) for row in rows]
        order = sorted(range(len(rows)), key=lambda i: (squared[i], i))[:count]
        index.append(order)
        distance.append(np.sqrt([squared[i] for i in order]))
    return np.array(index), np.array(distance)


@pytest.mark.parametrize("block", [7, 4096])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_nearest_is_the_double_loop(monkeypatch, block, dtype):
    monkeypatch.setattr(nearest_module, "BLOCK", block)
    rows = RNG.integers(0, 256, (40, 6, 5)).astype(dtype)
    queries = np.concatenate([RNG.integers(0, 256, (4, 6, 5)), rows[10:12]]).astype(dtype)
    index, distance = nearest(queries, rows, 5)
    expected_index, expected_distance = by_double_loop(queries, rows, 5)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_allclose(distance, expected_distance, rtol=1e-12)
    np.testing.assert_array_equal(index[4:, 0], [10, 11])
    assert not distance[4:, 0].any()


def test_ties_go_to_the_lower_index(monkeypatch):
    monkeypatch.setattr(nearest_module, "BLOCK", 3)
    rows = np.array([[2.0], [0.0], [1.0], [-1.0], [0.0], [1.0], [-1.0], [5.0]])
    index, distance = nearest(np.zeros((1, 1)), rows, 6)
    np.testing.assert_array_equal(index[0], [1, 4, 2, 3, 5, 6])
    np.testing.assert_array_equal(distance[0], [0, 0, 1, 1, 1, 1])


def test_order_holds_where_matrix_products_round():
    """Rows far from 0 and nearly equal: |a|² + |b|² - 2ab loses the 8 digits in which they differ."""
    rows = 1e6 + np.arange(9.0)[:, None] * 1e-4 * np.ones((1, 16))
    query = rows[[4]] + 2e-5
    flat = np.einsum("nd,nd->n", rows, rows) - 2 * (rows @ query[0]) + query[0] @ query[0]
    assert list(np.argsort(flat, kind="stable")[:3]) != [4, 5, 3]
    index, distance = nearest(query, rows, 3)
    np.testing.assert_array_equal(index[0], [4, 5, 3])
    np.testing.assert_allclose(distance[0], np.array([2e-5, 8e-5, 12e-5]) * 4, rtol=1e-4)


def test_all_rows_may_be_asked_for():
    index, _ = nearest(SPLIT[:2], SPLIT[:4], 4)
    np.testing.assert_array_equal(np.sort(index), np.tile(np.arange(4), (2, 1)))


# The task.


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose samples are training images, changed a little."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "load", lambda *args: SPLIT)
    monkeypatch.setattr(fid, "_extractor", load_extractor)
    run_dir = RunDir(tmp_path / "run")
    run_dir.figures.mkdir(parents=True)
    run_dir.model.write_bytes(b"never read")
    samples = SPLIT[[30, 7, 19]].copy()
    samples[:, 0, 0, 0] ^= 4
    np.savez(run_dir.path / "short_run.npz", x_from_noise=samples)
    return FinishedRun(run_dir, TrainConfig(), run_dir.model)


def settings_of(run, **settings):
    settings = EvaluateConfig(workdir=str(run.run_dir.path), tasks="neighbours", **settings)
    return resolve(settings, run.config)


def partial_of(run):
    return PartialArrays(run.run_dir.path / "partial" / "neighbours", "key")


def test_pixels_alone_without_features(run, capsys):
    settings = settings_of(run, neighbour_samples=2, num_neighbours=4)
    neighbours.check_neighbours(run, settings)
    numbers, arrays = neighbours.neighbours_task(run, settings, partial_of(run))
    assert set(arrays) == {"samples", "pixel_index", "pixel_distance", "pixel_images"}
    np.testing.assert_array_equal(arrays["pixel_index"][:, 0], [30, 7])
    np.testing.assert_allclose(arrays["pixel_distance"][:, 0], 4 / 127.5)
    np.testing.assert_array_equal(arrays["pixel_images"][:, 0], SPLIT[[30, 7]])
    assert (arrays["pixel_images"].shape, arrays["pixel_images"].dtype) == ((2, 4, 32, 32, 3), np.uint8)
    assert {name: numbers[name] for name in ("samples", "num_samples", "num_neighbours", "split")} == {
        "samples": "short_run",
        "num_samples": 2,
        "num_neighbours": 4,
        "split": "cifar10/train",
    }
    np.testing.assert_allclose(numbers["mean_pixel_distance"], arrays["pixel_distance"].mean(axis=0))
    assert (run.run_dir.figures / "neighbours.png").stat().st_size > 0
    assert "neighbours: by pixels alone" in capsys.readouterr().out


def test_features_come_beside_pixels(run, tmp_path):
    path = tmp_path / "own.keras"
    keras.Sequential([keras.Input((32, 32, 3)), keras.layers.AveragePooling2D(16), keras.layers.Flatten()]).save(path)
    settings = settings_of(run, fid_features=str(path))
    numbers, arrays = neighbours.neighbours_task(run, settings, partial_of(run))
    extractor = load_extractor(str(path), 32)
    index, distance = by_double_loop(extractor(arrays["samples"]), extractor(SPLIT), 3)
    np.testing.assert_array_equal(arrays["feature_index"], index)
    np.testing.assert_allclose(arrays["feature_distance"], distance, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(arrays["feature_images"], SPLIT[index])
    assert numbers["features"] == "own.keras" and len(numbers["mean_feature_distance"]) == 3


def test_more_neighbours_than_images(run):
    settings = dataclasses.replace(settings_of(run), num_neighbours=1_000)
    numbers, arrays = neighbours.neighbours_task(run, settings, partial_of(run))
    assert numbers["num_neighbours"] == 50
    assert arrays["pixel_index"].shape == (3, 50)

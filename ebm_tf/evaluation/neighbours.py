"""The task neighbours: the training images nearest to samples, by pixels and by features (Fig. 7C).

Exact: every distance is computed, by |a - b|² = |a|² + |b|² - 2 a·b in float64 with the products as matrix products,
and those that rounding could have put in the wrong order again, as sum (a - b)².
"""

from typing import Any

import numpy as np

from ebm_tf.config import EvaluateConfig
from ebm_tf.evaluation import fid, figures, inception
from ebm_tf.evaluation.runs import FinishedRun, PartialArrays, TaskResult

__all__ = ["check_neighbours", "nearest", "neighbours_inputs", "neighbours_task"]

BLOCK = 4_096


def nearest(queries: np.ndarray, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows nearest to each query by Euclidean distance, the nearest first; of equal ones the lower index first.

    Args:
      queries: [M, ...], flattened.
      rows: [N, ...], flattened and read in blocks (a memmap streams).
      count: k, at most N.

    Returns:
      (index int64 [M, k], distance float64 [M, k]), in units of the entries.
    """
    flat = np.asarray(queries, np.float64).reshape(len(queries), -1)
    squared = np.empty((len(flat), len(rows)))
    largest = 0.0
    for start in range(0, len(rows), BLOCK):
        block = np.asarray(rows[start : start + BLOCK], np.float64)
        block = block.reshape(len(block), -1)
        norms = np.einsum("nd,nd->n", block, block)
        squared[:, start : start + BLOCK] = norms - 2 * flat @ block.T
        largest = max(largest, float(norms.max()))
    squared += np.einsum("md,md->m", flat, flat)[:, None]
    index, distance = np.empty((len(flat), count), np.int64), np.empty((len(flat), count))
    for i, query in enumerate(flat):
        # Rounding moves a squared distance by far less than this.
        slack = 4 * flat.shape[1] * np.finfo(np.float64).eps * (largest + query @ query)
        candidates = np.flatnonzero(squared[i] <= np.partition(squared[i], count - 1)[count - 1] + slack)
        differences = np.asarray(rows[candidates], np.float64).reshape(len(candidates), -1) - query
        exact = np.einsum("nd,nd->n", differences, differences)
        order = np.argsort(exact, kind="stable")[:count]
        index[i], distance[i] = candidates[order], np.sqrt(exact[order])
    return index, distance


def _has_features(settings: EvaluateConfig) -> bool:
    """Whether features are at hand: neighbours alone is no reason to download the Inception graph."""
    return settings.fid_features != "inception" or bool(settings.inception_graph) or inception.cached_graph().exists()


def neighbours_inputs(run: FinishedRun, settings: EvaluateConfig) -> list[str]:
    """The first set of samples that fid_samples names."""
    return fid.fid_inputs(run, settings)[:1]


def check_neighbours(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError when the split or the features are not there."""
    fid.reference_images(run, settings)
    if _has_features(settings):
        fid.extractor_of(run, settings)


def neighbours_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """Nearest images of the reference split to the first samples."""
    (name,) = neighbours_inputs(run, settings)
    samples = fid.sample_images(run, name, settings.neighbour_samples)
    split = fid.reference_images(run, settings)
    count = min(settings.num_neighbours, len(split))
    numbers: dict[str, Any] = {
        "samples": name,
        "num_samples": len(samples),
        "num_neighbours": count,
        "split": f"{run.config.dataset}/{settings.reference_split}",
    }
    index, distance = nearest(samples, split, count)
    arrays = {"samples": samples, **_as_arrays("pixel", index, distance / 127.5, split)}
    if _has_features(settings):
        extractor = fid.extractor_of(run, settings)
        features, split_features = fid.extract(
            extractor, {name: samples}, split, numbers["split"], partial, "neighbours"
        )
        arrays |= _as_arrays("feature", *nearest(features[name], split_features, count), split)
        numbers |= {"features": extractor.name, "features_sha256": extractor.sha256}
    else:
        print(
            "neighbours: by pixels alone, since the Inception graph is not in the cache; --fid_features=FILE or "
            "--inception_graph=FILE adds those by features",
            flush=True,
        )
    for kind in ("pixel", "feature"):
        if f"{kind}_distance" in arrays:
            numbers[f"mean_{kind}_distance"] = arrays[f"{kind}_distance"].mean(axis=0).tolist()
    _save_figure(run, arrays, count)
    return TaskResult(numbers, arrays)


def _as_arrays(kind: str, index: np.ndarray, distance: np.ndarray, split: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{kind}_index": index, f"{kind}_distance": distance, f"{kind}_images": split[index]}


def _save_figure(run: FinishedRun, arrays: dict[str, np.ndarray], count: int) -> None:
    """One row a sample: the sample, its neighbours by pixels, and those by features."""
    parts = [arrays["samples"][:, None]]
    parts += [arrays[key] for key in ("pixel_images", "feature_images") if key in arrays]
    rows = np.concatenate(parts, axis=1)
    figures.save_image_grid(
        rows.reshape(-1, *rows.shape[2:]), run.run_dir.figures / "neighbours.png", columns=rows.shape[1]
    )

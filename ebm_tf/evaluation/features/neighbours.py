"""The task neighbours: the training images nearest to samples, by pixels and by features (Fig. 7C)."""

from typing import Any

import numpy as np

from ebm_tf.evaluation.features import fid, inception
from ebm_tf.evaluation.finished import FinishedRun, TaskResult
from ebm_tf.evaluation.task import Task
from ebm_tf.plots import figures
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.stats.nearest import nearest

__all__ = ["TASKS", "check_neighbours", "neighbours_inputs", "neighbours_task"]


def _has_features(settings: EvaluateConfig) -> bool:
    """Whether features are at hand: neighbours alone is no reason to download the Inception graph."""
    return settings.fid_features != "inception" or bool(settings.inception_graph) or inception.cached_graph().exists()


def neighbours_inputs(run: FinishedRun, settings: EvaluateConfig) -> list[str]:
    """The first set of samples that fid_samples names."""
    return fid.fid_inputs(run, settings)[:1]


def check_neighbours(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError when the split or the features are not there."""
    (fid.check_fid if _has_features(settings) else fid.check_source)(run, settings)


def neighbours_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """Nearest images of the reference split to the first samples."""
    (name,) = neighbours_inputs(run, settings)
    samples, num_not_finite = fid.sample_images(run, settings, name, settings.neighbour_samples)
    if num_not_finite:
        print(f"neighbours: warning: {name}{fid.left_out(num_not_finite)}", flush=True)
    split = fid.reference_images(run, settings)
    count = min(settings.num_neighbours, len(split))
    numbers: dict[str, Any] = {
        "samples": name,
        "num_samples": len(samples),
        "num_not_finite": num_not_finite,
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


TASKS = {
    "neighbours": Task(
        neighbours_task,
        (*fid.FEATURES, "neighbour_samples", "num_neighbours"),
        "images",
        inputs=neighbours_inputs,
        check=check_neighbours,
        takes_bare=True,
        also=(),
    )
}

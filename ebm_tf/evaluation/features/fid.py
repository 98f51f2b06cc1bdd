"""The task fid: Frechet and kernel distance of samples to data, by features (Table 1).

Samples are what other tasks left, as uint8: clipped to [-1, 1] and rounded half to even. The reference is a split of
the run's data. Its features are kept in the cache folder, since every run of a data set needs the same. What the
numbers mean: docs/distances.md.
"""

import functools
import hashlib
import re
from typing import Any

import numpy as np

from ebm_tf.data import images
from ebm_tf.energies import devices
from ebm_tf.errors import ConfigError, UnusableError
from ebm_tf.evaluation.features.extractors import FeatureExtractor, load_extractor
from ebm_tf.evaluation.finished import FinishedRun, TaskResult
from ebm_tf.evaluation.task import Task
from ebm_tf.runs import cache
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.stats.distances import Moments, both_distances
from ebm_tf.stats.saturation import is_saturated, noisy, saturation_bounds
from ebm_tf.stats.usable import finite_rows

__all__ = [
    "TASKS",
    "check_fid",
    "extract",
    "extractor_of",
    "fid_inputs",
    "fid_task",
    "left_out",
    "reference_images",
    "sample_images",
]

ROUNDING = "clipped to [-1, 1], rounded half to even to uint8"
BLOCK = 1_000  # images between marks of progress
# Which array of a task's .npz holds its samples, and which one says by its numbers where they are finite: uint8 cannot.
SAMPLE_SETS = {
    "short_run": ("x_from_noise", "energy_from_noise"),
    "bank": ("x_final", "energy_final"),
    "long_run": ("x_final", "x_final"),
    "data_init": ("x_final", "x_final"),
    "mala": ("x_final", "x_final"),
}


def fid_inputs(run: FinishedRun, settings: EvaluateConfig) -> list[str]:
    """The tasks whose samples are asked for, in the order given."""
    names = list(dict.fromkeys(part.strip() for part in settings.fid_samples.split(",") if part.strip()))
    if not names or set(names) - set(SAMPLE_SETS):
        expected = f"some of {', '.join(SAMPLE_SETS)}, separated by commas"
        raise ConfigError(f"--fid_samples: expected {expected}. Received: fid_samples={settings.fid_samples}")
    return names


def extractor_of(run: FinishedRun, settings: EvaluateConfig) -> FeatureExtractor:
    """The features that settings name, for the run's images."""
    return _extractor(settings.fid_features, run.data(settings.data_dir).event_shape[0], settings.inception_graph)


def reference_images(run: FinishedRun, settings: EvaluateConfig) -> np.ndarray:
    """uint8 [N, S, S, 3]: the split that samples are compared with."""
    data, split = run.data(settings.data_dir), settings.reference_split
    assert split  # resolve has filled it in
    pixels = data.stored({data.train_name: "train"}.get(split, split))
    return pixels if pixels.dtype == np.uint8 else images.to_uint8(pixels)


_extractor = functools.lru_cache(maxsize=1)(load_extractor)


def check_fid(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError when the features or the reference are not there, or no noise that could be taken out."""
    extractor_of(run, settings)
    check_source(run, settings)


def check_source(run: FinishedRun, settings: EvaluateConfig) -> None:
    """check_fid without the features."""
    reference_images(run, settings)
    if settings.denoise:
        run.denoise_fns  # noqa: B018  raises where there is no noise


def sample_images(run: FinishedRun, settings: EvaluateConfig, name: str, most: int | None) -> tuple[np.ndarray, int]:
    """The first `most` samples of a set that are finite; with settings.denoise without the noise of training.

    Returns:
      (uint8 [N, S, S, 3], how many were left out).

    Raises:
      ConfigError: fewer than 2.
      UnusableError: fewer than 2 that are finite.
    """
    arrays, (images_name, finite_name) = run.arrays(name), SAMPLE_SETS[name]
    x = arrays[images_name][:most]
    if len(x) < 2:
        raise ConfigError(f"--fid_samples: expected 2 samples or more. Received: {name} with {len(x)}")
    finite = finite_rows(arrays.get(finite_name, x)[:most])
    if finite.sum() < 2:
        raise UnusableError(f"fid_samples: {finite.sum()} of the {len(x)} samples of {name} are finite; 2 are needed")
    x = x[finite]
    if settings.denoise:
        x = devices.in_blocks(run.denoise_fns, x, BLOCK)
    return x if x.dtype == np.uint8 else images.to_uint8(x), int((~finite).sum())


def fid_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """Distance of each set of samples to the reference split."""
    extractor, reference = extractor_of(run, settings), reference_images(run, settings)
    found = {name: sample_images(run, settings, name, settings.num_samples) for name in fid_inputs(run, settings)}
    sets = {name: pixels for name, (pixels, _) in found.items()}
    reference_name = f"{run.config.dataset}/{settings.reference_split}"
    for name, pixels in {**sets, reference_name: reference}.items():
        _warn_if_few(name, len(pixels), extractor)
    features, reference_features = extract(extractor, sets, reference, reference_name, partial, "fid")
    moments = Moments.of(reference_features)
    bounds = saturation_bounds(noisy(reference, 0 if settings.denoise else run.config.data_noise))
    values, rounding = {}, f"denoised, {ROUNDING}" if settings.denoise else ROUNDING
    for name, rows in features.items():
        values[name] = both_distances(rows, reference_features, moments, settings.seed)
        values[name]["saturated_share"] = float(is_saturated(sets[name], bounds).mean())
        values[name]["num_not_finite"] = found[name][1]
        _print_value(name, values[name], extractor, f"{len(reference):,} of {reference_name}", rounding)
    numbers = {
        "features": extractor.name,
        "features_sha256": extractor.sha256,
        "distance_name": extractor.distance_name,
        "dimension": extractor.dimension,
        "reference": reference_name,
        "num_reference": len(reference),
        "rounding": rounding,
        "saturation_bounds": bounds._asdict(),
        "values": values,
    }
    return TaskResult(numbers, {})


def _warn_if_few(name: str, count: int, extractor: FeatureExtractor) -> None:
    if count <= extractor.dimension:
        print(
            f"fid: warning: {name} has {count:,} images for {extractor.dimension:,} features: its covariance is "
            f"singular, and the distance too large by much. {extractor.dimension + 1:,} images are the fewest for a "
            "covariance of full rank; distances compare only at equal counts",
            flush=True,
        )


def _print_value(name: str, value: dict[str, Any], extractor: FeatureExtractor, reference: str, rounding: str) -> None:
    error = value["kid_std_error"]
    plus_minus = f" +- {error:.2g} (standard error)" if error is not None else ""
    print(
        f"fid: {name}: {extractor.distance_name} {value['frechet_distance']:.4g}, KID {value['kid']:.4g}{plus_minus}; "
        f"features {extractor.name} (sha256 {extractor.sha256[:16]}), {value['num_samples']:,} samples against "
        f"{reference}, samples {rounding}, KID over {value['kid_num_subsets']} subsets of {value['kid_subset_size']}; "
        f"{100 * value['saturated_share']:.2g} % saturated{left_out(value['num_not_finite'])}",
        flush=True,
    )


def left_out(num_not_finite: int) -> str:
    """What a line adds on samples that are not finite; "" where there are none."""
    return f"; {num_not_finite:,} samples are not finite, and left out" if num_not_finite else ""


def extract(
    extractor: FeatureExtractor,
    sets: dict[str, np.ndarray],
    reference: np.ndarray,
    reference_name: str,
    partial: PartialArrays,
    label: str,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features of sets of images and of the reference, whose own are taken from the cache or put there.

    Args:
      extractor: of the features.
      sets: name -> uint8 [N, S, S, 3].
      reference: uint8 [M, S, S, 3].
      reference_name: for the name of the file in the cache.
      partial: keeps what a killed task had done.
      label: of the progress bar.

    Returns:
      (name -> float32 [N, D], float32 [M, D]); memmaps.
    """
    digest = _digest(reference.tobytes())
    file_name = re.sub("[^A-Za-z0-9_]+", "-", reference_name)
    cached = cache.cache_dir() / "features" / f"{file_name}-{digest}-{extractor.sha256[:16]}.npy"
    known = cache.read_array(cached, (len(reference), extractor.dimension))
    _forget_others(partial, extractor.sha256 + digest + "".join(_digest(x.tobytes()) for x in sets.values()))
    todo = sets if known is not None else {**sets, "reference": reference}
    rows = {
        name: partial.array(f"features_{name}", (len(x), extractor.dimension), np.float32) for name, x in todo.items()
    }
    parts = [(name, part) for name, x in todo.items() for _, part in blocks(len(x), BLOCK)]
    for name, part in partial.remaining(parts, label, "image"):
        rows[name][part] = extractor(todo[name][part])
    if known is None:
        known = rows.pop("reference")
        cache.write_array(cached, known, f"{label}: warning: cannot keep the reference's features")
    return dict(rows), known


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _forget_others(partial: PartialArrays, identity: str) -> None:
    """Starts anew if what a killed task had done is of other features or images, though under the same names."""
    stamp = partial.array("identity", (32,), np.uint8)
    digest = np.frombuffer(hashlib.sha256(identity.encode()).digest(), np.uint8)
    if not np.array_equal(stamp, digest):
        partial.mark(0)
        stamp[:] = digest


FEATURES = ("fid_features", "inception_graph", "fid_samples", "reference_split", "denoise")
_INPUTS = (*FEATURES, "num_samples", "seed")
TASKS = {"fid": Task(fid_task, _INPUTS, "images", fid_inputs, check_fid, has_arrays=False, takes_bare=True, also=())}

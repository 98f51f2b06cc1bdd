"""The signature `detect` of a SavedModel: energy, ood_score and p_value, of floats, uint8 images and encoded files."""

import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from ebm_tf.drafts import draft_of, replace_file
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.serving.detector import Calibration, place_of
from ebm_tf.serving.endpoints import Endpoint, of_bytes, of_uint8
from ebm_tf.serving.info import ModelInfo

__all__ = ["add_detect", "detect_endpoints", "detect_fn", "keep"]

OWN = ("saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "variables", "assets")  # of a SavedModel


def detect_endpoints(statistics: Callable, calibration: Calibration, info: ModelInfo) -> dict[str, Endpoint]:
    """detect; of images also detect_uint8 and detect_bytes.

    Args:
      statistics: x -> {"energy": [B], "statistics": [B, K]}.
      calibration: the fitted detector.
      info: of the model.
    """
    detector = detect_fn(calibration.detector.to_arrays())

    def detect(x: tf.Tensor) -> dict[str, tf.Tensor]:
        found = statistics(x)
        ood_score, p_value = detector(found["statistics"])
        return {"energy": found["energy"], "ood_score": ood_score, "p_value": p_value}

    made = {"detect": Endpoint(detect, [tf.TensorSpec([None, *info.event_shape], tf.float32, name="x")])}
    if info.is_image:
        made["detect_uint8"] = of_uint8(detect, info)
    if info.has_files:
        made["detect_bytes"] = of_bytes(detect, info)
    return made


def keep(path: pathlib.Path, calibration: Calibration) -> None:
    """Writes a calibration as an .npz, its numbers as a .json beside it, each whole or not at all. Raises OSError."""
    with draft_of(path) as draft:
        calibration.write(draft)
    replace_file(path.with_suffix(".json"), json.dumps(calibration.numbers, indent=2) + "\n")


def add_detect(folder: str | os.PathLike, calibration: Calibration, info: ModelInfo) -> None:
    """Writes an exported folder anew, beside itself and then in its own place, with `detect` and the calibration. All
    other signatures and files stay.

    Args:
      folder: that bin/export.py wrote.
      calibration: the fitted detector.
      info: of the model.

    Raises:
      ConfigError: the folder cannot be read, or beside it nothing can be written. It is as it was.
    """
    folder = pathlib.Path(folder).resolve()
    draft, old = (folder.with_name(f"{folder.name}.{os.getpid()}.{ending}") for ending in ("draft", "old"))
    try:
        _write_saved_model(folder, draft, calibration, info)
        keep(place_of(draft), calibration)
        for path in folder.iterdir():
            if path.name not in OWN and not (draft / path.name).exists():
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, draft / path.name)
        _put(draft, folder, old)
    except (OSError, tf.errors.OpError) as error:
        expected = f"--model: expected {folder} in a folder that can be written"
        raise ConfigError(f"{expected}. Received: {one_line(error)}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put(draft: pathlib.Path, folder: pathlib.Path, old: pathlib.Path) -> None:
    folder.rename(old)
    try:
        draft.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_saved_model(folder: pathlib.Path, draft: pathlib.Path, calibration: Calibration, info: ModelInfo) -> None:
    loaded = tf.saved_model.load(str(folder))
    signatures = {name: fn for name, fn in loaded.signatures.items() if not name.startswith("detect")}
    made = detect_endpoints(lambda x: signatures["statistics"](x=x), calibration, info)
    module = tf.Module()  # of what was there the variables alone, else it would grow with every calibration
    module.kept = list({id(one): one for fn in signatures.values() for one in fn.graph.variables}.values())
    added = {name: endpoint.compile() for name, endpoint in made.items()}
    shutil.rmtree(draft, ignore_errors=True)
    tf.saved_model.save(module, str(draft), signatures={**signatures, **added})


def detect_fn(arrays: Mapping[str, np.ndarray]) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The detector of ebm_tf.stats.typicality in TensorFlow, the same numbers to float32's rounding.

    Returns a function statistics float32 [B, K] -> (ood_score float32 [B], p_value float32 [B]).

    Args:
      arrays: of Detector.to_arrays(). They become constants of the graph that the function is traced into.
    """
    kept = np.asarray(arrays["kept"], np.int32)
    floats = {name: np.asarray(arrays[name], np.float32) for name in arrays if name not in ("names", "kept", "tail")}
    tail = str(arrays["tail"])
    energy = np.sort(floats["energy"])
    known = {"both": floats["calibration"], "upper": energy, "lower": -energy[::-1]}[tail]

    def score(statistics: tf.Tensor) -> tf.Tensor:
        if tail != "both":
            return statistics[:, 0] if tail == "upper" else -statistics[:, 0]
        z = _normal_scores(tf.gather(statistics, kept, axis=1), floats["knots"], floats["scores"], floats["slopes"])
        white = tf.einsum("nm,pmk->npk", z - floats["mean"], floats["whitening"])
        logs = tf.math.log1p(tf.reduce_sum(tf.square(white), axis=2))
        return tf.reduce_mean((logs - floats["level"]) / floats["spread"], axis=1)

    def detect(statistics: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        finite = tf.math.is_finite(statistics)
        found = score(tf.where(finite, statistics, 0.0))
        is_known = tf.reduce_all(finite, axis=1) & ~tf.math.is_nan(found)  # NaN: beyond float32, so far out it is
        ood_score = tf.where(is_known, found, np.inf)
        below = tf.searchsorted(tf.constant(known), ood_score, side="left")
        return ood_score, tf.cast(1 + len(known) - below, tf.float32) / (len(known) + 1.0)

    return detect


def _normal_scores(statistics, knots, scores, slopes):
    """See Detector.normal_scores; [B, M]."""
    s = tf.transpose(statistics)
    right = tf.clip_by_value(tf.searchsorted(knots, s, side="right"), 1, knots.shape[1] - 1)
    (x0, x1), (z0, z1) = ([tf.gather(one, right - i, batch_dims=1) for i in (1, 0)] for one in (knots, scores))
    share = tf.clip_by_value(tf.math.divide_no_nan(s - x0, x1 - x0), 0.0, 1.0)
    beyond = tf.minimum(s - knots[:, :1], 0.0) + tf.maximum(s - knots[:, -1:], 0.0)
    return tf.transpose(z0 + share * (z1 - z0) + slopes[:, None] * beyond)

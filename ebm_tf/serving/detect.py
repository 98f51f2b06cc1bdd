"""The signature `detect` of a SavedModel: energy, ood_score and p_value, of floats, uint8 images and encoded files."""

import json
import os
import pathlib
import shutil
from collections.abc import Callable

import tensorflow as tf

from ebm_tf.energies.typical import detect_fn
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.runs.run_dir import draft_of, replace_file
from ebm_tf.serving.detector import Calibration, place_of
from ebm_tf.serving.endpoints import Endpoint, of_bytes, of_uint8
from ebm_tf.serving.info import ModelInfo

__all__ = ["add_detect", "detect_endpoints", "keep"]

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
    draft, old = (folder.with_name(f"{folder.name}.{ending}") for ending in ("draft", "old"))
    try:
        _write_saved_model(folder, draft, calibration, info)
        keep(place_of(draft), calibration)
        for path in folder.iterdir():
            if path.name not in OWN and not (draft / path.name).exists():
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, draft / path.name)
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        draft.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, tf.errors.OpError) as error:
        expected = f"--model: expected {folder} in a folder that can be written"
        raise ConfigError(f"{expected}. Received: {one_line(error)}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_saved_model(folder: pathlib.Path, draft: pathlib.Path, calibration: Calibration, info: ModelInfo) -> None:
    loaded = tf.saved_model.load(str(folder))
    signatures = {name: fn for name, fn in loaded.signatures.items() if not name.startswith("detect")}
    made = detect_endpoints(lambda x: signatures["statistics"](x=x), calibration, info)
    module = tf.Module()  # of what was there the variables alone, else it would grow with every calibration
    module.kept = list({id(one): one for fn in signatures.values() for one in fn.graph.variables}.values())
    added = {name: endpoint.compile() for name, endpoint in made.items()}
    shutil.rmtree(draft, ignore_errors=True)
    tf.saved_model.save(module, str(draft), signatures={**signatures, **added})

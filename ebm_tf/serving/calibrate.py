"""bin/calibrate.py: fits the detector on held-out data and keeps it with the model."""

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ebm_tf.data.stores import HELD_OUT
from ebm_tf.errors import ConfigError
from ebm_tf.runs import progress
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.serving.detect import add_detect, keep
from ebm_tf.serving.detector import Calibration, HeldOut, place_of
from ebm_tf.serving.info import FILE_NAME, ModelInfo
from ebm_tf.serving.score import Scoring, open_model, read_all
from ebm_tf.serving.sources.arrays import array_record
from ebm_tf.serving.sources.inputs import find_shards
from ebm_tf.serving.sources.records import Record
from ebm_tf.serving.trained import TrainedEnergy
from ebm_tf.settings.data import check_data_dir
from ebm_tf.settings.scoring import CalibrateConfig

__all__ = ["calibrate"]

OWN = "what the run held out"
MOST = 10_000  # of these: p-values down to 1 in 5,000, and no more than this in memory


def calibrate(settings: CalibrateConfig) -> dict[str, Any]:
    """Fits the detector on held-out data, one half for its law and one for p-values, and keeps it with the model:
    calibration.npz and calibration.json in its folder, or beside its .keras file; in an exported folder also the
    signatures `detect`.

    Returns:
      The numbers of calibration.json.

    Raises:
      ConfigError: bad input, inputs that cannot be read without skip_bad, floats in another range than images have,
        inputs that trained, or too few; nothing was written.
    """
    model = open_model(settings.model)
    place = place_of(settings.model)
    if not os.access(place.parent, os.W_OK):
        raise ConfigError(f"--model: expected a folder that can be written. Received: model={settings.model}")
    if not model.info.statistics:
        expected = "--model: expected an export with the signature statistics: run bin/export.py again"
        raise ConfigError(f"{expected}. Received: {settings.model}, of ebm_tf {model.info.version}")
    statistics, bad, scoring = _statistics(settings, model)
    calibration = Calibration.fit(
        statistics,
        model.info,
        settings.false_positive_rate,
        settings.tail,
        settings.confidence,
        input=settings.input or OWN,
        num_bad=bad,
        num_resized=scoring.resized,
    )
    _keep(settings.model, place, calibration, model.info)
    return calibration.numbers


def _statistics(settings: CalibrateConfig, model: TrainedEnergy) -> tuple[np.ndarray, int, Scoring]:
    """(statistics [N, K] of inputs that could be read, how many could not, what was counted)."""
    total, records = _held_out(settings, model) if settings.input is None else _given(settings.input, settings, model)
    parts: list[np.ndarray] = []
    bad = 0
    scoring, held_out = Scoring(model, settings.batch_size, "statistics"), HeldOut(model.info)
    with progress.bar("calibrate", total, "input") as bar:
        for batch, values in scoring.run(records):
            batch = [
                one if one.error or np.isfinite(row).all() else one._replace(error="statistics that are not finite")
                for one, row in zip(batch, values)
            ]
            errors = [record for record in batch if record.error]
            if errors and not settings.skip_bad:
                received = f"id {errors[0].id}: {errors[0].error}"
                raise ConfigError(f"--input: expected inputs that can be read, or --skip_bad. Received: {received}")
            bad += len(errors)
            parts.append(values[[not record.error for record in batch]])
            for record in batch:
                if record.x is not None:
                    held_out.add(record.x[None])
            bar.update(len(batch))
    if words := scoring.range_words:
        raise ConfigError(f"--input: expected images in [-1, 1], or uint8. Received: {words}")
    held_out.check("--input: ", settings.input or OWN)
    if words := held_out.columns_words():
        print(f"warning: input: {words}", flush=True)
    return np.concatenate(parts), bad, scoring


def _given(source: str, settings: CalibrateConfig, model: TrainedEnergy) -> tuple[int, Iterator[Record]]:
    shards = find_shards(source, model.info, settings.data_dir)
    return sum(shard.size for shard in shards()), read_all(shards(), model)


def _held_out(settings: CalibrateConfig, model: TrainedEnergy) -> tuple[int, Iterator[Record]]:
    """What the run of the model held out, as its files have it."""
    if not RunDir(settings.model).config.exists():
        expected = "--input: expected data that did not train, or --model of a run, which knows what it held out"
        raise ConfigError(f"{expected}. Received: none, with --model={settings.model}")
    from ebm_tf.evaluation.finished import load_run  # Keras

    found = load_run(settings.model, flag="model")
    check_data_dir(settings.data_dir, found.config.dataset)
    data = found.data(settings.data_dir or found.config.data_dir)
    try:
        x = data.stored(HELD_OUT, MOST) if data.is_image else data.to_stored(data.held_out(MOST))
    except ConfigError as error:
        raise ConfigError(f"--input: {error}") from error
    records = (array_record(str(row), one, model.info) for row, one in enumerate(x))
    return len(x), (one._replace(resized=bool(was)) for one, was in zip(records, data.resized(HELD_OUT, MOST)))


def _keep(model: str, place: pathlib.Path, calibration: Calibration, info: ModelInfo) -> None:
    if (place.parent / FILE_NAME).exists() and place == place_of(place.parent):
        add_detect(model, calibration, info)
        return
    try:
        keep(place, calibration)
    except OSError as error:
        raise ConfigError(f"--model: expected a folder that can be written. Received: {error}") from error

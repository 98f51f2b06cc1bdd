"""bin/score.py: rows of a stream of inputs, in memory that does not grow with their number.

While the device works on one batch, a thread reads the next. Batch i holds the inputs [i B, (i + 1) B), so a run that
was broken off and continued gives the rows of one that was not.
"""

import itertools
import pathlib
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from ebm_tf.energies.devices import at_once, memory_explained
from ebm_tf.errors import ConfigError
from ebm_tf.runs import progress
from ebm_tf.serving.detector import Calibration, read_calibration
from ebm_tf.serving.info import FILE_NAME, ModelInfo
from ebm_tf.serving.report import page
from ebm_tf.serving.sources.inputs import find_shards, read_shard
from ebm_tf.serving.sources.layout import RangeSeen
from ebm_tf.serving.sources.records import Record, Shard
from ebm_tf.serving.table import COLUMNS, DETECTOR_COLUMNS, PartialTable, check_output, format_row
from ebm_tf.serving.trained import TrainedEnergy, calibration_at, load_exported
from ebm_tf.settings.scoring import BeamConfig, ScoreConfig

__all__ = [
    "Scoring",
    "Summary",
    "load_calibration",
    "measured",
    "open_model",
    "read_all",
    "resized_unequally",
    "rows_of",
    "score",
]

RESIZED_SHARE = 0.01  # a difference of more makes energies another thing


class Summary(NamedTuple):
    """What was done.

    Attributes:
      rows: inputs, in all.
      bad: those that could not be read.
      resized: those of another size, of this start.
      outside: those with floats outside [-1, 1], of this start; for images.
      flagged: those that do not belong, of this start; None where the model is not calibrated.
      energy_seconds: time in which the device worked.
      seconds: time in all.
      warnings: a line each, on what makes the energies doubtful.
    """

    rows: int
    bad: int
    resized: int
    outside: int
    flagged: int | None
    energy_seconds: float
    seconds: float
    warnings: list[str]


def score(settings: ScoreConfig) -> Summary:
    """Writes settings.output: a row per input, with its energy or the reason why there is none.

    Raises:
      ConfigError: bad input; nothing was written.
      OSError: the table cannot be written. Rows that are sure stay for --resume.
    """
    output = pathlib.Path(settings.output)
    check_output(output)
    model = open_model(settings.model)
    calibration = load_calibration(settings, model.info)
    page.check_report(settings.report, calibration)
    shards = find_shards(settings.input, model.info, settings.data_dir)
    columns = DETECTOR_COLUMNS if calibration else COLUMNS
    key: dict[str, Any] = {"model": model.info.model, "input": settings.input, "batch_size": settings.batch_size}
    key["reference"] = calibration and f"{calibration.numbers}, flags at {calibration.false_positive_rate:.9g}"
    total = sum(shard.size for shard in shards())
    table = PartialTable(output, columns, key, settings.resume)
    try:
        records = _after(shards(), model, table)
        scoring = Scoring(model, settings.batch_size, "statistics" if calibration else "energy")
        with progress.bar("score", total, "input", table.rows) as bar:
            for batch, values in scoring.run(records):
                rows = rows_of(batch, values, calibration)
                scoring.flagged += sum(row[columns.index("flag")] == "out" for row in rows) if calibration else 0
                table.write(rows)
                bar.update(len(rows))
        table.finish()
    finally:
        table.close()
    if settings.report and calibration:
        page.write_report(settings.report, output, settings.input, shards, model, calibration)
    unequal = resized_unequally(calibration, scoring.resized, scoring.images)
    return scoring.summary(table.rows, table.bad, [unequal] if unequal else [])


def _after(shards: Iterator[Shard], model: TrainedEnergy, table: PartialTable) -> Iterator[Record]:
    """The records after the table's sure rows. Raises ConfigError where the last of those is now another."""
    done = max(table.rows - 1, 0)  # the last one again, to see that it is the same
    for shard in shards:
        if done >= shard.size:
            done -= shard.size
            continue
        rest = read_all(itertools.chain([shard], shards), model)
        records = itertools.islice(rest, done, None)
        if table.rows and (found := next(records).id) != table.last_id:
            raise _changed(table, found)
        return records
    raise _changed(table, "fewer inputs")


def _changed(table: PartialTable, found: str) -> ConfigError:
    return ConfigError(f"--input: expected {table.last_id} as number {table.rows}, as before. Received: {found}")


def read_all(shards: Iterator[Shard], model: TrainedEnergy) -> Iterator[Record]:
    """All records of all shards."""
    for shard in shards:
        yield from read_shard(shard, model.info)


def open_model(path: str) -> TrainedEnergy:
    """The energy that --model names: a folder of bin/export.py, without Keras; a finished run; or a .keras file.

    Raises:
      ConfigError: it is none of them, or cannot be read.
    """
    if (pathlib.Path(path) / FILE_NAME).exists():
        return load_exported(path)
    from ebm_tf.serving.export import open_trained  # Keras

    return open_trained(path)


def measured(batch: list[Record], model: TrainedEnergy, what: str) -> tuple[list[Record], np.ndarray]:
    """The records of a batch and what the model says of them, float32 [B, K]; NaN, and an error, where x or its energy
    is not there or not finite. Records may mix uint8 and float32.

    Args:
      batch: the records.
      model: a trained energy.
      what: energy, K = 1; or statistics, whose first is the energy.
    """
    values = np.full((len(batch), len(model.info.statistics) if what == "statistics" else 1), np.nan, np.float32)
    for dtype in (np.uint8, np.float32):
        places = [i for i, record in enumerate(batch) if record.x is not None and record.x.dtype == dtype]
        if places:
            with warnings.catch_warnings():  # the range is told once, of all inputs
                warnings.simplefilter("ignore", UserWarning)
                found = getattr(model, what)(np.stack([batch[i].x for i in places]), len(batch))
            values[places] = found.reshape(len(places), -1)
    lost = "the energy is not finite"
    batch = [
        record._replace(error=lost) if not record.error and not np.isfinite(energy) else record
        for record, energy in zip(batch, values[:, 0])
    ]
    return batch, values


def rows_of(batch: list[Record], values: np.ndarray, calibration: Calibration | None) -> list[list[str]]:
    """A row of the table for each record of measured's."""
    columns: list[Any] = [values[:, 0]] if calibration is None else list(calibration.detect(values))
    return [format_row(record.id, row, record.error) for record, row in zip(batch, zip(*columns))]


class Scoring:
    """What a model says of records, batch by batch, with a count of what a user should hear of.

    Args:
      model: a trained energy.
      batch_size: records at once.
      what: see measured.
    """

    def __init__(self, model: TrainedEnergy, batch_size: int, what: str):
        self.model, self.batch_size, self.what = model, batch_size, what
        self.resized = self.outside = self.images = self.flagged = 0
        self.range = RangeSeen()
        self.energy_seconds, self.start = 0.0, time.monotonic()

    def run(self, records: Iterator[Record]) -> Iterator[tuple[list[Record], np.ndarray]]:
        """What measured gives of each batch, until there are no more records."""
        read: Callable[[], list[Record]] = lambda: list(itertools.islice(records, self.batch_size))  # noqa: E731
        with ThreadPoolExecutor(1) as reader:
            waiting = reader.submit(read)
            while batch := waiting.result():
                waiting = reader.submit(read)
                start = time.monotonic()
                with memory_explained(at_once(self.what, self)):
                    result = measured(batch, self.model, self.what)
                self.energy_seconds += time.monotonic() - start
                self._count(batch)
                yield result

    def _count(self, batch: list[Record]) -> None:
        self.resized += sum(record.resized for record in batch)
        self.images += sum(record.x is not None for record in batch)
        if self.model.info.is_image:
            for x in (record.x for record in batch if record.x is not None and record.x.dtype != np.uint8):
                self.outside += bool(np.abs(x).max() > 1)
                self.range.add(x)

    @property
    def range_words(self) -> str:
        """What is odd about the range of floats so far, one line; "" where nothing is."""
        return self.range.words() if self.model.info.is_image else ""

    def summary(self, rows: int, bad: int, warnings: list[str]) -> Summary:
        seconds = time.monotonic() - self.start
        warnings = [f"input: {self.range_words}", *warnings] if self.range_words else warnings
        if self.outside:
            scaled = "uint8 is scaled, floats are not"
            warnings = [*warnings, f"{self.outside} images have floats outside [-1, 1]; {scaled}"]
        flagged = self.flagged if self.what == "statistics" else None
        return Summary(rows, bad, self.resized, self.outside, flagged, self.energy_seconds, seconds, warnings)


def load_calibration(settings: BeamConfig, info: ModelInfo) -> Calibration | None:
    """The calibration that --reference names, or else the model's own; None where there is neither.

    Raises:
      ConfigError: it cannot be read, was written before there were detectors, is of another model, or has too few
        inputs for the rate.
    """
    if settings.reference:
        return read_calibration(pathlib.Path(settings.reference), info, "reference").with_rate(
            settings.false_positive_rate
        )
    own = calibration_at(settings.model, info)
    if own is None and settings.false_positive_rate is not None:
        expected = "--reference, or a model that bin/calibrate.py has seen"
        raise ConfigError(f"--false_positive_rate: expected {expected}. Received: neither")
    return own and own.with_rate(settings.false_positive_rate)


def resized_unequally(calibration: Calibration | None, num_resized: int, num: int) -> str:
    """One line where inputs were resized to another share than those of the calibration; else ""."""
    numbers = calibration.numbers if calibration else {}
    before = numbers.get("num_resized")
    if before is None or not num or abs(before / numbers["num_inputs"] - num_resized / num) <= RESIZED_SHARE:
        return ""
    return (
        f"images were resized unequally: {before} of {numbers['num_inputs']} of the calibration, {num_resized} of "
        f"{num} here. Scaling alone changes energies: calibrate on files of the kind that you score"
    )

"""bin/score.py and bin/calibrate.py: energies of a stream of inputs, in memory that does not grow with their number.

While the device works on one batch, a thread reads the next. Batch i holds the inputs [i B, (i + 1) B), so a run that
was broken off and continued gives the rows of one that was not.
"""

import itertools
import os
import pathlib
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from ebm_tf.errors import ConfigError
from ebm_tf.runs import progress
from ebm_tf.serving import calibrate as calibration
from ebm_tf.serving.sources.inputs import find_shards, read_shard
from ebm_tf.serving.sources.layout import RangeSeen
from ebm_tf.serving.sources.records import Record, Shard
from ebm_tf.serving.table import COLUMNS, REFERENCE_COLUMNS, PartialTable, check_output, format_row
from ebm_tf.serving.trained import TrainedEnergy, load_exported
from ebm_tf.settings.commands import CalibrateConfig, ScoreConfig

__all__ = ["Summary", "calibrate", "energies_of", "score"]


class Summary(NamedTuple):
    """What was done.

    Attributes:
      rows: inputs, in all.
      bad: those that could not be read.
      resized: those of another size, of this start.
      outside: those with floats outside [-1, 1], of this start; for images.
      energy_seconds: time in which the device worked.
      seconds: time in all.
    """

    rows: int
    bad: int
    resized: int
    outside: int
    energy_seconds: float
    seconds: float


def score(settings: ScoreConfig) -> Summary:
    """Writes settings.output: a row per input, with its energy or the reason why there is none.

    Raises:
      ConfigError: bad input; nothing was written.
      OSError: the table cannot be written. Rows that are sure stay for --resume.
    """
    output = pathlib.Path(settings.output)
    check_output(output)
    model = load_exported(settings.model)
    reference = calibration.load_reference(settings, model.info)
    shards = find_shards(settings.input, model.info, settings.data_dir)
    columns = COLUMNS if reference is None else REFERENCE_COLUMNS
    key: dict[str, Any] = {"model": model.info.model, "input": settings.input, "batch_size": settings.batch_size}
    key["reference"] = None if reference is None else f"threshold {reference.threshold:.9g}"
    total = sum(shard.size for shard in shards())
    table = PartialTable(output, columns, key, settings.resume)
    try:
        records = _after(shards(), model, table)
        scoring = _Scoring(model, settings.batch_size)
        with progress.bar("score", total, "input", table.rows) as bar:
            for batch, energy in scoring.run(records):
                values = [None if record.error else float(e) for record, e in zip(batch, energy)]
                rows = [format_row(record.id, e, record.error, reference) for record, e in zip(batch, values)]
                table.write(rows)
                bar.update(len(rows))
        table.finish()
    finally:
        table.close()
    scoring.tell()
    if line := calibration.resized_unequally(settings, scoring.resized, scoring.images):
        print(f"warning: {line}", flush=True)
    return scoring.summary(table.rows, table.bad)


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


def energies_of(batch: list[Record], model: TrainedEnergy) -> tuple[list[Record], np.ndarray]:
    """The records of a batch and their energies, float32 [B]; NaN, and an error, where there is none.

    Records may mix uint8 and float32.
    """
    energy = np.full(len(batch), np.nan, np.float32)
    for dtype in (np.uint8, np.float32):
        places = [i for i, record in enumerate(batch) if record.x is not None and record.x.dtype == dtype]
        if places:
            with warnings.catch_warnings():  # the range is told once, of all inputs
                warnings.simplefilter("ignore", UserWarning)
                energy[places] = model.energy(np.stack([batch[i].x for i in places]), len(batch))
    lost = "the energy is not finite"
    batch = [
        record._replace(error=lost) if not record.error and not np.isfinite(e) else record
        for record, e in zip(batch, energy)
    ]
    return batch, energy


class _Scoring:
    """Energies of records, batch by batch, with a count of what a user should hear of."""

    def __init__(self, model: TrainedEnergy, batch_size: int):
        self.model, self.batch_size = model, batch_size
        self.resized = self.outside = self.images = 0
        self.range = RangeSeen()
        self.energy_seconds, self.start = 0.0, time.monotonic()

    def run(self, records: Iterator[Record]) -> Iterator[tuple[list[Record], np.ndarray]]:
        """(batch, its energies) until there are no more records."""
        read: Callable[[], list[Record]] = lambda: list(itertools.islice(records, self.batch_size))  # noqa: E731
        with ThreadPoolExecutor(1) as reader:
            waiting = reader.submit(read)
            while batch := waiting.result():
                waiting = reader.submit(read)
                start = time.monotonic()
                result = energies_of(batch, self.model)
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

    def tell(self) -> None:
        """Says where floats look like images of another range than [-1, 1]."""
        if self.model.info.is_image and (words := self.range.words()):
            print(f"warning: input: {words}", flush=True)

    def summary(self, rows: int, bad: int) -> Summary:
        seconds = time.monotonic() - self.start
        return Summary(rows, bad, self.resized, self.outside, self.energy_seconds, seconds)


def calibrate(settings: CalibrateConfig) -> dict[str, Any]:
    """Scores held-out data and saves the threshold beside the model; see calibrate.py.

    Returns:
      The numbers of calibration.json.

    Raises:
      ConfigError: bad input, or inputs that cannot be read without skip_bad; nothing was written.
    """
    model = load_exported(settings.model)
    if not os.access(settings.model, os.W_OK):
        raise ConfigError(f"--model: expected a folder that can be written. Received: model={settings.model}")
    shards = find_shards(settings.input, model.info, settings.data_dir)
    energy, bad = [], 0
    total = sum(shard.size for shard in shards())
    scoring = _Scoring(model, settings.batch_size)
    with progress.bar("calibrate", total, "input") as bar:
        for batch, values in scoring.run(read_all(shards(), model)):
            errors = [record for record in batch if record.error]
            if errors and not settings.skip_bad:
                received = f"{errors[0].id}: {errors[0].error}"
                raise ConfigError(f"--input: expected inputs that can be read, or --skip_bad. Received: {received}")
            bad += len(errors)
            energy.append(values[[not record.error for record in batch]])
            bar.update(len(batch))
    scoring.tell()
    return calibration.save_calibration(np.concatenate(energy), settings, model.info, bad, scoring.resized)

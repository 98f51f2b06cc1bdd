"""bin/score_beam.py: the scoring of score.py as an Apache Beam pipeline, for more than one machine.

    shards of the input -> records -> RunInference with the SavedModel -> OUTPUT-00000-of-0000N.csv
                              \\-> records that cannot be read          -> OUTPUT-errors-0000i-of-0000N.csv

A shard is read where it is scored. Beam's sinks write to temporary files and rename them when all is done, so files are
there whole, once, or not at all, however often a runner tries a part again.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ebm_tf.errors import ConfigError
from ebm_tf.serving.detector import Calibration
from ebm_tf.serving.info import ModelInfo
from ebm_tf.serving.score import load_calibration, measured, open_model, rows_of
from ebm_tf.serving.sources.inputs import find_shards, read_shard
from ebm_tf.serving.sources.records import Record, Shard
from ebm_tf.serving.table import COLUMNS, DETECTOR_COLUMNS, format_row, to_csv
from ebm_tf.serving.trained import TrainedEnergy
from ebm_tf.settings.scoring import BeamConfig

try:
    import apache_beam as beam
    from apache_beam.coders import BytesCoder
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.ml.inference.base import ModelHandler, RunInference
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError:
    message = "expected the package apache-beam: pip install '.[beam]' in a clone. Received: no such package"
    raise ConfigError(message) from None

__all__ = ["PipelineError", "score"]


class PipelineError(RuntimeError):
    """The pipeline did not come to its end. One line; no file was committed."""


class EnergyHandler(ModelHandler[Record, tuple[Record, list[str]], TrainedEnergy]):
    """RunInference's view of a trained energy: records with their rows.

    Args:
      path: what --model names, where every worker can read it.
      batch_size: records at once, at most.
      calibration: of the model, or None.
    """

    def __init__(self, path: str, batch_size: int, calibration: Calibration | None):
        super().__init__(max_batch_size=batch_size)
        self.path, self.calibration = path, calibration

    def load_model(self) -> TrainedEnergy:
        return open_model(self.path)

    def run_inference(
        self, batch: Sequence[Record], model: TrainedEnergy, inference_args: dict[str, Any] | None = None
    ) -> Iterable[tuple[Record, list[str]]]:
        records, values = measured(list(batch), model, "statistics" if self.calibration else "energy")
        return list(zip(records, rows_of(records, values, self.calibration)))


class _Read(beam.DoFn):
    """Shards to records; those without x go to the output "bad"."""

    def __init__(self, info: ModelInfo):
        self.info = info

    def process(self, shard: Shard) -> Iterator[Any]:
        for record in read_shard(shard, self.info):
            yield beam.pvalue.TaggedOutput("bad", record) if record.error else record


class _Format(beam.DoFn):
    """(record, row) to a line of CSV; those whose energy is not finite go to the output "bad"."""

    def process(self, scored: tuple[Record, list[str]]) -> Iterator[Any]:
        record, row = scored
        yield beam.pvalue.TaggedOutput("bad", record) if record.error else _line(row)


def _line(row: list[str]) -> bytes:
    return to_csv([row]).removesuffix(b"\n")


def score(settings: BeamConfig, arguments: list[str]) -> tuple[int, int]:
    """Runs the pipeline and waits for its end.

    Args:
      settings: output is the start of the files' names.
      arguments: for Beam, e.g. --runner=FlinkRunner.

    Returns:
      (rows, inputs that could not be read), where the runner counts; else (0, 0).

    Raises:
      ConfigError: bad input; nothing was written.
      PipelineError: it failed at work.
    """
    info = open_model(settings.model).info  # says what is wrong before any worker starts
    if FileSystems.match([f"{settings.output}-*.csv"])[0].metadata_list:
        raise ConfigError(f"--output: expected new files. Received: {settings.output}-*.csv, which are there")
    calibration = load_calibration(settings, info)
    shards = list(find_shards(settings.input, info, settings.data_dir)())
    try:
        options = PipelineOptions(arguments, save_main_session=False)
    except SystemExit:
        raise ConfigError(f"expected Beam's flags after --. Received: {' '.join(arguments)}") from None
    pipeline = beam.Pipeline(options=options)
    _build(pipeline, settings, info, calibration, shards)
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:  # every runner has its own kinds
        line = " ".join(str(error).split())[-200:]
        raise PipelineError(f"the pipeline failed, and {settings.output}-*.csv were not made ({line})") from error
    return _counts(result)


def _build(pipeline, settings: BeamConfig, info: ModelInfo, calibration, shards: list[Shard]) -> None:
    records = (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "Spread" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(_Read(info)).with_outputs("bad", main="good")
    )
    lines = (
        records.good
        | "Score" >> RunInference(EnergyHandler(settings.model, settings.batch_size, calibration))
        | "Format" >> beam.ParDo(_Format()).with_outputs("bad", main="good")
    )
    columns = DETECTOR_COLUMNS if calibration else COLUMNS
    bad = (
        (records.bad, lines.bad)
        | "All bad" >> beam.Flatten()
        | "Format bad" >> beam.Map(lambda record: _line(format_row(record.id, columns[1:-1], record.error)))
    )
    for name, rows, prefix in (("rows", lines.good, settings.output), ("bad", bad, f"{settings.output}-errors")):
        counted = rows | f"Count {name}" >> beam.ParDo(_Count(name))
        counted | f"Write {name}" >> beam.io.WriteToText(prefix, ".csv", header=",".join(columns), coder=BytesCoder())


class _Count(beam.DoFn):
    def __init__(self, name: str):
        self.counter = beam.metrics.Metrics.counter("ebm_tf", name)

    def process(self, row):
        self.counter.inc()
        yield row


def _counts(result) -> tuple[int, int]:
    found = {"rows": 0, "bad": 0}
    for counter in result.metrics().query(beam.metrics.MetricsFilter().with_namespace("ebm_tf"))["counters"]:
        found[counter.key.metric.name] = counter.result
    return found["rows"] + found["bad"], found["bad"]

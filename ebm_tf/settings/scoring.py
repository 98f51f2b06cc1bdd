"""Settings of bin/score.py, bin/score_beam.py and bin/calibrate.py."""

import dataclasses

from ebm_tf.settings.fields import COUNT, FRACTION, Settings, setting

__all__ = ["BeamConfig", "CalibrateConfig", "ScoreConfig"]

_MODEL_HELP = "Folder that bin/export.py wrote, or of a finished run, or a .keras file."
_MODEL_GIVEN = "a folder that bin/export.py wrote, or of a finished run, or a .keras file"
_INPUT_HELP = (
    "A folder of images, with the folders in it; one image; FILE.npy or FILE.npz, images (uint8, or floats in "
    "[-1, 1]) or rows in the data's own units; for a model of a table FILE.csv, FILE.tsv or FILE.parquet; "
    "TFRecords; of images and TFRecords also a pattern in quotes, 'photos/*.png'; or tfds:NAME/SPLIT."
)
_INPUT_GIVEN = "a folder of images, FILE.npy, FILE.npz, FILE.csv, TFRecords or tfds:NAME/SPLIT"


@dataclasses.dataclass(frozen=True)
class BeamConfig(Settings):
    """What is scored, by which energy, and where the rows go."""

    model: str = setting("", _MODEL_HELP, given=_MODEL_GIVEN)
    input: str = setting("", _INPUT_HELP, given=_INPUT_GIVEN)
    output: str = setting("", "Start of the new files' names.", given="the start of the files' names")
    reference: str | None = setting(
        None,
        "The calibration.npz of another bin/calibrate.py of this model. None: the model's own, if there is one; else "
        "there is the energy alone.",
    )
    false_positive_rate: float | None = setting(
        None,
        "Share of inputs that belong and yet may be flagged out. None: the calibration's.",
        range=FRACTION,
    )
    batch_size: int = setting(256, "Inputs at once.", range=COUNT)
    data_dir: str | None = setting(None, "Folder of prepared TFDS data sets. None: TFDS's own, and download.")
    skip_bad: bool = setting(False, "Exit 0 also where inputs could not be read; their rows tell why.")

    def _check(self) -> None:
        is_read = self.data_dir is None or self.input.startswith("tfds:")
        self._require("data_dir", is_read, "None without --input=tfds:NAME/SPLIT")


@dataclasses.dataclass(frozen=True)
class ScoreConfig(BeamConfig):
    """What bin/score.py writes."""

    output: str = setting("", "New table, FILE.csv or FILE.parquet.", given="a file for the table")
    report: str | None = setting(
        None, "New FILE.html: one page that shows the table, for a browser. Needs a calibrated model."
    )
    resume: bool = setting(False, "Continue a table that was broken off.")


@dataclasses.dataclass(frozen=True)
class CalibrateConfig(Settings):
    """Settings of bin/calibrate.py."""

    model: str = setting("", _MODEL_HELP, given=_MODEL_GIVEN)
    input: str | None = setting(
        None,
        f"Data that belong and did not train. {_INPUT_HELP} None: of the run that --model names, what it held "
        "out, at most 10,000 examples.",
    )
    false_positive_rate: float = setting(
        0.05, "Share of inputs that belong and yet may be flagged out.", range=FRACTION
    )
    tail: str = setting(
        "both",
        "Which inputs do not belong: those that are unusual, on either side, by the joint law of many statistics, or "
        "those of high (upper) or of low energy (lower) alone.",
        choices=("both", "upper", "lower"),
    )
    confidence: float = setting(0.95, "Coverage of the interval for the false-positive rate.", range=FRACTION)
    batch_size: int = setting(256, "Inputs at once.", range=COUNT)
    data_dir: str | None = setting(None, "Folder of prepared TFDS data sets. None: TFDS's own, and download.")
    skip_bad: bool = setting(False, "Leave out inputs that cannot be read, and say how many.")

    def _check(self) -> None:
        is_read = self.data_dir is None or self.input is None or self.input.startswith("tfds:")
        self._require("data_dir", is_read, "None without --input=tfds:NAME/SPLIT, where --input is given")

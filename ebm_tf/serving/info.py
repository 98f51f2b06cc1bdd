"""What a user of a trained energy has to know beside its weights. Knows nothing but the standard library."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from ebm_tf.errors import ConfigError

__all__ = ["FILE_NAME", "ModelInfo", "read_info"]

FILE_NAME = "ebm_tf.json"
SCALE, OFFSET = 1 / 127.5, -1.0
OTHER_SIZES = {
    "crop": "short side scaled to image_size, bilinear with antialiasing; then cut at the centre",
    "pad": "shrunk until it fits, bilinear with antialiasing, or as it is; black around it",
    "stretch": "each side scaled by itself, bilinear with antialiasing",
}


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """Facts about a trained energy; ebm_tf.json beside the SavedModel, and its signature `metadata`.

    Attributes:
      dataset: what it was trained on.
      event_shape: shape of one x.
      temperature: T, in the units of E; p(x) ∝ exp(−E(x) / T).
      step_size: ε of training, x²/energy.
      sample_step_size: ε of sampling, x²/energy; one number, or one per coordinate.
      sample_num_steps: L of sampling.
      label_names: the data set's classes, in its order; empty where it has none or they were not at hand.
      model: the first 16 hexadecimal digits of the sha256 of model.keras.
      scheme: where the chains of training started.
      version: of ebm_tf.
      fit: how images of another size are brought to this one: crop, pad or stretch.
      statistics: names of the columns of the signature `statistics`; empty in exports of before.
      columns: names of a table's columns, in the order of x; empty where they have none.
      mean, scale: of vectors that were standardised for training, per column; x is in the data's units.
      data_noise: σ of the noise that training added to the data, of standardised x; 0 in exports of before.
      num_examples: how many trained; 0 where it is not known.
      fingerprint: hashes of some of them, see stats/fingerprint.py; "" where there are none.
    """

    dataset: str
    event_shape: tuple[int, ...]
    temperature: float
    step_size: float
    sample_step_size: float | tuple[float, ...]
    sample_num_steps: int
    label_names: tuple[str, ...]
    model: str
    scheme: str
    version: str
    fit: str = "crop"
    statistics: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    data_noise: float = 0.0
    num_examples: int = 0
    fingerprint: str = dataclasses.field(default="", repr=False)  # 3 KB that say nothing to a reader

    @property
    def is_image(self) -> bool:
        """Whether x is an image [S, S, 3]."""
        return len(self.event_shape) == 3

    @property
    def has_files(self) -> bool:
        """Whether x is an image that an image file can be: grey, of three colours, or with alpha."""
        return self.is_image and self.event_shape[-1] in (1, 3, 4)

    @property
    def image_size(self) -> int | None:
        """S of images, else None."""
        return self.event_shape[0] if self.is_image else None

    def to_json(self) -> str:
        """JSON text; normalisation and image_size stand in it for readers without this class."""
        values: dict[str, Any] = dataclasses.asdict(self)
        if self.is_image:
            values["image_size"] = self.image_size
            values["normalisation"] = {
                "float32": "x in [-1, 1]",
                "uint8": "x = image * scale + offset",
                "scale": SCALE,
                "offset": OFFSET,
                "other_sizes": OTHER_SIZES[self.fit],
            }
        return json.dumps(values, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "ModelInfo":
        """The inverse of to_json. Raises ValueError, KeyError or TypeError on anything else."""
        found = json.loads(text)
        names = [field.name for field in dataclasses.fields(cls)]
        found = {**{name: getattr(cls, name) for name in names if hasattr(cls, name)}, **found}  # files of before
        values: dict[str, Any] = {name: found[name] for name in names}
        for name, value in values.items():
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


def read_info(folder: str | os.PathLike, flag: str = "model") -> ModelInfo:
    """The facts beside a SavedModel.

    Raises:
      ConfigError: the folder is not one that bin/export.py wrote.
    """
    path = pathlib.Path(folder) / FILE_NAME
    try:
        return ModelInfo.from_json(path.read_text())
    except OSError:
        raise ConfigError(f"--{flag}: expected a folder that bin/export.py wrote. Received: {folder}") from None
    except (ValueError, KeyError, TypeError) as error:
        received = f"{path}: {error}"
        raise ConfigError(f"--{flag}: expected {FILE_NAME} as bin/export.py writes it. Received: {received}") from None

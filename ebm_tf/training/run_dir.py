"""The folder of one run: what lies where, refusing to overwrite, and what a resumed run may change."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from ebm_tf.config import ConfigError, TrainConfig

__all__ = ["RunDir"]

# What the checkpoint's arrays and the order of the data hang on: a resumed run keeps these.
FIXED_ON_RESUME = (
    "dataset",
    "image_size",
    "batch_size",
    "num_filters",
    "attention",
    "energy_scale",
    "dtype_policy",
    "scheme",
    "bank_size",
    "optimizer",
    "ema_momentum",
    "seed",
)


class RunDir:
    """Paths of one run.

    Attributes:
      path: the folder.
      config: config.json, the settings of the newest start.
      metrics: metrics.jsonl, one object per logged update.
      tensorboard: folder of TensorBoard's event files.
      checkpoints: folder of everything the next update depends on.
      figures: folder of pictures.
      model: model.keras, the energy at the end of training.

    Args:
      path: the folder; need not exist.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.figures = self.path / "figures"
        self.model = self.path / "model.keras"

    def check(self, config: TrainConfig) -> None:
        """Whether config may run here. Writes nothing.

        Raises:
          ConfigError: the folder is in use and config.resume is off, or resume is on and there is no such run.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"--workdir: expected a folder, new or empty. Received: the file {self.path}")
        if config.resume:
            self._check_resumed(config)
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise ConfigError(
                f"--workdir: expected a new or empty folder, or --resume to continue its run. Received: {self.path}, "
                "which holds files"
            )

    def _check_resumed(self, config: TrainConfig) -> None:
        before = self.load_config()
        for name in FIXED_ON_RESUME:
            old, new = getattr(before, name), getattr(config, name)
            if old != new:
                raise ConfigError(f"--{name}: expected {old}, as the run in {self.path} has it. Received: {name}={new}")

    def prepare(self, config: TrainConfig) -> None:
        """Makes the folder and writes config.json.

        Raises:
          ConfigError: see check; or the folder cannot be written.
        """
        self.check(config)
        try:
            for folder in (self.tensorboard, self.checkpoints, self.figures):
                folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(dataclasses.replace(config, resume=False).to_dict(), indent=2)
            draft = self.config.with_suffix(".tmp")
            draft.write_text(text + "\n")
            draft.replace(self.config)  # whole or not at all
            self.metrics.touch()
        except OSError as error:
            raise ConfigError(f"--workdir: expected a folder that can be written. Received: {error}") from error

    def load_config(self) -> TrainConfig:
        """The settings in config.json.

        Raises:
          ConfigError: there is no config.json, or it cannot be read.
        """
        try:
            return TrainConfig.from_dict(json.loads(self.config.read_text()))
        except OSError as error:
            raise ConfigError(
                f"--workdir: expected the folder of a run, with config.json. Received: {self.path}"
            ) from error
        except (ConfigError, TypeError, ValueError) as error:
            raise ConfigError(
                f"--workdir: expected config.json as bin/train.py writes it. Received: {self.config}: {error}"
            ) from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """The whole rows of metrics.jsonl; a last row cut short by a crash is left out."""
        rows = []
        for line in self.metrics.read_text().splitlines() if self.metrics.exists() else ():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def truncate_metrics(self, step: int) -> None:
        """Drops the rows after update `step`, which a resumed run writes anew."""
        rows = [row for row in self.read_metrics() if row["step"] <= step]
        draft = self.metrics.with_suffix(".tmp")
        draft.write_text("".join(json.dumps(row) + "\n" for row in rows))
        draft.replace(self.metrics)

"""bin/export.py: a run's energy as a SavedModel, and the same energy for the Python API."""

import os
import pathlib
import shutil

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ebm_tf.build import step_sizes
from ebm_tf.energies import EnergyModel
from ebm_tf.energies.precision import with_policy
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.finished import FinishedRun, load_run, resolve
from ebm_tf.runs.run_dir import DISK_ERRORS
from ebm_tf.serving.endpoints import Endpoint, endpoints
from ebm_tf.serving.info import FILE_NAME, ModelInfo
from ebm_tf.serving.trained import TrainedEnergy, load_exported
from ebm_tf.settings.commands import ExportConfig, SampleConfig
from ebm_tf.settings.data import IMAGE_SPLITS
from ebm_tf.settings.train import TrainConfig
from ebm_tf.version import __version__

__all__ = ["export", "load"]


# TFDS learns these only from its own download; a data set prepared by other means has numbers for names.
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def export(settings: ExportConfig) -> pathlib.Path:
    """Writes a SavedModel with the signatures of endpoints.py, energy also as serving_default, and ebm_tf.json.

    Everything is computed in float32, whatever the dtype policy of training. The folder is there whole or not at all.

    Returns:
      The folder.

    Raises:
      ConfigError: no finished run, or the folder is in use.
      OSError: the disk takes no more; nothing is left behind.
    """
    output = pathlib.Path(settings.output)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ConfigError(f"--output: expected a new or empty folder. Received: output={output}")
    if settings.onnx:
        from ebm_tf.serving import onnx  # an extra

        onnx.check_installed()
    run = load_run(settings.workdir)
    info, energy = _info(run, settings.data_dir), with_policy(run.energy, "float32")
    made = endpoints(energy, info)
    draft = output.with_name(f"{output.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"--output: expected a folder that can be written. Received: {error}") from error
    try:
        _write(energy, made, draft)
        (draft / FILE_NAME).write_text(info.to_json() + "\n")
        if settings.onnx:
            onnx.write(made["energy"], draft / "model.onnx")
        draft.replace(output)
    except tf.errors.OpError as error:
        raise _disk_error(error, output) or error from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return output


def _disk_error(error: tf.errors.OpError, output: pathlib.Path) -> OSError | None:
    """What the system said of a disk that is full or closed: TensorFlow keeps the words, not the number."""
    text = str(error).lower()
    for number in DISK_ERRORS:
        if os.strerror(number).lower() in text:
            return OSError(number, os.strerror(number), str(output))
    return None


def _write(energy: EnergyModel, made: dict[str, Endpoint], folder: pathlib.Path) -> None:
    archive = keras.export.ExportArchive()
    archive.track(energy.network)
    for name, endpoint in made.items():
        archive.add_endpoint(name, endpoint.function, input_signature=endpoint.signature)
    archive.write_out(str(folder), verbose=False)


def load(path: str | os.PathLike) -> TrainedEnergy:
    """The energy of a finished run, or of a folder that bin/export.py wrote.

    Args:
      path: the folder. Of a run it is the energy as in RUN/model.keras.

    Returns:
      The energy with its gradient and its chains, in float32 whatever the dtype policy of training.

    Raises:
      ConfigError: the folder is neither, or cannot be read.
    """
    path = pathlib.Path(path)
    if (path / FILE_NAME).exists():
        return load_exported(path)
    if not (path / "config.json").exists():
        raise ConfigError(f"expected the folder of a finished run, or one that bin/export.py wrote. Received: {path}")
    run = load_run(path)
    info = _info(run, None)
    made = endpoints(with_policy(run.energy, "float32"), info)
    return TrainedEnergy(info, {name: endpoint.compile() for name, endpoint in made.items()})


def _info(run: FinishedRun, data_dir: str | None) -> ModelInfo:
    config = run.config
    sampling = resolve(SampleConfig(workdir=str(run.run_dir.path), output="."), config)
    assert sampling.step_size and sampling.num_steps is not None  # by resolve
    sizes = (sampling.step_size / config.step_size) * step_sizes(config, run.event_shape).numpy()
    is_uniform = bool(np.all(sizes == sizes.flat[0]))
    return ModelInfo(
        dataset=config.dataset,
        event_shape=run.event_shape,
        temperature=config.temperature,
        step_size=config.step_size,
        sample_step_size=sampling.step_size if is_uniform else tuple(sizes.tolist()),
        sample_num_steps=sampling.num_steps,
        label_names=_label_names(config, data_dir),
        model=run.model_id,
        scheme=config.scheme.value,
        version=__version__,
        fit=config.image_fit,
    )


def _label_names(config: TrainConfig, data_dir: str | None) -> tuple[str, ...]:
    """The classes of the data set, without downloading anything; () where there are none or they are not at hand."""
    if config.dataset == "cifar10":
        return CIFAR10
    name = config.dataset.removeprefix("tfds:")
    if config.dataset not in IMAGE_SPLITS and name == config.dataset:
        return ()
    try:
        features = dict(tfds.builder(name, data_dir=data_dir or config.data_dir).info.features)
        return tuple(features["label"].names)
    except Exception as error:  # TFDS raises its own kinds, and those of every file system below it
        print(f"no label names: {' '.join(str(error).split())[:200]}")
        return ()

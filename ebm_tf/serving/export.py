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
from ebm_tf.energies.files import load_energy
from ebm_tf.energies.precision import with_policy
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.finished import FinishedRun, bare_run, load_run, resolve
from ebm_tf.runs.run_dir import DISK_ERRORS
from ebm_tf.runs.saved import file_digest
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
    """The energy of a finished run, of a folder that bin/export.py wrote, or of a .keras file.

    Args:
      path: the folder, of a run with the energy as in RUN/model.keras; or the file. What EnergyModel.from_network made
        of a network with classes of your own needs the module that registers them to be imported before.

    Returns:
      The energy with its gradient and its chains, in float32 whatever the dtype policy of training. x and samples are
      in the data's units.

    Raises:
      ConfigError: it is none of them, or cannot be read; or a file that does not say how its chains were run.
    """
    path = pathlib.Path(path)
    if path.suffix == ".keras":
        return _load_file(path)
    if (path / FILE_NAME).exists():
        return load_exported(path)
    if not (path / "config.json").exists():
        raise ConfigError(f"expected the folder of a finished run, or one that bin/export.py wrote. Received: {path}")
    run = load_run(path)
    info = _info(run, None)
    return _trained(run.energy, info)


def _trained(energy: EnergyModel, info: ModelInfo) -> TrainedEnergy:
    made = endpoints(with_policy(energy, "float32"), info)
    return TrainedEnergy(info, {name: endpoint.compile() for name, endpoint in made.items()})


def _load_file(path: pathlib.Path) -> TrainedEnergy:
    """As load, of a .keras file. One from before files said how they were trained is an image's of the paper."""
    energy = load_energy(path)
    origin = energy.origin
    if origin is None:
        if len(energy.event_shape) != 3:
            expected = "expected a file that Trainer or ebm_tf.train has written, or the folder of its run"
            raise ConfigError(f"{expected}. Received: {path}")
        return _trained(energy, _info(bare_run(str(path), ".", None), None))
    info = ModelInfo(
        dataset=origin.dataset,
        event_shape=energy.event_shape,
        temperature=origin.temperature,
        step_size=float(np.max(origin.step_size)),
        sample_step_size=origin.step_size,
        sample_num_steps=origin.num_steps,
        label_names=(),
        model=file_digest(path),
        scheme=origin.scheme,
        version=__version__,
    )
    return _trained(energy, info)


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

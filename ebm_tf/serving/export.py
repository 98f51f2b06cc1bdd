"""bin/export.py: a trained energy as a SavedModel, and the same energy for the Python API."""

import errno
import os
import pathlib
import shutil

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ebm_tf.energies import EnergyModel
from ebm_tf.energies.statistics import Statistics
from ebm_tf.errors import ConfigError, check_kind, naming_arguments
from ebm_tf.evaluation.finished import FinishedRun, load_run
from ebm_tf.evaluation.opening import bare_run, open_run
from ebm_tf.runs.run_dir import DISK_ERRORS
from ebm_tf.serving.detect import detect_endpoints, keep
from ebm_tf.serving.detector import place_of
from ebm_tf.serving.endpoints import Endpoint, endpoints
from ebm_tf.serving.info import FILE_NAME, ModelInfo
from ebm_tf.serving.trained import TrainedEnergy, calibration_at, load_exported
from ebm_tf.settings.commands import ExportConfig, SampleConfig, resolve
from ebm_tf.settings.data import IMAGE_SPLITS, check_data_dir
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
      ConfigError: no finished run, no such checkpoint or file, or the folder is in use.
      OSError: the disk takes no more; nothing is left behind.
    """
    output = pathlib.Path(settings.output)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ConfigError(f"--output: expected a new or empty folder. Received: output={output}")
    if settings.onnx:
        from ebm_tf.serving import onnx  # an extra

        onnx.check_installed()
    run = _run_of(settings)
    check_data_dir(settings.data_dir, run.config.dataset)
    statistics = Statistics(run.energy)
    info = _info(run, settings.data_dir, statistics.names)
    made = endpoints(statistics, info)
    calibration = None if settings.checkpoint else calibration_at(_own_path(run), info)
    if calibration:
        made |= detect_endpoints(made["statistics"].function, calibration, info)
    draft = output.with_name(f"{output.name}.{os.getpid()}.draft")  # another process may export to the same folder
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"--output: expected a folder that can be written. Received: {error}") from error
    try:
        _write(statistics.energy, made, draft)
        (draft / FILE_NAME).write_text(info.to_json() + "\n")
        if calibration:
            keep(place_of(draft), calibration)
        if settings.onnx:
            onnx.write(made["energy"], draft / "model.onnx")
        _move(draft, output)
    except tf.errors.OpError as error:
        raise _disk_error(error, output) or error from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return output


def _move(draft: pathlib.Path, output: pathlib.Path) -> None:
    try:
        draft.replace(output)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        expected = "--output: expected a folder that nobody else writes"
        raise ConfigError(f"{expected}. Received: output={output}, filled in the meantime") from error


def _run_of(settings: ExportConfig) -> FinishedRun:
    if settings.workdir:
        return open_run(settings.workdir, settings.checkpoint, None, settings.data_dir)
    return _run_at(pathlib.Path(settings.model or ""), "model")


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
    check_kind("path", path, str | os.PathLike, "a .keras file, or the folder of a run or of bin/export.py")
    with naming_arguments(model="path", workdir="path"):
        return open_trained(path)


def open_trained(path: str | os.PathLike) -> TrainedEnergy:
    """What `load` gives; errors name --model. Raises ConfigError."""
    path = pathlib.Path(os.path.expanduser(path))
    if (path / FILE_NAME).exists():
        return load_exported(path)
    run = _run_at(path, "model")
    statistics = Statistics(run.energy)
    info = _info(run, None, statistics.names)
    made = endpoints(statistics, info)
    functions = {name: endpoint.compile() for name, endpoint in made.items()}
    return TrainedEnergy(info, functions, lambda: calibration_at(path, info))


def _own_path(run: FinishedRun) -> pathlib.Path:
    """What --model would name: the .keras file, or the run's folder."""
    return run.model if run.is_bare else run.own_dir.path


def _run_at(path: pathlib.Path, flag: str) -> FinishedRun:
    """The finished run of a folder, or one made up around a .keras file."""
    if (path / "config.json").exists():
        return load_run(path, flag=flag)
    if path.suffix != ".keras":
        expected = "a .keras file, or the folder of a finished run or of bin/export.py"
        received = path if path.exists() else f"{path}, which does not exist"
        raise ConfigError(f"--{flag}: expected {expected}. Received: {received}")
    run = bare_run(str(path), ".", None)
    if run.energy.origin is None and not run.is_image:  # of images the paper says how they are sampled
        expected = "a file that Trainer or ebm_tf.train has written, or the folder of its run"
        raise ConfigError(f"--{flag}: expected {expected}. Received: {path}")
    return run


def _info(run: FinishedRun, data_dir: str | None, statistics: tuple[str, ...]) -> ModelInfo:
    config, trained = run.config, run.energy.origin
    origin = trained if run.is_bare else None
    sampling = resolve(SampleConfig(workdir="."), config)
    assert sampling.step_size and sampling.num_steps is not None  # by resolve
    sizes = (sampling.step_size / config.step_size) * np.asarray(run.sampler.step_size)
    is_uniform = bool(np.all(sizes == sizes.flat[0]))
    return ModelInfo(
        dataset=origin.dataset if origin else config.dataset,
        event_shape=run.event_shape,
        temperature=config.temperature,
        step_size=config.step_size,
        sample_step_size=sampling.step_size if is_uniform else tuple(sizes.tolist()),
        sample_num_steps=sampling.num_steps,
        label_names=_label_names(config, data_dir),
        model=run.model_id,
        scheme=origin.scheme if origin else config.scheme.value,
        version=__version__,
        fit=origin.fit if origin else config.image_fit,
        statistics=statistics,
        columns=trained.columns if trained else (),
        mean=trained.mean if trained else (),
        scale=trained.scale if trained else (),
        data_noise=config.data_noise,
        num_examples=trained.num_examples if trained else 0,
        fingerprint=trained.fingerprint if trained else "",
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

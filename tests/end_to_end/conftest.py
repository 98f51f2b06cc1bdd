"""What tests share: runs and exports for serving, whose weights are random, pictures without chains, a full disk."""

import contextlib
import json
import resource
import signal

import numpy as np
import pytest
import tensorflow as tf

import ebm_tf
from ebm_tf.build import build_energy
from ebm_tf.settings.commands import ExportConfig
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import callbacks


def _make_run(folder, config):
    energy = build_energy(config)
    for i, weight in enumerate(energy.trainable_variables):  # at first an energy is nearly flat, and biases are 0
        weight.assign(weight + 0.1 * tf.random.stateless_normal(weight.shape, [1, i]))
    if energy.noise_spectrum:
        mean, factor = energy.noise_spectrum
        mean.assign(0.1 * tf.random.stateless_normal(mean.shape, [2, 0]))
        factor.assign(0.3 * factor)
    if energy.preconditioner is not None:
        energy.preconditioner.assign(1.5 * energy.preconditioner)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    energy.save(folder / "model.keras")
    return folder


@pytest.fixture(scope="session")
def image_run(tmp_path_factory):
    """A finished run on images, trained under mixed_bfloat16, with all that an energy can have but a wall."""
    settings = {"dtype_policy": "mixed_bfloat16", "energy_scale": 0.5, "temperature": 0.01}
    config = TrainConfig(num_filters=4, gaussian="start+steps+reference", **settings)
    return _make_run(tmp_path_factory.mktemp("runs") / "images", config)


@pytest.fixture(scope="session")
def rings_run(tmp_path_factory):
    """A finished run on the rings."""
    config = TrainConfig(
        dataset="rings",
        scheme="persistent",
        num_filters=4,
        energy_scale=0.005,
        num_steps=3,
        step_size=0.005,
        gaussian="steps",
        temperature=0.005,
    )
    return _make_run(tmp_path_factory.mktemp("runs") / "rings", config)


@pytest.fixture(scope="session")
def image_export(image_run, tmp_path_factory):
    """image_run as a SavedModel. Do not change it."""
    from ebm_tf.serving.export import export

    folder = tmp_path_factory.mktemp("exports") / "images"
    return export(ExportConfig(workdir=str(image_run), output=str(folder)))


@pytest.fixture(scope="session")
def image_model(image_export):
    """ebm_tf.load(image_export), which takes a second. Fit no detector of it."""
    return ebm_tf.load(image_export)


@pytest.fixture(scope="session")
def rings_export(rings_run, tmp_path_factory):
    """rings_run as a SavedModel. Do not change it."""
    from ebm_tf.serving.export import export

    folder = tmp_path_factory.mktemp("exports") / "rings"
    return export(ExportConfig(workdir=str(rings_run), output=str(folder)))


@pytest.fixture(scope="session")
def some_images():
    """uint8 [20, 32, 32, 3], smooth enough to differ in more than noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def _write_plain(self, step):
    (self.run_dir.figures / f"chains_{step:07d}.png").write_bytes(b"chains")


@pytest.fixture(scope="module")
def plain_figures():
    """No chains in training's pictures, which take a third of a run of eight updates. They are files all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.FigureWriter, "write", _write_plain)
        yield patch


@pytest.fixture
def real_figures(plain_figures):
    """Training's pictures as they are, for one test of a module that has plain ones."""
    plain_figures.undo()
    yield
    plain_figures.setattr(callbacks.FigureWriter, "write", _write_plain)


@pytest.fixture(scope="session")
def limited_file_size():
    """A context manager: within it the system writes no file beyond so many bytes, as a full disk would not."""

    @contextlib.contextmanager
    def limited(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)

    return limited

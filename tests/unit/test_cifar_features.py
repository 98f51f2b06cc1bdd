"""pretrained/cifar_features.keras, and the script that trained it."""

import hashlib
import importlib.util
import io
import json
import os
import pathlib
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from ebm_tf.evaluation.features.extractors import load_extractor

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE = ROOT / "pretrained" / "cifar_features.keras"
DATA = pathlib.Path(os.environ.get("EBM_TF_DATA", ROOT.parent / "shared" / "tfds"))
needs_cifar = pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason=f"no CIFAR-10 in {DATA}; set EBM_TF_DATA")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("cifar_features", ROOT / "studies" / "cifar_features.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored_dtypes(path):
    """Types of the arrays in a .keras file."""
    dtypes = set()
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(lambda name, entry: dtypes.add(entry.dtype) if isinstance(entry, h5py.Dataset) else None)
    return dtypes


def test_file_is_small_half_precision_and_that_of_its_json():
    report = json.loads(FILE.with_suffix(".json").read_text())
    content = FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == report["sha256"]
    assert len(content) < 6_000_000
    assert stored_dtypes(FILE) == {np.dtype(np.float16)}
    assert report["test_accuracy"] >= 0.92
    assert report["scale"]["dead_features"] == 0


def test_file_loads_as_a_float32_features_model():
    extractor = load_extractor(str(FILE), 32)
    assert (extractor.distance_name, extractor.dimension) == ("FD (CIFAR features)", 256)
    model = keras.models.load_model(FILE, compile=False)
    assert {variable.dtype for variable in model.variables} == {"float32"}


@needs_cifar
def test_file_classifies_as_its_json_says():
    """Fewer than 348 right of 400 have probability 1e-6 at 93.5 %. Scaling or channels gone wrong is far below."""
    data = tfds.builder("cifar10", data_dir=str(DATA)).as_dataset(split="test").take(400).batch(400)
    images, labels = next((part["image"], part["label"]) for part in data.as_numpy_iterator())
    logits = keras.models.load_model(FILE, compile=False)(images / np.float32(127.5) - 1, training=False)["logits"]
    assert np.sum(np.argmax(logits, axis=1) == labels) >= 348


def test_folding_changes_nothing_but_the_scale_of_logits(script):
    trained = script.build("float32", normalised=True)
    rng = np.random.default_rng(0)
    for layer in trained.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    x = rng.uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    before, after = trained(x, training=False), script.fold(trained)(x, training=False)
    np.testing.assert_allclose(after["features"], before["features"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(after["logits"], script.LOGIT_SCALE * before["logits"], rtol=1e-3, atol=1e-3)


def test_half_precision_file_reads_as_the_model_rounded(script, tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, {"features": keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))})
    script.save_half(model, tmp_path / "half.keras")
    assert stored_dtypes(tmp_path / "half.keras") == {np.dtype(np.float16)}
    loaded = keras.models.load_model(tmp_path / "half.keras", compile=False)
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        assert theirs.dtype == np.float32
        np.testing.assert_array_equal(theirs, ours.astype(np.float16).astype(np.float32))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half.keras"]


def test_augmented_images_are_shifted_mirrored_and_cut(script):
    """Pixels hold their own row and column, so each shows where it came from."""
    rows, columns = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    pixels = np.tile(np.stack([rows, columns, np.full_like(rows, 255)], axis=-1), (64, 1, 1, 1)).astype(np.uint8)
    x = script.augment(tf.constant(pixels), tf.constant([3, 4])).numpy()
    again = script.augment(tf.constant(pixels), tf.constant([3, 4])).numpy()
    np.testing.assert_array_equal(x, again)
    source = np.round((x + 1) * 127.5).astype(int)

    def reflected(index):
        return np.where(np.abs(index) > 31, 62 - np.abs(index), np.abs(index))

    shifts = {}
    for name, line in (("plain", np.arange(32)), ("mirrored", 31 - np.arange(32))):
        shifts |= {(name, shift): reflected(line + shift) for shift in range(-4, 5)}
    seen = set()
    for image, origin in zip(x, source):
        cut = np.all(image == 0, axis=-1)
        assert cut.sum() == 64
        fits_rows = [s for (name, s), line in shifts.items() if name == "plain" and _fits(origin[..., 0], line, cut, 0)]
        fits_columns = [key for key, line in shifts.items() if _fits(origin[..., 1], line, cut, 1)]
        assert len(fits_rows) == 1 and fits_columns
        seen.add((fits_rows[0], fits_columns[0][0]))
    assert {name for _, name in seen} == {"plain", "mirrored"} and len({shift for shift, _ in seen}) > 5


def _fits(origin, line, cut, axis):
    expected = line[:, None] if axis == 0 else line[None, :]
    return np.all((origin == expected) | cut)

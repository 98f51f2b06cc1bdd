"""bin/export.py: the SavedModel gives the run's energies, wherever it is loaded."""

import ctypes
import dataclasses
import glob
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import ebm_tf
from ebm_tf.data import crop, images
from ebm_tf.energies.precision import with_policy
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.finished import load_run
from ebm_tf.evaluation.sampling import sample
from ebm_tf.serving.export import CIFAR10, export
from ebm_tf.serving.info import ModelInfo
from ebm_tf.settings.commands import ExportConfig, SampleConfig
from tests import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
SIGNATURES = {"energy", "energy_grad", "score", "statistics", "sample", "metadata", "serving_default"}


@pytest.fixture(scope="module")
def truth(image_run, some_images):
    """Energy and gradient of the run's own model in float32, as training computes them."""
    energy = with_policy(load_run(image_run).energy, "float32")
    e, grad = energy.energy_and_grad(images.to_unit_range(some_images))
    assert np.std(e) > 0.01 and np.abs(grad).max() > 1e-3  # else the comparisons below could not fail
    return e.numpy(), grad.numpy()


FRESH = """
import json, sys
import numpy as np
assert not any("ebm_tf" in name or "keras" in name for name in sys.modules)
sys.modules["ebm_tf"] = None  # importing it is an error
import tensorflow as tf
folder, images, out = sys.argv[1:]
loaded = tf.saved_model.load(folder)
calls = loaded.signatures
images = tf.constant(np.load(images))
x = tf.cast(images, tf.float32) / 127.5 - 1
with tf.GradientTape() as tape:
    tape.watch(x)
    e = calls["serving_default"](x=x)["energy"]
steps = {name: tf.constant(value) for name, value in (("num_samples", 3), ("num_steps", 2), ("seed", 5))}
results = {
    "tape": tape.gradient(e, x), "energy": e, "metadata": calls["metadata"]()["json"],
    "one": calls["energy"](x=x[:1])["energy"],
    "energy_uint8": calls["energy_uint8"](images=images)["energy"],
    "energy_grad": calls["energy_grad"](x=x)["energy_grad"],
    "score": calls["score"](x=x)["score"], "score_uint8": calls["score_uint8"](images=images)["score"],
    "sample": calls["sample"](**steps)["x_final"], "sample_again": calls["sample"](**steps)["x_final"],
    "sample_energy": calls["sample"](**steps)["energy"],
}
np.savez(out, **{name: value.numpy() for name, value in results.items()})
"""


@pytest.fixture(scope="module")
def fresh(image_export, some_images, tmp_path_factory):
    """What a process finds that has TensorFlow, the exported folder, and nothing of this package."""
    folder = tmp_path_factory.mktemp("elsewhere")
    np.save(folder / "images.npy", some_images)
    command = [sys.executable, "-I", "-c", FRESH, str(image_export), "images.npy", "out.npz"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


def test_a_fresh_process_gets_the_energies(fresh, truth):
    energy = truth[0]
    for name in ("energy", "energy_uint8"):
        np.testing.assert_allclose(fresh[name], energy, **TOLERANCE)
    np.testing.assert_allclose(fresh["one"], energy[:1], **TOLERANCE)


def test_a_fresh_process_gets_the_gradients(fresh, truth):
    grad = truth[1]
    for name in ("energy_grad", "tape"):
        np.testing.assert_allclose(fresh[name], grad, **TOLERANCE)
    for name in ("score", "score_uint8"):
        np.testing.assert_allclose(fresh[name], -grad / 0.01, rtol=1e-4, atol=1e-3)


def test_float32_whatever_the_policy_of_training(fresh, truth, image_run, some_images):
    """The tolerance above sees bfloat16."""
    x = images.to_unit_range(some_images)
    in_bfloat16 = load_run(image_run).energy(x).numpy()
    assert np.abs(in_bfloat16 - truth[0]).max() > 100 * np.abs(fresh["energy"] - truth[0]).max()


def test_samples_are_those_of_bin_sample(fresh, image_run, tmp_path):
    """The same starts and noise; the energies agree to rounding, which two steps do not enlarge."""
    np.testing.assert_array_equal(fresh["sample"], fresh["sample_again"])
    policy = {"num_samples": 3, "batch_size": 3, "num_steps": 2, "seed": 5}
    run = dataclasses.replace(load_run(image_run), loaded=None)
    with_policy(run.energy, "float32").save(tmp_path / "model.keras")
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.replace(run.config, dtype_policy="float32").to_dict()))
    sample(SampleConfig(workdir=str(tmp_path), output=str(tmp_path), **policy))
    with np.load(tmp_path / "samples.npz") as arrays:
        np.testing.assert_allclose(fresh["sample"], arrays["x_final"], rtol=1e-4, atol=1e-4)
        assert np.abs(arrays["x_final"] - arrays["x_init"]).max() > 0.01  # they moved


def test_metadata_lies_beside_and_inside(fresh, image_export, image_run):
    beside = json.loads((image_export / "ebm_tf.json").read_text())
    assert json.loads(fresh["metadata"].item()) == beside
    assert beside["temperature"] == 0.01
    assert (beside["step_size"], beside["sample_step_size"], beside["sample_num_steps"]) == (1.0, 2.0, 1000)
    assert beside["image_size"] == 32 and beside["event_shape"] == [32, 32, 3]
    assert beside["normalisation"]["scale"] * 255 + beside["normalisation"]["offset"] == pytest.approx(1)
    assert beside["label_names"] == list(CIFAR10)
    assert beside["model"] == load_run(image_run).model_id
    info = ModelInfo.from_json((image_export / "ebm_tf.json").read_text())
    assert ModelInfo.from_json(info.to_json()) == info


SAVED_MODEL_CLI = "import runpy; runpy.run_module('tensorflow.python.tools.saved_model_cli', run_name='__main__')"


def test_saved_model_cli(image_export, some_images, tmp_path, truth):
    def run(*arguments):
        done = processes.run(["-c", SAVED_MODEL_CLI, *arguments])  # its flags stay out of here
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = run("show", "--dir", str(image_export), "--all")
    for name in SIGNATURES | {"energy_uint8", "energy_grad_uint8", "score_uint8", "energy_bytes"}:
        assert f"signature_def['{name}']" in shown
    np.save(tmp_path / "images.npy", some_images)
    given = ["--signature_def", "energy_uint8", "--inputs", f"images={tmp_path / 'images.npy'}"]
    run("run", "--dir", str(image_export), "--tag_set", "serve", *given, "--outdir", str(tmp_path))
    np.testing.assert_allclose(np.load(tmp_path / "energy.npy"), truth[0], **TOLERANCE)


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def test_the_c_api_loads_it(image_export, some_images, truth):
    """TensorFlow's C functions, called as a program without Python calls them."""
    package = pathlib.Path(importlib.util.find_spec("tensorflow").origin).parent
    libraries = glob.glob(str(package / "libtensorflow_cc.so*"))
    if not libraries:
        pytest.skip("this build of TensorFlow has no libtensorflow_cc")
    c = ctypes.CDLL(libraries[0])
    for name in ("NewStatus", "NewSessionOptions", "NewGraph", "LoadSessionFromSavedModel", "GraphOperationByName"):
        getattr(c, f"TF_{name}").restype = ctypes.c_void_p
    c.TF_AllocateTensor.restype = c.TF_TensorData.restype = ctypes.c_void_p
    pointer = ctypes.c_void_p
    status, graph = pointer(c.TF_NewStatus()), pointer(c.TF_NewGraph())
    options, tags = pointer(c.TF_NewSessionOptions()), (ctypes.c_char_p * 1)(b"serve")
    folder = os.fspath(image_export).encode()
    session = pointer(c.TF_LoadSessionFromSavedModel(options, None, folder, tags, 1, graph, None, status))
    assert c.TF_GetCode(status) == 0
    shown = _tensor_names(image_export)
    x = np.ascontiguousarray(images.to_unit_range(some_images).numpy())
    shape = (ctypes.c_int64 * 4)(*x.shape)
    tensor = pointer(c.TF_AllocateTensor(1, shape, 4, ctypes.c_size_t(x.nbytes)))  # 1: float32
    ctypes.memmove(c.TF_TensorData(tensor), x.ctypes.data, x.nbytes)
    x_place, energy_place = (_Output(c.TF_GraphOperationByName(graph, name.encode()), i) for name, i in shown)
    found = (pointer * 1)()
    given = (None, ctypes.byref(x_place), (pointer * 1)(tensor), 1, ctypes.byref(energy_place), found, 1)
    c.TF_SessionRun(session, *given, None, 0, None, status)
    assert c.TF_GetCode(status) == 0
    energy = np.zeros(len(x), np.float32)
    ctypes.memmove(energy.ctypes.data, c.TF_TensorData(pointer(found[0])), energy.nbytes)
    np.testing.assert_allclose(energy, truth[0], **TOLERANCE)


def _tensor_names(folder):
    """(operation, index) of x and of energy under serving_default."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signature = model.meta_graphs[0].signature_def["serving_default"]
    for tensor in (signature.inputs["x"], signature.outputs["energy"]):
        name, index = tensor.name.split(":")
        yield name, int(index)


def test_rings(rings_export, rings_run):
    x = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    loaded, run = tf.saved_model.load(str(rings_export)), load_run(rings_run)
    assert set(loaded.signatures) == SIGNATURES
    energy, grad = run.energy.energy_and_grad(x)
    np.testing.assert_allclose(loaded.signatures["energy"](x=tf.constant(x))["energy"], energy, **TOLERANCE)
    score = loaded.signatures["score"](x=tf.constant(x))["score"]
    np.testing.assert_allclose(score, -grad / 0.005, rtol=1e-4, atol=1e-4)
    sizes = json.loads((rings_export / "ebm_tf.json").read_text())["sample_step_size"]
    np.testing.assert_allclose(sizes, [0.005 * 36] * 3 + [0.005] * 7, rtol=1e-6)


def test_python_api_gives_the_same_from_run_and_export(image_run, image_export, some_images, truth):
    for source in (image_run, image_export):
        model = ebm_tf.load(source)
        assert isinstance(model, ebm_tf.TrainedEnergy)
        x = images.to_unit_range(some_images).numpy()
        np.testing.assert_allclose(model.energy(x, batch_size=7), truth[0], **TOLERANCE)
        np.testing.assert_allclose(model.energy(some_images), truth[0], **TOLERANCE)
        np.testing.assert_allclose(model.energy_grad(x), truth[1], **TOLERANCE)
        assert model.sample(2, num_steps=1, seed=3).shape == (2, 32, 32, 3)
        assert model.info.temperature == 0.01


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 32, 32, 2), np.float32), r"expected x of shape \[N, 32, 32, 3\]. Received: shape=\(3, 32, "),
        (np.zeros((3, 32, 32), np.float32), r"expected x of shape"),
        (np.zeros((3, 32, 32, 3), np.int64), r"expected x as uint8 images, or floats in \[-1, 1\]. Received: dtype"),
    ],
)
def test_python_api_says_what_it_expects(x, message, image_export):
    with pytest.raises(ValueError, match=message):
        ebm_tf.load(image_export).energy(x)


COLOUR = np.random.default_rng(7).integers(0, 256, (6, 20, 28, 3), np.uint8)


@pytest.mark.parametrize("x", [COLOUR[..., 0], COLOUR, COLOUR / 127.5 - 1, COLOUR[:0]])
def test_images_of_another_size_are_brought_to_the_models_as_bin_score_does(x, image_export):
    model = ebm_tf.load(image_export)
    how = model.info.fit
    colour = x if x.ndim == 4 else x[..., None].repeat(3, axis=3)
    fitted = np.array([crop.fit(one, (32, 32), how) for one in colour], np.float32).reshape(-1, 32, 32, 3)
    fitted = fitted.astype(np.uint8) if x.dtype == np.uint8 else fitted
    with pytest.warns(UserWarning, match=rf"is read as images(, grey)?, brought to 32 x 32 \({how}\)$"):
        energy, grad = model.energy(x), model.energy_grad(x)
    np.testing.assert_allclose(energy, model.energy(fitted), rtol=1e-5)
    np.testing.assert_allclose(grad, model.energy_grad(fitted), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"expected x of shape \[N, 32, 32, 3\]. Received: shape=\(6, 3072\)"):
        model.energy(np.zeros((6, 3072), np.float32))


def test_public_names_are_there_and_cost_nothing_until_asked_for():
    for name in ebm_tf.__all__:
        assert getattr(ebm_tf, name).__doc__
    code = "import sys, ebm_tf; print([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute lode"):
        ebm_tf.lode  # noqa: B018


def test_no_score_at_temperature_zero(rings_run, tmp_path):
    """-(dE/dx)/T does not exist; all else does."""
    cold = tmp_path / "cold"
    cold.mkdir()
    settings = {**json.loads((rings_run / "config.json").read_text()), "temperature": 0.0}
    (cold / "config.json").write_text(json.dumps(settings))
    (cold / "model.keras").write_bytes((rings_run / "model.keras").read_bytes())
    model = ebm_tf.load(cold)
    assert model.energy_grad(np.ones((2, 10), np.float32)).any()
    with pytest.raises(ValueError, match="expected a model with T above 0"):
        model.score(np.ones((2, 10), np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workdir": "nowhere"}, "--workdir: expected the folder of a run"),
        ({"output": "full"}, "--output: expected a new or empty folder"),
        ({"output": "file/inside"}, "--output: expected a folder that can be written"),
    ],
)
def test_bad_input_writes_nothing(settings, message, rings_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("full").mkdir()
    pathlib.Path("full/x").touch()
    pathlib.Path("file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=message):
        export(ExportConfig(**{"workdir": str(rings_run), "output": "new", **settings}))
    assert sorted(tmp_path.rglob("*")) == before


def test_onnx_gives_the_energies(image_run, some_images, truth, tmp_path):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = export(ExportConfig(workdir=str(image_run), output=str(tmp_path / "made"), onnx=True))
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    x = images.to_unit_range(some_images).numpy()
    for part in (x, x[:1]):
        np.testing.assert_allclose(session.run(None, {"x": part})[0], truth[0][: len(part)], **TOLERANCE)


def test_without_the_extra_onnx_is_one_line(image_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ConfigError, match=r"--onnx: expected the packages of the extra onnx: pip install"):
        export(ExportConfig(workdir=str(image_run), output=str(tmp_path / "made"), onnx=True))
    assert not list(tmp_path.iterdir())


def test_the_command(rings_run, tmp_path):
    done = processes.run(["bin/export.py", f"--workdir={rings_run}", f"--output={tmp_path / 'made'}"])
    made = tmp_path / "made"
    way = f"bin/calibrate.py --model={made} --input=HELD_OUT makes one"
    assert (done.returncode, done.stdout) == (0, f"wrote {made}, without a detector: {way}\n"), done.stderr


def test_a_dtype_policy_set_by_the_user_does_not_matter(rings_run, rings_export):
    """Keras' global policy is not the model's."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    x = np.ones((4, 10), np.float32)
    np.testing.assert_allclose(ebm_tf.load(rings_run).energy(x), ebm_tf.load(rings_export).energy(x), rtol=1e-5)

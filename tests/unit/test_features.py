"""Feature extractors: the Inception path on a small frozen graph of the same names, .keras files and SavedModels."""

import hashlib
import io
import pathlib
import tarfile
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.features import extractors, inception
from ebm_tf.evaluation.features.extractors import load_extractor
from ebm_tf.runs.cache import cache_dir

NUM_FEATURES = 5


def pixels(count=3, size=32):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


# The Inception path.


def frozen_graph() -> bytes:
    """A graph as that of 2015: for one image, with shapes stored, and with an op that newer versions refuse."""
    graph, v1 = tf.Graph(), tf.compat.v1
    with graph.as_default():
        contents = v1.placeholder(tf.string, [], name="DecodeJpeg/contents")
        image = tf.cast(tf.io.decode_jpeg(contents, channels=3, name="DecodeJpeg"), tf.float32, name="Cast")
        batch = tf.expand_dims(image, 0, name="ExpandDims")
        resized = v1.image.resize_bilinear(batch, [299, 299], name="ResizeBilinear")
        scaled = tf.multiply(tf.subtract(resized, 128.0, name="Sub"), 0.0078125, name="Mul")
        conv = tf.nn.conv2d(scaled, kernel()[None, None], 2, "VALID", name="conv/Conv2D")
        parts = [tf.constant(part, name=f"conv/batchnorm/{name}") for name, part in norm().items()]
        normed = tf.identity(conv, name="conv/batchnorm")
        pool = tf.nn.avg_pool2d(tf.nn.relu(normed, name="conv"), 150, 1, "VALID", name="pool_3")
        tf.reshape(pool, [1, NUM_FEATURES], name="pool_3/_reshape")
    graph_def = graph.as_graph_def(add_shapes=True)
    node = next(node for node in graph_def.node if node.name == "conv/batchnorm")
    node.op = "BatchNormWithGlobalNormalization"
    node.input.extend(part.name.removesuffix(":0") for part in parts)
    node.attr["variance_epsilon"].f = 0.001
    node.attr["scale_after_normalization"].b = True
    graph_def.versions.producer = 8
    return graph_def.SerializeToString()


def kernel():
    return np.random.default_rng(1).normal(size=(3, NUM_FEATURES)).astype(np.float32)


def norm():
    """Inputs of the normalisation, in the op's order."""
    mean, variance, beta, gamma = np.random.default_rng(2).uniform(0.5, 1.5, (4, NUM_FEATURES)).astype(np.float32)
    return {"mean": mean, "variance": variance, "beta": beta, "gamma": gamma}


def by_hand(x):
    """The small graph in NumPy. Its resizing is the old one: source = target * scale."""
    size = x.shape[1]
    source = np.arange(299) * (size / 299)
    low = np.floor(source).astype(int)
    high, weight = np.minimum(low + 1, size - 1), source - low
    x = x.astype(np.float64)
    x = x[:, low] * (1 - weight)[:, None, None] + x[:, high] * weight[:, None, None]
    x = x[:, :, low] * (1 - weight)[:, None] + x[:, :, high] * weight[:, None]
    x = ((x - 128) / 128)[:, ::2, ::2] @ kernel()
    mean, variance, beta, gamma = norm().values()
    return np.maximum((x - mean) / np.sqrt(variance + 0.001) * gamma + beta, 0).mean(axis=(1, 2))


@pytest.fixture
def graph(tmp_path, monkeypatch):
    """The small graph's file, taken for the right one; and a cache of this test's own."""
    content = frozen_graph()
    path = tmp_path / "given.pb"
    path.write_bytes(content)
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(inception, "SIZE", len(content))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


def archive(path, members):
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path.as_uri()


def files_below(path):
    return [file for file in pathlib.Path(path).rglob("*") if file.is_file()]


@pytest.mark.parametrize("size", [32, 48])
def test_inception_resizes_and_scales_as_the_graph_does(graph, size):
    extractor = load_extractor("inception", size, str(graph))
    assert (extractor.name, extractor.distance_name, extractor.dimension) == ("inception", "FID", NUM_FEATURES)
    x = pixels(3, size)
    values = extractor(x)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, by_hand(x), rtol=1e-4, atol=1e-5)
    assert np.abs(by_hand(x) - by_hand(x[:, ::-1])).max() > 1e-3  # the old resizing is not symmetric: it would show


def test_inception_takes_batches_of_any_size(graph):
    extractor = load_extractor("inception", 32, str(graph))
    x = pixels(7)
    singles = np.concatenate([extractor(x[i : i + 1]) for i in range(7)])
    np.testing.assert_allclose(extractor._replace(batch_size=3)(x), singles, rtol=1e-5)


def test_inception_is_downloaded_once_and_nothing_else_is_unpacked(graph, tmp_path, monkeypatch):
    members = {"LICENSE": b"text", "../../escaped": b"x", f"folder/{inception.MEMBER}": graph.read_bytes()}
    monkeypatch.setattr(inception, "URL", archive(tmp_path / "inception.tgz", members))
    first = load_extractor("inception", 32)(pixels())
    assert files_below(tmp_path / "cache") == [inception.cached_graph()]
    assert not list(tmp_path.parent.rglob("escaped"))
    monkeypatch.setattr(inception, "URL", "file:///nowhere")
    np.testing.assert_array_equal(load_extractor("inception", 32)(pixels()), first)


def test_no_network_says_how_to_give_the_file(graph, monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(ConfigError, match=r"^--inception_graph: expected .*--inception_graph=FILE.*no route") as error:
        load_extractor("inception", 32)
    assert "\n" not in str(error.value)
    assert not files_below(cache_dir())


@pytest.mark.parametrize("damage", ["truncated", "no member", "other content", "no archive", "link"])
def test_bad_downloads_leave_nothing(graph, tmp_path, monkeypatch, damage):
    content = graph.read_bytes()
    path = tmp_path / "inception.tgz"
    changed = content[:-1] + bytes([content[-1] ^ 1])
    url = archive(path, {inception.MEMBER: {"other content": changed, "no member": b"short"}.get(damage, content)})
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    if damage == "no archive":
        path.write_bytes(b"<html>not found</html>")
    if damage == "link":
        with tarfile.open(path, "w:gz") as file:
            info = tarfile.TarInfo(inception.MEMBER)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(info)
    monkeypatch.setattr(inception, "URL", url)
    with pytest.raises(ConfigError, match=r"^--inception_graph: expected .*Received: a failure to get it: .") as error:
        load_extractor("inception", 32)
    assert "\n" not in str(error.value)
    assert not files_below(cache_dir())


def test_given_graph_of_another_checksum_is_refused(graph):
    graph.write_bytes(graph.read_bytes()[:-10])
    with pytest.raises(ConfigError, match=r"^--inception_graph: expected .*sha256 .*Received: .*given.pb, sha256 "):
        load_extractor("inception", 32, str(graph))


def test_cached_graph_of_another_checksum_is_refused(graph):
    inception.cached_graph().parent.mkdir(parents=True)
    inception.cached_graph().write_bytes(b"cut short")
    with pytest.raises(ConfigError, match="remove it"):
        load_extractor("inception", 32)


def test_given_graph_that_is_not_there(graph, tmp_path):
    with pytest.raises(ConfigError, match=r"^--inception_graph: expected the file .*No such file"):
        load_extractor("inception", 32, str(tmp_path / "absent.pb"))


@pytest.mark.parametrize("content", [b"no graph at all", tf.compat.v1.GraphDef().SerializeToString()])
def test_graph_without_the_tensors(tmp_path, content):
    path = tmp_path / "other.pb"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="expected a frozen graph with ExpandDims:0 and pool_3:0") as error:
        inception.load_graph(path)
    assert "\n" not in str(error.value)


def test_the_right_checksum_is_that_of_2015():
    assert inception.SHA256.startswith("009d6814d1bc560d") and len(inception.SHA256) == 64
    assert inception.SIZE == 95_673_916


# .keras files and SavedModels.


def features_model(size=32, outputs="features"):
    x = inputs = keras.Input((size, size, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    values = keras.layers.Dense(4, name="features")(pooled)
    if outputs == "dict":
        return keras.Model(inputs, {"features": values, "logits": keras.layers.Dense(2)(values)})
    return keras.Model(
        inputs, {"features": values, "maps": keras.layers.MaxPooling2D()(x), "two": [values, pooled]}[outputs]
    )


def expected_features(model, x):
    outputs = model(x / np.float32(127.5) - 1)
    return np.asarray(outputs["features"] if isinstance(outputs, dict) else outputs)


@pytest.mark.parametrize("outputs", ["features", "dict"])
@pytest.mark.parametrize("size", [32, None])
def test_keras_file(tmp_path, outputs, size):
    model = features_model(size, outputs)
    model.save(tmp_path / "own.keras")
    extractor = load_extractor(str(tmp_path / "own.keras"), 32)
    assert (extractor.name, extractor.distance_name, extractor.dimension) == ("own.keras", "FD (own.keras)", 4)
    assert extractor.sha256 == hashlib.sha256((tmp_path / "own.keras").read_bytes()).hexdigest()
    x = pixels(7)
    np.testing.assert_allclose(extractor._replace(batch_size=3)(x), expected_features(model, x), rtol=1e-5, atol=1e-6)


def test_only_inception_is_called_fid(tmp_path):
    path = tmp_path / extractors.CIFAR_FEATURES
    features_model().save(path)
    assert load_extractor(str(path), 32).distance_name == "FD (CIFAR features)"


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_saved_model(tmp_path, dtype):
    model = features_model()

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], dtype, name="images")])
    def serve(images):
        x = images if dtype == "float32" else tf.cast(images, tf.float32) / 127.5 - 1
        return {"features": model(x), "other": tf.zeros([3])}

    module = tf.Module()
    module.serve, module.model = serve, model
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=serve)
    extractor = load_extractor(str(tmp_path / "saved"), 32)
    assert (extractor.distance_name, extractor.dimension) == ("FD (saved)", 4)
    np.testing.assert_allclose(extractor(pixels()), expected_features(model, pixels()), rtol=1e-5, atol=1e-6)
    digest = extractor.sha256
    (tmp_path / "saved" / "note.txt").write_text("more")
    assert load_extractor(str(tmp_path / "saved"), 32).sha256 != digest


def save(name, model):
    return lambda folder: model().save(folder / name)


BAD_FILES = {
    "absent": (lambda folder: None, "expected inception, a .keras file or a SavedModel folder"),
    "text": (lambda folder: (folder / "text").write_text("no model"), "expected a .keras file that Keras can read"),
    "maps.keras": (save("maps.keras", lambda: features_model(outputs="maps")), r"of output \[N, D\]"),
    "two.keras": (save("two.keras", lambda: features_model(outputs="two")), r"of output \[N, D\]"),
    "big.keras": (save("big.keras", lambda: features_model(size=64)), "features of 32x32 images.*takes 64x64"),
    "flat.keras": (
        save("flat.keras", lambda: keras.Sequential([keras.Input((7,)), keras.layers.Dense(2)])),
        r"a model of images \[N, S, S, 3\].*\(None, 7\)",
    ),
    "code.keras": (
        save("code.keras", lambda: keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Lambda(lambda x: x)])),
        "expected a .keras file that Keras can read",
    ),
    "folder": (lambda folder: (folder / "folder").mkdir(), "a SavedModel folder with the signature serving_default"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_is_no_features_model_is_one_line(tmp_path, name):
    make, text = BAD_FILES[name]
    make(tmp_path)
    with pytest.raises(ConfigError, match=f"^--fid_features: expected .*Received: .*{name}") as error:
        load_extractor(str(tmp_path / name), 32)
    assert "\n" not in str(error.value)
    assert error.match(text)


def test_truncated_keras_file_is_one_line(tmp_path):
    path = tmp_path / "cut.keras"
    features_model().save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"^--fid_features: expected a .keras file that Keras can read") as error:
        load_extractor(str(path), 32)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spec", [([None, 10], "float32"), ([None, 32, 32, 3], "float64")])
def test_saved_model_of_other_inputs_is_refused(tmp_path, spec):
    module = tf.Module()
    module.serve = tf.function(lambda x: {"y": tf.zeros([tf.shape(x)[0], 4])}, input_signature=[tf.TensorSpec(*spec)])
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.serve)
    with pytest.raises(ConfigError, match=r"^--fid_features: expected .*Received: .*saved"):
        load_extractor(str(tmp_path / "saved"), 32)

"""bin/calibrate.py: the rate keeps its promise; rows, Python and the SavedModel have the same detector."""

import base64
import csv
import dataclasses
import functools
import html
import importlib.util
import io
import json
import re
import shutil
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import stats

import ebm_tf
from ebm_tf.cli.commands import calibrate as command
from ebm_tf.data.decode import decode
from ebm_tf.errors import ConfigError
from ebm_tf.serving import calibrate, score
from ebm_tf.serving import export as serving_export
from ebm_tf.serving.encoded import decode_images
from ebm_tf.serving.report import page
from ebm_tf.serving.report.pictures import gradient_map
from ebm_tf.serving.sources.records import fit
from ebm_tf.serving.trained import load_exported
from ebm_tf.settings.scoring import CalibrateConfig, ScoreConfig
from ebm_tf.stats.conformal import clopper_pearson, reached, threshold


def test_threshold_is_the_order_statistic():
    energy = np.random.default_rng(0).permutation(99).astype(np.float32)
    assert threshold(energy, 0.05) == 94  # the 95th smallest: rank 0.95 * 100
    assert threshold(energy, 0.5) == 49
    assert threshold(energy, 0.01) == 98
    with pytest.raises(ConfigError, match=r"expected, for 0.001, scores of at least 999 in-distribution inputs. Rec"):
        threshold(energy, 0.001)
    assert threshold(np.zeros(999), 0.001) == 0


def test_false_positive_rate_is_kept_on_average():
    """Exactly: for uniform energies the rate at the threshold is 1 - t, whose mean is 1 - r / (n + 1).

    20,000 draws of n = 30 at rate 0.1; r = 28 of 31, so the mean is 3/31 = 0.0968, at most 0.1. Standard error 0.0004;
    five of them, false alarm below 1e-6. The defects seen: r = 27 (0.129) and r = 29 (0.065).
    """
    energies = np.random.default_rng(1).random((20_000, 30))
    rates = 1 - np.array([threshold(energy, 0.1) for energy in energies])
    assert abs(rates.mean() - 3 / 31) < 5 * rates.std() / len(rates) ** 0.5


@pytest.mark.parametrize("num", [19, 20, 30, 99, 1000])
def test_the_rate_reached_is_that_of_the_p_values(num):
    """The largest k / (n + 1) that is out, and the mean of the threshold's: 1 - r / (n + 1)."""
    p_values = np.arange(1, num + 2) / (num + 1)
    for rate in (0.05, 0.1, 1 / 3, 0.5, 0.99):
        assert reached(rate, num) == p_values[p_values <= rate * (1 + 1e-9)].max()
        rank = threshold(np.arange(1, num + 1), rate)
        assert reached(rate, num) == pytest.approx(1 - rank / (num + 1))


def test_interval_is_the_binomials():
    """Its ends are the probabilities at which the count seen is just in the tail."""
    for count, total in ((0, 10), (3, 10), (10, 10), (50, 1000)):
        low, high = clopper_pearson(count, total, 0.9)
        assert low == 0 if count == 0 else stats.binom.sf(count - 1, total, low) == pytest.approx(0.05)
        assert high == 1 if count == total else stats.binom.cdf(count, total, high) == pytest.approx(0.05)
        expected = stats.binomtest(count, total).proportion_ci(0.9, "exact")
        assert (low, high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("total", "rate"), [(20, 0.05), (100, 0.05), (1000, 0.01), (57, 0.2)])
def test_interval_covers_the_rate_of_the_chosen_threshold(total, rate):
    """The rate at E_(r) is Beta(n - r + 1, r), for any continuous law: coverage by its distribution function."""
    energy = np.arange(total, dtype=np.float32)
    above = int((energy > threshold(energy, rate)).sum())
    low, high = clopper_pearson(above, total, 0.95)
    law = stats.beta(above + 1, total - above)
    assert law.sf(high) == pytest.approx(0.025)
    assert law.cdf(low) <= 0.025
    assert law.mean() <= rate + 1e-12


RNG = np.random.default_rng(3)


def smooth(num):
    return RNG.integers(0, 256, (num, 4, 4, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(autouse=True, scope="module")
def _load_once():
    """A SavedModel takes a second to load."""
    once = functools.cache(lambda path, times: load_exported(path))

    def load(path):
        return once(str(path), tuple(Path(path, name).stat().st_mtime_ns for name in ("saved_model.pb", "ebm_tf.json")))

    with pytest.MonkeyPatch.context() as patch:
        for module in (score, serving_export):
            patch.setattr(module, "load_exported", load)
        yield


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    path = tmp_path_factory.mktemp("held out") / "held_out.npy"
    np.save(path, smooth(60))
    return path


@pytest.fixture(scope="module")
def calibrated(image_export, held_out, tmp_path_factory):
    """An export of its own with a detector, what calibrate said, and what was in the folder before."""
    folder = Path(shutil.copytree(image_export, tmp_path_factory.mktemp("calibrated") / "model"))
    (folder / "note.txt").write_text("stays")
    before = set(tf.saved_model.load(str(folder)).signatures)
    given = {"model": str(folder), "input": str(held_out), "batch_size": 16}
    numbers = calibrate.calibrate(CalibrateConfig(**given, false_positive_rate=0.2))
    return folder, numbers, before


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


NOISE, GREY = RNG.integers(0, 256, (3, 32, 32, 3), np.uint8), np.full((2, 32, 32, 3), 128, np.uint8)
NEW = np.concatenate([smooth(6), NOISE, GREY])


def test_rows_python_and_the_saved_model_say_the_same(calibrated, tmp_path):
    folder, numbers, before = calibrated
    assert json.loads((folder / "calibration.json").read_text()) == numbers
    assert (numbers["num_inputs"], numbers["num_calibration"], numbers["num_bad"]) == (60, 30, 0)
    assert numbers["num_above"] == 5  # 30 - ceil(0.8 * 31)
    assert numbers["interval"] == list(clopper_pearson(5, 30, 0.95))
    assert (folder / "note.txt").read_text() == "stays"
    np.save(tmp_path / "x.npy", NEW)
    given = {"model": str(folder), "input": str(tmp_path / "x.npy"), "batch_size": 4}
    score.score(ScoreConfig(**given, output=str(tmp_path / "x.csv")))
    rows = rows_of(tmp_path / "x.csv")
    assert list(rows[0]) == ["id", "energy", "ood_score", "p_value", "flag", "statistic", "side", "error"]
    found = ebm_tf.load(folder).detector(NEW)
    for name in ("energy", "ood_score", "p_value"):
        np.testing.assert_allclose([float(row[name]) for row in rows], getattr(found, name), rtol=1e-3, atol=1e-5)
    for name in ("flag", "statistic", "side"):
        assert [row[name] for row in rows] == getattr(found, name).tolist()
    assert found.flag.tolist() == ["out" if p <= 0.2 else "in" for p in found.p_value]
    assert (found.p_value[6:] == 1 / 31).all() and set(found.side) <= {"low", "high"}  # noise, and one colour
    signatures = tf.saved_model.load(str(folder)).signatures
    assert set(signatures) - before == {"detect", "detect_uint8", "detect_bytes"}
    x = NEW.astype(np.float32) / np.float32(127.5) - 1
    files = tf.constant([tf.io.encode_png(image).numpy() for image in NEW])
    given = {"detect": {"x": x}, "detect_uint8": {"images": NEW}, "detect_bytes": {"image_bytes": files}}
    for name, arguments in given.items():
        for key, value in signatures[name](**{one: tf.constant(it) for one, it in arguments.items()}).items():
            np.testing.assert_allclose(value, getattr(found, key), rtol=1e-3, atol=1e-5)


def test_a_smaller_rate_flags_fewer(calibrated, tmp_path):
    folder, _, _ = calibrated
    np.save(tmp_path / "x.npy", NEW)
    given = {"model": str(folder), "input": str(tmp_path / "x.npy")}
    score.score(ScoreConfig(**given, output=str(tmp_path / "x.csv"), false_positive_rate=0.9))
    p_values = [float(row["p_value"]) for row in rows_of(tmp_path / "x.csv")]
    assert [row["flag"] for row in rows_of(tmp_path / "x.csv")] == ["out" if p <= 0.9 else "in" for p in p_values]
    with pytest.raises(ConfigError, match=r"--false_positive_rate: expected, for 0.001, 1998 held-out"):
        score.score(ScoreConfig(**given, output=str(tmp_path / "y.csv"), false_positive_rate=0.001))
    assert not (tmp_path / "y.csv").exists()


VECTORS = RNG.standard_normal((60, 10)).astype(np.float32)
FAR = np.concatenate([VECTORS[:5], 50 + VECTORS[:5]])


@pytest.fixture(scope="module")
def vectors(rings_export, tmp_path_factory):
    """An export of vectors with a detector, what it was fitted on, and what calibrate said."""
    folder = Path(shutil.copytree(rings_export, tmp_path_factory.mktemp("calibrated") / "model"))
    np.save(folder.parent / "x.npy", VECTORS)
    source = str(folder.parent / "x.npy")
    return folder, source, calibrate.calibrate(CalibrateConfig(model=str(folder), input=source))


def test_vectors(vectors, rings_export):
    """No images, so no bytes. The same in Python, in memory alone."""
    signatures = tf.saved_model.load(str(vectors[0])).signatures
    assert {name for name in signatures if "detect" in name} == {"detect"}
    model = ebm_tf.load(rings_export)
    with pytest.raises(ConfigError, match=r"expected a model that bin/calibrate.py has seen, or fit_detector"):
        model.detector  # noqa: B018
    with pytest.raises(ConfigError, match=r"^false_positive_rate: expected, for 0.05"):  # an argument here, no flag
        model.fit_detector(VECTORS[:10])
    with pytest.raises(
        ConfigError, match=r"^expected statistics \[N, 16\] of 5 held-out inputs or more. Received: \[4"
    ):
        model.fit_detector(VECTORS[:4], 0.5)
    assert model.fit_detector(VECTORS[:5], 0.5).calibration.detector.num_calibration == 2
    detector = model.fit_detector(VECTORS)
    expected = ebm_tf.load(vectors[0]).detector.ood_score(FAR)
    np.testing.assert_allclose(detector.ood_score(FAR), expected, rtol=1e-4)
    np.testing.assert_allclose(signatures["detect"](x=tf.constant(FAR))["p_value"], detector.p_value(FAR), rtol=1e-4)
    assert detector.flag(FAR)[5:].tolist() == ["out"] * 5
    assert not list(rings_export.glob("calibration*"))


def test_calibrated_again_by_another_tail_the_model_does_not_grow(vectors, tmp_path, capsys):
    folder, source, before = vectors[0], vectors[1], (vectors[0] / "saved_model.pb").stat().st_size
    model = ebm_tf.load(folder)
    energy = model.energy(FAR)
    again = Path(shutil.copytree(folder, tmp_path / "model"))
    command.main(CalibrateConfig(model=str(again), input=source, tail="upper"))
    out = capsys.readouterr().out
    assert out.startswith(f"replaced {again}/calibration.npz: 60 inputs, 0 left out\n")
    low, high = clopper_pearson(0, 30, 0.95)
    assert out.endswith(f"out at p <= 0.05: false-positive rate 0.03226, 95% interval [{low:.4g}, {high:.4g}]\n")
    assert (again / "saved_model.pb").stat().st_size < 1.01 * before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    model = ebm_tf.load(again)
    np.testing.assert_allclose(model.energy(FAR), energy, rtol=1e-6)
    np.testing.assert_allclose(model.detector.ood_score(FAR), energy, rtol=1e-5)
    detect = tf.saved_model.load(str(again)).signatures["detect"](x=tf.constant(FAR))
    np.testing.assert_allclose(detect["ood_score"], energy, rtol=1e-5)
    np.testing.assert_allclose(detect["p_value"], model.detector.p_value(FAR), rtol=1e-5)


def test_a_folder_that_cannot_be_put_in_place_is_as_it_was(vectors, tmp_path, monkeypatch):
    folder, rename = Path(shutil.copytree(vectors[0], tmp_path / "model")), Path.rename

    def refused(path, target):
        if path.suffix == ".draft":
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    before = (folder / "calibration.npz").read_bytes()
    with pytest.raises(ConfigError, match=r"--model: expected .* that can be written"):
        calibrate.calibrate(CalibrateConfig(model=str(folder), input=vectors[1], tail="upper"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (folder / "calibration.npz").read_bytes() == before


def test_inputs_that_cannot_be_read_are_left_out_where_asked(vectors, tmp_path):
    folder = shutil.copytree(vectors[0], tmp_path / "model")
    x = VECTORS.copy()
    x[5], x[6] = np.nan, 1e25  # of the second the energy is finite, and powers of states are not
    assert np.isfinite(load_exported(folder).energy(x[6:7])).all()
    np.save(tmp_path / "bad.npy", x)
    settings = {"model": str(folder), "input": str(tmp_path / "bad.npy"), "skip_bad": True}
    numbers = calibrate.calibrate(CalibrateConfig(**settings))
    assert (numbers["num_inputs"], numbers["num_bad"]) == (58, 2)


def test_a_calibration_of_another_model_is_told(vectors, tmp_path):
    folder = Path(shutil.copytree(vectors[0], tmp_path / "model"))
    info = json.loads((folder / "ebm_tf.json").read_text())
    (folder / "ebm_tf.json").write_text(json.dumps({**info, "model": "0123456789abcdef"}))
    settings = ScoreConfig(model=str(folder), input=vectors[1], output=str(tmp_path / "out.csv"))
    with pytest.raises(ConfigError, match=r"--model: expected a calibration of model 0123456789abcdef. .*renew"):
        score.score(settings)
    assert not (tmp_path / "out.csv").exists()


def test_a_calibration_of_before_is_refused_with_the_command_that_renews_it(rings_export, held_out, tmp_path):
    folder = Path(shutil.copytree(rings_export, tmp_path / "a model"))
    np.savez(folder / "calibration.npz", energy=np.zeros(5, np.float32))
    (folder / "calibration.json").write_text(json.dumps({"input": str(held_out), "false_positive_rate": 0.1}))
    with pytest.raises(ConfigError) as caught:
        score.score(ScoreConfig(model=str(folder), input=str(held_out), output=str(tmp_path / "out.csv")))
    line = str(caught.value)
    assert line.startswith("--model: expected a calibration with a detector of today. Received: ") and "\n" not in line
    command = f"bin/calibrate.py '--model={folder}' '--input={held_out}' --false_positive_rate=0.1"
    assert line.endswith(f"written before there was one; renew it: {command}")
    assert not (tmp_path / "out.csv").exists()


def test_an_export_of_before_is_told(rings_export, held_out, tmp_path):
    folder = Path(shutil.copytree(rings_export, tmp_path / "model"))
    info = json.loads((folder / "ebm_tf.json").read_text())
    del info["statistics"]
    (folder / "ebm_tf.json").write_text(json.dumps(info))
    with pytest.raises(ConfigError, match=r"--model: expected an export with the signature statistics: run bin/ex"):
        calibrate.calibrate(CalibrateConfig(model=str(folder), input=str(held_out)))


def with_a_nan(x):
    x[5] = np.nan
    return x


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (with_a_nan, {}, "--input: expected inputs that can be read, or --skip_bad. Received: id 5: v"),
        (lambda x: x, {"false_positive_rate": 0.01}, r"--false_positive_rate: expected, for 0.01, 198 held"),
        (lambda x: (x + 1) / 2, {}, r"--input: expected images in \[-1, 1\], or uint8. Received: .* \[0, 1\]; give"),
        (lambda x: 127.5 * (x + 1), {}, r"--input: expected images in \[-1, 1\], or uint8. Received: .* \[0, 255\]; g"),
        (lambda x: x[..., :2], {}, "--input: expected an array of floats"),
        (lambda x: 0 * x, {}, "expected held-out inputs that differ"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(change, settings, message, image_export, held_out, tmp_path):
    np.save(tmp_path / "x.npy", change(np.load(held_out) / np.float32(127.5) - 1).astype(np.float32))
    before = {path: path.stat().st_mtime_ns for path in image_export.parent.rglob("*")}
    with pytest.raises(ConfigError, match=message) as caught:
        calibrate.calibrate(CalibrateConfig(model=str(image_export), input=str(tmp_path / "x.npy"), **settings))
    assert "\n" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in image_export.parent.rglob("*")} == before


def encoded(image, kind="PNG", **settings):
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def pictures():
    """PNG files of every kind that the decoder has a rule for."""
    rgba = Image.fromarray(RNG.integers(0, 256, (32, 32, 4), np.uint8), "RGBA")
    grey = Image.fromarray(RNG.integers(0, 256, (32, 32), np.uint8), "L")
    deep = Image.fromarray(RNG.integers(0, 65536, (32, 32)).astype(np.uint16))
    palette = rgba.convert("RGB").quantize(16)
    kinds = [rgba, rgba.convert("RGB"), rgba.convert("LA"), grey, grey.convert("1"), deep, palette]
    wide = Image.fromarray(RNG.integers(0, 256, (40, 90, 3), np.uint8))
    return [*map(encoded, kinds), encoded(palette, transparency=3), encoded(wide)]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_files_are_decoded_as_everywhere(channels, image_model):
    info = dataclasses.replace(image_model.info, event_shape=(32, 32, channels))
    for content in pictures():
        expected = fit("", decode(content, channels, (32, 32)), info).x
        np.testing.assert_array_equal(decode_images(tf.constant([content]), info)[0], expected)


def test_jpeg_files_are_decoded_nearly_as_everywhere(image_model):
    """The same library and settings; another build of it may round otherwise."""
    info = image_model.info
    content = encoded(Image.fromarray(smooth(1)[0]), "JPEG", quality=90)
    found = decode_images(tf.constant([content]), info)[0].numpy().astype(int)
    assert np.abs(found - decode(content, 3, (32, 32))).max() <= 2


def test_the_report_shows_the_table(calibrated, tmp_path):
    """Whole by itself, the most unusual first with their pictures, names of files as text alone."""
    folder, photos = calibrated[0], tmp_path / "photos"
    photos.mkdir()
    for number, image in enumerate(NEW):
        Image.fromarray(image).save(photos / f"<b>{number}.png")
    (photos / "<script>.png").write_bytes(b"no image")
    given = {"model": str(folder), "input": str(photos), "skip_bad": True, "false_positive_rate": 0.1}
    score.score(ScoreConfig(**given, output=str(tmp_path / "x.csv"), report=str(tmp_path / "x.html")))
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    rows = [list(row.values()) for row in rows_of(tmp_path / "x.csv")]
    found = json.loads(text.partition('type="application/json">')[2].partition("</script>")[0])
    assert sorted(found) == sorted(rows) and found[-1][0] == "<script>.png"
    p_values = [float(row[3]) for row in found[:-1]]
    assert p_values == sorted(p_values) and p_values[0] == pytest.approx(1 / 31)
    assert text.count('<div class="card">') == len(NEW) and text.count("data:image/png;base64,") == 2 * len(NEW)
    assert "<b>0" not in text and "&lt;b&gt;0.png" in text and "http" not in text
    outs = sum(row[4] == "out" for row in rows)
    assert f"<b>{outs}</b> of {len(NEW)} are out" in text and "12 inputs, 1 of which could not be read" in text
    uri = text.partition(f"{html.escape(found[0][0])}")[0].rpartition('src="data:image/png;base64,')[0]
    picture = uri.rpartition("data:image/png;base64,")[2].partition('"')[0]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
    np.testing.assert_array_equal(shown, NEW[int(found[0][0][3:-4])])


@pytest.mark.parametrize("num", [19, 30, 99, 2000])
def test_bars_of_even_p_values_are_even(num):
    """p-values are k / (n + 1): none is 0, and one of 0.05 is out at 0.05."""
    values = np.arange(1, num + 2) / (num + 1)
    counts = page._gather(iter([["x", "0", "0", f"{p:.9g}", "in", "", "", ""] for p in values])).counts
    edges = np.floor(np.linspace(0, num + 1, page.NUM_BINS + 1) + 1e-9)
    assert counts.tolist() == np.diff(edges).tolist()


def test_a_report_needs_a_calibration(image_export, held_out, tmp_path):
    given = {"model": str(image_export), "input": str(held_out), "output": str(tmp_path / "x.csv")}
    with pytest.raises(ConfigError, match=r"--report: expected a model that bin/calibrate.py has seen, or --ref"):
        score.score(ScoreConfig(**given, report=str(tmp_path / "x.html")))
    assert not list(tmp_path.iterdir())


def test_the_map_is_bright_where_the_gradient_is_large():
    grad = np.zeros((32, 32, 3), np.float32)
    grad[20, 8] = 1
    light = gradient_map(grad).astype(int).sum(axis=-1)
    assert np.unravel_index(light.argmax(), light.shape) == (20, 8) and light[0, 31] == light.min() < light.max()
    assert (gradient_map(0 * grad) == gradient_map(0 * grad)[0, 0]).all()


def test_the_rest_example_answers_as_tensorflow_serving_does(calibrated, tmp_path):
    """By rows and by columns, of encoded files and of numbers; the newest of the version folders; and errors."""
    spec = importlib.util.spec_from_file_location("serve", Path(__file__).parents[2] / "examples" / "serve.py")
    serve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve)
    (tmp_path / "cifar" / "9").mkdir(parents=True)  # without a model
    (tmp_path / "cifar" / "2").symlink_to(calibrated[0])
    server = serve.make_server(tmp_path / "cifar", "cifar", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1/models/cifar"

    def post(path, **request):
        with urllib.request.urlopen(f"{url}{path}", json.dumps(request).encode()) as answer:
            return json.load(answer)

    found = ebm_tf.load(calibrated[0]).detector(NEW[:3])
    try:
        with urllib.request.urlopen(url) as answer:
            assert json.load(answer)["model_version_status"][0]["version"] == "2"
        files = [base64.b64encode(encoded(Image.fromarray(image))).decode() for image in NEW[:3]]
        rows = [{"image_bytes": {"b64": text}} for text in files]
        by_row = post(":predict", signature_name="detect_bytes", instances=rows)["predictions"]
        np.testing.assert_allclose([row["p_value"] for row in by_row], found.p_value, rtol=1e-5)
        columns = {"image_bytes": [{"b64": text} for text in files]}
        by_column = post("/versions/2:predict", signature_name="detect_bytes", inputs=columns)["outputs"]
        assert by_column["ood_score"] == [row["ood_score"] for row in by_row]
        x = (NEW[:3] / np.float32(127.5) - 1).tolist()
        for answer in (post(":predict", instances=x)["predictions"], post(":predict", inputs=x)["outputs"]):
            np.testing.assert_allclose(answer, found.energy, rtol=1e-4, atol=1e-5)
        assert json.loads(post(":predict", signature_name="metadata", inputs={})["outputs"])["dataset"] == "cifar10"
        page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
        for of_page in re.findall(r"(?:printf|curl .* -d) '(\{.*\})'", page):
            assert post(":predict", **json.loads(of_page.replace("%s", files[0])))
        negative = '{"signature_name": "sample", "inputs": {"num_samples": -2, "num_steps": 1, "seed": 0}}'
        refused = {
            ("classify", '{"instances": []}'): "404 expected /v1/models/cifar:predict. Received: /v1/models/cifar:c",
            ("predict", '{"instances": [[1.0]]}'): "400 expected x of shape (None, 32, 32, 3). Received: (1,",
            ("predict", '{"signature_name": "no", "inputs": 1}'): "400 expected signature_name of detect, ",
            ("predict", '{"signature_name": ["detect"], "inputs": 1}'): "400 expected signature_name of detect, ",
            ("predict", '{"signature_name": "detect_bytes", "instances": [{"b64": "no file"}]}'): "400 ",
            ("predict", '{"x": 1}'): "400 expected an object with instances (rows) or inputs (columns). Received: x",
            ("predict", "[1]"): "400 expected an object with instances (rows) or inputs (columns). Received: a list",
            ("predict", '{"instances": [], "inputs": []}'): "400 expected an object with instances (rows) or inputs",
            ("predict", "{'x'"): "400 expected JSON. Received: Expecting property name",
            ("predict", "[" * 100_000): "400 ",
            ("predict", '{"instances": 1}'): "400 expected a list of rows, one or more. Received: instances=1",
            ("predict", '{"instances": []}'): "400 expected a list of rows, one or more. Received: instances=[]",
            ("predict", negative): "400 expected inputs that the model can take. TensorFlow: ",
            ("predict", '{"inputs": {"y": 1}}'): "400 expected by name: x. Received: y",
            ("predict", '{"inputs": [{"y": 1}]}'): '400 expected numbers, text, or bytes as {"b64": text}. Received: ',
            ("predict", '{"signature_name": "metadata", "instances": []}'): "400 expected inputs, for metadata has no",
            ("predict", '{"signature_name": "sample", "inputs": 1}'): "400 expected by name: num_samples, num_steps, s",
        }
        for (word, body), told in refused.items():
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{url}:{word}", body.encode())
            error = json.load(caught.value)["error"]
            assert f"{caught.value.code} {error}".startswith(told) and error and "\n" not in error
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(urllib.request.Request(f"{url}:predict", b"{}", {"Content-Length": "many"}))
    finally:
        server.shutdown()
        server.server_close()

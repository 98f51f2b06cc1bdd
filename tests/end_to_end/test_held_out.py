"""Tables as inputs of a model of a table, and calibration inputs that trained: in files and in Python."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from scipy import stats

import ebm_tf
from ebm_tf.cli.commands import export as command
from ebm_tf.defaults import remember
from ebm_tf.energies.base import Origin
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.detection import ood
from ebm_tf.evaluation.opening import bare_run
from ebm_tf.serving import calibrate, score
from ebm_tf.serving.info import ModelInfo
from ebm_tf.serving.sources.inputs import find_shards
from ebm_tf.settings.commands import ExportConfig
from ebm_tf.settings.scoring import CalibrateConfig, ScoreConfig
from ebm_tf.settings.train import TrainConfig
from ebm_tf.stats import fingerprint

RNG = np.random.default_rng(0)
NAMES = ["width", "height", "weight"]
X = (RNG.normal(size=(300, 3)) * [1, 20, 0.1] + [5, 900, 0]).astype(np.float32)


class Frame(dict):
    """What is used of a data frame."""

    columns = property(list)


def write(path, rows, names, first=()):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([names, *first, *rows])
    return str(path)


def saved(data, path):
    """The file of an energy that has not been trained but says it was, on data."""
    net = keras.Sequential([keras.Input(data.event_shape), keras.layers.Flatten(), keras.layers.Dense(4, "silu")])
    net.add(keras.layers.Dense(1))
    energy = ebm_tf.EnergyModel.from_network(net)
    energy.origin = Origin.of(data, ebm_tf.Sampler(0.01, 1.0, 2), "data", 0.0)
    remember(energy, data)
    energy.save(path)
    return str(path)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """(file of a model, folder with train.csv and held_out.csv)."""
    folder = tmp_path_factory.mktemp("table")
    data = ebm_tf.Dataset.from_table(write(folder / "train.csv", X[:200], NAMES), held_out=0.2)
    write(folder / "held_out.csv", X[200:], NAMES)
    return saved(data, folder / "model.keras"), folder


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def score_rows(model, source, tmp_path, **settings):
    score.score(ScoreConfig(model=model, input=source, output=str(tmp_path / "out.csv"), **settings))
    return rows_of(tmp_path / "out.csv")


def test_a_table_is_scored_by_the_names_of_its_columns(table, tmp_path, capsys):
    """In another order, with a column more, by .csv, .parquet, .npy and a data frame: the same energies."""
    parquet = pytest.importorskip("pyarrow.parquet")
    frame = Frame({name: X[200:, i] for i, name in reversed(list(enumerate(NAMES)))}, id=range(100))
    write(tmp_path / "y.csv", zip(*frame.values()), list(frame))
    parquet.write_table(pytest.importorskip("pyarrow").Table.from_pydict(frame), tmp_path / "y.parquet")
    np.save(tmp_path / "y.npy", X[200:])
    model = ebm_tf.load(table[0])
    expected = model.energy(X[200:])
    np.testing.assert_allclose(model.energy(frame), expected, rtol=1e-6)
    for ending in ("csv", "parquet", "npy"):
        folder = tmp_path / ending
        folder.mkdir()
        rows = score_rows(table[0], str(tmp_path / f"y.{ending}"), folder)
        assert [row["id"] for row in rows] == [str(i) for i in range(100)]
        np.testing.assert_allclose([float(row["energy"]) for row in rows], expected, rtol=1e-5, err_msg=ending)
    assert "left out, since they did not train: id" in capsys.readouterr().out


def test_an_export_keeps_the_columns_and_what_trained(table):
    info = ebm_tf.load(table[0]).info
    assert info.columns == tuple(NAMES) and info.num_examples == 160
    assert ModelInfo.from_json(info.to_json()) == info


@pytest.mark.parametrize(
    ("names", "first", "message"),
    [
        (["width", "height", "w"], [], r"a table with the columns width, height, weight\. Received: .*t weight"),
        (["width", "width", "weight"], [], "a first line with different names of columns"),
        (["1", "2", "3"], [], "a first line with different names of columns"),
    ],
)
def test_another_table_is_refused_by_name(names, first, message, table, tmp_path):
    source = write(tmp_path / "y.csv", X[200:], names, first)
    with pytest.raises(ConfigError, match=f"--input: expected {message}"):
        score_rows(table[0], source, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["y.csv"]


def test_a_column_of_categories_is_refused_and_one_cell_is_its_row(table, tmp_path):
    rows = [["red", *row[1:]] for row in X[200:].tolist()]
    with pytest.raises(ConfigError, match=r"numbers in column width. Received: .* 100 rows it has none, but 'red'"):
        score_rows(table[0], write(tmp_path / "y.csv", rows, NAMES), tmp_path)
    first = [[1, "", 0], [1, 900, "tall"], [1, 900], ["inf", 900, 0], [1e39, 900, 0], [" 5 ", "9e2", 0]]
    rows = score_rows(table[0], write(tmp_path / "z.csv", X[:2], NAMES, first), tmp_path)
    assert [row["error"] for row in rows] == [
        "expected a number in column height. Received: a missing value",
        "expected a number in column weight. Received: 'tall'",
        "expected 3 columns. Received: 2",
        "expected a number in column width. Received: inf",
        "expected a number in column width. Received: 1e+39, beyond float32",
        *[""] * 3,
    ]
    frame = Frame(zip(NAMES, X[:5].T))
    model = ebm_tf.load(table[0])
    with pytest.raises(ConfigError, match=r"the columns width, height, weight. Received: one without width"):
        model.energy(Frame({"w": X[:5, 0], "height": X[:5, 1], "weight": X[:5, 2]}))
    with pytest.raises(ConfigError, match=r"numbers in every row\. Received: 'nan' in row 3 \(from 0\), column height"):
        model.energy(Frame(frame, height=[1, 2, 3, np.nan, 5]))
    with pytest.raises(ConfigError, match=r"Received: 'red' in row 0 \(from 0\), column weight"):
        model.fit_detector(Frame(frame, weight=["red"] * 5))


def test_tables_and_models_that_do_not_go_together(table, tmp_path):
    source = write(tmp_path / "y.csv", X[:5], NAMES)
    info = dataclasses.replace(ebm_tf.load(table[0]).info, columns=(), dataset="array:x.npy")
    with pytest.raises(ConfigError, match=r"images or arrays: the model, of array:x.npy, keeps no names of columns"):
        find_shards(source, info, None)
    (tmp_path / "empty.csv").write_text("width,height,weight\n")
    with pytest.raises(ConfigError, match="a table with rows"):
        score_rows(table[0], str(tmp_path / "empty.csv"), tmp_path)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ConfigError, match="expected a table"):
        score_rows(table[0], str(tmp_path / "broken.parquet"), tmp_path)
    write(tmp_path / "z.csv", X[:5], NAMES)
    with pytest.raises(ConfigError, match="which is one table"):
        score_rows(table[0], str(tmp_path / "[yz].csv"), tmp_path)


def test_files_of_before_know_neither_columns_nor_what_trained(table, tmp_path):
    info = ebm_tf.load(table[0]).info
    values = {name: value for name, value in dataclasses.asdict(info).items() if name not in ("columns", "fingerprint")}
    assert not ModelInfo(**values).columns
    model = ebm_tf.load(table[0])
    model.info = dataclasses.replace(info, fingerprint="", num_examples=0)
    model.fit_detector(X[:200])  # nothing is known


def test_inputs_that_trained_are_refused(table, tmp_path):
    """Rows, images of an array, and files of a folder that were scaled; those that did not train pass."""
    model, folder = table
    for source, words in (("train.csv", "160 of 200 inputs trained"), ("held_out.csv", "")):
        settings = CalibrateConfig(model=model, input=str(folder / source))
        if words:
            with pytest.raises(ConfigError, match=f"--input: expected data that did not train.*{words}"):
                calibrate.calibrate(settings)
            assert not (folder / "model.calibration.npz").exists()
        else:
            assert calibrate.calibrate(settings)["num_inputs"] == 100
    with pytest.raises(ConfigError, match=r"expected data that did not train.* 40 of 100 inputs trained"):
        trained = ebm_tf.Dataset.from_table(str(folder / "train.csv"), held_out=0.2)
        mixed = np.concatenate([trained.to_stored(trained.stored("train", 40)), X[200:260]])
        ebm_tf.load(model).fit_detector(mixed)


def test_ood_tells_of_another_split_than_that_of_training(table, capsys):
    """Of a .keras file: one that held out a fifth, read as if it had held out half."""
    run = bare_run(table[0], ".", None)
    for share in (0.2, 0.5):
        data = ebm_tf.Dataset.from_table(str(table[1] / "train.csv"), held_out=share)
        ood._warn_of_trained(run, data, data.stored("held_out"))
        assert ("of the held-out examples 6" in capsys.readouterr().out) == (share == 0.5)


def test_columns_in_other_units_are_told(table, tmp_path, capsys):
    source = write(tmp_path / "y.csv", X[200:] * [1, 0.01, 1], NAMES)
    calibrate.calibrate(CalibrateConfig(model=table[0], input=source))
    Path(table[0]).with_suffix(".calibration.npz").unlink()
    out = capsys.readouterr().out
    assert "warning: input: column height is 8.99" in out and "other units, or no held-out data?" in out
    for change, words in (
        (X[200:] * [0, 1, 1] + [5, 0, 0], "width is 5 throughout"),
        (X[200:] * [1, 1, 1000], "weight"),
    ):
        with pytest.warns(UserWarning, match=f"column {words}"):
            ebm_tf.load(table[0]).fit_detector(change.astype(np.float32))


def test_images_that_trained_are_found_however_they_come(tmp_path):
    images = RNG.integers(0, 256, (200, 8, 8, 3), np.uint8).repeat(5, axis=1).repeat(5, axis=2)
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number:03d}.png")
    data = ebm_tf.Dataset.from_folder(tmp_path / "photos", image_size=32, held_out=0.5)
    model = saved(data, tmp_path / "model.keras")
    with pytest.raises(ConfigError, match="100 of 200 inputs trained"):
        calibrate.calibrate(CalibrateConfig(model=model, input=str(tmp_path / "photos")))
    trained = data.stored("train")
    for x in (trained, trained / np.float32(127.5) - 1):
        with pytest.raises(ConfigError, match="100 of 100 inputs trained"):
            ebm_tf.load(model).fit_detector(x)
    ebm_tf.load(model).fit_detector(data.stored("held_out"))


@pytest.mark.parametrize(("num_values", "is_new"), [(3, True), (10**9, False)])
def test_equal_rows_are_no_proof(num_values, is_new):
    """Tables of few distinct rows: nearly every new row has an equal among those that trained. Rows that did train are
    found where they can be, among the 4,096 of 20,480 that are kept.
    """
    draw = lambda seed, num: np.random.default_rng(seed).integers(0, num_values, (num, 4)) / num_values  # noqa: E731
    trained = draw(1, 20_480).astype(np.float32)
    lookup = fingerprint.Lookup(fingerprint.fingerprint([trained[::5]]), len(trained))
    lookup.add(draw(2, 2_000))
    assert (lookup.found > 1_900) == is_new and not lookup.words()
    lookup.add(trained[:2_000])
    words = lookup.words()
    assert not words if is_new else words.startswith("about 2,000 of 4,000 inputs trained: 400 are among the 4,096 of")


def test_the_alarm_is_as_rare_as_it_says(monkeypatch):
    """1,500 draws of 1,000 inputs of the same law as 512 examples, half of both from 500 values, at a false alarm of
    0.01: at most the count that the binomial passes with 1e-6. Equal examples come in pairs: taken as independent they
    give more than that.
    """
    monkeypatch.setattr(fingerprint, "FALSE_ALARM", 0.01)
    rng, alarms, independent = np.random.default_rng(3), 0, 0
    for _ in range(1_500):
        common = rng.integers(0, 2**32, 500)
        draw = lambda n: np.where(rng.random(n) < 0.5, rng.choice(common, n), rng.integers(0, 2**32, n))  # noqa: B023, E731
        kept, new = draw(512), draw(1_000)
        lookup = fingerprint.Lookup("", 1)
        lookup._kept, lookup.num, lookup.found = kept, 1_000, int(np.isin(new, kept).sum())
        alarms += bool(lookup.words())
        _, place, counts = np.unique(kept, return_inverse=True, return_counts=True)
        repeated = int((counts[place] > 1).sum())
        independent += stats.hypergeom.sf(lookup.found - 1, 1_512, lookup.found + repeated, 1_000) <= 0.01
    assert alarms <= stats.binom.isf(1e-6, 1_500, 0.01) < independent


def test_a_run_calibrates_on_what_it_held_out(table, tmp_path):
    """Without --input: the very examples, in the data's units, as if they had been given as a file."""
    model, folder = table
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(model, run / "model.keras")
    config = TrainConfig(dataset=f"table:{folder / 'train.csv'}", held_out=0.2, workdir=str(run))
    (run / "config.json").write_text(json.dumps(config.to_dict()))
    data = ebm_tf.Dataset.from_table(str(folder / "train.csv"), held_out=0.2)
    np.save(tmp_path / "held_out.npy", data.to_stored(data.held_out()))
    settings = CalibrateConfig(model=str(run))
    own = calibrate.calibrate(settings)
    given = calibrate.calibrate(dataclasses.replace(settings, input=str(tmp_path / "held_out.npy")))
    assert own.pop("input") == "what the run held out" and given.pop("input")
    assert own == given and own["num_inputs"] == 40


def test_an_export_without_a_detector_says_so(table, tmp_path, capsys):
    """Only where there is none: a run's calibration lies in its folder, not beside its model.keras."""
    run = tmp_path / "a run"
    run.mkdir()
    shutil.copy(table[0], run / "model.keras")
    config = TrainConfig(dataset=f"table:{table[1] / 'train.csv'}", held_out=0.2, workdir=str(run))
    (run / "config.json").write_text(json.dumps(config.to_dict()))

    def said(name, **source):
        command.main(ExportConfig(**source, output=str(tmp_path / name)))
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.startswith(f"wrote {tmp_path / name}") and (tmp_path / name / "calibration.npz").exists() != (
            "without a detector" in line
        )
        return line.partition("without a detector: ")[2]

    makes = lambda name: f"bin/calibrate.py --model={tmp_path / name} --input=HELD_OUT makes one"  # noqa: E731
    assert said("1", workdir=str(run)) == makes("1")
    assert said("2", model=str(run / "model.keras")) == makes("2")
    calibrate.calibrate(CalibrateConfig(model=str(run)))
    assert said("3", workdir=str(run)) == ""
    taken = said("4", model=str(run / "model.keras"))
    assert taken == f"'--workdir={run}' takes that of the run along, {makes('4')}"


def test_what_a_run_held_out_of_a_folder_counts_as_resized(tmp_path):
    """The images that the run itself brought to the model's size, and no others: as score counts their files."""
    photos, run = tmp_path / "photos", tmp_path / "run"
    for path in (photos, run):
        path.mkdir()
    for number in range(60):
        side = 32 if number < 20 else 33 + number
        Image.fromarray(RNG.integers(0, 256, (side, side, 3)).astype(np.uint8)).save(photos / f"{number:02d}.png")
    data = ebm_tf.Dataset.from_folder(photos, image_size=32, held_out=0.4)
    saved(data, run / "model.keras")
    config = TrainConfig(dataset=f"folder:{photos}", image_size=32, held_out=0.4, workdir=str(run))
    (run / "config.json").write_text(json.dumps(config.to_dict()))
    own = calibrate.calibrate(CalibrateConfig(model=str(run), false_positive_rate=0.2))
    as_they_are = {np.asarray(Image.open(photos / f"{number:02d}.png")).tobytes() for number in range(20)}
    same = sum(image.tobytes() in as_they_are for image in data.stored("held_out"))
    assert (own["num_inputs"], own["num_resized"]) == (24, 24 - same) and 0 < same < 24
    (photos / "held out").mkdir()
    for number in range(24):
        name = f"{number:02d}.png" if number < same else f"{20 + number}.png"
        shutil.copy(photos / name, photos / "held out" / name)
    given = {"input": str(photos / "held out"), "output": str(tmp_path / "out.csv")}
    assert score.score(ScoreConfig(model=str(run), **given)).warnings == []


def test_without_a_run_calibrate_asks_for_its_input(table):
    with pytest.raises(
        ConfigError, match=r"^--input: expected data that did not train, or --model of a run.*model\.keras"
    ):
        calibrate.calibrate(CalibrateConfig(model=table[0]))

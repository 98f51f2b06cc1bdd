"""bin/score.py: a row per input, from every kind of source, also when it was broken off."""

import csv
import dataclasses
import functools
import gzip
import os
import pathlib
import struct
import sys
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import ebm_tf
from ebm_tf.cli.commands import score as command_score
from ebm_tf.data import images
from ebm_tf.errors import ConfigError
from ebm_tf.serving import score, table
from ebm_tf.serving.info import read_info
from ebm_tf.serving.sources import inputs, records
from ebm_tf.serving.trained import load_exported
from ebm_tf.settings.scoring import ScoreConfig
from tests import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("EBM_TF_DATA", ROOT.parent / "shared" / "tfds"))
needs_data = pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason=f"no data sets in {DATA}; set EBM_TF_DATA")


@pytest.fixture(scope="module")
def model(image_model):
    return image_model


@pytest.fixture(scope="module")
def truth(model, some_images):
    return model.energy(some_images)


@pytest.fixture(autouse=True, scope="module")
def _load_once():
    """A SavedModel takes a second to load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score, "load_exported", functools.cache(load_exported))
        yield


def read(path):
    with open(path, newline="", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def run(image_export, source, tmp_path, name="out.csv", **settings):
    settings = {"batch_size": 8, **settings}
    output = tmp_path / name
    done = score.score(ScoreConfig(model=str(image_export), input=str(source), output=str(output), **settings))
    return read(output) if name.endswith(".csv") else output, done


def energies(rows):
    return np.array([float(row["energy"]) for row in rows], np.float32)


def write_folder(folder, some_images):
    """Two levels, three formats, in names that sort as the images are numbered; and what is no image."""
    for i, image in enumerate(some_images):
        path = folder / f"part{i // 7}" / f"{i:03d}{('.png', '.bmp', '.TIFF')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


def examples(some_images):
    for image in some_images:
        png = tf.io.encode_png(image).numpy()
        feature = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))}
        yield tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write_tfrecord(path, contents):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)
    return path


def make_source(kind, some_images, tmp_path):
    """(input, ids expected)."""
    numbers = [str(i) for i in range(len(some_images))]
    if kind == "folder":
        folder = write_folder(tmp_path / "folder", some_images)
        return folder, [f"part{i // 7}/{i:03d}{('.png', '.bmp', '.TIFF')[i % 3]}" for i in range(len(some_images))]
    if kind == "npy uint8":
        np.save(tmp_path / "a.npy", some_images)
        return tmp_path / "a.npy", numbers
    if kind == "npy float64":
        np.save(tmp_path / "a.npy", some_images / 127.5 - 1)
        return tmp_path / "a.npy", numbers
    if kind == "npz compressed":
        np.savez_compressed(tmp_path / "a.npz", x=some_images, labels=np.arange(20))
        return tmp_path / "a.npz", numbers
    contents = list(examples(some_images))
    if kind == "tfrecord":
        return write_tfrecord(tmp_path / "a.tfrecord", contents), [f"a.tfrecord:{i}" for i in numbers]
    write_tfrecord(tmp_path / "b.tfrecord-0", contents[:12])
    plain = write_tfrecord(tmp_path / "plain", contents[12:])
    (tmp_path / "b.tfrecord-1").write_bytes(gzip.compress(plain.read_bytes()))
    ids = [f"b.tfrecord-0:{i}" for i in range(12)] + [f"b.tfrecord-1:{i}" for i in range(8)]
    return tmp_path / "b.tfrecord-*", ids


KINDS = ["folder", "npy uint8", "npy float64", "npz compressed", "tfrecord", "tfrecords, one by gzip"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_gives_its_rows_in_order(kind, image_export, some_images, truth, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "SHARD_SIZE", 6)  # shards and batches that do not divide each other
    source, ids = make_source(kind, some_images, tmp_path)
    rows, done = run(image_export, source, tmp_path)
    assert list(rows[0]) == ["id", "energy", "error"]
    assert [row["id"] for row in rows] == ids
    np.testing.assert_allclose(energies(rows), truth, rtol=1e-5, atol=1e-5)
    assert (done.rows, done.bad, done.resized, done.outside) == (20, 0, 0, 0)
    assert not list(tmp_path.glob("*partial*"))


@needs_data
def test_tfds_gives_what_training_reads(image_export, model, tmp_path):
    rows, _ = run(image_export, "tfds:cifar10/test[:30]", tmp_path, data_dir=str(DATA))
    expected = images.load("cifar10", "test[:30]", str(DATA), 32)
    assert [row["id"] for row in rows] == [str(i) for i in range(30)]
    np.testing.assert_allclose(energies(rows), model.energy(expected), rtol=1e-5, atol=1e-5)


def test_rings(rings_export, tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 10))
    np.save(tmp_path / "x.npy", x)
    rows, _ = run(rings_export, tmp_path / "x.npy", tmp_path)
    np.testing.assert_allclose(energies(rows), ebm_tf.load(rings_export).energy(x), rtol=1e-5)


def test_images_of_other_sizes_go_the_way_of_training(image_export, model, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    coarse = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    Image.fromarray(coarse.repeat(8, axis=0).repeat(8, axis=1)).save(folder / "wide.png")
    Image.fromarray(coarse[:, :, 0].repeat(8, axis=0).repeat(8, axis=1)).save(folder / "grey.png")
    rows, done = run(image_export, folder, tmp_path)
    expected = model.energy(images.load_any(str(folder), None, 32))
    np.testing.assert_allclose(energies(rows), expected, rtol=1e-5, atol=1e-5)
    assert done.resized == 2


def test_parquet_holds_the_same_rows(image_export, some_images, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    source = write_folder(tmp_path / "folder", some_images)
    (source / "part0" / "0.png").write_text("broken")
    rows, _ = run(image_export, source, tmp_path)
    path, _ = run(image_export, source, tmp_path, "out.parquet")
    found = parquet.read_table(path).to_pylist()
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert found[1] == {"id": rows[1]["id"], "energy": np.float32(rows[1]["energy"]), "error": None}
    assert found[0]["energy"] is None and found[0]["error"] == rows[0]["error"] != ""
    assert [row["energy"] for row in found[1:]] == energies(rows[1:]).tolist()


def test_without_pyarrow_is_one_line(image_export, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    np.save(tmp_path / "a.npy", np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"--output: expected the package pyarrow for \.parquet: pip install"):
        run(image_export, tmp_path / "a.npy", tmp_path, "out.parquet")


def test_bad_files_are_rows_with_an_error(image_export, some_images, truth, tmp_path):
    folder = write_folder(tmp_path / "folder", some_images)
    whole = (folder / "part0" / "000.png").read_bytes()
    (folder / "part0" / "000a.png").write_bytes(whole[: len(whole) // 2])
    (folder / "part1" / "zero.jpg").touch()
    Image.fromarray(np.zeros((9, 9), np.int32)).save(folder / "part2" / "deep.tiff")
    rows, done = run(image_export, folder, tmp_path)
    bad = [row for row in rows if row["error"]]
    assert [row["id"] for row in bad] == ["part0/000a.png", "part1/zero.jpg", "part2/deep.tiff"]
    assert all(row["energy"] == "" and "\n" not in row["error"] for row in bad)
    assert (done.rows, done.bad) == (23, 3)
    np.testing.assert_allclose(energies(row for row in rows if not row["error"]), truth, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("damage", ["content", "cut short", "header"])
def test_damaged_tfrecords(damage, image_export, some_images, truth, tmp_path):
    """What comes after the damage cannot be found; the next file can."""
    contents = list(examples(some_images[:10]))
    path = write_tfrecord(tmp_path / "a.tfrecord", contents)
    write_tfrecord(tmp_path / "b.tfrecord", list(examples(some_images[10:])))
    place = sum(16 + len(content) for content in contents[:4])  # where the fifth record begins
    whole = bytearray(path.read_bytes())
    if damage == "content":
        whole[place + 20] ^= 255
    elif damage == "cut short":
        del whole[place + 20 :]
    else:
        whole[place : place + 8] = struct.pack("<Q", 2**40)
    path.write_bytes(whole)
    rows, done = run(image_export, tmp_path / "*.tfrecord", tmp_path)
    lost = 6 if damage == "content" else 1
    assert (done.rows, done.bad) == (14 + lost, lost)
    assert [bool(row["error"]) for row in rows] == [False] * 4 + [True] * lost + [False] * 10
    np.testing.assert_allclose(energies(rows[:4]), truth[:4], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(energies(rows[-10:]), truth[10:], rtol=1e-5, atol=1e-5)


def test_records_that_are_no_examples_are_rows_with_an_error(image_export, tmp_path):
    text = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"?"]))
    floats = tf.train.Feature(float_list=tf.train.FloatList(value=[0.5] * 3072))
    features = [{"image": text}, {"text": text}, {"x": floats}]
    contents = [tf.train.Example(features=tf.train.Features(feature=f)).SerializeToString() for f in features]
    rows, done = run(image_export, write_tfrecord(tmp_path / "a.tfrecord", [*contents, b"\xff"]), tmp_path)
    assert [bool(row["error"]) for row in rows] == [True, True, False, True]
    assert "expected the feature image or image/encoded, a PNG or JPEG file, or x, 3072 floats" in rows[1]["error"]
    assert done.bad == 3


def test_values_not_finite_are_errors_and_values_outside_are_told(image_export, tmp_path):
    x = np.zeros((4, 32, 32, 3), np.float32)
    x[1, 0, 0, 0], x[2] = np.nan, 200
    np.save(tmp_path / "a.npy", x)
    rows, done = run(image_export, tmp_path / "a.npy", tmp_path)
    assert [row["error"] for row in rows] == ["", "values that are not finite", "", ""]
    assert (done.bad, done.outside) == (1, 1)
    seen = "input: floats from 0 to 200, where [-1, 1] is expected: they look like [0, 255]; give uint8"
    assert done.warnings[0].startswith(seen)
    assert done.warnings[1:] == ["1 images have floats outside [-1, 1]; uint8 is scaled, floats are not"]


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_broken_run_goes_on(name, torn, image_export, some_images, tmp_path, monkeypatch):
    """The same file, byte for byte, and what was sure is not scored again. torn: rows half written after the last sure
    one.
    """
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    folder = write_folder(tmp_path / "folder", some_images)
    (folder / "part0" / "zero.jpg").touch()
    (tmp_path / "whole").mkdir()
    run(image_export, folder, tmp_path / "whole", name)
    write, written = table.PartialTable.write, []

    def deadly(self, rows):
        written.append(rows)
        if len(written) == 2:
            raise Killed
        write(self, rows)

    monkeypatch.setattr(records, "SHARD_SIZE", 6)
    monkeypatch.setattr(table.PartialTable, "write", deadly)
    with pytest.raises(Killed):
        run(image_export, folder, tmp_path, name)
    assert not (tmp_path / name).exists()
    with pytest.raises(ConfigError, match=r"--output: expected --resume, or .*\.partial removed"):
        run(image_export, folder, tmp_path, name)
    if torn:
        with (tmp_path / f"{name}.partial").open("ab") as file:
            file.write(b"part1/008.TIFF,0.1")
    with pytest.raises(ConfigError, match=r"--batch_size: expected 8, as the table broken off has it. Received: 4"):
        run(image_export, folder, tmp_path, name, batch_size=4, resume=True)
    _, done = run(image_export, folder, tmp_path, name, resume=True)
    assert sum(map(len, written[2:])) == 21 - 8
    assert (done.rows, done.bad) == (21, 1)
    assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list(tmp_path.glob("*partial*"))


@pytest.mark.parametrize("resume", [False, True])
def test_two_that_write_one_table(resume, tmp_path):
    """The second is refused, and changes nothing; so is one that opened the file just before the first was done."""
    given = tmp_path / "out.csv", ("id", "energy", "error"), {}
    first = table.PartialTable(*given, resume=False)
    first.write([["a", "1", ""]])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        ConfigError, match=r"--output: expected a table that no other process writes\. Received: output="
    ):
        table.PartialTable(*given, resume=resume)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table.lock, "got", lambda descriptor: first.finish() is None)
        with pytest.raises(ConfigError, match="expected a table that no other process writes"):
            table.PartialTable(*given, resume=True)
    assert (tmp_path / "out.csv").read_text() == "id,energy,error\na,1,\n"


def test_a_table_is_held_until_it_is_the_output(tmp_path, monkeypatch):
    """One that begins just before the file has its name, or just after, is refused, and leaves nothing."""
    given, replace = (tmp_path / "out.csv", ("id", "energy", "error"), {}), pathlib.Path.replace
    first = table.PartialTable(*given, resume=False)

    def between(path, target):
        for moved in (False, True):
            if moved:
                replace(path, target)
            with pytest.raises(ConfigError, match="expected a table that no other process writes"):
                table.PartialTable(*given, resume=False)

    first.write([["a", "1", ""]])
    monkeypatch.setattr(pathlib.Path, "replace", between)
    first.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "id,energy,error\na,1,\n"


def test_a_table_without_rows_goes_while_it_is_locked(tmp_path, monkeypatch):
    """Another process may have it at once; nor does one take a table for new that was begun since it looked."""
    given = tmp_path / "out.csv", ("id", "energy", "error"), {}
    first = table.PartialTable(*given, resume=False)
    monkeypatch.setattr(first, "_file", Closing(first._file, lambda: table.PartialTable(*given, resume=False)))
    first.close()
    second = first._file.found
    second.write([["a", "1", ""]])
    second.close()
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "exists", lambda path: False)
        with pytest.raises(ConfigError, match="Received: a table broken off"):
            table.PartialTable(*given, resume=False)
    second = table.PartialTable(*given, resume=True)
    second.finish()
    assert (tmp_path / "out.csv").read_text() == "id,energy,error\na,1,\n"


class Closing:
    """A file, and what is done just after it was closed."""

    def __init__(self, file, then):
        self.file, self.then, self.closed = file, then, False

    def close(self):
        self.file.close()
        self.found = self.then()


def test_a_folder_that_has_changed_is_told(image_export, some_images, tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "folder", some_images)
    monkeypatch.setattr(table.PartialTable, "finish", lambda self: self.close())
    with pytest.raises(FileNotFoundError):
        run(image_export, folder, tmp_path)
    monkeypatch.undo()
    (folder / "part0" / "000.png").unlink()
    with pytest.raises(ConfigError, match=r"--input: expected part2/019\.bmp as number 20"):
        run(image_export, folder, tmp_path, resume=True)


def test_ids_with_commas_quotes_and_bytes_that_are_no_text(image_export, some_images, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    names = ['a,"b".png', "ü.png", os.fsdecode(b"\xff.png")]
    for name, image in zip(names, some_images):
        Image.fromarray(image).save(folder / name)
    rows, _ = run(image_export, folder, tmp_path)
    assert sorted(row["id"] for row in rows) == sorted(names)


def test_memory_does_not_grow_with_the_number_of_inputs(image_export, tmp_path):
    """Peak of Python's and NumPy's memory, for 20 times as many rows. All at once they would take 12 KB each, 24 MB."""
    peaks = []
    model = load_exported(image_export)
    for count in (100, 2_000):
        array = np.lib.format.open_memmap(tmp_path / f"{count}.npy", "w+", np.float32, (count, 32, 32, 3))
        array.flush()
        del array
        shards = inputs.find_shards(str(tmp_path / f"{count}.npy"), model.info, None)
        tracemalloc.start()
        for _, energy in score.Scoring(model, 32, "energy").run(score.read_all(shards(), model)):
            assert len(energy)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2e6, peaks


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "nowhere"}, "--model: expected a .keras file, or the folder of a finished run or of bin/export"),
        ({"input": "nowhere"}, "--input: expected a folder of images, FILE.npy, FILE.npz, FILE.csv, TFRecords or"),
        ({"input": "empty"}, "--input: expected a folder of images, with at least one. Received: input=empty"),
        ({"input": "broken.npy"}, "--input: expected a .npy file that NumPy can read. Received: input=broken.npy"),
        ({"input": "small.npy"}, r"--input: expected an array of floats \[N, 32, 32, 3\] in \[-1, 1\], or of uint8"),
        ({"input": "two.npz"}, "--input: expected a .npz file with one array, or one named x. Received: input=two.npz"),
        ({"input": "broken.tfrecord"}, "--input: expected TFRecord files with at least one record"),
        ({"input": "tfds:cifar10"}, "--input: expected tfds:NAME/SPLIT"),
        ({"input": "tfds:cifar10/test", "data_dir": "empty"}, "--data_dir: expected a folder with TFDS data sets"),
        ({"output": "out.txt"}, "--output: expected FILE.csv or FILE.parquet. Received: output=out.txt"),
        ({"output": "ok.npy"}, "--output: expected FILE.csv or FILE.parquet"),
        ({"output": "there.csv"}, "--output: expected a new file. Received: output=there.csv, which is there"),
        ({"output": "no/out.csv"}, "--output: expected a file in a folder that is there"),
        ({"reference": "none.npz"}, "--reference: expected a calibration.npz that bin/calibrate.py wrote"),
        ({"reference": "there.csv"}, "--reference: expected a calibration.npz that bin/calibrate.py wrote"),
        ({"false_positive_rate": 0.1}, "--false_positive_rate: expected --reference, or a model that bin/calibrate.py"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(settings, message, image_export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("empty").mkdir()
    pathlib.Path("broken.npy").write_text("no array")
    pathlib.Path("broken.tfrecord").touch()
    pathlib.Path("there.csv").write_text("a,b\n1,2\n")
    np.save("small.npy", np.zeros((2, 16, 16, 3), np.float32))
    np.save("ok.npy", np.zeros((2, 32, 32, 3), np.uint8))
    np.savez("two.npz", a=np.zeros(3), b=np.zeros(3))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=message) as caught:
        score.score(ScoreConfig(**{"model": str(image_export), "input": "ok.npy", "output": "out.csv", **settings}))
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_for_rings_is_told(rings_export, tmp_path):
    with pytest.raises(ConfigError, match="--input: expected arrays or TFRecords of rings, which are no images"):
        inputs.find_shards(str(tmp_path), read_info(rings_export), None)


def test_the_command(image_export, some_images, tmp_path, capsys):
    folder = write_folder(tmp_path / "folder", some_images[:3])
    (folder / "zero.png").touch()
    given = {"model": str(image_export), "input": str(folder), "output": str(tmp_path / "out.csv")}
    flags = [f"--{name}={value}" for name, value in given.items()]
    done = processes.run(["bin/score.py", *flags])
    assert done.returncode == 1, done.stderr
    bad = "1 of them could not be read, so the exit status is 1; with --skip_bad it is 0"
    assert f"wrote {tmp_path}/out.csv: 4 inputs, {bad}\n" in done.stdout
    assert "score: 4/4 inputs" in done.stderr
    assert len(read(tmp_path / "out.csv")) == 4
    assert command_score.main(ScoreConfig(**{**given, "output": str(tmp_path / "again.csv")}, skip_bad=True)) == 0
    assert "4 inputs, 1 of them could not be read; the exit status is 0, by --skip_bad\n" in capsys.readouterr().out


def test_config_says_what_is_wrong():
    given = {"model": "m", "input": "i", "output": "o"}
    for name in given:
        with pytest.raises(ConfigError, match=f"--{name}: expected"):
            ScoreConfig(**{**given, name: ""})
    with pytest.raises(ConfigError, match=r"--false_positive_rate: expected a number in \(0, 1\). Received"):
        ScoreConfig(**given, false_positive_rate=1.0)
    with pytest.raises(ConfigError, match="--batch_size: expected a whole number, 1 or more"):
        dataclasses.replace(ScoreConfig(**given), batch_size=0)

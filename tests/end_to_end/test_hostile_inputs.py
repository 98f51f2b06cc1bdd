"""Broken and hostile inputs to train, evaluate, sample and reproduce: refused with one line, or said to be skipped.

Nothing is written before a refusal, and what was there is there after. Where damage cannot be told from good (a bit
that nobody reads), what is read must be what was written.
"""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
import tempfile
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from ebm_tf.data import images
from ebm_tf.energies.files import load_energy
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation import finished, tasks
from ebm_tf.runs import saved
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import run
from ebm_tf.training.checkpoints import newest_intact
from tests.end_to_end import hostile
from tests.end_to_end.hostile import ANY_FILE, call, flip, tree, truncate, write

SHARES = [0.0, 0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95, 0.999]  # of a file: where it is cut, or a bit turned


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished rings run with a bank, two checkpoints, and results of short_run."""
    folder = tmp_path_factory.mktemp("made") / "run"
    settings = dict(num_filters=4, batch_size=2, num_steps=2, step_size=0.005, bank_size=8, train_steps=4)
    settings |= dict(log_every=1, figure_every=100, checkpoint_every=2, jit_compile="false")
    run.train(TrainConfig(dataset="rings", scheme="persistent", workdir=str(folder), **settings))
    tasks.evaluate(EvaluateConfig(workdir=str(folder), tasks="short_run", num_samples=4, num_steps=2))
    keras.utils.clear_session(free_memory=False)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def resume(folder, *flags):
    config = TrainConfig.from_dict(json.loads((folder / "config.json.whole").read_text()))
    names = ["dataset", "scheme", "num_filters", "batch_size", "num_steps", "step_size", "bank_size"]
    names += ["log_every", "checkpoint_every", "jit_compile"]
    own = [f"--{name}={getattr(config, name)}" for name in names]
    return call("train", f"--workdir={folder}", "--resume", "--train_steps=4", *own, *flags)


def run_command(command, folder):
    """The command on this run. The folder's parent stands for --runs."""
    if command == "train":
        return resume(folder)
    if command == "evaluate":
        return call("evaluate", f"--workdir={folder}", "--tasks=short_run", "--num_samples=4", "--num_steps=2")
    if command == "sample":
        return call("sample", f"--workdir={folder}", "--num_samples=2", f"--output={folder.parent / 'new'}")
    return call("reproduce", f"--runs={folder.parent}", "--artifact=fig9", f"--output={folder.parent / 'new'}")


def assert_refused(answer, text=""):
    status, lines = answer
    assert status == 2, lines
    assert "Traceback" not in "".join(lines)
    assert ": expected" in lines[-1] and text in lines[-1], lines
    assert all(any(word in line for word in ("skipped", "left out", "not made")) for line in lines[:-1]), lines


# config.json, which every command reads.


def settings(**changes):
    def damage(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


CONFIG_DAMAGES = {
    **ANY_FILE,
    "missing": pathlib.Path.unlink,
    "cut": truncate(0.5),
    "a list": write("[]"),
    "a number": write("3"),
    "null": write("null"),
    "two documents": write("{}{}"),
    "very deep": write("[" * 200_000),
    "a long number": write('{"seed": ' + "9" * 10_000 + "}"),
    "unknown setting": settings(shell="rm -rf /"),
    "text for a number": settings(batch_size="2"),
    "float for int": settings(num_steps=2.5),
    "truth for int": settings(bank_size=True),
    "list for text": settings(dataset=["rings"]),
    "object for text": settings(train_split={"a": 1}),
    "number for path": settings(data_dir=7),
    "null for number": settings(step_size=None),
    "nan": settings(temperature=float("nan")),
    "infinity": settings(step_size=float("inf")),
    "negative": settings(batch_size=-2),
    "zero": settings(num_filters=0),
    "unknown scheme": settings(scheme="pcd"),
    "scheme as list": settings(scheme=["data"]),
    "lambda without hybrid": settings(cd_weight=25.0),
    "huge seed": settings(seed=2**31),
    "newlines": settings(jit_compile="true\n\nfalse\n" * 50),
}


@pytest.mark.parametrize("command", hostile.CONFIGS)
@pytest.mark.parametrize("damage", CONFIG_DAMAGES)
def test_config(folder, command, damage):
    shutil.copy(folder / "config.json", folder / "config.json.whole")
    CONFIG_DAMAGES[damage](folder / "config.json")
    before = tree(folder.parent)
    assert_refused(run_command(command, folder))
    assert tree(folder.parent) == before


def test_paths_in_a_config_are_not_followed(folder, tmp_path):
    """The run is where it lies, whatever its config.json says."""
    settings(workdir=str(tmp_path / "elsewhere"))(folder / "config.json")
    status, lines = run_command("sample", folder)
    assert status == 0, lines
    status, lines = call("evaluate", f"--workdir={folder}", "--tasks=short_run", "--num_samples=3", "--num_steps=2")
    assert status == 0, lines
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "run"]


# model.keras.


def rebuild(**members):
    """A zip file again, with some members changed or added."""

    def damage(path):
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, value in {**content, **members}.items():
                archive.writestr(name, value)

    return damage


def named(module, class_name, config):
    return json.dumps({"module": module, "class_name": class_name, "config": config, "registered_name": class_name})


def evil_lambda(path):
    layer = keras.layers.Lambda(lambda x: x[:, 0])
    keras.Sequential([keras.Input((10,)), layer]).save(path)


def other_model(path):
    keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)]).save(path)


def old_format(path):
    keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)]).save(path.with_suffix(".h5"))
    path.with_suffix(".h5").replace(path)


MODEL_DAMAGES = {
    **ANY_FILE,
    **{f"cut at {share}": truncate(share) for share in SHARES},
    "a Lambda layer": evil_lambda,
    "another model": other_model,
    "the old format": old_format,
    "os.system": rebuild(**{"config.json": named("os", "system", {"command": "touch evil"})}),
    "subprocess.Popen": rebuild(**{"config.json": named("subprocess", "Popen", {"args": ["touch", "evil"]})}),
    "builtins.eval": rebuild(**{"config.json": named("builtins", "eval", {})}),
    "keras.utils.get_file": rebuild(**{"config.json": named("keras.utils", "get_file", {"origin": "file:///etc"})}),
    "a config that is no JSON": rebuild(**{"config.json": "{"}),
    "a deep config": rebuild(**{"config.json": "[" * 100_000}),
    "weights that are none": rebuild(**{"model.weights.h5": b"nothing"}),
    "empty weights": rebuild(**{"model.weights.h5": b""}),
    "pickled weights": rebuild(**{"config.json": b"\x80\x04cos\nsystem\n(S'touch evil'\ntR."}),
}


@pytest.mark.parametrize("damage", MODEL_DAMAGES)
def test_model(folder, damage, monkeypatch):
    monkeypatch.chdir(folder.parent)
    MODEL_DAMAGES[damage](folder / "model.keras")
    before = tree(folder.parent)
    assert_refused(run_command("evaluate", folder))
    assert_refused(run_command("sample", folder))
    flags = ["--num_steps=1", "--step_size=1", "--temperature=1", f"--output={folder.parent / 'new'}"]
    assert_refused(call("sample", f"--model={folder / 'model.keras'}", *flags))
    assert tree(folder.parent) == before


def test_members_outside_a_model_are_not_unpacked(folder, tmp_path):
    rebuild(**{"../../evil": b"x", "/tmp/ebm_tf_evil": b"x", "assets/../../evil": b"x"})(folder / "model.keras")
    before = tree(tmp_path)
    with contextlib.suppress(ConfigError):
        load_energy(folder / "model.keras")
    assert tree(tmp_path) == before
    assert not pathlib.Path("/tmp/ebm_tf_evil").exists()


@pytest.mark.parametrize("share", [i / 24 for i in range(25)])
def test_a_flipped_bit_of_a_model_is_refused_or_changes_nothing(made, folder, share):
    whole = load_energy(made / "model.keras")
    flip(share)(folder / "model.keras")
    try:
        energy = load_energy(folder / "model.keras", "workdir")
    except ConfigError as error:
        assert str(error).startswith("--workdir: expected ")
        return
    for ours, theirs in zip(energy.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert energy.get_config()["energy_scale"] == whole.get_config()["energy_scale"]


# Saved arrays.


def arrays(**values):
    def damage(path):
        np.savez(path.with_suffix(".new.npz"), **values)
        path.with_suffix(".new.npz").replace(path)

    return damage


def header(text):
    """An array whose header says this."""
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    return rebuild(**{"x_from_noise.npy": content})


ARRAY_DAMAGES = {
    **ANY_FILE,
    **{f"cut at {share}": truncate(share) for share in SHARES},
    "pickled objects": arrays(x_from_noise=np.array([{"a": 1}, None], object)),
    "another array": arrays(y=np.zeros(3)),
    "no header": rebuild(**{"x_from_noise.npy": b"\x93NUMPY"}),
    "an unknown version": rebuild(**{"x_from_noise.npy": b"\x93NUMPY\x09\x00" + bytes(200)}),
    "a header that is code": header("__import__('os').system('touch evil')\n"),
    "a header without end": header("{" * 60_000),
    "a huge array": header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 10), }\n"),
    "a negative array": header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 10), }\n"),
    "objects by header": header("{'descr': '|O', 'fortran_order': False, 'shape': (4,), }\n"),
}


def read_saved(folder):
    return saved.load(folder).arrays("short_run", "x_from_noise")["x_from_noise"]


def read_finished(folder):
    return finished.load_run(folder).arrays("short_run")["x_from_noise"]


@pytest.mark.parametrize("read", [read_saved, read_finished])
@pytest.mark.parametrize("damage", ARRAY_DAMAGES)
def test_arrays(folder, damage, read, monkeypatch):
    monkeypatch.chdir(folder.parent)
    ARRAY_DAMAGES[damage](folder / "short_run.npz")
    before = tree(folder.parent)
    with pytest.raises(ConfigError, match=r"^--(runs|workdir): expected .*short_run") as error:
        read(folder)
    assert "\n" not in str(error.value)
    assert tree(folder.parent) == before


@pytest.mark.parametrize("read", [read_saved, read_finished])
@pytest.mark.parametrize("share", SHARES)
def test_a_flipped_bit_of_arrays_is_refused_or_changes_nothing(made, folder, share, read):
    flip(share)(folder / "short_run.npz")
    try:
        x = read(folder)
    except ConfigError:
        return
    np.testing.assert_array_equal(x, read(made))


# results.json, metrics.jsonl, and the state of a task that was killed.

RESULTS_DAMAGES = {
    **{name: damage for name, damage in ANY_FILE.items() if "dangling" not in name},
    "cut": truncate(0.5),
    "a list": write("[]"),
    "a number for a task": write('{"short_run": 3}'),
    "very deep": write("[" * 200_000),
    "a long number": write('{"short_run": ' + "9" * 10_000 + "}"),
}


@pytest.mark.parametrize("command", ["evaluate", "reproduce"])
@pytest.mark.parametrize("damage", RESULTS_DAMAGES)
def test_results(folder, command, damage):
    RESULTS_DAMAGES[damage](folder / "results.json")
    before = tree(folder.parent)
    assert_refused(run_command(command, folder), "results.json")
    assert tree(folder.parent) == before


@pytest.fixture
def image_run(folder):
    """What reproduce reads of a CIFAR-10 run with a long run."""
    config = dataclasses.replace(RunDir(folder).load_config(), dataset="cifar10", scheme="data", bank_size=60_000)
    RunDir(folder).write_config(config)
    model = saved.load(folder).model
    entry = {"model": model, "settings": {}, "num_samples": 3, "num_steps": 5, "finite": True, "verdict": "settled"}
    (folder / "results.json").write_text(json.dumps({"long_run": entry}))
    arrays(steps=np.arange(4), energy=np.ones((4, 3), np.float32))(folder / "long_run.npz")
    return folder


def test_reproduce_makes_a_figure_of_whole_inputs(image_run):
    assert run_command("reproduce", image_run) == (0, [])


REPRODUCE_DAMAGES = {
    "energies of one step": arrays(steps=np.arange(4), energy=np.ones(3)),
    "no steps": arrays(energy=np.ones((4, 3))),
    "text": arrays(steps=np.array(["a"] * 4), energy=np.array([["b"] * 3] * 4)),
    "other lengths": arrays(steps=np.arange(9), energy=np.ones((4, 3))),
    "nothing": arrays(steps=np.zeros(0), energy=np.zeros((0, 0))),
    "pickled": arrays(steps=np.array([None] * 4), energy=np.ones((4, 3))),
}


@pytest.mark.parametrize("damage", REPRODUCE_DAMAGES)
def test_reproduce_refuses_arrays_of_another_kind(image_run, damage):
    REPRODUCE_DAMAGES[damage](image_run / "long_run.npz")
    before = tree(image_run.parent)
    assert_refused(run_command("reproduce", image_run))
    assert tree(image_run.parent) == before


METRICS = b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": null}\n'
BAD_ROWS = {
    "cut": b'{"step": 3, "lo',
    "no step": b'{"loss": 1}\n',
    "text for a step": b'{"step": "3"}\n',
    "text for a number": b'{"step": 3, "loss": "low"}\n',
    "a list": b"[3]\n",
    "zeros": bytes(100) + b"\n",
    "not utf-8": b"\xff\xfe\x80\n",
    "very deep": b"[" * 200_000 + b"\n",
    "a long number": b'{"step": ' + b"9" * 10_000 + b"}\n",
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_bad_rows_of_metrics_are_left_out_and_the_rest_stays(tmp_path, capsys, row):
    run_dir = RunDir(tmp_path)
    run_dir.metrics.write_bytes(BAD_ROWS[row] + METRICS + BAD_ROWS[row])
    if row == "cut":
        run_dir.metrics.write_bytes(METRICS + BAD_ROWS[row])
    run_dir.truncate_metrics(9)
    assert run_dir.metrics.read_bytes() == METRICS
    assert "left out" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["a folder", "a symlink loop"])
def test_metrics_that_cannot_be_read_are_not_lost(tmp_path, damage):
    run_dir = RunDir(tmp_path)
    run_dir.metrics.write_bytes(METRICS)
    ANY_FILE[damage](run_dir.metrics)
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match=r"metrics\.jsonl"):
        run_dir.truncate_metrics(9)
    assert tree(tmp_path) == before


STATES = ["", "[]", "3", '{"key": "k"}', '{"key": "k", "blocks_done": "2"}', '{"key": "k", "blocks_done": -1}']
STATES += ['{"key": "k", "blocks_done": true}', "[" * 200_000, '{"key": "k", "blocks_done": 1e3}', "\x00" * 50]


@pytest.mark.parametrize("state", STATES, ids=[f"{i}" for i in range(len(STATES))])
def test_a_damaged_state_of_a_task_starts_it_anew(tmp_path, state):
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / "state.json").write_text(state)
    partial = PartialArrays(tmp_path / "partial", "k")
    assert partial.blocks_done == 0
    assert not partial.array("x", (2, 3), np.float32).any()


# Checkpoints. The newest is update-4, the one before update-2.


def manifest(**changes):
    def damage(path):
        path = path.with_suffix(".json")
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def part(suffix, damage):
    return lambda path: damage(path.with_suffix(suffix))


DATA, INDEX = ".data-00000-of-00001", ".index"
CHECKPOINT_DAMAGES = {
    **{f"data cut at {share}": part(DATA, truncate(share)) for share in SHARES},
    **{f"data flipped at {share}": part(DATA, flip(share)) for share in SHARES},
    **{f"index cut at {share}": part(INDEX, truncate(share)) for share in SHARES[:6]},
    **{f"index flipped at {share}": part(INDEX, flip(share)) for share in SHARES[:6]},
    **{f"data {name}": part(DATA, damage) for name, damage in ANY_FILE.items()},
    **{f"manifest {name}": part(".json", damage) for name, damage in ANY_FILE.items() if "dangling" not in name},
    "data missing": part(DATA, pathlib.Path.unlink),
    "manifest a list": part(".json", write("[]")),
    "manifest very deep": part(".json", write("[" * 200_000)),
    "manifest of another update": manifest(step=2),
    "manifest without digests": manifest(sha256={}),
    "manifest with digests of another kind": manifest(sha256=[1]),
    "manifest with paths": manifest(sha256={"../../config.json": "0" * 64}),
    "manifest with an absolute path": manifest(sha256={"/etc/passwd": "0" * 64}),
    "manifest with bad rollbacks": manifest(rollbacks=-1),
    "manifest with text for rollbacks": manifest(rollbacks="2"),
    "no manifest, and a flipped bit": lambda path: (
        path.with_suffix(".json").unlink(),
        flip(0.5)(path.with_suffix(DATA)),
    ),
}


@pytest.mark.parametrize("damage", CHECKPOINT_DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(folder, damage, capsys):
    CHECKPOINT_DAMAGES[damage](folder / "checkpoints" / "update-4.x")
    before = tree(folder)
    found = newest_intact(RunDir(folder))
    assert (found.step, pathlib.Path(found.prefix).name) == (2, "update-2")
    assert "skipped update-4: " in capsys.readouterr().err
    assert tree(folder) == before


@pytest.mark.parametrize("suffix", [DATA, INDEX, ".json"])
def test_without_an_intact_checkpoint_nothing_is_resumed(folder, suffix):
    shutil.copy(folder / "config.json", folder / "config.json.whole")
    for step in (2, 4):
        write(b"broken")((folder / "checkpoints" / f"update-{step}.x").with_suffix(suffix))
    before = tree(folder)
    assert_refused(resume(folder), "an intact checkpoint")
    assert tree(folder) == before
    assert_refused(call("evaluate", f"--workdir={folder}", "--tasks=bank"), "an intact checkpoint")


def test_a_half_written_checkpoint_is_named(folder, capsys):
    checkpoints = folder / "checkpoints"
    (checkpoints / "update-4.index").rename(checkpoints / "draft.index")
    assert newest_intact(RunDir(folder)).step == 2
    err = capsys.readouterr().err
    assert "skipped draft.index: half-written" in err and "skipped update-4.json: half-written" in err


def test_a_checkpoint_of_another_network_is_refused(folder):
    shutil.copy(folder / "config.json", folder / "config.json.whole")
    settings(num_filters=6)(folder / "config.json")
    settings(num_filters=6)(folder / "config.json.whole")
    before = tree(folder)
    assert_refused(resume(folder), "a checkpoint of this run's settings")
    assert tree(folder) == before


# Folders of images.


def encoded(mode="RGB", size=(5, 7), kind="PNG", fill=None, **options):
    file = io.BytesIO()
    Image.new(mode, size, fill if fill is not None else 1).save(file, kind, **options)
    return file.getvalue()


def png_header(width, height):
    import struct
    import zlib

    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = b"IDAT" + zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + parts + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


PIXELS = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)


def encoded_pixels(kind):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind)
    return file.getvalue()


PNG, JPEG = encoded_pixels("PNG"), encoded_pixels("JPEG")
BAD_IMAGES = {
    "zero bytes": b"",
    "text": b"not an image",
    "zeros": bytes(1000),
    "html": b"<html><img src=x></html>",
    "a signature alone": b"\x89PNG\r\n\x1a\n",
    "60,000 x 60,000": png_header(60_000, 60_000),
    "2^31 - 1 wide": png_header(2**31 - 1, 1),
    "no pixels": png_header(0, 0),
    "a header without its pixels": png_header(64, 64),
    "32 bits": encoded("I", (4, 4), "TIFF"),
    "NaN pixels": encoded("F", (4, 4), "TIFF", fill=float("nan")),
    **{f"PNG cut at {share}": PNG[: int(len(PNG) * share)] for share in SHARES[:8]},
    **{f"JPEG cut at {share}": JPEG[: int(len(JPEG) * share)] for share in SHARES[:7]},
}


def image_file(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_an_image_that_cannot_be_read_is_named(tmp_path, name):
    image_file(tmp_path / "images", "good.png", PNG)
    image_file(tmp_path / "images", "bad.png", BAD_IMAGES[name])
    text = r"--ood_data: expected images that Pillow can read\. Received: .*bad\.png"
    with pytest.raises(ConfigError, match=text) as error:
        images.load_any(str(tmp_path / "images"), None, 32)
    assert "\n" not in str(error.value)


GOOD_IMAGES = {
    "grey": encoded("L"),
    "grey, 16 bits": encoded("I;16"),
    "RGBA": encoded("RGBA"),
    "grey with alpha": encoded("LA"),
    "palette": encoded("P"),
    "one bit": encoded("1"),
    "CMYK": encoded("CMYK", kind="JPEG"),
    "one pixel": encoded(size=(1, 1)),
    "very wide": encoded(size=(3000, 1)),
    "BMP": encoded(kind="BMP"),
    "GIF": encoded(kind="GIF"),
}


@pytest.mark.parametrize("name", GOOD_IMAGES)
def test_images_of_other_kinds_are_read(tmp_path, name):
    pixels = images.load_any(str(image_file(tmp_path / "images", "x.png", GOOD_IMAGES[name])), None, 32)
    assert pixels.shape == (1, 32, 32, 3) and pixels.dtype == np.uint8


@pytest.mark.parametrize("name", ["a b.png", "new\nline.png", "ünï\tcödé.png", "-rf.png", "'; rm x;.png", "*.png"])
def test_file_names_are_only_names(tmp_path, name):
    assert len(images.load_any(str(image_file(tmp_path / "the folder\n", name, PNG)), None, 32)) == 1
    image_file(tmp_path / "the folder\n", name, b"bad")
    with pytest.raises(ConfigError):
        images.load_any(str(tmp_path / "the folder\n"), None, 32)


def loops(folder):
    (folder / "x.png").symlink_to("x.png")
    (folder / "again").symlink_to(".")


def only_folders(folder):
    (folder / "x.png").mkdir()


EMPTY_FOLDERS = {
    "nothing": lambda folder: None,
    "symlink loops": loops,
    "folders with names of images": only_folders,
    "hidden files": lambda folder: (folder / ".x.png").write_bytes(PNG),
    "no images": lambda folder: (folder / "notes.txt").write_text("x"),
    "a dangling link": lambda folder: (folder / "x.png").symlink_to("nowhere.png"),
}


@pytest.mark.parametrize("kind", EMPTY_FOLDERS)
def test_a_folder_without_images_is_refused(tmp_path, kind):
    EMPTY_FOLDERS[kind](tmp_path)
    with pytest.raises(ConfigError, match="which holds none"):
        images.load_any(str(tmp_path), None, 32)


NO_SOURCES = ["", " ", "~nobody-of-this-name/x", "x" * 5000, "a\x00b", "a/b/c", "../..//nowhere", "svhn_cropped/x\n"]


@pytest.mark.parametrize("source", NO_SOURCES)
def test_sources_that_are_none(tmp_path, source):
    with pytest.raises(ConfigError):
        images.load_any(source, str(tmp_path), 32)


# Data sets prepared for TFDS.


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """CIFAR-10 as TFDS keeps it, with four images of train and two of test."""
    folder = tmp_path_factory.mktemp("tfds")

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("3.0.2")

        def _info(self):
            features = {
                "id": tfds.features.Text(),
                "image": tfds.features.Image(shape=(32, 32, 3)),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(4), "test": self._generate_examples(2)}

        def _generate_examples(self, count):
            for i in range(count):
                pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
                yield i, {"id": str(i), "image": pixels, "label": 0}

    Tiny.name = "cifar10"
    Tiny(data_dir=folder).download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return folder


def shard(damage):
    return lambda folder: damage(next(folder.rglob("*train.tfrecord*")))


def first_record_only(path):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    path.write_bytes(content[: 8 + 4 + length + 4])


def record_of(image):
    def damage(path):
        features = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
        features["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[0]))
        features["id"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"0"]))
        example = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
        with tf.io.TFRecordWriter(str(path)) as writer:
            for _ in range(4):
                writer.write(example)

    return damage


TFDS_DAMAGES = {
    **{f"shard cut at {share}": shard(truncate(share)) for share in SHARES},
    **{f"shard flipped at {share}": shard(flip(share)) for share in SHARES},
    "shard missing": shard(pathlib.Path.unlink),
    "shard a folder": shard(hostile.folder_instead),
    "fewer records than announced": shard(first_record_only),
    "text for an image": shard(record_of(b"text")),
    "no image": shard(record_of(b"")),
    "an image cut short": shard(record_of(PNG[:60])),
    "60,000 x 60,000": shard(record_of(png_header(60_000, 60_000))),
    "no dataset_info.json": lambda folder: next(folder.rglob("dataset_info.json")).unlink(),
    "empty dataset_info.json": lambda folder: write("")(next(folder.rglob("dataset_info.json"))),
    "a list as dataset_info.json": lambda folder: write("[]")(next(folder.rglob("dataset_info.json"))),
    "no files": lambda folder: [path.unlink() for path in folder.rglob("*") if path.is_file()],
}


@pytest.mark.parametrize("damage", TFDS_DAMAGES)
def test_data_sets(prepared, tmp_path, damage):
    data_dir = shutil.copytree(prepared, tmp_path / "data")
    TFDS_DAMAGES[damage](data_dir)
    before = tree(tmp_path)
    flags = [f"--data_dir={data_dir}", f"--workdir={tmp_path / 'run'}", "--batch_size=2", "--num_filters=1"]
    assert_refused(call("train", "--dataset=cifar10", "--jit_compile=false", *flags), "prepared for TFDS")
    assert tree(tmp_path) == before


def test_the_undamaged_data_set_is_read(prepared):
    assert images.load("cifar10", "train", str(prepared), 32).shape == (4, 32, 32, 3)


# Files that may not be read.


@pytest.fixture
def closed(made):
    """A copy of the run below /tmp, seen by somebody who owns nothing."""
    with tempfile.TemporaryDirectory() as parent:
        folder = shutil.copytree(made, pathlib.Path(parent) / "run")
        image_file(folder / "images", "x.png", PNG)
        (folder / "images" / "below").mkdir()
        shutil.copy(folder / "config.json", folder / "config.json.whole")
        for path in (folder.parent, *folder.parent.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        if os.geteuid() == 0:
            os.seteuid(65534)
            try:
                yield folder
            finally:
                os.seteuid(0)
        else:
            yield folder


CLOSED = {
    "config.json": lambda folder: resume(folder),
    "checkpoints/update-4.data-00000-of-00001": lambda folder: newest_intact(RunDir(folder)).step == 2,
    "model.keras": lambda folder: call("sample", f"--workdir={folder}", f"--output={folder.parent / 'new'}"),
    "results.json": lambda folder: run_command("evaluate", folder),
    "metrics.jsonl": lambda folder: RunDir(folder).read_metrics(),
    "short_run.npz": read_finished,
    "images/x.png": lambda folder: images.load_any(str(folder / "images"), None, 32),
    "images/below": lambda folder: images.load_any(str(folder / "images"), None, 32),
}


@pytest.mark.parametrize("name", CLOSED)
def test_what_may_not_be_read_is_named(closed, name):
    owner = os.geteuid()
    path = closed / name
    if owner != path.stat().st_uid:
        os.seteuid(path.stat().st_uid)
    path.chmod(0)
    os.seteuid(owner)
    try:
        answer = CLOSED[name](closed)
    except ConfigError as error:
        assert "ermission denied" in str(error) and "\n" not in str(error)
        return
    if answer is not True:  # of a checkpoint: the one before is used
        assert_refused(answer)
    assert not (closed.parent / "new").exists()


# Flags: paths that are none, numbers that are none.


UNUSABLE = ["file", "file/below", "loop", "loop/below", "x" * 300, "new\nline/" + "x" * 300, "/dev/null", "/proc/x"]
UNUSABLE += ["a\0b"]


@pytest.mark.parametrize("command", hostile.CONFIGS)
@pytest.mark.parametrize("name", UNUSABLE, ids=[repr(name[:12]) for name in UNUSABLE])
def test_paths(folder, tmp_path, command, name):
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    path = f"{tmp_path}/{name}" if name[0] != "/" else name
    before = tree(tmp_path)
    tiny = ["--dataset=rings", "--num_filters=1", "--batch_size=1", "--num_steps=1", "--train_steps=1"]
    if command == "train":
        assert_refused(call("train", f"--workdir={path}", *tiny))
        assert_refused(call("train", f"--workdir={path}", "--resume", *tiny))
        assert_refused(call("train", f"--workdir={tmp_path / 'new'}", f"--data_dir={path}"))
    elif command == "evaluate":
        assert_refused(call("evaluate", f"--workdir={path}"))
        assert_refused(call("evaluate", f"--model={path}", "--tasks=ood", f"--output={tmp_path / 'new'}"))
    elif command == "sample":
        assert_refused(call("sample", f"--workdir={path}", f"--output={tmp_path / 'new'}"))
        assert_refused(call("sample", f"--model={path}", f"--output={tmp_path / 'new'}"))
        assert_refused(call("sample", f"--workdir={folder}", "--num_samples=1", f"--output={path}"))
    else:
        assert_refused(call("reproduce", f"--runs={path}", f"--output={tmp_path / 'new'}"))
        assert_refused(call("reproduce", f"--runs={tmp_path}", f"--output={path}"))
    assert tree(tmp_path) == before


NUMBERS = ["nan", "inf", "-inf", "-1", "1e999", "", "0x10", "1_0e", "one", "1,5", "²"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("command", "flag"),
    [
        *(("train", name) for name in ("step_size", "learning_rate", "batch_size", "max_abs_x")),
        *(("evaluate", name) for name in ("mala_target", "num_chains")),
        *(("sample", name) for name in ("step_size", "num_samples")),
    ],
)
def test_numbers(tmp_path, command, flag, number):
    if (flag, number) in [("max_abs_x", "inf"), ("max_abs_x", "1e999")]:
        pytest.skip("no bound: allowed")
    output = [f"--output={tmp_path / 'x'}"] if command == "sample" else []
    status, lines = call(command, f"--workdir={tmp_path / 'run'}", *output, f"--{flag}={number}")
    assert status == 2 and len(lines) == 1 and flag in lines[0], lines
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ANY_FILE)
def test_flag_files(tmp_path, damage):
    flagfile = tmp_path / "x.flags"
    flagfile.write_text("")
    ANY_FILE[damage](flagfile)
    status, lines = call("sample", f"--flagfile={flagfile}", f"--workdir={tmp_path / 'run'}")
    assert status == 2 and len(lines) == 1, lines
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.flags"]

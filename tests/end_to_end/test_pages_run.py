"""The commands of README, docs and cards run, each page's in its order, in a folder that has what a reader has.

RUN, FLAGS, FILE.keras, HELD_OUT and TFDS are there by these names. What sets the size of a run is made small.
"""

import itertools
import json
import os
import pathlib
import re
import shlex
import shutil
import time
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ebm_tf.cli import main
from tests import pages, processes
from tests.asked import read_by

ROOT = pages.ROOT
DATA = pathlib.Path(os.environ.get("EBM_TF_DATA", ROOT.parent / "shared" / "tfds"))
EXAMPLES = {"train": 500, "validation": 100, "test": 2_200}  # of these; studies/detector.py leaves out 2,000
SECONDS = 120  # that a command may take
# Not run here: what matches, and why.
NOT_RUN = {
    r"make \w+|\.ci/run|python -m pytest .*": "a suite of its own, of minutes",
    r"python3 -m venv .*|\. \.venv/bin/activate|(\.venv-bench/bin/)?pip .*|ebm-tf .*": "installs packages",
    r"nice \.venv-bench/.*": "needs .venv-bench, whose packages are others' detectors; hours",
    r"docker .*": "a container that is downloaded",
    r"(printf .* )?'?curl .*|printf .*": "asks a server at work; test_calibrate.py asks one so",
    r"tensorboard .*": "another project's server; test_tensorboard.py reads what it reads",
    r"'TF_CONFIG=.*": "two hosts; test_multi_worker.py runs two workers",
    r"python|python .* \.\.\.": "words of a sentence",
    r"python studies/presets\.py .*": "trains at full length only",
    r"python bin/score_beam\.py .*": "needs the extra beam; test_beam.py runs it where it is",
    r"python studies/detector\.py .*--develop.*": "training images from the 10,000th on, of which there are 500 here",
    r"python studies/detector_forms\.py .*": "what the command before has written, which is not run here",
    r"python studies/cifar_features\.py .*": "a minute or two; test_benchmarks.py, slow, does it small",
    r"python benchmarks/doctor\.py .*": "trains at full length only",
    r"python bin/train\.py --workdir=RUN --resume": "a run that was stopped; test_train.py resumes by the folder alone",
    r"python tests/end_to_end/kill_and_resume\.py .*": "minutes; test_survival.py does what it does",
}
# Sizes, in flag files and on command lines.
SMALL = {
    "train_steps": 2, "num_filters": 4, "batch_size": 8, "num_steps": 2, "num_steps_start": 1, "bank_size": 16,
    "updates": 10, "log_every": 1, "figure_every": 2, "checkpoint_every": 1, "jit_compile": "false",
}  # fmt: skip
# Added to a command line.
MORE = {
    "bin/train": "--train_steps=2",
    "bin/doctor": "--num_filters=4 --batch_size=4 --num_steps=2 --train_steps=2 --data_dir=TFDS",
    "bin/sample": "--num_samples=2 --num_steps=2",
    "bin/evaluate": "--num_samples=20 --num_steps=2 --num_chains=4 --batch_size=10 --long_run_steps=40 "
    "--data_init_steps=40 --mala_steps=40 --mala_warmup_steps=10 --ais_steps=2",
    "studies/bits": "--batch_size=2 --width=4",
    "studies/detector": "--num_fit=200 --num_test=20 --num_changed=4 --num_other=20",
    "studies/foreign_images": "--train_steps=1",
    "benchmarks/checkpoints": "--num_filters=2 --num_steps=2 --batch_size=2 --bank_size=100 --rounds=1 --updates=2",
    "benchmarks/folder": "--files=200 --distinct=20 --batches=20",
    "benchmarks/precision": "--num_images=2 --data_dir=TFDS",
    "benchmarks/scaling": "--cpu_devices=2 --num_filters=2 --num_steps=1 --batch_per_device=2 --seconds=0.1 --rounds=2 "
    "--attention=false --dtype_policy=float32 --output=scaling.json",
    "benchmarks/score": "--num_filters=4 --num_images=20 --batch_size=10 --rounds=1",
    "examples/serve": "--port=0",
}
# What stands in a page for what a reader has and we have not, or have less of.
OTHER = {
    "tfds:mnist": "tfds:cifar10",
    "tfds:cifar10/test": "tfds:cifar10/test[:300]",
    "/shared/": "shared/",
}


def commands(name):
    """Of a page, in its order; file names alone are none."""
    found = pages.read((ROOT / name).read_text(encoding="utf-8")).commands
    of_flag_file = [command for command in found if command.startswith("bin/train.py ")]
    found = [command for command in found if command not in of_flag_file]
    if of_flag_file:  # its lines
        lines = [command.removeprefix("bin/train.py ") for command in of_flag_file]
        rings = "--dataset=rings --energy_scale=0.005 --step_size=0.005 --temperature=0.005"
        sizes = "--num_filters=64 --batch_size=48 --num_steps=300 --workdir=runs/stages"
        found.append(" ".join(["python bin/train.py", rings, sizes, *lines]))
    for command in found:
        for one in command.split(" && "):
            words = shlex.split(re.sub(r"(?<=\s)\[(?=--)|(?<!\")\](?=\s|$)", "", one), comments=True)
            if len(words) > 1 or not re.fullmatch(r"\S+/\w+\.py", words[0]):
                names = main.COMMANDS if "bin/NAME.py" in words else ["NAME"]
                yield from (shlex.join(words).replace("NAME", each) for each in names)


def reason(command):
    """Why it is not run here; None where it is."""
    return next((why for pattern, why in NOT_RUN.items() if re.fullmatch(pattern, command)), None)


def small(words):
    """A line, or the text of a flag file, with small sizes."""
    for name, value in SMALL.items():
        words = re.sub(rf"(?<![a-z_]){name}=[\w.]+", f"{name}={value}", words)
    if "init_model=" in words:  # whose network is as wide as it is
        words = words.replace("num_filters=4", "num_filters=64").replace("batch_size=8", "batch_size=2")
    return words


def ready(command):
    """(arguments of Python, environment) of a command as it is run here."""
    words = shlex.split(small(command))
    env = dict(word.split("=", 1) for word in itertools.takewhile(lambda word: re.match(r"[A-Z_0-9]+=", word), words))
    words = words[len(env) + 1 :]
    if "--help" in words:
        return words, env
    for mine, ours in OTHER.items():
        words = [word.replace(mine, ours) for word in words]
    program = words[0].removesuffix(".py")
    more = MORE.get(program, "").split()
    if program == "bin/evaluate":
        (names,) = (word.removeprefix("--tasks=") for word in words if word.startswith("--tasks="))
        few = read_by(names, dict(word[2:].split("=") for word in more))
        more = [f"--{name}={value}" for name, value in few.items()]
        of_images = {"data_init", "energies", "ood", "fid"} & set(names.split(","))
        if of_images and "--workdir=runs/x" not in words:  # which has vectors
            more.append("--data_dir=TFDS")
    if program == "bin/sweep":
        own, trained = words[: words.index("--")], words[words.index("--") :]
        words = [re.sub(r"(?<!scheme)=[\w.,]+,", "=", word).replace(",noise,", ",") for word in own] + trained
    if program == "bin/train" and re.search("cifar|flowers|tfds", " ".join(words)):
        more = [*more, "--data_dir=TFDS"]
    if program == "bin/train" and re.search("--(flagfile|stage)=", " ".join(words)):
        more.remove("--train_steps=2")  # which stand there
    if "--input=tfds:" in " ".join(words):
        more = [*more, "--data_dir=TFDS"]
    return [*words, *more], env


@pytest.fixture(scope="module")
def few_examples(tmp_path_factory):
    """Folder of the prepared data sets, with the first EXAMPLES of each split."""
    root = tmp_path_factory.mktemp("tfds")
    for info_file in DATA.glob("*/*/dataset_info.json"):
        folder = root / info_file.parent.relative_to(DATA)
        folder.mkdir(parents=True)
        info = json.loads(info_file.read_text())
        for path in info_file.parent.glob("*.[tj][xs]*"):
            shutil.copy(path, folder)
        for split in info["splits"]:
            stem = f"{info['name']}-{split['name']}.tfrecord-"
            files = sorted(map(str, info_file.parent.glob(f"{stem}*")))
            records = list(tf.data.TFRecordDataset(files).take(EXAMPLES[split["name"]]).as_numpy_iterator())
            with tf.io.TFRecordWriter(str(folder / f"{stem}00000-of-00001")) as file:
                for record in records:
                    file.write(record)
            split["shardLengths"] = [str(len(records))]
        (folder / "dataset_info.json").unlink()
        (folder / "dataset_info.json").write_text(json.dumps(info))
    return root


@pytest.fixture
def reader(tmp_path, image_run, few_examples):
    """A folder with the repository's files and the reader's, and small flag files."""
    for path in ROOT.iterdir():
        if path.name in ("bin", "ebm_tf", "studies", "benchmarks", "examples", "tests", "tools", "results"):
            (tmp_path / path.name).symlink_to(path)
    for folder in ("configs", "pretrained"):
        (tmp_path / folder).mkdir()
        for path in (ROOT / folder).glob("*.*"):
            if path.suffix == ".flags":
                (tmp_path / folder / path.name).write_text(small(path.read_text()))
            else:
                (tmp_path / folder / path.name).symlink_to(path)
    (tmp_path / "TFDS").symlink_to(few_examples)
    (tmp_path / "pretrained" / "FILE.keras").symlink_to(ROOT / "pretrained" / "cifar_hybrid_settled.keras")
    shutil.copytree(image_run, tmp_path / "RUN")
    shutil.copy(image_run / "model.keras", tmp_path / "FILE.keras")
    shutil.copy(tmp_path / "configs" / "rings_persistent.flags", tmp_path / "FLAGS")
    rng = np.random.default_rng(0)
    for folder in ("photos", "HELD_OUT", "shared/photos"):
        (tmp_path / folder).mkdir(parents=True)
        for index in range(300):
            coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(coarse).resize((64, 64)).save(tmp_path / folder / f"{index}.png")
    np.save(tmp_path / "x.npy", rng.normal(size=(300, 3)).astype(np.float32))
    for name in ("x.csv", "today.csv"):
        rows = rng.normal(size=(600, 3)) * [10, 15, 1] + [170, 70, 0]
        np.savetxt(tmp_path / name, rows, "%.3f", ",", header="height,weight,age", comments="")
    return tmp_path


def run(command, folder):
    """Runs one. Raises AssertionError where it fails, or does not write what its flags name."""
    arguments, env = ready(command)
    flags = dict(word[2:].split("=", 1) for word in arguments if re.match(r"--\w+=", word))
    is_new = (arguments[0] == "bin/train.py" and "--resume" not in arguments) or "unpack" in arguments
    if is_new and (folder / flags.get("workdir", "runs/none")).exists():
        shutil.rmtree(folder / flags["workdir"])
    if arguments[0] == "bin/sample.py" and "output" in flags:  # each DIR of a page is the reader's, and a new one
        shutil.rmtree(folder / flags["output"], ignore_errors=True)
    started = processes.Started(arguments, cwd=folder, env={**os.environ, **env})
    if arguments[0] == "examples/serve.py":
        return _ask(started)
    done = started.finish(SECONDS)
    assert done.returncode == 0, f"{command}\n{shlex.join(arguments)}\n{done.stdout[-1500:]}\n{done.stderr[-2500:]}"
    for flag in {"output", "workdir", "report", "runs"} & set(flags):
        assert arguments[0].startswith("studies") or (folder / flags[flag]).exists(), f"{command} wrote no {flag}"


def _ask(started):
    """A server says its address, and answers there."""
    try:
        for _ in range(10 * SECONDS):
            if "\n" in (said := started.said()) or started.poll() is not None:
                break
            time.sleep(0.1)
        with urllib.request.urlopen(said.strip(), timeout=SECONDS) as answer:
            assert b"AVAILABLE" in answer.read()
    finally:
        started.kill()
        started.finish()


def test_a_command_runs_here_or_it_is_said_why_not():
    found = [command for name in pages.NAMES for command in commands(name)]
    assert [one for one in found if not reason(one) and not re.match(r"(\w+=\S+ )?python \S+\.py", one)] == []
    assert [pattern for pattern in NOT_RUN if not any(re.fullmatch(pattern, one) for one in found)] == []
    elsewhere = re.findall(r"test_\w+\.py", " ".join(NOT_RUN.values()))
    assert [name for name in elsewhere if not any((ROOT / "tests").glob(f"*/{name}"))] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in pages.NAMES if not all(map(reason, commands(name)))])
def test_the_commands_of_a_page_run(name, reader, rings_run):
    ours = [command for command in commands(name) if not reason(command)]
    if not DATA.is_dir() and "TFDS" in str([ready(command) for command in ours]):
        pytest.skip("no prepared data sets at EBM_TF_DATA")
    if name == "docs/density.md":  # of the rings
        shutil.rmtree(reader / "RUN")
        shutil.copytree(rings_run, reader / "RUN")
    if name == "docs/examples.md":  # of docs/serving.md
        ours.insert(0, "python bin/export.py --model=FILE.keras --output=models/served/1")
    for command in ours:
        start = time.monotonic()
        run(command, reader)
        print(f"{time.monotonic() - start:.1f} s  {command}", flush=True)

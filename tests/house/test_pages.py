"""README, docs and cards: every command would take its line and finds its files, every block of Python runs."""

import importlib
import inspect
import json
import types

import keras
import numpy as np
import pytest

import ebm_tf
from ebm_tf.cli import main
from tests import pages

ROOT = pages.ROOT
NAMES = pages.NAMES
RUN_ELSEWHERE = {
    "README.md": "tests/end_to_end/test_public_api.py",
    "docs/own_network.md": "tests/end_to_end/test_own_data.py",
    "CONTRIBUTING.md": "tests/house/test_contributing.py",
}
GOOD = """
    make demo
    python bin/export.py --model=pretrained/cifar_hybrid_bank.keras --output=models/cifar
    TF_NUM_INTRAOP_THREADS=1 python bin/score.py --model=models/cifar --input=photos \\
        --output=photos.csv [--skip_bad]
    python studies/detector.py --data_dir=TFDS --output=DIR --num_fit=4000

In a table, `python bin/train.py --flagfile=configs/smoke.flags`, `bin/evaluate.py --tasks=ood` and `--num_steps=3`.
"""
PLANTED = [
    ("--output=models/cifar", "--outptu=models/cifar", "Unknown command line flag 'outptu'"),
    ("photos.csv [--skip_bad]", "photos.csv [--skip_bda]", "Unknown command line flag 'skip_bda'"),
    ("bin/export.py", "bin/exprot.py", "no command exprot"),
    (
        "pretrained/cifar_hybrid_bank.keras",
        "pretrained/cifar_hibrid_bank.keras",
        "--model: no file pretrained/cifar_hibrid_bank.keras",
    ),
    ("--model=models/cifar ", "--model=models/cifra ", "no command above writes it"),
    ("make demo", "make dmeo", "no target dmeo"),
    ("--num_fit=4000", "--num_fits=4000", "unrecognized arguments: --num_fits=4000"),
    ("--num_fit=4000", "--num_fit=many", "argument --num_fit: invalid int value: 'many'"),
    ("configs/smoke.flags", "configs/smok.flags", "Unable to open flagfile"),
    ("--tasks=ood`", "--task=ood`", "no command has the flags --task"),
    ("`--num_steps=3`", "`--num_steps=0`", "--num_steps: expected a whole number, 1 or more"),
    ("    python studies", "    pyhton studies", "expected a command that begins with its program"),
]


@pytest.fixture(autouse=True)
def _at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_no_command_that_would_be_refused(name):
    assert pages.faults(name, (ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("command", main.COMMANDS)
def test_a_commands_help_shows_no_line_that_would_be_refused(command):
    about = inspect.getdoc(importlib.import_module(f"ebm_tf.cli.commands.{command}"))
    lines = [line.split("      (")[0] for line in about.splitlines() if line.startswith("  bin/")]
    assert lines and pages.faults(command, "\n".join(f"  {line}" for line in ["", *lines])) == []


def test_notebooks_and_configs_show_no_line_that_would_be_refused():
    texts = {}
    for path in (ROOT / "examples").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[path.name] = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for path in (ROOT / "configs").glob("*.flags"):
        launch = path.read_text(encoding="utf-8").splitlines()[0]
        assert launch == f"# python bin/train.py --flagfile=configs/{path.name}"
        texts[path.name] = f"    {launch.removeprefix('# ')}\n"
    assert [fault for name, text in texts.items() for fault in pages.faults(name, text)] == []


@pytest.mark.parametrize(("right", "wrong", "fault"), PLANTED, ids=[wrong for _, wrong, _ in PLANTED])
def test_a_planted_fault_is_found(right, wrong, fault):
    assert pages.faults("page.md", GOOD) == []
    assert GOOD.count(right) == 1
    found = pages.faults("page.md", GOOD.replace(right, wrong))
    assert any(line.startswith("page.md: ") and fault in line for line in found), found


def test_a_page_of_which_nothing_is_found_does_not_pass_unseen():
    found = [pages.read((ROOT / name).read_text(encoding="utf-8")) for name in NAMES]
    assert sum(len(page.commands) for page in found) > 100 and sum(len(page.flags) for page in found) > 100


def test_a_page_runs_here_or_where_it_is_said():
    with_python = {name for name in NAMES if pages.read((ROOT / name).read_text(encoding="utf-8")).python}
    assert with_python == {*RUN_ELSEWHERE, *USES}
    for name, test in RUN_ELSEWHERE.items():
        assert f'"{name.split("/")[-1]}"' in (ROOT / test).read_text(encoding="utf-8")


def _vectors():
    x = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)
    return {"x": x, "samples": x[:5]}


def _tables():
    rows = np.random.default_rng(0).normal(size=(60, 3))
    return {"pd": types.SimpleNamespace(read_csv=lambda name: rows)}


def _images():
    last = keras.layers.Dense(1, kernel_initializer=keras.initializers.RandomNormal(stddev=1e-4, seed=0))
    net = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), last])
    ebm_tf.EnergyModel.from_network(net).save("RUN.keras")
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    return {"images": images, "held_out": images[:40]}


USES = {"docs/own_data.md": _vectors, "docs/tables.md": _tables, "docs/serving.md": _images}


@pytest.mark.parametrize("name", USES)
def test_python_of_a_page_runs_on_what_it_is_about(name, tmp_path, monkeypatch):
    blocks = pages.read((ROOT / name).read_text(encoding="utf-8")).python
    monkeypatch.chdir(tmp_path)
    found = USES[name]()
    for block in blocks:
        exec(block.replace('"runs/cifar_hybrid"', '"RUN.keras"').replace(", pandas as pd", ""), found)
    if name == "docs/serving.md":
        assert found["samples"].shape == (64, 32, 32, 3) and found["energy"].shape == (60,)

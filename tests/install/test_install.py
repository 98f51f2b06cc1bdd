"""`pip install .` in an environment that has the packages: ebm-tf COMMAND, away from the repository."""

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from ebm_tf.cli import main

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = ["--flagfile=smoke.flags", "--train_steps=2", "--num_steps=2", "--jit_compile=false"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package installed, built from a copy: setuptools writes beside what it builds."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "ebm_tf", source / "ebm_tf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    is_offline = int(importlib.metadata.version("setuptools").partition(".")[0]) >= 77  # see build-system.requires
    how = ["--no-build-isolation", "--no-index"] if is_offline else []
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *how, "--target", target, source]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    return target


@pytest.fixture
def ebm_tf(installed, tmp_path, monkeypatch):
    """Calls `ebm-tf` in an empty folder that has a flag file."""
    shutil.copy(ROOT / "configs" / "smoke.flags", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(installed))

    def call(*arguments):
        command = [sys.executable, installed / "bin" / "ebm-tf", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)

    return call


def test_training_and_going_on(ebm_tf, installed, tmp_path):
    done = ebm_tf("train", *SMALL)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("this run goes to runs/smoke\n")
    assert (tmp_path / "runs" / "smoke" / "model.keras").is_file()
    where = [sys.executable, "-c", "import ebm_tf; print(ebm_tf.__file__)"]
    assert subprocess.check_output(where, cwd=tmp_path, text=True).strip() == str(installed / "ebm_tf" / "__init__.py")
    assert (installed / "ebm_tf" / "paper" / "report.html").is_file()
    done = ebm_tf("train", *SMALL, "--resume")
    again = f"ebm-tf train {' '.join(SMALL)} --workdir=runs/smoke --resume\n"
    assert done.returncode == 2 and done.stderr.startswith("ebm-tf train: --workdir: expected the folder of a run")
    assert done.stderr.endswith(f"To continue runs/smoke: {again}")


def test_messages_name_the_commands_that_are_there(ebm_tf, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{")
    done = ebm_tf("checkpoint", "pack", "--workdir=run", "--output=parts")
    expected = "ebm-tf checkpoint: --workdir: expected config.json as ebm-tf train writes it. Received: "
    assert done.returncode == 2 and done.stderr.startswith(expected)


def test_help(ebm_tf):
    for arguments in (["--help"], ["help"]):
        done = ebm_tf(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == list(main.COMMANDS)
    assert "  train       Trains an energy-based model.\n" in done.stdout
    text = ebm_tf("train", "--help").stdout
    assert "  ebm-tf train --flagfile=configs/rings_hybrid.flags" in text and "bin/" not in text
    assert "\n  --[no]attention: " in text and "--batch_size" in text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "ebm-tf: expected a command, and then flags. Received: trian. Nearest: train"),
        ([], "ebm-tf: expected a command, and then flags. Received: nothing. Commands: doctor, train, "),
        (["train", "--sceme=data"], "ebm-tf train: unknown flag --sceme. Nearest: --scheme"),
        (["checkpoint"], "ebm-tf checkpoint: expected pack or unpack, and then flags. Received: nothing"),
    ],
)
def test_what_is_mistyped_is_one_line(ebm_tf, arguments, line):
    done = ebm_tf(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(line)


def test_every_command_has_a_script_and_is_chosen_without_tensorflow():
    scripts = {path.stem for path in (ROOT / "bin").glob("*.py")}
    modules = {path.stem for path in (ROOT / "ebm_tf" / "cli" / "commands").glob("*.py")} - {"__init__"}
    assert scripts == modules == set(main.COMMANDS)
    code = "import sys; from ebm_tf.cli import main; main.overview(); print('tensorflow' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "False\n"

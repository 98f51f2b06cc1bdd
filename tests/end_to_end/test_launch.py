"""The launch lines of README and configs/, word for word, with sizes overridden after them."""

import dataclasses
import pathlib
import shlex

import pytest

from ebm_tf.cli import flags
from ebm_tf.errors import ConfigError
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import TrainConfig
from tests import processes

ROOT = pathlib.Path(__file__).parents[2]
TFDS = ROOT.parent / "shared" / "tfds"
LINE = "python bin/train.py --flagfile=configs/cifar_hybrid.flags"
SMALL = ["--num_filters=2", "--num_steps=1", "--train_steps=1", "--batch_size=2", "--jit_compile=false"]


@pytest.fixture
def clone(tmp_path):
    """A folder as a clone's root, without runs/."""
    for name in ("bin", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def launch(line, *more, folder):
    python, *command = shlex.split(line)
    assert python == "python"
    return processes.run([*command, *more], folder)


def first_line_of(path):
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def test_readme_and_config_show_the_line():
    assert f"    {LINE}\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert first_line_of(ROOT / "configs" / "cifar_hybrid.flags") == LINE


@pytest.mark.skipif(not (TFDS / "cifar10").is_dir(), reason="needs CIFAR-10 in ../shared/tfds")
def test_the_projects_line_trains_on_cifar(clone):
    done = launch(LINE, *SMALL, "--train_split=train[:64]", f"--data_dir={TFDS}", folder=clone)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "this run goes to runs/cifar_hybrid"
    assert RunDir(clone / "runs" / "cifar_hybrid").model.is_file()


def test_a_line_of_configs_trains_and_its_run_can_be_continued(clone, monkeypatch):
    line = first_line_of(clone / "configs" / "rings_hybrid.flags")
    done = launch(line, *SMALL, folder=clone)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "this run goes to runs/rings_hybrid"
    assert RunDir(clone / "runs" / "rings_hybrid").model.is_file()
    done = launch(line, *SMALL, "--resume", folder=clone)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    python, script, *arguments = shlex.split(done.stderr.partition("To continue runs/rings_hybrid: ")[2])
    assert [python, script] == LINE.split()[:2]
    monkeypatch.chdir(clone)
    config = flags.config_from_flags(TrainConfig, arguments)
    assert config.resume
    RunDir(config.workdir).check(config)  # goes on there
    with pytest.raises(ConfigError, match="--num_filters: expected 2"):  # and the check can refuse
        RunDir(config.workdir).check(dataclasses.replace(config, num_filters=3))


@pytest.mark.parametrize("bad", ["--batch_size=0", "--sceme=data", "--resume"])
def test_what_is_refused_leaves_no_folder(clone, bad):
    done = launch(LINE, bad, folder=clone)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not (clone / "runs").exists()

"""The folder of a run that was given none: which it is, what is refused, and that nothing is written."""

import shlex

import pytest

from ebm_tf.cli import flags
from ebm_tf.errors import ConfigError
from ebm_tf.runs import run_name
from ebm_tf.settings.train import TrainConfig


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def choose(*arguments, **settings):
    return run_name.with_workdir(TrainConfig(**settings), ["bin/train.py", *arguments]).workdir


def make_run(name):
    folder = run_name.RUNS / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--flagfile=configs/a_b.flags"],
        ["-flagfile=configs/a_b.flags"],
        ["--flagfile", "configs/a_b.flags"],
        ["-flagfile", "/elsewhere/a_b.flags", "--batch_size=2"],
        ["--flagfile=other.flags", "--batch_size=2", "--flagfile=a_b.flags"],
        ["--data_dir=--flagfile=other", "--flagfile=a_b"],
    ],
    ids=" ".join,
)
def test_the_last_flag_file_of_the_command_gives_the_name(arguments, here, capsys):
    assert choose(*arguments) == "runs/a_b"
    assert capsys.readouterr().err == "this run goes to runs/a_b\n"
    assert list(here.iterdir()) == []


def test_a_flag_file_in_a_flag_file_gives_none(here):
    (here / "inner.flags").write_text("--batch_size=3\n")
    (here / "outer.flags").write_text("--flagfile=inner.flags\n")
    config = flags.config_from_flags(TrainConfig, ["--flagfile=outer.flags"])
    assert config.batch_size == 3
    assert run_name.with_workdir(config, ["train.py", "--flagfile=outer.flags"]).workdir == "runs/outer"


def test_a_folder_that_is_given_stays(capsys):
    assert choose("--flagfile=a.flags", "--workdir=here", workdir="here") == "here"
    assert capsys.readouterr().err == ""


def test_where_runs_lie_the_next_number_is_taken_and_the_last_can_be_continued(here, capsys):
    make_run("a")
    (here / "runs" / "a_cpu").mkdir()  # another name
    command = ["--flagfile", "my configs/a.flags", "--batch_size=2"]
    assert choose(*command) == "runs/a-2"
    line = capsys.readouterr().err
    assert line.startswith("this run goes to runs/a-2. To continue runs/a: ") and line.count("\n") == 1
    continued = ["python", "bin/train.py", *command, "--workdir=runs/a", "--resume"]
    assert shlex.split(line.partition("To continue runs/a: ")[2]) == continued
    for number in range(2, 11):
        make_run(f"a-{number}")
    assert choose(*command) == "runs/a-11"
    assert "To continue runs/a-10: " in capsys.readouterr().err
    (here / "runs" / "a" / "config.json").unlink()
    assert choose(*command) == "runs/a"  # empty again
    assert sorted(path.name for path in (here / "runs" / "a").iterdir()) == []


def test_what_is_no_run_is_left_alone(here, capsys):
    (here / "runs" / "a").mkdir(parents=True)
    (here / "runs" / "a" / "notes.txt").write_text("mine")
    (here / "runs" / "a-2").write_text("a file")
    assert choose("--flagfile=a.flags") == "runs/a-3"
    assert capsys.readouterr().err == "this run goes to runs/a-3\n"


def test_an_empty_folder_or_one_with_a_lock_alone_is_free(here):
    (here / "runs" / "a").mkdir(parents=True)
    assert choose("--flagfile=a.flags") == "runs/a"
    (here / "runs" / "a" / "lock").write_text("process 1\n")
    assert choose("--flagfile=a.flags") == "runs/a"


def test_odd_places_end_too(here):
    (here / "runs").write_text("a file")
    assert choose("--flagfile=a.flags") == "runs/a"  # which the run then refuses
    assert choose(f"--flagfile={'a' * 300}.flags") == f"runs/{'a' * 300}"


def test_what_to_resume_is_not_guessed(here):
    resume = ["--flagfile=a.flags", "--resume", "--train_steps=9"]
    expected = "--workdir: expected the folder of a run, to continue it with --resume. Received: none. "
    with pytest.raises(ConfigError) as error:
        choose(*resume, resume=True)
    assert str(error.value) == f"{expected}Nor does a run lie in runs/a"
    make_run("a")
    make_run("a-2")
    with pytest.raises(ConfigError) as error:
        choose(*resume, resume=True)
    line = "python bin/train.py --flagfile=a.flags --train_steps=9 --workdir=runs/a-2 --resume"
    assert str(error.value) == f"{expected}There is runs/a, runs/a-2. To continue runs/a-2: {line}"


def test_workers_are_told_their_folder():
    with pytest.raises(ConfigError, match=r"^--workdir: expected one folder for all workers of --strategy="):
        choose("--flagfile=a.flags", strategy="multi_worker")


@pytest.mark.parametrize("arguments", [[], ["--flagfile="], ["--batch_size=2"], ["--", "--flagfile=a.flags"]])
def test_without_a_flag_file_there_is_no_name(arguments):
    with pytest.raises(ConfigError, match=r"^--workdir: expected a folder for this run, or a --flagfile"):
        choose(*arguments)

"""What a command says when it cannot go on names flags of that command alone, or whole commands that would run."""

import ast
import dataclasses
import functools
import json
import pathlib
import re
import shlex

import numpy as np
import pytest

import ebm_tf
from ebm_tf import build
from ebm_tf.energies import devices
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation import sampling, tasks
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.serving import calibrate, export, score
from ebm_tf.settings.commands import EvaluateConfig, ExportConfig, SampleConfig
from ebm_tf.settings.scoring import BeamConfig, CalibrateConfig, ScoreConfig
from ebm_tf.settings.train import TrainConfig
from tests import pages

COMMAND = re.compile(r"bin/(\w+)\.py((?: --[\w-]+(?:=\S*)?)+)")
FLAG = re.compile(r"(?<![\w-])--([a-z]\w+)")
# How each command that reads a model is asked for one, by a path; and ebm_tf.load, which has no flag but that one.
USES = {
    "score": (ScoreConfig, lambda path: score.score(ScoreConfig(model=path, input="x.npy", output="out.csv"))),
    "score_beam": (BeamConfig, score.open_model),  # all that it does before its workers start
    "calibrate": (CalibrateConfig, lambda path: calibrate.calibrate(CalibrateConfig(model=path))),
    "export": (ExportConfig, lambda path: export.export(ExportConfig(workdir=path, output="out"))),
    "export of a model": (ExportConfig, lambda path: export.export(ExportConfig(model=path, output="out"))),
    "evaluate": (EvaluateConfig, lambda path: tasks.evaluate(EvaluateConfig(workdir=path))),
    "sample": (SampleConfig, lambda path: sampling.sample(SampleConfig(workdir=path))),
    "load": (dataclasses.make_dataclass("Load", ["model"]), ebm_tf.load),
}
UNFINISHED = {"begun": (), "unfinished": (3,), "longer": (3,)}
ROOMS = {
    "serving": ("score", "score_beam", "calibrate", "export"),
    "evaluation": ("evaluate", "sample", "export"),
    "paper": ("reproduce", "evaluate"),  # whose command lines it makes of parts
}


def wrong(text, names):
    """Flags that a text names and a command with these names has not, and whole commands that would be refused."""
    found = [match[0] for match in COMMAND.finditer(text) if not would_run(match[1], match[2])]
    return found + sorted(set(FLAG.findall(COMMAND.sub("", text))) - set(names))


@functools.cache
def would_run(name, flags):
    try:
        return pages.flags.config_from_flags(pages.configs(name)[0], shlex.split(flags)) is not None
    except ConfigError:
        return False


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Folders that are no finished run, here."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((3, 3), np.float32))
    pathlib.Path("empty").mkdir()
    for name, steps in (*UNFINISHED.items(), ("broken", ()), ("cut", ())):
        pathlib.Path(name, "checkpoints").mkdir(parents=True)
        pathlib.Path(name, "config.json").write_text(json.dumps(TrainConfig(train_steps=5, seed=1).to_dict()))
        for step in steps:
            pathlib.Path(name, "checkpoints", f"update-{step}.index").touch()
    for name in ("cut", "longer"):
        pathlib.Path(name, "model.keras").write_bytes(b"PK")
    pathlib.Path("broken", "config.json").write_text("{")


@pytest.mark.parametrize("use", USES)
def test_a_command_names_flags_that_it_has(use, runs):
    config, asked = USES[use]
    names = [field.name for field in dataclasses.fields(config)]
    told = {}
    for folder in ("nowhere", "empty", *UNFINISHED, "broken", "cut"):
        with pytest.raises(ConfigError) as caught:
            asked(folder)
        told[folder] = str(caught.value)
        assert told[folder].startswith(("--", "path: ")[use == "load"]) and not wrong(told[folder], names), told[folder]
    for folder, steps in UNFINISHED.items():
        assert ("--checkpoint=3" in told[folder]) == bool(steps), told[folder]
        finish = told[folder].partition("; to finish it: ")[2]
        assert finish == f"python bin/train.py --workdir={folder} --resume"
        if steps and "checkpoint" not in names:
            made = f"bin/export.py --workdir={folder} --checkpoint=3 --output=DIR"
            assert f"{made} makes a model, DIR" in told[folder]
    assert not pathlib.Path("out").exists() and not pathlib.Path("out.csv").exists()


def test_a_flag_that_a_command_has_not_is_found():
    assert wrong("expected --input. Try --checkpoint=3, or bin/export.py --workdir=RUN --output=DIR", ["input"]) == [
        "checkpoint"
    ]
    assert wrong("run bin/score.py --modle=DIR", []) == ["bin/score.py --modle=DIR"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_names_flags_of_its_commands(room):
    """All texts of its code."""
    configs = [config for name in ROOMS[room] for config in pages.configs(name)]
    names = {field.name for config in configs for field in dataclasses.fields(config)}
    found = {}
    for path in (pages.ROOT / "ebm_tf" / room).rglob("*.py"):
        for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            found |= {f"{path.name}: {one}": text for one in set(FLAG.findall(COMMAND.sub("", text))) - names}
    assert found == {}


def texts(tree):
    """Strings of a module, those with values in them as one, without docstrings."""
    nodes = list(ast.walk(tree))
    docs = {node.value for node in nodes if isinstance(node, ast.Expr)}
    parts = {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    left_out = docs | parts
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in left_out:
            yield node.value


def test_data_of_a_run_that_cannot_be_learned_any_more(runs, tmp_path):
    """A command without flags of data does not name them, but the one by which it knows the run."""

    def told(dataset):
        with build.data_explained("model", dataset):
            build.dataset(TrainConfig(dataset=dataset))

    pathlib.Path("t.csv").write_text("a,b\n1,x\n2,y\n3,z\n")
    with pytest.raises(ConfigError) as caught:
        told("table:t.csv")
    assert str(caught.value).startswith("--model: expected its data, table:t.csv: columns of numbers. Received: ")
    assert str(caught.value).endswith("; bin/train.py --columns=a leaves them out")
    with pytest.raises(ConfigError, match=r"^--model: expected its data, array:x.npy: columns that vary"):
        told("array:x.npy")


def test_memory_advice_is_one_that_the_settings_take():
    """It is none to give what was given, nor one chain, which evaluate refuses."""
    for sizes, least in (({"batch_size": 1}, 1), ({"batch_size": 2, "num_chains": 2}, 2)):
        settings = EvaluateConfig(workdir="run", **sizes)
        words = devices.at_once("x", settings, list(sizes))
        assert f"up to {least} at once" in words and "Try" not in words and "more memory" in words
    words = devices.at_once("mala", EvaluateConfig(workdir="run", batch_size=3, num_chains=3), ["num_chains"])
    assert words.endswith("Try --batch_size=2 --num_chains=2")


def test_a_run_that_goes_on_to_more_updates_is_not_finished(runs):
    """Though its model.keras of before is there, until the last update is done."""
    run_dir, config = RunDir("longer"), TrainConfig(train_steps=5, seed=1)
    again = dataclasses.replace(config, workdir="longer", resume=True, learning_rate=1e-3)
    run_dir.check(again)
    (run_dir.checkpoints / "update-5.index").touch()
    assert run_dir.is_finished(5)
    with pytest.raises(ConfigError, match=r"--learning_rate: expected .*, as the finished run in longer has it"):
        run_dir.check(again)

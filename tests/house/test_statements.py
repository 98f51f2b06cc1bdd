"""Statements of the pages that code can check beside commands: defaults, tasks, names of files, columns, signatures."""

import dataclasses
import re

import pytest

from ebm_tf.evaluation import tasks
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.serving.table import COLUMNS, DETECTOR_COLUMNS
from ebm_tf.settings import commands
from ebm_tf.settings.train import TrainConfig
from tests import pages

TEXTS = {name: (pages.ROOT / name).read_text(encoding="utf-8") for name in pages.NAMES}
CODE = r"`([^`\n]+)`"
DEFAULTS = (  # what says that a value is a flag's default
    re.compile(r"`--(\w+)=([^`\s]+)`(?:,| is|\s\() ?(?:the|by) default"),
    re.compile(r"`--(\w+)`[^`.|]{0,30}\bdefault(?:,| is|:| of)? `?(\d[\d,.e+-]*\d|\d)"),
    re.compile(r"`--(\w+)` \((\d[\d,.]*) by default\)"),
)


def rows(text, header):
    """Cells of a table's rows, by the beginning of its header."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.partition(f"\n| {header}")[2].partition("\n\n")[0].splitlines()[2:]
        if line.startswith("| ")
    ]


def defaults(text):
    """(flag, value) of each default that a page states, in words or by a table of a flag's values."""
    found = [match.groups() for rule in DEFAULTS for match in rule.finditer(" ".join(text.split()))]
    for flag in re.findall(r"^\| `--(\w+)=?` \|", text, re.MULTILINE):
        for cell, *_ in rows(text, f"`--{flag}"):
            found += [(flag, value) for value in re.findall(rf"^{CODE} \(default\)", cell)]
    return found


def false_defaults(text):
    """Those that no command has."""
    fields = [field for config in pages.configs() for field in dataclasses.fields(config)]
    known = {(field.name, str(getattr(field.default, "value", field.default))) for field in fields}
    known |= {(name, f"{float(value):g}") for name, value in known if re.fullmatch(r"[\d.e+-]+", value)}
    plain = [(flag, value.replace(",", "")) for flag, value in defaults(text)]
    return [one for one in plain if one not in known and (one[0], _number(one[1])) not in known]


def _number(value):
    return f"{float(value):g}" if re.fullmatch(r"[\d.e+-]+", value) else value


@pytest.mark.parametrize("name", TEXTS)
def test_defaults_are_those_of_the_flags(name):
    assert false_defaults(TEXTS[name]) == []


def test_defaults_are_found():
    assert sum(len(defaults(text)) for text in TEXTS.values()) >= 3
    good = "`--jit_compile=auto`, the default. `--num_chains`, default 100; `--mala_target` (0.67 by default)"
    assert len(defaults(good)) == 3 and not false_defaults(good)
    for right, wrong in (("=auto", "=true"), ("100", "1,000"), ("0.67", "0.6")):
        assert len(false_defaults(good.replace(right, wrong))) == 1
    table = "x\n\n| `--strategy` | what |\n| --- | --- |\n| `one_device` (default) | one |\n\n"
    assert defaults(table) == [("strategy", "one_device")] and not false_defaults(table)
    assert false_defaults(table.replace("one_device", "mirrored"))


def test_tasks_stand_with_their_numbers():
    """The table has every task in the order of work, with defaults; a sentence says which of them take a file."""
    text = TEXTS["docs/evaluation.md"]
    table = [(re.match(CODE, cells[0])[1], " ".join(cells[1:])) for cells in rows(text, "task |")]
    assert tuple(name for name, _ in table) == commands.TASKS
    settings = commands.resolve(commands.EvaluateConfig(workdir="run"), TrainConfig())
    numbers = {name: re.findall(r"\d{1,3},\d{3}", what) for name, what in table}
    assert sum(map(len, numbers.values())) >= 4
    for name, found in numbers.items():
        known = {getattr(settings, field) for field in tasks.TASKS[name].settings}
        assert {int(number.replace(",", "")) for number in found} <= known, name
    sentence = text.partition("\n\n`short_run`")[2].partition("also take a .keras file")[0]
    assert {"short_run", *re.findall(CODE, sentence)} == {name for name, task in tasks.TASKS.items() if task.takes_bare}


def test_a_run_has_the_files_that_the_pages_name():
    """RunDir names them, and tests/end_to_end/test_train.py sees that they are there."""
    run_dir = RunDir("run")
    there = {path.name for path in vars(run_dir).values()} - {"run"}
    table = {name.strip("/") for cells in rows(TEXTS["docs/training.md"], "in the folder") for name in files(cells[0])}
    assert table == there | {"watch.png", "watch.html"}
    assert written("bin/train.py") <= there and len(written("bin/train.py")) > 5


def files(text):
    """Names of files and folders in spans, without the folder that they lie in."""
    names = [name for span in re.findall(CODE, text) for name in span.split(", ")]
    return [re.sub(r"^[A-Z]+/", "", name) for name in names if re.fullmatch(r"[\w<>/.]+(\.\w+|/)|lock", name)]


def written(command):
    """What docs/commands.md says that a command writes."""
    cells = next(cells for cells in rows(TEXTS["docs/commands.md"], "command |") if cells[0].startswith(f"`{command}"))
    return {name.strip("/") for name in files(cells[1])}


def is_told(column):
    """Whether docs/training.md has a column of metrics.jsonl."""
    told = [name for cells in rows(TEXTS["docs/training.md"], "column |") for name in re.findall(CODE, cells[0])]
    group = "(data|noise|persistent)_init"
    return any(re.fullmatch(name.replace("GROUP", group).replace("...", r"\w+"), column) for name in told)


def test_columns_are_those_of_the_table():
    text = TEXTS["docs/serving.md"]
    column = re.findall(CODE, " ".join(cells[0] for cells in rows(text, "column |")))
    assert ["id", *column, "error"] == list(DETECTOR_COLUMNS)
    assert f"`{', '.join(COLUMNS)}`" in text
    cells = next(
        cells for cells in rows(TEXTS["docs/commands.md"], "command |") if cells[0].startswith("`bin/score.py")
    )
    named = re.search(r"per input: (.*?); calibrated also (.*?);", cells[1])
    assert tuple(named[1].split(", ")) == COLUMNS
    assert set(named[2].split(", ")) == set(DETECTOR_COLUMNS) - set(COLUMNS)
    assert is_told("noise_init/snr") and is_told("total/std") and not is_told("noise_init/loss")


def test_artifacts_are_those_of_the_command():
    cells = next(cells for cells in rows(TEXTS["docs/commands.md"], "command |") if "reproduce" in cells[0])
    first, last = re.search(r"fig(\d+)\.png` to `fig(\d+)\.png", cells[1]).groups()
    tables = re.findall(r"(table\d)\.csv", cells[1])
    assert (*(f"fig{n}" for n in range(int(first), int(last) + 1)), *tables) == commands.ARTIFACTS

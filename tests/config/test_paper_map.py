"""docs/paper_map.md is true: what it names is there, and its numbers are those of docs/measured.json and paper.py."""

import ast
import functools
import json
import pathlib
import re

import pytest

from ebm_tf.paper import numbers as paper

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = ["paper", "what", "code", "test", "config", "ours", "paper's"]
NOTHING = "–"


def read_rows(text):
    """The rows of all tables of the map, as dicts by HEADER."""
    cells = [
        [cell.strip() for cell in line.strip("|\n ").split(" | ")] for line in text.splitlines() if line[:2] == "| "
    ]
    rows = [row for row in cells if row != HEADER and not set("".join(row)) <= set("-")]
    assert all(len(row) == len(HEADER) for row in rows), "a row with another number of columns"
    return [dict(zip(HEADER, row)) for row in rows]


MAP = read_rows((ROOT / "docs" / "paper_map.md").read_text(encoding="utf-8"))


@functools.cache
def names_in(path):
    """Functions and classes that a Python file defines at its top."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def is_there(reference, separator):
    """Whether `file:symbol` or `file::test` names a function or class of that file."""
    path, _, name = reference.strip("`").partition(separator)
    return (ROOT / path).is_file() and name in names_in(path)


def measured(place):
    """The number or list at a dotted place of docs/measured.json."""
    value = json.loads((ROOT / "docs" / "measured.json").read_text())
    for key in place.split("."):
        value = value[key]
    return value if isinstance(value, list) else [value]


def numbers_of(ours):
    """("JS 0.1, 0.2 (`a.b`)") -> ([0.1, 0.2], "a.b")."""
    words, place = re.fullmatch(r"(.+) \(`([\w.]+)`\)", ours).groups()
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", words)], place


@pytest.mark.parametrize("row", MAP, ids=lambda row: row["paper"])
def test_a_row_names_what_is_there(row):
    if row["code"] != NOTHING:
        assert is_there(row["code"], ":"), row["code"]
    if row["test"] != NOTHING:
        assert row["test"].strip("`").partition("::")[2].startswith("test_")
        assert is_there(row["test"], "::"), row["test"]
    if row["config"] not in (NOTHING, "all"):
        assert (ROOT / row["config"].strip("`")).is_file(), row["config"]
    if picture := re.fullmatch(r"\[a picture.*\]\((.+\.png)\)", row["ours"]):
        assert (ROOT / "docs" / picture[1]).is_file(), picture[1]
    elif row["ours"] != NOTHING:
        numbers, place = numbers_of(row["ours"])
        assert numbers == measured(place)


def test_nothing_of_the_paper_is_missing():
    """Equations 1 to 10, Algorithm 1, Figures 1 to 10, every row of both tables, and what stands without a number."""
    parts = [row["paper"] for row in MAP]
    for number in range(1, 11):
        assert f"Eq. {number}" in parts
        assert any(re.match(rf"Fig\. {number}\b", part) for part in parts)
    for part in ("Algorithm 1", "A.1, sampler", "A.1, density", "A.4, stationary law", "Sec. 4.2.3, Var[L]"):
        assert part in parts
    assert sum(part.startswith("Table 1") for part in parts) == len(paper.TABLE1)
    assert sum(part.startswith("Table 2") for part in parts) == len(paper.TABLE2)
    assert len(set(parts)) == len(parts)


def test_everything_but_the_illustration_has_code_and_a_test():
    assert [row["paper"] for row in MAP if NOTHING in (row["code"], row["test"])] == ["Fig. 1"]


@pytest.mark.parametrize(("name", "table"), [("Table 1", paper.TABLE1), ("Table 2", paper.TABLE2)])
def test_the_tables_are_the_papers(name, table):
    """In the paper's order, with the config that makes the row."""
    rows = [row for row in MAP if row["paper"].startswith(name)]
    for row, expected in zip(rows, table, strict=True):
        assert float(row["paper's"]) == expected.value
        assert expected.scheme.value.replace("_", "+") in row["paper"]
        assert ("bank" in row["paper"], "long" in row["paper"]) == (
            expected.chains == "bank",
            expected.chains == "long",
        )
        flags = (ROOT / row["config"].strip("`")).read_text(encoding="utf-8").splitlines()
        assert f"--scheme={expected.scheme}" in flags
        if expected.cd_weight:
            assert f"λ = {expected.cd_weight:g}" in row["paper"]
            assert f"--cd_weight={expected.cd_weight:g}" in flags


def test_measured_numbers_are_those_of_the_recipe():
    recipe = (ROOT / "docs" / "log" / "rings.md").read_text(encoding="utf-8")
    for scheme, numbers in json.loads((ROOT / "docs" / "measured.json").read_text())["fig2"].items():
        if scheme == "how":
            continue
        line = next(line for line in recipe.splitlines() if re.match(rf"\| {scheme} \| \d", line))
        cells = [[float(number) for number in cell.split(",")] for cell in line.strip("| ").split(" | ")[1:]]
        names = ("seeds", "jensen_shannon_nats", "kl_nats", "share_from_noise", "smallest_ring", "share_from_data")
        columns = dict(zip(names, cells, strict=True))
        assert {name: columns[name] for name in numbers} == numbers


@pytest.mark.parametrize(("table", "digits"), [("table1", 1), ("table2", 3)])
def test_measured_tables_are_those_of_results(table, digits):
    """Every number of results/<table>.json, under its row's name in docs/measured.json and the small budget's log."""
    numbers = json.loads((ROOT / "docs" / "measured.json").read_text())[table]
    page = (ROOT / "docs" / "log" / "cifar_small_budget.md").read_text(encoding="utf-8")
    rows = {}
    for entry in json.loads((ROOT / "results" / f"{table}.json").read_text())["ours"]:
        if entry["ours"] is not None:
            weight = f"_lambda{entry['lambda']:g}" if entry["lambda"] else ""
            start = f"_{entry['chains']}" if entry["chains"] not in ("", "short") else ""
            rows[entry["scheme"].replace("+", "_") + weight + start] = round(entry["ours"], digits)
    assert rows == {name: value for name, value in numbers.items() if name != "how"}
    assert [value for value in rows.values() if f" {value:.{digits}f}" not in page] == []


@pytest.mark.parametrize(
    "row",
    [
        {"code": "`ebm_tf/settings/train.py:Nothing`"},
        {"code": "`ebm_tf/nothing.py:Scheme`"},
        {"test": "`tests/unit/test_losses.py::test_nothing`"},
        {"config": "`configs/nothing.flags`"},
        {"ours": "JS 0.5 (`fig2.persistent.jensen_shannon_nats`)"},
    ],
)
def test_a_false_row_is_seen(row):
    true = next(row for row in MAP if row["paper"] == "Fig. 2, persistent")
    test_a_row_names_what_is_there(true)
    with pytest.raises(AssertionError):
        test_a_row_names_what_is_there({**true, **row})


def test_the_files_that_the_notes_name_are_there():
    notes = (ROOT / "docs" / "paper_notes.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`([\w/]+\.py)`", notes))
    assert len(names) > 10
    assert [name for name in names if not ((ROOT / "ebm_tf" / name).is_file() or (ROOT / name).is_file())] == []

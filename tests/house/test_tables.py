"""Numbers of pages come from results/numbers, and what differs is reported."""

import base64
import importlib.util
import json
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOW = {"command": "c", "machine": "m", "date": "d", "commit": "k"}
PAGE = """<!-- table: speed columns=row,ours rows=a -->
<!-- /table -->

It is <!-- number: speed b_2 ours -->?<!-- /number -->.
"""


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """tools/tables.py on a folder of its own, which holds speed.json and a page without its numbers."""
    spec = importlib.util.spec_from_file_location("tables", ROOT / "tools" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "NUMBERS", tmp_path)
    monkeypatch.setattr(module, "pages", lambda: sorted(tmp_path.glob("*.md")))
    found = {"how": HOW, "columns": ["row", "peer", "ours"], "rows": [["a", 1, "0.5"], ["b 2", 3, "0.7"]]}
    (tmp_path / "speed.json").write_text(json.dumps(found))
    (tmp_path / "page.md").write_text(PAGE)
    return module


def test_pages_get_their_numbers_and_keep_them(tables, tmp_path):
    assert tables.main(["--check"]) == 1
    assert tables.main([]) == 0
    text = (tmp_path / "page.md").read_text()
    assert "| row | ours |\n| --- | --- |\n| a | 0.5 |\n<!-- /table -->" in text
    assert "-->0.7<!-- /number -->." in text
    assert tables.main(["--check"]) == 0


def test_a_picture_is_its_notebooks(tables, tmp_path, capsys):
    shown = {"output_type": "display_data", "data": {"image/png": base64.b64encode(b"picture").decode()}}
    cells = [{"metadata": {"tags": ["docs"]}, "outputs": [shown]}, {"metadata": {}, "outputs": []}]
    (tmp_path / "examples").mkdir()
    (tmp_path / "docs" / "images").mkdir(parents=True)
    (tmp_path / "examples" / "rings.ipynb").write_text(json.dumps({"cells": cells}))
    path = tmp_path / "docs" / "images" / "example_rings.png"
    tables.main([])
    assert path.read_bytes() == b"picture" and tables.main(["--check"]) == 0
    path.write_bytes(b"another")
    assert tables.main(["--check"]) == 1
    assert "example_rings.png: differs from its notebook" in capsys.readouterr().out


@pytest.mark.parametrize(("old", "new"), [("| a | 0.5 |", "| a | 0.4 |"), ("-->0.7<", "-->0.8<")])
def test_a_number_changed_by_hand_is_reported(tables, tmp_path, capsys, old, new):
    tables.main([])
    path = tmp_path / "page.md"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert tables.main(["--check"]) == 1
    assert "page.md: a table or number differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("<!-- table: nothing -->\n<!-- /table -->\n", "expected nothing.json"),
        ("<!-- number: speed c ours --><!-- /number -->\n", "expected one of a, b_2. Received: c"),
        ("word " * 30 + "\n", "page.md:1: 150 characters"),
        ("It is\n<!-- number: speed a ours -->0.5<!-- /number -->.\n", "page.md:2: expected a word before it"),
        ("- It is\n\n  so.\n", "page.md:3: expected an indent of 4"),
    ],
)
def test_faults_of_a_page_are_reported(tables, tmp_path, capsys, page, fault):
    (tmp_path / "page.md").write_text(page)
    assert tables.main(["--check"]) == 1
    assert fault in capsys.readouterr().out


def test_a_file_without_its_command_is_refused(tables, tmp_path, capsys):
    found = json.loads((tmp_path / "speed.json").read_text())
    del found["how"]["command"]
    (tmp_path / "speed.json").write_text(json.dumps(found))
    assert tables.main([]) == 1
    assert "expected, in how, command" in capsys.readouterr().out


def test_readme_is_one_that_people_finish():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    assert len(text.encode()) <= 7_000


def _rows(name):
    return json.loads((ROOT / "results" / "numbers" / f"{name}.json").read_text(encoding="utf-8"))["rows"]


def test_the_table_of_detectors_is_that_of_results():
    found = json.loads((ROOT / "results" / "tables" / "summary.json").read_text())
    for name, *cells in _rows("tables_detectors"):
        name = name.strip("*").replace(" (PyOD)", "").replace("components by BIC", "BIC")
        of = [found[part]["detectors"][name] for part in ("unseen", "development", "all")]
        expected = [text for one in of for text in (f"{one['auroc']:.3f}", f"{one['rank']:.2f}")]
        assert [cell.strip("*") for cell in cells] == expected


def test_the_scale_of_distances_is_that_of_the_features():
    sets = json.loads((ROOT / "pretrained" / "cifar_features.json").read_text())["scale"]["sets"].values()
    found = {(f"{one['frechet_distance']:.3g}", f"{one['kid']:.4f} ± {one['kid_std_error']:.4f}") for one in sets}
    assert {(distance, kid) for _, _, distance, kid in _rows("distances_scale")} <= found


def test_numbers_of_the_papers_table_are_those_that_its_map_has():
    measured = json.loads((ROOT / "docs" / "measured.json").read_text())
    hybrid, data, table = measured["fig2"]["hybrid"], measured["fig2"]["data"], measured["table1"]
    auroc = measured["table2"]["hybrid_lambda25"]
    expected = [
        "JS {}, {}, {} of three seeds".format(*hybrid["jensen_shannon_nats"]),
        "{}, {}, {}; hybrid {}".format(*data["share_from_noise"], hybrid["share_from_noise"][0]).replace(
            "0.1,", "0.10,"
        ),
        f"FD (CIFAR features) {table['hybrid_lambda25']}",
        f"FD (CIFAR features) {table['hybrid_lambda25_long']}, 20,000 steps",
        f"{auroc:.3f} by -E, that is by log p; {1 - auroc:.3f} by E",
    ]
    assert [row[2] for row in _rows("paper")] == expected
    (short,) = [row for row in _rows("cifar_recipes") if row[0] == "cifar_hybrid_20min"]
    assert short[2:4] == [str(table["hybrid_lambda25"]), str(table["hybrid_lambda25_long"])]


def test_the_headers_of_configs_have_the_same_numbers():
    measured = json.loads((ROOT / "docs" / "measured.json").read_text())
    expected = {}
    for scheme, numbers in measured["fig2"].items():
        if scheme != "how":
            divergences = ", ".join(f"{one:.3f}" for one in numbers["jensen_shannon_nats"])
            expected[f"rings_{scheme}"] = f"{divergences} nats"
    for scheme in ("data", "noise", "persistent", "persistent_refresh", "hybrid_lambda10", "hybrid_lambda50", "hybrid"):
        key = scheme if scheme != "hybrid" else "hybrid_lambda25"
        auroc = f"AUROC of -E {measured['table2'][key]:.3f}"
        expected[f"cifar_{scheme}_20min"] = f"FD (CIFAR features) {measured['table1'][key]:.1f}, {auroc}"
    for name, _, short, long, *_ in _rows("cifar_recipes"):
        config = name.split(",")[0]
        if config == "cifar_hybrid_short":
            denoised = {row[0]: row[2] for row in _rows("cifar_denoised")}[config]
            expected[config] = f"FD (CIFAR features) {short} after 1,000 steps of 2.5, {denoised} without the noise"
        elif config != "cifar_hybrid_20min":
            expected[config] = f"FD (CIFAR features) {short} after 1,000 steps, {long} after 20,000"
    assert len(expected) == 16
    for config, words in expected.items():
        header = (ROOT / "configs" / f"{config}.flags").read_text(encoding="utf-8").partition("\n--")[0]
        assert words in " ".join(header.replace("#", "").split()), (config, words)


@pytest.mark.parametrize(("words", "faults"), [("3.5 minutes", 1), ("0.994 ± 0.01", 2), ("5 % of `0.994`", 0)])
def test_a_measured_number_without_a_file_is_reported(tables, words, faults):
    page = f"First.\nIt is {words}, by <!-- number: speed a ours -->0.555<!-- /number -->.\n"
    assert [line for line, _ in tables.unmarked(page)] == [2] * faults


def test_numbers_of_the_readmes_text_are_those_of_results():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    (demo,) = [row[1] for row in _rows("demo") if row[0] == "JS, nats"]
    (saturated,) = [row[4] for row in _rows("cifar_recipes") if row[0].startswith("cifar_hybrid_settled")]
    assert f"a Jensen-Shannon divergence of {demo} nats" in text
    assert f"{float(saturated.split()[0]):.0f} % stripes" in text


def test_the_gains_of_whitening_and_the_features_accuracy_are_those_of_their_studies():
    lines = [line.split(",") for line in (ROOT / "results" / "tables" / "kernels.csv").read_text().splitlines()]
    found = {line[0]: [f"{float(line[lines[0].index(share)]):.2f}" for share in ("0.3", "1.0")] for line in lines[1:]}
    assert {name: cells for name, *cells in _rows("tables_kernels")}.items() <= found.items()
    features = json.loads((ROOT / "pretrained" / "cifar_features.json").read_text())
    accuracy, seconds = (row[1] for row in _rows("features"))
    assert (accuracy, seconds) == (f"{100 * features['test_accuracy']:.1f} %", str(features["seconds"]))

"""examples/rings.ipynb runs from top to bottom with the public names alone, and what is stored of it is small."""

import ast
import pathlib
import re

import nbformat
import papermill
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "rings.ipynb"


def run(folder, monkeypatch, **parameters):
    """Its pictures, and the numbers that its last line of code shows."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    done = papermill.execute_notebook(
        str(NOTEBOOK), str(folder / "done.ipynb"), {"workdir": str(folder / "run"), **parameters}, progress_bar=False
    )
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    (shown,) = (output.data["text/plain"] for output in outputs if output.output_type == "execute_result")
    return [output for output in outputs if "image/png" in output.get("data", {})], ast.literal_eval(shown)


def test_it_runs(tmp_path, monkeypatch):
    pictures, numbers = run(tmp_path, monkeypatch, train_steps=3, num_samples=20)
    assert len(pictures) == 2
    assert 0 < numbers["jensen_shannon_nats"] < 0.7
    assert numbers["share_of_data"] > 0.8 > numbers["share_from_noise"]  # three updates teach nothing
    assert (tmp_path / "run" / "model.keras").is_file()


@pytest.mark.slow
def test_it_learns_the_rings(tmp_path, monkeypatch):
    """The marks of docs/log/rings.md."""
    _, numbers = run(tmp_path, monkeypatch)
    assert numbers["jensen_shannon_nats"] <= 0.1
    assert numbers["share_from_noise"] >= 0.9
    assert numbers["share_from_data"] >= 0.9


def test_it_is_small_and_says_nothing_of_the_machine_that_ran_it():
    assert NOTEBOOK.stat().st_size < 300_000
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        assert all(output.get("name") != "stderr" for output in cell.get("outputs", []))


def test_it_imports_public_names_alone():
    source = "\n".join(cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code")
    assert re.findall(r"^.*import ebm_tf.*$", source, re.MULTILINE) == ["import ebm_tf"]
    assert "from ebm_tf" not in source

"""The notebooks of examples/ run from top to bottom with the public names alone, and what they store is small."""

import ast
import pathlib
import re

import nbformat
import papermill
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def run(name, folder, monkeypatch, **parameters):
    """Its pictures, and the numbers that its last line of code shows."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    done = papermill.execute_notebook(
        str(ROOT / "examples" / f"{name}.ipynb"), str(folder / "done.ipynb"), parameters, progress_bar=False
    )
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    (shown,) = (output.data["text/plain"] for output in outputs if output.output_type == "execute_result")
    return [output for output in outputs if "image/png" in output.get("data", {})], ast.literal_eval(shown)


def test_it_runs(tmp_path, monkeypatch):
    workdir = str(tmp_path / "run")
    pictures, numbers = run("rings", tmp_path, monkeypatch, train_steps=3, num_samples=20, workdir=workdir)
    assert len(pictures) == 2
    assert 0 < numbers["jensen_shannon_nats"] < 0.7
    assert numbers["share_of_data"] > 0.8 > numbers["share_from_noise"]  # three updates teach nothing
    assert (tmp_path / "run" / "model.keras").is_file()


@pytest.mark.slow
def test_it_learns_the_rings(tmp_path, monkeypatch):
    """The marks of docs/log/rings.md."""
    _, numbers = run("rings", tmp_path, monkeypatch)
    assert numbers["jensen_shannon_nats"] <= 0.1
    assert numbers["share_from_noise"] >= 0.9
    assert numbers["share_from_data"] >= 0.9


@pytest.mark.slow
def test_own_energy(tmp_path, monkeypatch):
    pictures, numbers = run("own_energy", tmp_path, monkeypatch)
    assert len(pictures) == 2
    assert numbers["log_z_error"] <= 0.1 and numbers["r_hat"] <= 1.02 and numbers["largest_distance"] <= 0.2


@pytest.mark.slow
def test_own_table(tmp_path, monkeypatch):
    pictures, numbers = run("own_table", tmp_path, monkeypatch)
    assert len(pictures) == 3
    assert numbers["auroc"] >= 0.9 and numbers["correlation_of_correlations"] >= 0.85
    assert numbers["val_loss"] < numbers["val_loss_first"]  # its size depends on the noise that the preset takes


@pytest.mark.slow
def test_own_images(tmp_path, monkeypatch):
    pictures, numbers = run("own_images", tmp_path, monkeypatch)
    assert len(pictures) == 3
    assert min(numbers[f"auroc_{name}"] for name in ("turned", "inverted", "shuffled")) >= 0.8


@every_notebook
def test_it_is_small_and_says_nothing_of_the_machine_that_ran_it(notebook):
    assert notebook.stat().st_size < (500_000 if notebook.stem == "own_images" else 300_000)  # grain does not compress
    read = nbformat.read(notebook, as_version=4)
    nbformat.validate(read)
    assert set(read.metadata) <= {"kernelspec", "language_info"}
    assert "/tmp/" not in notebook.read_text()
    for cell in read.cells:
        assert set(cell.metadata) <= {"tags"}
        assert all(output.get("name") != "stderr" for output in cell.get("outputs", []))


@every_notebook
def test_it_imports_public_names_alone(notebook):
    source = "\n".join(cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code")
    assert re.findall(r"^.*import ebm_tf.*$", source, re.MULTILINE) == ["import ebm_tf"]
    assert "from ebm_tf" not in source

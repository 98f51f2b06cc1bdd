"""The public names: each is in README's table and on the docs' API page, typed, and says what it takes and gives."""

import inspect
import pathlib
import re

import numpy as np
import pytest

import ebm_tf

ROOT = pathlib.Path(__file__).resolve().parents[2]
FUNCTIONS = {
    "load": ebm_tf.load,
    "train": ebm_tf.train,
    **{f"rings.{name}": getattr(ebm_tf.rings, name) for name in ebm_tf.rings.__all__ if name.islower()},
    **{
        f"TrainedEnergy.{name}": function
        for name, function in inspect.getmembers(ebm_tf.TrainedEnergy, inspect.isfunction)
        if not name.startswith("_")
    },
}


def test_readme_has_every_public_name_in_one_table():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("| public name |")[2].partition("\n\n")[0]
    names = [re.match(r"\w+", code)[0] for row in table.splitlines()[2:] for code in _codes(row.split(" | ")[0])]
    assert sorted(names) == sorted(ebm_tf.__all__)


def test_the_api_page_has_every_public_name():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: ebm_tf\.(\w+)$", text, re.MULTILINE)) == sorted(ebm_tf.__all__)


def _codes(text):
    return re.findall(r"`([^`]+)`", text)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_is_typed_and_documented(name):
    function = FUNCTIONS[name]
    signature = inspect.signature(function)
    given = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    assert all(parameter.annotation is not parameter.empty for parameter in given)
    assert signature.return_annotation is not signature.empty
    document = inspect.getdoc(function)
    assert document
    if "Args:" in document:  # a short docstring says all in a sentence
        assert [name for name in re.findall(r"^  (\w+): ", document, re.MULTILINE) if name in signature.parameters] == [
            parameter.name for parameter in given
        ]


def test_readmes_lines_run_as_they_stand(rings_run):
    """Except that the run is one of random weights."""
    code = (ROOT / "README.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    assert "runs/demo" in code
    found = {}
    exec(code.replace("runs/demo", str(rings_run)), found)
    assert found["energy"].shape == (100,) and found["grad"].shape == (100, 10)
    assert found["samples"].shape == (1000, 10) and np.ptp(found["samples"]) > 0
    assert all(found[name].dtype == np.float32 for name in ("energy", "grad", "samples"))

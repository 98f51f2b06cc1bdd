"""The public names: each is in the table of the docs' API page and has its place there, typed and documented."""

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


def test_the_api_page_has_every_public_name_in_one_table():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
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


def test_readmes_lines_run_as_they_stand(tmp_path, monkeypatch):
    """On 300 rows, with two updates in place of 2,000."""
    code = (ROOT / "README.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal([0.0, 5.0, -2.0], [1.0, 3.0, 0.1], (300, 3)).astype(np.float32)
    np.save("x.npy", rows)
    found = {}
    exec(code.replace("2_000", "2"), found)
    assert found["energy"].shape == (300,) and np.isfinite(found["energy"]).all()
    assert found["samples"].shape == (1000, 3)
    assert np.abs(found["samples"].mean(axis=0) - rows.mean(axis=0)).max() < 1  # in the data's units


def test_readmes_lines_take_images_as_its_parenthesis_says(tmp_path, monkeypatch):
    """Of a size that is padded to train, with two updates."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = page.partition("```python\n")
    call = re.search(r"`(from_network\(net, .*\))`", before.rpartition("(images: ")[2])[1]
    code = rest.partition("```")[0].replace("2_000", "2").replace("1_000", "4").replace("from_network(net)", call)
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (600, 20, 28), np.uint8)
    np.save("x.npy", images)
    found = {}
    with pytest.warns(UserWarning, match=r"^x of shape \(600, 20, 28\) is read as .*brought to 32 x 32 \(pad\)$"):
        exec(code.replace("*dense", "keras.layers.Flatten(), *dense"), found)
    model, data = found["model"], found["data"]
    assert model.info.temperature == found["trainer"].energy.reference.temperature
    held_out = data.held_out()
    kept = data.to_stored(held_out)[:, 6:26, 2:30, 0]
    assert {one.tobytes() for one in kept} <= {one.tobytes() for one in images}
    with pytest.warns(UserWarning, match="brought to 32 x 32"):
        np.testing.assert_allclose(model.energy(kept), model.energy(held_out), rtol=1e-5)
        assert model.fit_detector(kept).p_value(kept).shape == (60,)

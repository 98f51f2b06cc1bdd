"""bin/score.py and bin/export.py where a folder is closed or the disk takes no more: one line, nothing half-written."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from ebm_tf.errors import ConfigError
from ebm_tf.serving import export, score
from ebm_tf.settings.commands import ExportConfig
from ebm_tf.settings.scoring import ScoreConfig


@pytest.fixture
def settings(rings_export, tmp_path):
    """Of 100 inputs, about 15 bytes a row."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(100, 10)))
    (tmp_path / "out").mkdir()
    return dict(model=str(rings_export), input=str(tmp_path / "x.npy"), batch_size=10)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_scores_that_are_sure_outlive_a_full_disk(name, settings, tmp_path, limited_file_size):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    output = tmp_path / "out" / name
    text = "File too large; [1-9]0 rows are sure, and --resume goes on"
    with limited_file_size(600), pytest.raises(OSError, match=text) as caught:
        score.score(ScoreConfig(**settings, output=str(output)))
    assert caught.value.filename == str(output) and "\n" not in str(caught.value)
    assert sorted(os.listdir(output.parent)) == [f"{name}.partial", f"{name}.partial.json"]
    score.score(ScoreConfig(**settings, output=str(output), resume=True))
    score.score(ScoreConfig(**settings, output=str(tmp_path / name)))
    assert output.read_bytes() == (tmp_path / name).read_bytes()
    assert os.listdir(output.parent) == [name]


def test_a_disk_full_from_the_start_keeps_nothing(settings, tmp_path, limited_file_size):
    with limited_file_size(10), pytest.raises(OSError, match="File too large; nothing is kept"):
        score.score(ScoreConfig(**settings, output=str(tmp_path / "out" / "out.csv")))
    assert os.listdir(tmp_path / "out") == []


def test_a_parquet_file_that_does_not_fit_leaves_the_rows(settings, tmp_path, limited_file_size):
    pytest.importorskip("pyarrow")
    whole = tmp_path / "whole.parquet"
    score.score(ScoreConfig(**settings, output=str(whole)))
    settings["input"], output = str(tmp_path / "one.npy"), tmp_path / "out" / "out.parquet"
    np.save(settings["input"], np.zeros((1, 10)))
    # A row takes 15 bytes, its state 200, and a Parquet file of one row over 1,000.
    with limited_file_size(500), pytest.raises(OSError, match="1 rows are sure, and --resume goes on"):
        score.score(ScoreConfig(**settings, output=str(output)))
    assert sorted(os.listdir(output.parent)) == ["out.parquet.partial", "out.parquet.partial.json"]
    assert score.score(ScoreConfig(**settings, output=str(output), resume=True)).rows == 1
    assert os.listdir(output.parent) == ["out.parquet"]


@pytest.mark.parametrize("size", [100, 3_000])
def test_an_export_is_whole_or_not_there(size, rings_run, tmp_path, limited_file_size):
    with limited_file_size(size), pytest.raises(OSError, match="File too large") as caught:
        export.export(ExportConfig(workdir=str(rings_run), output=str(tmp_path / "model")))
    assert caught.value.filename == str(tmp_path / "model")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("closed", ["", "part/"])
def test_a_folder_that_cannot_be_listed_is_told_before_anything_is_written(closed, image_export, tmp_path, monkeypatch):
    folder, output = tmp_path / "folder", tmp_path / "out.csv"
    (folder / "part").mkdir(parents=True)
    for path in (folder / "a.png", folder / "part" / "b.png"):
        Image.new("RGB", (32, 32)).save(path)
    scandir = os.scandir

    def guarded(path):  # as the system has it for all but root
        if pathlib.Path(path) == folder / closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(ConfigError, match=r"--input: expected a folder that can be listed.*Permission denied"):
        score.score(ScoreConfig(model=str(image_export), input=str(folder), output=str(output)))
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("source", ["x" * 5000, "~nobody-of-this-name/x.npy"])
def test_a_name_that_cannot_be_is_one_line(source, rings_export, tmp_path):
    with pytest.raises(ConfigError, match=r"--input: expected a source that can be read\. Received: input=") as caught:
        score.score(ScoreConfig(model=str(rings_export), input=source, output=str(tmp_path / "out.csv")))
    assert "\n" not in str(caught.value) and os.listdir(tmp_path) == []

"""bin/watch.py: a picture and a page of a run that trains, from what lies in its folder."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ebm_tf.errors import ConfigError
from ebm_tf.plots import watch
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.commands import WatchConfig
from ebm_tf.settings.train import TrainConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]


def row(step, **values):
    values = {"energy/data": 0.1 * step, "noise_init/energy_difference": -0.2, "updates_per_second": 2.0, **values}
    return json.dumps({"step": step, **values}) + "\n"


@pytest.fixture
def run_dir(tmp_path):
    folder = RunDir(tmp_path / "<run>")
    folder.path.mkdir()
    folder.config.write_text(json.dumps(TrainConfig(dataset="rings", train_steps=100).to_dict()))
    folder.metrics.write_text(row(10))
    return folder


def look(run_dir):
    """What the page says, and the picture."""
    page = watch.watch(WatchConfig(workdir=str(run_dir.path), once=True)).read_text()
    with Image.open(run_dir.path / "watch.png") as picture:
        return page, np.asarray(picture.convert("RGB"))


def test_page_and_picture_follow_the_run(run_dir):
    before, picture = look(run_dir)
    assert "update 10 of 100, 2 updates/s, 1 minutes left" in before and 'http-equiv="refresh" content="10"' in before
    with run_dir.metrics.open("a") as file:
        file.write(row(60, loss=None) + '{"step": 70, "ene')  # a row being written
    run_dir.figures.mkdir()
    Image.new("RGB", (50, 50), (255, 0, 0)).save(whole := run_dir.figures / "chains_0000050.png")
    (run_dir.figures / "chains_0000060.png").write_bytes(whole.read_bytes()[:60])  # cut by an earlier version
    (run_dir.figures / "chains_0000070.tmp.png").write_bytes(whole.read_bytes())  # a picture being written
    after, changed = look(run_dir)
    assert "update 60 of 100" in after and "<tr><td>loss<td>not finite" in after
    assert not (picture == [255, 0, 0]).all(-1).any() and (changed == [255, 0, 0]).all(-1).any()


def test_the_page_needs_no_other_file_and_names_cannot_break_it(run_dir):
    page, _ = look(run_dir)
    assert re.findall(r'(?:src|href)="(.{10})', page) == ["data:image"]
    assert "<title>&lt;run&gt;</title>" in page
    assert not list(run_dir.path.glob("*.tmp*"))


def test_a_run_without_rows_is_drawn(run_dir):
    run_dir.metrics.unlink()
    assert "update 0 of 100; drawn" in look(run_dir)[0]


def test_it_draws_when_there_is_news_and_ends_with_the_run(run_dir, monkeypatch):
    drawn, plot, looks = [], watch.plot, iter(("nothing new", "row", "end"))

    def sleep(seconds):
        assert seconds == 3
        what = next(looks)
        if what == "row":
            run_dir.metrics.write_text(row(10) + row(20))
        elif what == "end":
            run_dir.model.touch()

    monkeypatch.setattr(watch, "plot", lambda *args: drawn.append(args) or plot(*args))
    page = watch.watch(WatchConfig(workdir=str(run_dir.path), every_seconds=3), sleep)
    assert len(drawn) == 3
    assert "finished, 100 updates" in page.read_text() and "http-equiv" not in page.read_text()


def test_no_run_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"--workdir: expected the folder of a run, with config\.json"):
        watch.watch(WatchConfig(workdir=str(tmp_path)))
    with pytest.raises(ConfigError, match="--workdir: expected a run's folder"):
        WatchConfig()


def test_it_does_not_load_tensorflow():
    code = "import sys, ebm_tf.plots.watch; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

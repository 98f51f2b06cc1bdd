"""Pictures take their names when they are whole: a process that is killed while it draws leaves the one before."""

import pathlib

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from ebm_tf.data.pictures import scatter
from ebm_tf.pixels import save_image_grid
from ebm_tf.plots import figures

CURVE = figures.Panel("", "", [figures.Curve("", np.arange(3), np.arange(3), figures.BLACK)])
WRITERS = {
    "images": lambda path: save_image_grid(np.zeros((2, 4, 4, 3)), path),
    "points": lambda path: scatter(np.zeros((2, 2)), path, ""),
    "figures": lambda path: figures.curves_figure([CURVE], "update", path),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_kill_in_the_middle_leaves_the_picture_of_before(tmp_path, monkeypatch, write):
    def killed(self, path, **kwargs):
        pathlib.Path(path).write_bytes(b"\x89PNG half")
        raise KeyboardInterrupt

    write(path := tmp_path / "picture.png")
    before = path.read_bytes()
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", killed)
    monkeypatch.setattr(Image.Image, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        write(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]

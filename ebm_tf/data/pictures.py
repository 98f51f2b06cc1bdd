"""Vectors as a picture: points of their first two coordinates."""

import os
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ebm_tf.drafts import draft_of

__all__ = ["scatter"]

LIMIT = 4.0  # of the frame: the rings' plane, and four standard deviations of what is standardised


def scatter(
    x: np.ndarray,
    path: str | os.PathLike,
    title: str,
    units: Any = None,
) -> None:
    """Draws vectors as points, or as a histogram where they have one coordinate, in the data's units. Those outside the
    frame are counted in the title.

    Args:
      x: [N, D], as the model sees them.
      path: of the picture.
      title: above it.
      units: has `columns`, names of the coordinates, and `mean` and `scale` [D], by which data were standardised: they
        are mean + scale x. A Dataset or an Origin; what is not there, None or () is x itself, by the names x and y.
    """
    outside = int((~(abs(x[:, :2]) <= LIMIT).all(axis=1)).sum())
    columns, mean, scale = (getattr(units, name, None) for name in ("columns", "mean", "scale"))
    is_standardised = mean is not None and len(mean) > 0
    mean, scale = (mean, scale) if is_standardised else (np.zeros(x.shape[1]), np.ones(x.shape[1]))
    points, names = x * np.asarray(scale) + np.asarray(mean), columns or ("x", "y")
    frame = np.asarray(mean) + np.multiply.outer((-LIMIT, LIMIT), scale)
    with matplotlib.rc_context({"savefig.dpi": 150}):
        figure = Figure(figsize=(4, 4), layout="constrained")  # no pyplot: draws without a display, in any thread
        axes: Any = figure.subplots()
        axes.set(xlim=frame[:, 0], xlabel=names[0])
        if x.shape[1] == 1:
            axes.hist(points[:, 0], bins=60, range=tuple(frame[:, 0]))
        else:
            axes.scatter(points[:, 0], points[:, 1], s=2, linewidths=0)
            axes.set(ylim=frame[:, 1], ylabel=names[1])
            axes.set_box_aspect(1)
        axes.set_title(f"{title}, {outside} outside the frame".removeprefix(", "), fontsize=9)
        with draft_of(path) as draft:
            figure.savefig(draft)

"""Vectors as a picture: points of their first two coordinates."""

import os
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

__all__ = ["scatter"]

LIMIT = 4.0  # of the frame: the rings' plane, and four standard deviations of what is standardised


def scatter(x: np.ndarray, path: str | os.PathLike, title: str, names: Sequence[str]) -> None:
    """x [N, D] as points, or as a histogram where D = 1; those outside the frame are counted in the title."""
    outside = int((~(abs(x[:, :2]) <= LIMIT).all(axis=1)).sum())
    with matplotlib.rc_context({"savefig.dpi": 150}):
        figure = Figure(figsize=(4, 4), layout="constrained")  # no pyplot: draws without a display, in any thread
        axes: Any = figure.subplots()
        axes.set(xlim=(-LIMIT, LIMIT), xlabel=names[0])
        if x.shape[1] == 1:
            axes.hist(x[:, 0], bins=60, range=(-LIMIT, LIMIT))
        else:
            axes.scatter(x[:, 0], x[:, 1], s=2, linewidths=0)
            axes.set(ylim=(-LIMIT, LIMIT), aspect="equal", ylabel=names[1])
        axes.set_title(f"{title}, {outside} outside the frame".removeprefix(", "), fontsize=9)
        figure.savefig(path)

"""Arrays to figures. Computes nothing."""

import os
import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

__all__ = ["rings_figure", "save_image_grid"]


def save_image_grid(x: np.ndarray, path: str | os.PathLike, columns: int = 8, zoom: int = 2) -> None:
    """Images [N, S, S, 3] in [-1, 1], clipped to it, as one PNG: `columns` a row, one pixel of white between."""
    x = np.nan_to_num(np.asarray(x, np.float32))
    pixels = np.round((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8)
    pixels = np.pad(pixels, [(0, -len(pixels) % columns), (0, 1), (0, 1), (0, 0)], constant_values=255)
    count, height, width, channels = pixels.shape
    grid = pixels.reshape(count // columns, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    image = Image.fromarray(grid.reshape(count // columns * height, columns * width, channels))
    image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST).save(path)


def rings_figure(
    data_density: np.ndarray,
    columns: dict[str, tuple[np.ndarray, np.ndarray]],
    path: str | os.PathLike,
    rows: tuple[str, str] = ("samples from noise", "learned density"),
    limit: float = 4.0,
) -> None:
    """Fig. 2: the data density on the left; per column, above, the density of samples from noise, below, the model's.

    Args:
      data_density: [G, G], x first.
      columns: title -> (density of samples [G, G], model density [G, G]).
      path: a PNG file.
      rows: what the upper and the lower panels show.
      limit: the axes go from -limit to limit.
    """
    figure = Figure(figsize=(2.4 * (1 + len(columns)), 5.0), layout="constrained")  # no pyplot: needs no display
    axes: Any = figure.subplots(2, 1 + len(columns), squeeze=False)
    top = 1.5 * float(np.max(data_density))

    def draw(axis, density, title):
        extent = (-limit, limit, -limit, limit)
        axis.imshow(density.T, origin="lower", extent=extent, cmap="magma", vmin=0, vmax=top)
        axis.set_title(title, fontsize=9)
        axis.set_xticks([-3, 0, 3])
        axis.set_yticks([-3, 0, 3])

    draw(axes[0, 0], data_density, "data")
    axes[1, 0].axis("off")
    for column, (title, (samples, model)) in enumerate(columns.items(), start=1):
        draw(axes[0, column], samples, f"{title}\n{rows[0]}")
        draw(axes[1, column], model, rows[1])
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)

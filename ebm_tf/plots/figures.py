"""Arrays to figures. Computes nothing."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ebm_tf.drafts import draft_of
from ebm_tf.pixels import save_image_grid, tile

__all__ = [
    "Curve",
    "Panel",
    "acceptance_figure",
    "curves_figure",
    "diversity_figure",
    "histograms_figure",
    "image_matrix_figure",
    "rings_figure",
    "save_image_grid",
    "tile",
    "traces_figure",
]

# Okabe and Ito's colours, which people who do not see red and green apart can tell from one another.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
BLACK, YELLOW, SKY = "#000000", "#E69F00", "#56B4E9"
STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "savefig.dpi": 150,
}


class Curve(NamedTuple):
    """A line of a panel: its label, its x and y [K], a colour, and whether it is dashed."""

    label: str
    x: np.ndarray
    y: np.ndarray
    color: str
    dashed: bool = False


class Panel(NamedTuple):
    """Curves on common axes."""

    title: str
    ylabel: str
    curves: Sequence[Curve]
    log: bool = False


def rings_figure(
    data_density: np.ndarray,
    columns: dict[str, tuple[np.ndarray, np.ndarray]],
    path: str | os.PathLike,
    rows: tuple[str, str] = ("samples from noise", "learned density"),
) -> None:
    """Fig. 2: the data density on the left; per column, above, the density of samples from noise, below, the model's.

    One column alone is drawn as a row of three: data, learned density, samples.

    Args:
      data_density: [G, G], x first, from -4 to 4.
      columns: title -> (density of samples [G, G], model density [G, G]).
      path: a PNG file.
      rows: what the upper and the lower panels show.
    """
    is_row = len(columns) == 1
    shape = (1, 3) if is_row else (2, 1 + len(columns))
    figure = Figure(figsize=(2.4 * shape[1], 2.5 * shape[0]), layout="constrained")  # no pyplot: needs no display
    axes: Any = figure.subplots(*shape, squeeze=False)
    top = 1.5 * float(np.max(data_density))

    def plot(axis, density, title):
        axis.imshow(density.T, origin="lower", extent=(-4, 4, -4, 4), cmap="magma", vmin=0, vmax=top)
        axis.set_title(title, fontsize=9)
        axis.set_xticks([-3, 0, 3])
        axis.set_yticks([-3, 0, 3])

    plot(axes[0, 0], data_density, "data")
    if not is_row:
        axes[1, 0].axis("off")
    for column, (title, (samples, model)) in enumerate(columns.items(), start=1):
        of_model, of_samples = (axes[0, 1], axes[0, 2]) if is_row else (axes[1, column], axes[0, column])
        plot(of_model, model, f"{title}: {rows[1]}" if is_row else rows[1])
        plot(of_samples, samples, f"{title}: {rows[0]}" if is_row else f"{title}\n{rows[0]}")
    _save(figure, path)


def image_matrix_figure(
    columns: Mapping[str, Sequence[np.ndarray]], rows: Sequence[str], path: str | os.PathLike
) -> None:
    """Figs. 3 and 4: a column per scheme, a row per kind of chain, in each cell a grid of images.

    Args:
      columns: title -> an array of images [N, S, S, 3] per row.
      rows: their titles.
      path: a PNG file.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.4 + 2.1 * len(columns), 0.3 + 2.1 * len(rows)), layout="constrained")
        axes: Any = figure.subplots(len(rows), len(columns), squeeze=False)
        for column, (title, cells) in enumerate(columns.items()):
            for row, (label, images) in enumerate(zip(rows, cells, strict=True)):
                _show(axes[row, column], tile(images, 4))
                if column == 0:
                    axes[row, 0].set_ylabel(label)
            axes[0, column].set_title(title)
        _save(figure, path)


def histograms_figure(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]], xlabel: str, path: str | os.PathLike
) -> None:
    """Figs. 5 and 10: in each panel two histograms, the first blue, the second orange.

    Args:
      panels: title -> label -> (edges [B + 1], heights [B]).
      xlabel: of all panels.
      path: a PNG file.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.4 + 2.2 * max(len(panels), 2), 2.6), layout="constrained")
        axes: Any = figure.subplots(1, len(panels), squeeze=False)
        for axis, (title, histograms) in zip(axes[0], panels.items(), strict=True):
            for color, (label, (edges, heights)) in zip((BLUE, ORANGE), histograms.items(), strict=True):
                axis.stairs(heights, edges, color=color, alpha=0.35, fill=True)
                axis.stairs(heights, edges, color=color, linewidth=1.2, label=label)
            _few_ticks(axis)
            axis.set(title=title, xlabel=xlabel, yticks=[], ylim=(0, 1.05))
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        _save(figure, path)


def curves_figure(panels: Sequence[Panel], xlabel: str, path: str | os.PathLike) -> None:
    """Fig. 6: panels side by side under one legend.

    Args:
      panels: what they show.
      xlabel: of all panels.
      path: a PNG file.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.4 + 3.5 * len(panels), 3.6), layout="constrained")
        axes: Any = figure.subplots(1, len(panels), squeeze=False)
        labels: dict[str, Any] = {}
        for axis, panel in zip(axes[0], panels, strict=True):
            for curve in panel.curves:
                style = "--" if curve.dashed else "-"
                (line,) = axis.plot(curve.x, curve.y, style, color=curve.color, linewidth=1.3)
                labels.setdefault(curve.label, line)
            axis.set(title=panel.title, ylabel=panel.ylabel, xlabel=xlabel)
            _few_ticks(axis)
            if panel.log:
                axis.set_yscale("log")
            else:
                axis.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=4)
        _save(figure, path)


def traces_figure(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], path: str | os.PathLike
) -> None:
    """Fig. 9: energy along chains, a panel per scheme; steps on a log axis whose part below 1 is linear.

    Args:
      panels: title -> (steps, middle, low, high), each [K].
      path: a PNG file.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.4 + 2.2 * max(len(panels), 2), 2.7), layout="constrained")
        axes: Any = figure.subplots(1, len(panels), squeeze=False)
        for axis, (title, (steps, middle, low, high)) in zip(axes[0], panels.items(), strict=True):
            axis.fill_between(steps, low, high, color=BLUE, alpha=0.25, linewidth=0)
            axis.plot(steps, middle, color=BLUE, linewidth=1.3)
            axis.set_xscale("symlog", linthresh=1, linscale=0.4)
            last = max(steps, default=1)
            axis.set_xticks([0, *(10**power for power in range(1, 12, 2) if 10**power <= last)])
            axis.set_xticks([], minor=True)
            axis.set(title=title, xlabel="Langevin steps")
        axes[0, 0].set_ylabel("energy")
        _save(figure, path)


def diversity_figure(
    banks: tuple[np.ndarray, np.ndarray] | None,
    neighbours: tuple[np.ndarray, Mapping[str, np.ndarray]] | None,
    path: str | os.PathLike,
) -> None:
    """Fig. 7: (A) the bank, (B) samples started at it, (C) samples with their nearest training images.

    Args:
      banks: images [N, S, S, 3] before and after; None leaves (A) and (B) out.
      neighbours: samples [M, S, S, 3], and title -> images [M, k, S, S, 3]; None leaves (C) out.
      path: a PNG file.
    """
    pieces = []
    if banks:
        columns = _columns(len(banks[0]), 0.75)
        pieces += [("(A)\nbank", tile(banks[0], columns)), ("(B)\nsamples started at (A)", tile(banks[1], columns))]
    if neighbours:
        samples, nearest = neighbours
        pieces.append(("(C)\nsamples", tile(samples, 1)))
        for title, images in nearest.items():
            pieces.append((title, tile(images.reshape(-1, *samples.shape[1:]), images.shape[1])))
    ratios = [image.shape[1] / image.shape[0] for _, image in pieces]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.8 * sum(ratios) + 0.3 * len(pieces), 4.2), layout="constrained")
        axes: Any = figure.subplots(1, len(pieces), squeeze=False, width_ratios=ratios)
        for axis, (title, image) in zip(axes[0], pieces, strict=True):
            _show(axis, image)
            axis.set_title(title)
        _save(figure, path)


def acceptance_figure(
    warmup: tuple[np.ndarray, np.ndarray],
    sampling: tuple[np.ndarray, np.ndarray],
    target: float,
    samples: np.ndarray,
    path: str | os.PathLike,
) -> None:
    """Fig. 8: (A) acceptance rate while the step size adapts and after, apart; (B) samples.

    Args:
      warmup: steps and acceptance rates while the step size adapts, each [K].
      sampling: the same with the step size fixed.
      target: the rate adapted to.
      samples: images [N, S, S, 3], or rings [N, 10], shown in the plane of their first two coordinates.
      path: a PNG file.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 3.8), layout="constrained")
        axes: Any = figure.subplots(1, 3, width_ratios=[1, 1.7, 1.25])
        parts = (("(A) warm-up: step size adapts", warmup, ORANGE), ("(A) sampling: step size fixed", sampling, BLUE))
        for axis, (title, (steps, rates), color) in zip(axes, parts):
            axis.plot(steps, rates, color=color, linewidth=1.2)
            axis.axhline(target, color="0.4", linestyle="--", linewidth=1)
            axis.set(title=title, xlabel="moves", ylim=(0, 1))
            _few_ticks(axis)
        axes[0].set_ylabel("acceptance rate")
        axes[0].legend(axes[0].lines[1:], [f"target {target:g}"], loc="lower right")
        if samples.ndim == 2:
            axes[2].plot(samples[:, 0], samples[:, 1], ".", color=BLUE, markersize=3)
            axes[2].set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal", xlabel="x", ylabel="y")
        else:
            _show(axes[2], tile(samples, _columns(len(samples))))
        axes[2].set_title("(B) samples")
        _save(figure, path)


def _columns(count: int, width_over_height: float = 1.0) -> int:
    """Images in a row of a grid of that shape."""
    return max(round((width_over_height * count) ** 0.5), 1)


def _show(axis: Any, image: np.ndarray) -> None:
    axis.imshow(image)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _few_ticks(axis: Any) -> None:
    axis.locator_params(axis="x", nbins=4)


def _save(figure: Figure, path: str | os.PathLike) -> None:
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    with draft_of(path) as draft:
        figure.savefig(draft, dpi=150)

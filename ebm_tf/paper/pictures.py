"""Figures of images: samples per scheme (Figs. 3, 4), diversity (Fig. 7), adjusted chains (Fig. 8)."""

from typing import Any

import numpy as np

from ebm_tf.paper import numbers as paper
from ebm_tf.paper.catalog import LABELS, Artifact, Catalog, Table, settings_of
from ebm_tf.plots import figures
from ebm_tf.runs.saved import SavedRun
from ebm_tf.settings.train import Scheme
from ebm_tf.stats.usable import finite_rows

__all__ = ["fig3", "fig4", "fig7", "fig8"]

CIFAR, FLOWERS = "cifar10", "oxford_flowers102"
IMAGES_PER_CELL, BANK_IMAGES, MALA_IMAGES = 16, 48, 36
ROWS = {  # row of Figs. 3 and 4: task, array of its ends of chains, array that says which of them are finite
    "short run, from noise": ("short_run", "x_from_noise", "energy_from_noise"),
    "long run, from noise": ("long_run", "x_final", "x_final"),
    "from test images": ("data_init", "x_final", "x_final"),
}


def fig3(catalog: Catalog) -> Artifact:
    """Fig. 3: samples from noise, in the short and the long run, and from data; CIFAR-10."""
    return _image_matrix(catalog, CIFAR)


def fig4(catalog: Catalog) -> Artifact:
    """Fig. 4: the same, Oxford Flowers."""
    return _image_matrix(catalog, FLOWERS)


def _image_matrix(catalog: Catalog, dataset: str) -> Artifact:
    chosen, notes = catalog.one_per_scheme(dataset)
    columns, ours = {}, []
    for scheme, run in chosen.items():
        columns[LABELS[scheme]] = [_finite_images(run, *row) for row in ROWS.values()]
        entry: dict[str, Any] = {"scheme": LABELS[scheme], "run": run.path.name, "seed": run.config.seed}
        for task, *_ in ROWS.values():
            entry[f"steps, {task.replace('_', ' ')}"] = run.numbers(task).get("num_steps")
        entry["step size"] = run.numbers("short_run").get("step_size")
        entry["finite"] = all(_all_finite(run.numbers(task).get("finite")) for task, *_ in ROWS.values())
        ours.append(entry)
    notes += [f"The first {IMAGES_PER_CELL} chains of each kind, not chosen. Pixels are clipped to [-1, 1]."]
    notes += ["White: a chain that is not finite."]
    used, tasks = list(chosen.values()), [task for task, *_ in ROWS.values()]
    return Artifact(
        ours,
        Table.of(ours),
        used,
        settings_of(used, *tasks),
        notes,
        lambda path: figures.image_matrix_figure(columns, list(ROWS), path),
    )


def _finite_images(run: SavedRun, task: str, name: str, finite_name: str) -> np.ndarray:
    """The first chains' ends, [IMAGES_PER_CELL, S, S, 3]; those that are not finite are white."""
    known = name if finite_name not in run.array_names(task) else finite_name
    arrays = run.arrays(task, name, known, count=IMAGES_PER_CELL)
    images, finite = arrays[name], finite_rows(arrays[known])
    white = 255 if images.dtype == np.uint8 else 1
    return np.where(finite[:, None, None, None], images, images.dtype.type(white))


def _all_finite(finite: Any) -> bool:
    """Whether `finite`, true or {set: true}, holds throughout."""
    return all(finite.values()) if isinstance(finite, dict) else bool(finite)


def fig7(catalog: Catalog) -> Artifact:
    """Fig. 7: (A) a bank, (B) samples started at it, (C) the hybrid's samples and their nearest training images.

    The paper has (A) and (B) from persistent_refresh on Oxford Flowers, (C) from the hybrid on CIFAR-10. Where there is
    no such run, the nearest one that there is; the note says which.
    """
    banked = _first_run(
        catalog,
        [(data, scheme) for scheme in (Scheme.PERSISTENT_REFRESH, Scheme.PERSISTENT) for data in (FLOWERS, CIFAR)],
    )
    hybrid = _first_run(catalog, [(CIFAR, Scheme.HYBRID), (FLOWERS, Scheme.HYBRID)])
    if not banked and not hybrid:
        raise catalog.nothing("a finished image run of the hybrid (lambda = 25), persistent_refresh or persistent")
    notes, ours, banks, neighbours = [], [], None, None
    if banked:
        arrays = banked.arrays("bank", "x_init", "x_final", count=BANK_IMAGES)
        banks = (arrays["x_init"], arrays["x_final"])
        change = np.abs(banks[0].astype(float) - banks[1]).mean()
        what = f"mean change of a pixel, (A) to (B), of 255: {change:.1f}"
        ours.append({"panels": "A, B", "run": banked.path.name, "numbers": what})
        notes.append(f"(A), (B): {LABELS[banked.config.scheme]} on {banked.config.dataset}.")
    else:
        notes.append("(A), (B) absent: no finished run of persistent_refresh or persistent on images.")
    if hybrid:
        neighbours = _neighbours(hybrid)
        distances = hybrid.arrays("neighbours", "pixel_distance")["pixel_distance"]
        what = f"distance to the nearest training image, pixels in [-1, 1], mean {float(np.mean(distances[:, 0])):.4g}"
        ours.append({"panels": "C", "run": hybrid.path.name, "numbers": what})
        notes.append(f"(C): hybrid on {hybrid.config.dataset}.")
    else:
        notes.append("(C) absent: no finished image run of the hybrid (lambda = 25).")
    used = [run for run in (banked, hybrid) if run]
    return Artifact(
        ours,
        Table.of(ours),
        used,
        settings_of(used, "bank", "neighbours"),
        notes,
        lambda path: figures.diversity_figure(banks, neighbours, path),
    )


def _first_run(catalog: Catalog, order: list[tuple[str, Scheme]]) -> SavedRun | None:
    return next((runs[0] for dataset, scheme in order if (runs := catalog.choose(dataset, scheme))), None)


def _neighbours(run: SavedRun) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    arrays = run.arrays("neighbours", "samples", "pixel_images")
    nearest = {"nearest\nby pixels": arrays["pixel_images"]}
    if "feature_images" in run.array_names("neighbours"):
        nearest["nearest\nby features"] = run.arrays("neighbours", "feature_images")["feature_images"]
    return arrays["samples"], nearest


def fig8(catalog: Catalog) -> Artifact:
    """Fig. 8: acceptance rate of Metropolis-adjusted chains of the hybrid on CIFAR-10, and their samples."""
    runs = catalog.choose(CIFAR, Scheme.HYBRID)
    if not runs:
        raise catalog.nothing("a finished cifar10 run of the hybrid (lambda = 25)")
    run = runs[0]
    numbers = run.numbers("mala")
    names = ("steps_warmup", "acceptance_warmup", "steps", "acceptance_sampling")
    arrays = run.arrays("mala", *names)
    images = run.arrays("mala", "samples", count=MALA_IMAGES)["samples"]
    target = float(numbers["target"])
    ours = {
        "run": run.path.name,
        "paper's rate": paper.MALA_ACCEPTANCE,
        "rate, sampling": numbers["acceptance_rate"],
        "rate, warm-up": float(np.mean(arrays["acceptance_warmup"])),
        "target": target,
        "step size": numbers["step_size"],
        "steps": numbers["num_steps"],
        "moves": numbers.get("num_moves"),
        "warm-up moves": numbers["num_warmup_steps"],
        "verdict": numbers.get("verdict"),
    }
    curves = [(arrays[steps], arrays[rates]) for steps, rates in (names[:2], names[2:])]
    return Artifact(
        ours,
        Table.of([ours]),
        [run],
        settings_of([run], "mala"),
        ["Each point is the mean over chains and over the moves of one recorded bin, which ends there."],
        lambda path: figures.acceptance_figure(curves[0], curves[1], target, images, path),
        paper={"acceptance_rate": paper.MALA_ACCEPTANCE, "where": paper.SHOWS["fig8"][0]},
    )

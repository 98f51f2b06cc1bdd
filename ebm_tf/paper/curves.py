"""Figures of energies: histograms (Figs. 5, 10), computational losses over training (Fig. 6), traces along chains
(Fig. 9).
"""

from typing import Any

import numpy as np

from ebm_tf.errors import ConfigError
from ebm_tf.paper.catalog import LABELS, Artifact, Catalog, Table, settings_of
from ebm_tf.plots import figures
from ebm_tf.runs.saved import SavedRun
from ebm_tf.settings.train import Scheme
from ebm_tf.stats.drift import histogram

__all__ = ["fig5", "fig6", "fig9", "fig10", "smooth"]

SMOOTHING = 0.05  # window of Fig. 6's moving average, as a share of the logged updates
LOW_SHARE = 0.2  # curves whose |SNR| stays below this share of the highest one's are drawn once more, larger
COLORS = {
    Scheme.DATA: figures.BLUE,
    Scheme.NOISE: figures.ORANGE,
    Scheme.PERSISTENT: figures.GREEN,
    Scheme.PERSISTENT_REFRESH: figures.PURPLE,
    Scheme.HYBRID: figures.BLACK,
}


def fig5(catalog: Catalog) -> Artifact:
    """Fig. 5: energies of long-run samples and of test images, CIFAR-10."""
    return _energy_histograms(catalog, "cifar10")


def fig10(catalog: Catalog) -> Artifact:
    """Fig. 10: the same, Oxford Flowers."""
    return _energy_histograms(catalog, "oxford_flowers102")


def _energy_histograms(catalog: Catalog, dataset: str) -> Artifact:
    chosen, notes = catalog.one_per_scheme(dataset)
    panels, ours = {}, []
    for scheme, run in chosen.items():
        run.numbers("energies")
        if "long_run" not in run.array_names("energies") and run.array_names("energies"):
            command = run.command("long_run,energies")
            raise ConfigError(
                f"--runs: expected energies of long-run samples of {run.path}; run {command}. Received: none"
            )
        arrays = run.arrays("energies", "long_run", "test")
        panels[LABELS[scheme]] = {
            "long-run samples": histogram(arrays["long_run"]),
            "test images": histogram(arrays["test"]),
        }
        entry: dict[str, Any] = {"scheme": LABELS[scheme], "run": run.path.name}
        for name, label in (("long_run", "long run"), ("test", "test")):
            finite = arrays[name][np.isfinite(arrays[name])].astype(np.float64)
            entry[f"{label}, mean"] = float(finite.mean()) if len(finite) else None
            entry[f"{label}, std"] = float(finite.std()) if len(finite) else None
            entry[f"{label}, finite of"] = f"{len(finite)} of {len(arrays[name])}"
        ours.append(entry)
    notes += ["Each histogram has its own bins, as many as the root of the number of energies, and a highest bar of 1."]
    used = list(chosen.values())
    return Artifact(
        ours,
        Table.of(ours),
        used,
        settings_of(used, "energies", "long_run"),
        notes,
        lambda path: figures.histograms_figure(panels, "energy", path),
    )


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving average over an odd window, NaN left out; at the ends over the part of the window that exists."""
    kernel = np.ones(window)
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="full")
    count = np.convolve(known.astype(float), kernel, mode="full")
    half = window // 2
    inside = slice(half, half + len(values))
    return np.where(count > 0.5, total / np.maximum(count, 1.0), np.nan)[inside]


def fig6(catalog: Catalog) -> Artifact:
    """Fig. 6: standard deviation and signal-to-noise ratio of the computational losses over training, CIFAR-10.

    Both are over the batch, sample n paired with chain n (training.losses.energy_difference).
    """
    chosen, notes = catalog.one_per_scheme("cifar10")
    stds: list[figures.Curve] = []
    snrs: list[figures.Curve] = []
    ours: list[dict[str, Any]] = []
    windows = set()
    for scheme, run in chosen.items():
        rows = run.metrics()
        window = 2 * (max(round(SMOOTHING * len(rows)), 1) // 2) + 1
        windows.add(window)
        for std, snr, numbers in _loss_curves(run, rows, scheme, window):
            stds.append(std)
            snrs.append(snr)
            ours.append(numbers)
    panels = [
        figures.Panel("(A) standard deviation", "std of E(x) - E(x̂)", stds, log=True),
        figures.Panel("(B) signal to noise", "mean / std", snrs),
    ]
    if low := _low_curves(snrs):
        panels.append(figures.Panel("(B) the low curves, enlarged", "mean / std", low))
        notes.append(f"Enlarged: curves whose median |SNR| is under {LOW_SHARE:g} of the highest curve's.")
    notes += [
        "Over the batch of one logged update, sample n paired with chain n. SNR keeps the sign of the mean.",
        f"Curves are moving averages over {100 * SMOOTHING:g} % of the logged updates, "
        f"{' or '.join(map(str, sorted(windows)))} of them.",
    ]
    return Artifact(
        ours,
        Table.of(ours),
        list(chosen.values()),
        {},
        notes,
        lambda path: figures.curves_figure(panels, "update", path),
    )


def _loss_curves(run: SavedRun, rows: list[dict[str, Any]], scheme: Scheme, window: int):
    """(curve of std, curve of SNR, numbers) of each component of a run's loss."""
    steps, last = np.array([row["step"] for row in rows]), slice(-max(len(rows) // 10, 1), None)
    for component, label, color, dashed in _components(scheme):
        std, snr = (_column(run, rows, f"{component}/{key}") for key in ("std", "snr"))
        curves = (figures.Curve(label, steps, smooth(values, window), color, dashed) for values in (std, snr))
        means = {"std, last tenth": _mean(std[last]), "SNR, last tenth": _mean(snr[last])}
        yield *curves, {"curve": label, "run": run.path.name, **means}


def _components(scheme: Scheme) -> list[tuple[str, str, str, bool]]:
    """(name in metrics.jsonl, label, colour, dashed) of a scheme's curves."""
    curves = [("total", LABELS[scheme], COLORS[scheme], False)]
    if scheme is Scheme.HYBRID:
        curves += [
            ("noise_init", "hybrid, noise component", figures.YELLOW, True),
            ("data_init", "hybrid, data component", figures.SKY, True),
        ]
    return curves


def _column(run: SavedRun, rows: list[dict[str, Any]], name: str) -> np.ndarray:
    if not rows or name not in rows[0]:
        received = run.path / "metrics.jsonl"
        raise ConfigError(f"--runs: expected {name} in metrics.jsonl, from bin/train.py. Received: {received}")
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], np.float64)


def _mean(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def _low_curves(curves: list[figures.Curve]) -> list[figures.Curve]:
    """Those far below the highest; none where all or none are."""
    levels = [float(np.median(np.abs(finite))) if len(finite := c.y[np.isfinite(c.y)]) else 0.0 for c in curves]
    low = [curve for curve, level in zip(curves, levels) if level < LOW_SHARE * max(levels)]
    return low if len(low) < len(curves) else []


def fig9(catalog: Catalog) -> Artifact:
    """Fig. 9: energy along long chains from noise, CIFAR-10."""
    chosen, notes = catalog.one_per_scheme("cifar10")
    panels, ours = {}, []
    for scheme, run in chosen.items():
        arrays = run.arrays("long_run", "steps", "energy")
        energy = np.where(np.isfinite(arrays["energy"]), arrays["energy"], np.nan).astype(np.float64)
        some = np.isfinite(energy).any(axis=1)  # steps at which a chain is finite
        low, middle, high = np.nanquantile(energy[some], [0.05, 0.5, 0.95], axis=1)
        panels[LABELS[scheme]] = (arrays["steps"][some], middle, low, high)
        numbers = run.numbers("long_run")
        ours.append(
            {
                "scheme": LABELS[scheme],
                "run": run.path.name,
                "chains": numbers.get("num_samples"),
                "steps": numbers.get("num_steps"),
                "drift per 1,000 steps": numbers.get("energy_drift_per_1000_steps"),
                "spread at the end": numbers.get("energy_std"),
                "converged": numbers.get("converged"),
                "verdict": numbers.get("verdict"),
            }
        )
    notes.append("Lines: median over chains; bands: 5 % to 95 % quantiles. Each panel has its own energy axis.")
    used = list(chosen.values())
    return Artifact(
        ours,
        Table.of(ours),
        used,
        settings_of(used, "long_run"),
        notes,
        lambda path: figures.traces_figure(panels, path),
    )

"""Table 1 (FID) and Table 2 (AUROC), row by row beside the paper's, every seed by itself."""

import json
import statistics
from typing import Any

from ebm_tf.paper import numbers as paper
from ebm_tf.paper.catalog import LABELS, Artifact, Catalog, Table, settings_of
from ebm_tf.runs.saved import SavedRun, budget
from ebm_tf.settings.fields import Role, names_of
from ebm_tf.settings.train import Scheme, TrainConfig

__all__ = ["MIN_SEEDS", "table1", "table2"]

DATASET = "cifar10"
OOD_SET = "svhn_cropped"
MIN_SEEDS = 3  # from here on a mean and a standard deviation are given
SAMPLE_SETS = {"short": "short_run", "long": "long_run", "bank": "bank"}
BUDGET = ("updates", "batch_size", "num_filters", "num_steps", "attention", "dtype_policy", "minutes")
NOT_COMPARED = ("seed", *names_of(TrainConfig, role=Role.OPERATION))  # what a mean may be taken over
FID_DETAILS = ("distance", "features", "num_samples", "reference", "num_reference", "rounding", "kid", "kid_std_error")
OOD_DETAILS = ("num_in", "num_out", "fpr_at_95_tpr", "average_precision")


def table1(catalog: Catalog) -> Artifact:
    """Table 1: Frechet distance of samples, CIFAR-10.

    Raises:
      ConfigError: no row has a number.
    """
    entries = []
    for row in paper.TABLE1:
        sets = _sample_sets(row.scheme, row.cd_weight)
        flags = (f"--fid_samples={','.join(sets)}",)
        task = ",".join([*sets, "fid"])
        entries += _row_entries(catalog, row, task, flags, lambda run, row=row: _fid(run, row.chains))
    shown = ["chains", "scheme", "lambda", "paper", "ours", "std", "distance", "num_samples", "kid", "run", "seed"]
    artifact = _artifact(catalog, "table1", "fid", paper.TABLE1, entries, FID_DETAILS, [*shown, "updates", "status"])
    measured = [entry for entry in entries if entry.get("distance") and entry["status"] == "measured"]
    ways = {f"{e['distance']}: {e['num_reference']:,} of {e['reference']}, {e['rounding']}" for e in measured}
    artifact.notes.append(f"Distances to the reference images, by their rounding: {'; '.join(sorted(ways))}.")
    if other := sorted({entry["distance"] for entry in measured} - {"FID"}):
        artifact.notes.append(f"{', '.join(other)} is on another scale than the paper's FID: compare rows, not values.")
    return artifact


def table2(catalog: Catalog) -> Artifact:
    """Table 2: AUROC of -E, CIFAR-10's test images against SVHN's.

    Raises:
      ConfigError: no row has a number.
    """
    entries = []
    for row in paper.TABLE2:
        entries += _row_entries(catalog, row, "ood", (), _auroc)
    shown = ["scheme", "lambda", "paper", "ours", "std", "fpr_at_95_tpr", "average_precision", "run", "seed", "updates"]
    return _artifact(catalog, "table2", "ood", paper.TABLE2, entries, OOD_DETAILS, [*shown, "status"])


def _sample_sets(scheme: Scheme, cd_weight: float | None) -> list[str]:
    """The sets of samples that Table 1 wants of a run: one call of the task fid measures all."""
    kinds = [row.chains for row in paper.TABLE1 if row.scheme is scheme and row.cd_weight == cd_weight]
    return [SAMPLE_SETS[kind] for kind in kinds]


def _fid(run: SavedRun, chains: str) -> dict[str, Any] | None:
    """The distance of one set of samples with all that it depends on; None where it was not measured."""
    if not run.has("fid"):
        return None
    numbers = run.numbers("fid")
    values = numbers["values"].get(SAMPLE_SETS[chains])
    if values is None:
        return None
    return {
        "ours": values["frechet_distance"],
        "distance": numbers["distance_name"],
        "features": numbers["features"],
        "features_sha256": numbers.get("features_sha256"),
        "num_samples": values["num_samples"],
        "reference": numbers["reference"],
        "num_reference": numbers["num_reference"],
        "rounding": numbers["rounding"],
        "kid": values.get("kid"),
        "kid_std_error": values.get("kid_std_error"),
    }


def _auroc(run: SavedRun) -> dict[str, Any] | None:
    if not run.has("ood"):
        return None
    against = run.numbers("ood")["against"]
    if OOD_SET not in against:
        return None
    return {"ours": against[OOD_SET]["auroc"], **{key: against[OOD_SET].get(key) for key in OOD_DETAILS}}


def _row_entries(catalog, row: paper.Row, task: str, flags: tuple[str, ...], measure) -> list[dict[str, Any]]:
    """One entry per run of a row of the paper, and one with their mean; a single one where there is no run."""
    head = {"chains": row.chains, "scheme": LABELS[row.scheme], "lambda": row.cd_weight, "paper": row.value}
    runs = catalog.choose(DATASET, row.scheme, row.cd_weight or 25.0)
    if not runs:
        return [{**head, "ours": None, "status": "not run"}]
    entries = []
    for run in runs:
        cost = budget(run)
        measured = measure(run)
        status = f"not evaluated: {run.command(task, *flags)}"
        if measured:
            status = "measured" if measured["ours"] is not None else "not finite: the energy has diverged"
        about = {"run": cost["run"], "seed": cost["seed"], **{key: cost[key] for key in BUDGET}}
        entries.append({**head, "ours": None, **(measured or {}), **about, "status": status})
    if len({_settings_but_seed(run) for run in runs}) > 1:
        return entries
    return entries + _mean_entry(head, [entry for entry in entries if entry["ours"] is not None])


def _settings_but_seed(run: SavedRun) -> str:
    """All settings of a run that its outcome depends on, but for the seed; its learning rate as rollbacks left it."""
    settings = {key: value for key, value in run.config.to_dict().items() if key not in NOT_COMPARED}
    resolved = {"cd_weight": run.config.hybrid_cd_weight, "learning_rate": run.config.first_learning_rate}
    return json.dumps({**settings, **resolved}, sort_keys=True)


def _mean_entry(head: dict[str, Any], entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds, from MIN_SEEDS on, where all were measured in the same way."""
    same = ("distance", "features_sha256", "num_samples", "reference", "num_reference", "num_in", "num_out")
    if len({entry["seed"] for entry in entries}) < max(MIN_SEEDS, len(entries)):
        return []
    if len({tuple(entry.get(key) for key in same) for entry in entries}) > 1:
        return []
    values = [entry["ours"] for entry in entries]
    shared = {key: entries[0].get(key) for key in (*same, *BUDGET[:-1], *FID_DETAILS[:6]) if key in entries[0]}
    mean, std = statistics.mean(values), statistics.stdev(values)
    return [{**head, **shared, "ours": mean, "std": std, "seed": f"mean of {len(values)}", "status": "mean"}]


def _artifact(catalog, name, task, rows, entries, details, shown) -> Artifact:
    used = {run.path: run for row in rows for run in catalog.choose(DATASET, row.scheme, row.cd_weight or 25.0)}
    if not used:
        raise catalog.nothing(f"a finished {DATASET} run")
    if not any(entry["status"] in ("measured", "mean") for entry in entries):
        command = next(entry["status"] for entry in entries if entry["status"] != "not run")
        raise catalog.nothing(f"a {DATASET} run with results for {name} ({command})")
    columns = ["chains", "scheme", "lambda", "paper", "ours", "std", *details, "run", "seed", *BUDGET, "status"]
    if name == "table2":
        columns.remove("chains")
    printed = [{**row._asdict(), "scheme": row.scheme.value} for row in rows]
    runs = list(used.values())
    return Artifact(
        entries,
        Table.of(entries, shown),
        runs,
        settings_of(runs, task),
        [f"Every seed by itself; from {MIN_SEEDS} seeds with equal settings on, their mean and standard deviation."],
        paper=printed,
        csv=Table.of(entries, columns),
    )

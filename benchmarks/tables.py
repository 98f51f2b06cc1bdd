"""Which rows of real tables do not belong: ebm_tf.EnergyDensity beside the detectors of scikit-learn and PyOD.

  python3 -m venv .venv-bench
  .venv-bench/bin/pip install -r requirements.txt pyod==3.6.7
  .venv-bench/bin/pip install --no-deps -r requirements-tables.txt
  nice .venv-bench/bin/python benchmarks/tables.py

One-class, as ADBench has it: every detector sees rows that belong alone, and ranks others of them and all that do not.
Tables and split: tables_data.py. Every detector is at its defaults, all on the same standardised columns. Each AUROC is
written to --output/rows.csv as it is found: a run that was stopped goes on. Then come scores.csv, a row per table;
summary.json; and ranks.png, mean ranks with the critical difference of Nemenyi's test (Demsar 2006).
"""

import argparse
import csv
import json
import os
import pathlib
import sys
import time
import warnings

ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import tables_data  # noqa: E402
from scipy import stats  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

FIELDS = ("table", "seed", "detector", "auroc", "seconds")
COMPONENTS = (1, 2, 4, 8)  # of a mixture whose number BIC chooses
OURS = "EnergyDensity"


def ours(seed):
    import ebm_tf

    return ebm_tf.EnergyDensity(random_state=seed)


def of_sklearn(module, name, **settings):
    def make(seed):
        kind = getattr(__import__(f"sklearn.{module}", fromlist=[name]), name)
        given = {"random_state": seed} if "random_state" in kind().get_params() else {}
        return kind(**settings, **given)

    return make


def of_pyod(module, name):
    return lambda seed: getattr(__import__(f"pyod.models.{module}", fromlist=[name]), name)()


class MixtureByBic:
    """GaussianMixture with the number of COMPONENTS that BIC prefers."""

    def __init__(self, seed):
        self._seed = seed

    def fit(self, x):
        from sklearn.mixture import GaussianMixture

        counts = [count for count in COMPONENTS if count < len(x)]
        fitted = [GaussianMixture(count, random_state=self._seed).fit(x) for count in counts]
        self.score_samples = min(fitted, key=lambda mixture: mixture.bic(x)).score_samples
        return self


DETECTORS = {
    OURS: ours,
    "IsolationForest": of_sklearn("ensemble", "IsolationForest"),
    "LOF": of_sklearn("neighbors", "LocalOutlierFactor", novelty=True),
    "OneClassSVM": of_sklearn("svm", "OneClassSVM"),
    "EllipticEnvelope": of_sklearn("covariance", "EllipticEnvelope"),
    "GaussianMixture": of_sklearn("mixture", "GaussianMixture"),
    "GaussianMixture, BIC": MixtureByBic,
    "KernelDensity": of_sklearn("neighbors", "KernelDensity"),
    "kNN": of_pyod("knn", "KNN"),
    "ECOD": of_pyod("ecod", "ECOD"),
    "COPOD": of_pyod("copod", "COPOD"),
}


def auroc(make, parts, seed):
    """(AUROC, seconds of fit and scoring) of one detector."""
    x_fit, x_test, y_test = parts
    start = time.perf_counter()
    detector = make(seed).fit(x_fit)
    if hasattr(detector, "score_samples"):  # large: belongs; PyOD's are the other way round
        score = -detector.score_samples(x_test)
    else:
        score = detector.decision_function(x_test)
    return roc_auc_score(y_test, score), time.perf_counter() - start


def compute(file, tables, seeds, detectors):
    """Adds to the file what it lacks, table by table."""
    known = {(row["table"], int(row["seed"]), row["detector"]) for row in read(file)}
    with file.open("a", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        if not known:
            writer.writerow(FIELDS)
        for table in tables:
            wanted = [(seed, name) for seed in range(seeds) for name in detectors]
            wanted = [(seed, name) for seed, name in wanted if (table, seed, name) not in known]
            if not wanted:
                continue
            x, is_out = tables_data.load(table)
            for seed, name in wanted:
                found, seconds = auroc(DETECTORS[name], tables_data.split(x, is_out, seed), seed)
                writer.writerow([table, seed, name, f"{found:.5f}", f"{seconds:.2f}"])
            lines.flush()
            print(f"{table}: {len(wanted)} done", flush=True)


def read(file):
    """The rows of the file; none where there is no file."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def means_by_table(rows):
    """(tables, detectors, mean AUROC over seeds [tables, detectors]) of the tables that every detector has done."""
    found, detectors = {}, [name for name in DETECTORS if name in {row["detector"] for row in rows}]
    for row in rows:
        found.setdefault((row["table"], row["detector"]), []).append(float(row["auroc"]))
    known = (*tables_data.DEVELOPMENT, *tables_data.UNSEEN)
    tables = [table for table in known if all((table, name) in found for name in detectors)]
    return tables, detectors, np.array([[np.mean(found[table, name]) for name in detectors] for table in tables])


def summary_of(scores, detectors):
    """Mean AUROC and mean rank of every detector, and the critical difference of ranks at 5 %."""
    count, ranks = len(scores), stats.rankdata(-scores, axis=1)
    quantile = stats.studentized_range.ppf(0.95, len(detectors), np.inf) / np.sqrt(2)
    rows = {
        name: {"auroc": round(float(scores[:, i].mean()), 4), "rank": round(float(ranks[:, i].mean()), 3)}
        for i, name in enumerate(detectors)
    }
    critical = quantile * np.sqrt(len(detectors) * (len(detectors) + 1) / (6 * count))
    return {"tables": count, "critical_difference": round(float(critical), 3), "detectors": rows}


def write_scores(file, tables, detectors, scores):
    """A row per table: its size, whether it was looked at, and every detector's mean AUROC."""
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["table", "rows", "columns", "not_belonging", "chosen_on", *detectors])
        for table, row in zip(tables, scores, strict=True):
            x, is_out = tables_data.load(table)
            seen = "yes" if table in tables_data.DEVELOPMENT else "no"
            writer.writerow([table, *x.shape, int(is_out.sum()), seen, *(f"{score:.4f}" for score in row)])


def draw_ranks(file, summary, title):
    """Mean ranks on a line, the best on the left; a bar joins those that the test does not tell apart."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = sorted(summary["detectors"], key=lambda name: summary["detectors"][name]["rank"])
    ranks = np.array([summary["detectors"][name]["rank"] for name in names])
    half, critical = (len(names) + 1) // 2, summary["critical_difference"]
    low, high = np.floor(ranks.min()), np.ceil(ranks.max())
    bars = [(i, int(np.flatnonzero(ranks <= ranks[i] + critical)[-1])) for i in range(len(names))]
    bars = [(i, j) for k, (i, j) in enumerate(bars) if j > i and not any(other[1] >= j for other in bars[:k])]
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.3 * half + 0.14 * len(bars)))
    for k, (i, j) in enumerate(bars):
        axes.plot([ranks[i] - 0.03, ranks[j] + 0.03], [-0.5 - 0.45 * k] * 2, color="tab:blue", linewidth=4)
    below = -1.0 - 0.45 * len(bars)
    for i, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        is_left = i < half
        y = below - (i if is_left else len(names) - 1 - i)
        x = low - 0.2 if is_left else high + 0.2
        axes.plot([rank, rank, x], [0, y, y], color="black", linewidth=0.8)
        style = {"ha": "right" if is_left else "left", "va": "center"}
        axes.text(x, y, f" {name}  {rank:.2f} ", weight="bold" if name.startswith(OURS) else "normal", **style)
    for tick in np.arange(low, high + 1):
        axes.plot([tick, tick], [0, 0.25], color="black", linewidth=1)
        axes.text(tick, 0.4, f"{tick:.0f}", ha="center", va="bottom")
    axes.plot([low, high], [0, 0], color="black", linewidth=1)
    axes.plot([low, low + critical], [1.9, 1.9], color="tab:blue", linewidth=2)
    axes.text(low, 2.1, f"critical difference {critical:.2f}", ha="left", va="bottom")
    axes.set_title(title, pad=18)
    axes.set_xlim(low - 2.8, high + 2.8)
    axes.axis("off")
    figure.savefig(file, dpi=150, bbox_inches="tight")
    plt.close(figure)


def report(folder):
    """Writes what follows from rows.csv, and prints the table of docs/tables.md."""
    tables, detectors, scores = means_by_table(read(folder / "rows.csv"))
    write_scores(folder / "scores.csv", tables, detectors, scores)
    unseen = np.array([table in tables_data.UNSEEN for table in tables])
    parts = {"unseen": unseen, "development": ~unseen, "all": unseen | True}
    summary = {part: summary_of(scores[rows], detectors) for part, rows in parts.items() if rows.sum() > 1}
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    for part in summary:
        title = f"Mean rank by AUROC, {summary[part]['tables']} tables ({part})"
        if part != "development":
            draw_ranks(folder / ("ranks.png" if part == "unseen" else "ranks_all.png"), summary[part], title)
    heads = [f"{part}, {found['tables']}: AUROC | rank" for part, found in summary.items()]
    print(f"| detector | {' | '.join(heads)} |\n| --- |" + " --- | --- |" * len(summary))
    first = next(iter(summary.values()))["detectors"]
    for name in sorted(detectors, key=lambda name: first[name]["rank"]):
        cells = [found["detectors"][name] for found in summary.values()]
        numbers = [f"{cell['auroc']:.3f} | {cell['rank']:.2f}" for cell in cells]
        print(f"| {name} | {' | '.join(numbers)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "results" / "tables")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", default="", help="comma-separated; all without it")
    parser.add_argument("--detectors", default="", help="comma-separated; all without it")
    given = parser.parse_args()
    known = (*tables_data.UNSEEN, *tables_data.DEVELOPMENT)
    tables = given.tables.split(",") if given.tables else known
    detectors = [name for name in DETECTORS if not given.detectors or name in given.detectors.split(",")]
    given.output.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")  # of EllipticEnvelope and PyOD, one per fit
    compute(given.output / "rows.csv", tables, given.seeds, detectors)
    report(given.output)


if __name__ == "__main__":
    main()

"""What whitening does to ebm_tf.EnergyDensity: its AUROC by the shrinkage s of the correlations, 1 being no whitening.

  nice .venv-bench/bin/python studies/table_kernels.py

See benchmarks/tables.py for .venv-bench, tables and split. s was chosen on the tables of development. Writes --output/
kernels.csv, a row per table, and prints their means.
"""

import argparse
import csv
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import tables_data  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

from ebm_tf.serving import estimator  # noqa: E402

SHRINKAGES = (0.03, 0.1, 0.3, 1.0)


def aurocs(table, seeds):
    """Mean over seeds for each of SHRINKAGES."""
    found = np.zeros([seeds, len(SHRINKAGES)])
    for seed in range(seeds):
        x_fit, x_test, y_test = tables_data.split(*tables_data.load(table), seed)
        for i, estimator.SHRINKAGE in enumerate(SHRINKAGES):
            model = estimator.EnergyDensity(random_state=seed).fit(x_fit)
            found[seed, i] = roc_auc_score(y_test, -model.score_samples(x_test))
    return found.mean(axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "results" / "tables")
    parser.add_argument("--tables", default=",".join((*tables_data.DEVELOPMENT, *tables_data.UNSEEN)))
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    with (given.output / "kernels.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["table", *SHRINKAGES])
        rows = []
        for table in given.tables.split(","):
            rows.append(aurocs(table, given.seeds))
            writer.writerow([table, *(f"{value:.4f}" for value in rows[-1])])
            lines.flush()
    print(*(f"s={s}: {mean:.4f}" for s, mean in zip(SHRINKAGES, np.mean(rows, axis=0), strict=True)))


if __name__ == "__main__":
    main()

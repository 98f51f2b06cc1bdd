"""Does a network add to the kernels of ebm_tf.EnergyDensity? The same tables, the same split, with and without.

  nice .venv-bench/bin/python studies/table_network.py --tables=vehicle0,pima

E = T (kernels + f), T = 1: f is the default network for vectors, trained by the hybrid on whitened rows, a tenth of
them held out. Its kernels in training are CENTRES rows, to be quick; those that it is added to are all. Held-out log p
needs log Z: kernels can be drawn from exactly, so that of f is log E[exp(-f)] over their draws. `chosen` are the
updates, 0 among them, whose held-out log p is largest; the others show what no rule would have found.

Writes --output/network.csv, a row per table and number of updates, as they are found.
"""

import argparse
import csv
import dataclasses
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tables_data  # noqa: E402
from scipy import special  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

import ebm_tf  # noqa: E402
from ebm_tf.energies.terms import GaussianKernels  # noqa: E402
from ebm_tf.energies.vector_net import vector_net  # noqa: E402
from ebm_tf.stats.kernel_width import kernel_width  # noqa: E402

FIELDS = ("table", "updates", "auroc", "auroc_kernels", "held_out_gain_nats", "effective_share", "chosen")
CENTRES, DRAWS, SEED = 300, 4_000, 100
UPDATES = (100, 250, 500)
# Tried on vehicle0, pima and segment, of the development list.
RATE, CD_WEIGHT, NOISE, STEP = 3e-4, 5.0, 0.3, 0.1  # noise over the kernels' width; epsilon over its square


@keras.saving.register_keras_serializable(package="table_network")
class Kernels(keras.layers.Layer):
    """[B, D] -> [B, 1], the energy of kernels."""

    def __init__(self, kernels, **settings):
        super().__init__(**settings)
        self.kernels = kernels

    def call(self, x):
        return self.kernels(x)[:, None]


def study(table):
    """Rows of FIELDS but `chosen`, one per number of updates."""
    x_fit, x_test, y_test = tables_data.split(*tables_data.load(table), SEED)
    varies = x_fit.std(axis=0) > 0
    model = ebm_tf.EnergyDensity(random_state=SEED).fit(x_fit[:, varies])
    white, test = (model._whiten(x[:, varies]) for x in (x_fit, x_test))
    data = ebm_tf.Dataset.from_array(white.astype(np.float32), name=table)
    test, centres = ((z - data.mean) / data.scale for z in (test, white))
    held_out, train = data.held_out(), np.concatenate(list(data.examples()))
    width, few = kernel_width(train), train[:CENTRES]
    kernels = GaussianKernels(centres, width)
    base = np.concatenate([kernels(part).numpy() for part in np.array_split(test, 1 + len(test) // 500)])
    keras.utils.set_random_seed(SEED)
    network, inputs = vector_net(train.shape[1]), keras.Input((train.shape[1],))
    own = Kernels(GaussianKernels(few, kernel_width(few)))
    energy = ebm_tf.EnergyModel.from_network(keras.Model(inputs, network(inputs) + own(inputs)))
    settings = {"cd_weight": CD_WEIGHT, "data_noise": NOISE * width, "batch_size": min(128, len(train)), "seed": SEED}
    trainer = ebm_tf.Trainer(energy, data, preset="detector", jit_compile="false", **settings)
    step_size = STEP * own.kernels.width**2
    trainer.sampler = dataclasses.replace(trainer.sampler, step_size=step_size, preconditioner=None)
    trainer.compile(keras.optimizers.Adam(RATE))
    rng = np.random.default_rng(SEED)
    draws = train[rng.integers(len(train), size=DRAWS)] + width * rng.normal(size=(DRAWS, train.shape[1]))
    yield table, 0, *[roc_auc_score(y_test, base)] * 2, 0.0, 1.0
    for before, updates in zip((0, *UPDATES), UPDATES, strict=False):
        trainer.fit(train_steps=updates - before, validation=False, verbose=0)
        tilts = [network.predict(z.astype(np.float32), verbose=0)[:, 0].astype(float) for z in (test, held_out, draws)]
        log_z = special.logsumexp(-tilts[2]) - np.log(DRAWS)
        share = np.exp(2 * (log_z + np.log(DRAWS)) - special.logsumexp(-2 * tilts[2])) / DRAWS
        found = roc_auc_score(y_test, base + tilts[0])
        yield table, updates, found, roc_auc_score(y_test, base), -tilts[1].mean() - log_z, share


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "results" / "tables")
    parser.add_argument("--tables", default=",".join((*tables_data.DEVELOPMENT, *tables_data.UNSEEN)))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    file = given.output / "network.csv"
    known = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    with file.open("a", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        if not known:
            writer.writerow(FIELDS)
        for table in given.tables.split(","):
            if any(row.startswith(f"{table},") for row in known):
                continue
            try:
                rows = list(study(table))
            except ebm_tf.DivergenceError as error:
                print(f"{table}: {error}")
                continue
            best = max(range(len(rows)), key=lambda i: rows[i][4])
            for i, row in enumerate(rows):
                cells = [f"{value:.5f}" if isinstance(value, float) else value for value in row]
                writer.writerow([*cells, int(i == best)])
            lines.flush()
            found = [f"{table} {row[1]}: {row[2]:.3f}, held-out gain {row[4]:.2f}" for row in rows]
            print("; ".join(found), flush=True)


if __name__ == "__main__":
    main()

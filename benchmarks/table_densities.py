"""Held-out log p of ebm_tf.EnergyDensity, GaussianMixture and KernelDensity, on toys with exact densities and tables.

  nice .venv-bench/bin/python benchmarks/table_densities.py

See tables.py for .venv-bench. Every density is fitted to standardised columns, of toys to 1,000 rows, and scored on
rows that are held out: of toys 5,000, of tables those that belong. log p is in nats, in the units of the columns as
they are standardised. Writes --output/densities.csv, a row per data set: means over seeds.

That log Z of EnergyDensity is 0 needs no estimate; its last columns are annealed importance sampling's bounds of it, by
chains that see the energy alone, as a check: mean log weights of chains from a Gaussian, and of chains back from draws.
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
import tensorflow as tf  # noqa: E402
from scipy import special  # noqa: E402
from sklearn.mixture import GaussianMixture  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.neighbors import KernelDensity  # noqa: E402

import ebm_tf  # noqa: E402
from ebm_tf.energies.terms import GaussianKernels  # noqa: E402
from ebm_tf.mcmc import ais  # noqa: E402

TABLES = ("breast_cancer", "magic", "phoneme", "texture", "wine")  # their columns are measured, not counted
NUM_FIT, NUM_TEST = 1_000, 5_000  # of toys
CHAINS, STAGES = 100, 1_000
COMPONENTS, WIDTHS = (1, 2, 4, 8, 16, 32), np.geomspace(0.05, 1.0, 10)


def best_mixture(x, seed):
    """By BIC."""
    fitted = [GaussianMixture(count, random_state=seed).fit(x) for count in COMPONENTS if 4 * count < len(x)]
    return min(fitted, key=lambda mixture: mixture.bic(x))


def best_kernels(x, _):
    """By cross-validation."""
    return GridSearchCV(KernelDensity(), {"bandwidth": WIDTHS}, cv=3).fit(x).best_estimator_


DENSITIES = {
    "EnergyDensity": lambda x, seed: ebm_tf.EnergyDensity(random_state=seed).fit(x),
    "KernelDensity": lambda x, seed: KernelDensity().fit(x),
    "KernelDensity, width by CV": best_kernels,
    "GaussianMixture": lambda x, seed: GaussianMixture(random_state=seed).fit(x),
    "GaussianMixture, BIC": best_mixture,
}


def gaussians(rng, count):
    """Eight Gaussians of standard deviation 0.2 on a circle of radius 2."""
    angles = np.arange(8) * np.pi / 4
    means = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return means[rng.integers(8, size=count)] + 0.2 * rng.normal(size=(count, 2)), lambda x: _mixture(x, means, 0.2)


def _mixture(x, means, std):
    squares = np.sum((x[:, None] - means) ** 2, axis=2)
    return special.logsumexp(-squares / (2 * std**2), axis=1) - np.log(len(means) * 2 * np.pi * std**2)


def rings(rng, count):
    """The plane of ebm_tf.rings."""
    x = np.asarray(ebm_tf.rings.sample(count, seed=[int(rng.integers(2**31)), 0]))[:, :2]
    return x.astype(float), lambda x: np.asarray(ebm_tf.rings.log_prob_xy(*np.float32(x.T)), float)


def checkerboard(rng, count):
    """Uniform on eight of sixteen squares of side 1."""
    column, row = rng.integers(4, size=count), rng.integers(2, size=count)
    corner = np.stack([column, 2 * row + column % 2], axis=1)
    return corner + rng.random((count, 2)) - 2, lambda x: np.full(len(x), -np.log(8))


def pinwheel(rng, count):
    """Five Gaussians, bent by rotations that grow with the radius, which keep areas."""
    std, angles = np.array([0.3, 0.1]), 2 * np.pi * np.arange(5) / 5

    def turned(x, angle):
        turn = angle + 2 * np.linalg.norm(x, axis=-1)
        cos, sin = np.cos(turn), np.sin(turn)
        return np.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], axis=1)

    def log_prob(x):
        radius = np.linalg.norm(x, axis=1)
        parts = [(turned(x, -angle - 4 * radius) - [1, 0]) / std for angle in angles]
        logs = [-0.5 * np.sum(part**2, axis=1) for part in parts]
        return special.logsumexp(logs, axis=0) - np.log(5 * 2 * np.pi * std.prod())

    x = [1, 0] + std * rng.normal(size=(count, 2))
    return turned(x, angles[rng.integers(5, size=count)]), log_prob


TOYS = {"eight Gaussians": gaussians, "rings": rings, "checkerboard": checkerboard, "pinwheel": pinwheel}


def parts_of(name, seed):
    """(rows to fit, rows held out, exact log p of these or None), standardised by the first."""
    if name not in TOYS:
        x_fit, x_test, y_test = tables_data.split(*tables_data.load(name), seed)
        return x_fit, x_test[y_test == 0], None
    x, log_prob = TOYS[name](np.random.default_rng(seed), NUM_FIT + NUM_TEST)
    mean, scale = x[:NUM_FIT].mean(axis=0), x[:NUM_FIT].std(axis=0)
    white = (x - mean) / scale
    return white[:NUM_FIT], white[NUM_FIT:], log_prob(x[NUM_FIT:]) + np.log(scale).sum()


def log_z_bounds(model, seed):
    """(lower, upper) bound of log Z of a fitted EnergyDensity, with their standard errors, see ebm_tf.anneal."""
    seeds = tf.random.split(tf.constant([seed, 0]), 5)
    energy = GaussianKernels(np.float32(model.centres_), model.width_)
    std = tf.constant(np.sqrt(model.centres_.var(axis=0) + model.width_**2), tf.float32)
    base, shape = ais.Base(tf.zeros_like(std), std), tf.square(std)
    start, fixed = base.draw(CHAINS, seeds[0]), {"step_shape": shape, "temperature": 1.0, "base": base}
    schedule = ais.find_schedule(energy, start, STAGES, **fixed, seed=seeds[1])
    rng = np.random.default_rng(seed)
    draws = model.centres_[rng.integers(len(model.centres_), size=CHAINS)]
    draws = draws + model.width_ * rng.normal(size=draws.shape)
    run, found = ais.compile_anneal(energy, tuple(std.shape)), []
    both = ((1, schedule, base.draw(CHAINS, seeds[2]), seeds[3]), (-1, schedule.reverse(), np.float32(draws), seeds[4]))
    for sign, path, x, chain_seed in both:
        state, _ = run(ais.init_state(x), path.betas, path.log_steps, shape, tf.constant(1.0), base, chain_seed)
        weights = sign * state.log_weight.numpy()
        found += [weights.mean(), weights.std() / np.sqrt(CHAINS)]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "results" / "tables")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    with (given.output / "densities.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["data", "exact", *DENSITIES, "log_z_lower", "error", "log_z_upper", "error"])
        for name in (*TOYS, *TABLES):
            rows = []
            for seed in range(given.seeds):
                x_fit, x_test, exact = parts_of(name, seed)
                found = [fit(x_fit, seed).score_samples(x_test).mean() for fit in DENSITIES.values()]
                rows.append([np.nan if exact is None else exact.mean(), *found])
            bounds = log_z_bounds(DENSITIES["EnergyDensity"](parts_of(name, 0)[0], 0), 0)
            cells = ["" if np.isnan(value) else f"{value:.3f}" for value in (*np.mean(rows, axis=0), *bounds)]
            writer.writerow([name, *cells])
            lines.flush()
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""Does HMC with a few leapfrog steps mix better per gradient than MALA, which is HMC with one?

  python studies/leapfrog.py [--on=rings,table,cifar] [--gradients=20000] [--data_dir=TFDS] [--output=FILE.json]

Three densities, each with chains that start at data of it and as many gradients for every kernel:

  rings   the exact density of App. A.1, ten dimensions
  table   a trained energy of scikit-learn's wine, 13 standardised columns (bin/train.py's own settings, 30 s)
  cifar   pretrained/cifar_hybrid_bank.keras, from noisy test images; wants a GPU

TFP's HamiltonianMonteCarlo, step adapted by dual averaging over a warm-up of a quarter of the gradients and then
frozen: toward an acceptance of 0.574 for one leapfrog step (MALA), 0.65 for more. Effective samples (TFP, by each
chain's own autocorrelation, summed) per 1,000 gradients, of the energy and of ten projections on random unit vectors:
the smallest of the ten, and their median. Three seeds.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ebm_tf.build import use_xla  # noqa: E402
from ebm_tf.energies.precision import full_float32  # noqa: E402

SEEDS = (0, 1, 2)
NUM_PROJECTIONS = 10
ACCEPTANCE = {1: 0.574}  # Roberts and Rosenthal 1998; of more steps 0.65, Beskos et al. 2013


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", default="rings,table,cifar", help="densities, by commas")
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets")
    parser.add_argument("--leapfrog", default="1,2,3,5", help="numbers of leapfrog steps, by commas")
    parser.add_argument("--gradients", type=int, default=20_000, help="of each chain, the warm-up among them")
    parser.add_argument("--output", help="a .json for the numbers")
    options = parser.parse_args()
    rows = []
    for name in options.on.split(","):
        log_density, starts, step_size = TARGETS[name](options.data_dir)
        for num_leapfrog in map(int, options.leapfrog.split(",")):
            with full_float32():
                measured = measure(log_density, starts, num_leapfrog, options.gradients, step_size)
            of_all = {"density": name, "leapfrog_steps": num_leapfrog, "gradients": options.gradients}
            rows.append({**of_all, **mean(measured)})
            print(line(rows[-1]), flush=True)
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measure(log_density, starts, num_leapfrog, num_gradients, step_size):
    """A run of all chains for each seed: {"step_size", "acceptance", "energy", "projections_min",
    "projections_median"}.
    """
    num_moves = num_gradients // num_leapfrog
    warm_up = num_moves // 4
    kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
        tfp.mcmc.HamiltonianMonteCarlo(log_density, step_size=step_size, num_leapfrog_steps=num_leapfrog),
        num_adaptation_steps=warm_up,
        target_accept_prob=ACCEPTANCE.get(num_leapfrog, 0.65),
    )
    size = int(np.prod(starts.shape[1:]))
    vectors = np.random.default_rng(0).standard_normal((size, NUM_PROJECTIONS)).astype(np.float32)
    vectors = tf.constant(vectors / np.linalg.norm(vectors, axis=0))

    def traced(x, results):
        inner = results.inner_results
        seen = tf.concat([inner.accepted_results.target_log_prob[:, None], tf.reshape(x, [-1, size]) @ vectors], 1)
        return seen, inner.is_accepted, results.new_step_size

    @tf.function(autograph=False, jit_compile=use_xla("auto"))
    def sample(seed):
        return tfp.mcmc.sample_chain(
            num_moves - warm_up, starts, kernel=kernel, num_burnin_steps=warm_up, trace_fn=traced, seed=seed
        ).trace

    gradients = (num_moves - warm_up) * num_leapfrog * starts.shape[0] / 1000
    return [summary(*sample(tf.constant([seed, 7])), gradients) for seed in SEEDS]


def summary(seen, is_accepted, step_sizes, gradients):
    """Numbers of one run, of so many thousand gradients."""
    effective = tfp.mcmc.effective_sample_size(seen, filter_beyond_positive_pairs=True).numpy()
    per_gradient = np.nan_to_num(effective).sum(axis=0) / gradients  # NaN: a chain that stood still
    return {
        "step_size": float(tf.reduce_max(step_sizes[-1])),
        "acceptance": float(np.mean(is_accepted)),
        "energy": float(per_gradient[0]),
        "projections_min": float(per_gradient[1:].min()),
        "projections_median": float(np.median(per_gradient[1:])),
    }


def mean(measured):
    """The mean over seeds of each number, and the standard error of the rates."""
    numbers = {key: float(np.mean([one[key] for one in measured])) for key in measured[0]}
    rates = [key for key in numbers if key not in ("step_size", "acceptance")]
    errors = {
        f"{key}_error": float(np.std([one[key] for one in measured], ddof=1) / len(measured) ** 0.5) for key in rates
    }
    return numbers | errors


def line(row):
    rates = "  ".join(
        f"{key} {row[key]:8.3f} +- {row[key + '_error']:.3f}"
        for key in ("energy", "projections_min", "projections_median")
    )
    return (
        f"{row['density']:6} leapfrog {row['leapfrog_steps']}  step {row['step_size']:.3g}"
        f"  accepted {row['acceptance']:.2f}  effective samples per 1,000 gradients: {rates}"
    )


def of_rings(_data_dir):
    from ebm_tf.data import rings

    starts = rings.sample(64, tf.constant([3, 4], tf.int32))
    if np.abs(np.ptp(rings_log_density(starts).numpy() - rings.log_prob(starts.numpy()))) > 1e-3:
        raise AssertionError("expected the package's log density of the rings, up to a constant")
    return rings_log_density, starts, (0.5 * rings.SIGMA).astype(np.float32)


def rings_log_density(x):
    """log p of App. A.1, up to a constant, for TensorFlow's gradients."""
    from ebm_tf.data import rings

    length, radii = tf.norm(x[:, :2], axis=1)[:, None], tf.constant(rings.RADII, tf.float32)
    variance = float(rings.SIGMA[0] ** 2)
    of_ring = tf.math.log(tf.math.bessel_i0e(radii * length / variance)) - (length - radii) ** 2 / (2 * variance)
    narrow = tf.constant(rings.SIGMA[2:], tf.float32)
    return tf.reduce_logsumexp(of_ring, axis=1) - tf.reduce_sum((x[:, 2:] / narrow) ** 2, axis=1) / 2


def of_table(_data_dir):
    from sklearn import datasets

    from ebm_tf.energies.files import load_energy

    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/wine.npy", datasets.load_wine().data)
        flags = [f"--dataset=array:{folder}/wine.npy", f"--workdir={folder}/run"]
        subprocess.run([sys.executable, str(ROOT / "bin/train.py"), *flags], check=True, capture_output=True)
        energy = load_energy(f"{folder}/run/model.keras")
    x = datasets.load_wine().data
    x = ((x - energy.origin.mean) / energy.origin.scale).astype(np.float32)[:64]
    x += energy.origin.data_noise * np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    return log_density_of(energy), tf.constant(x), 0.1


def of_cifar(data_dir):
    import tensorflow_datasets as tfds

    from ebm_tf.energies import image_net  # noqa: F401  registers the network
    from ebm_tf.energies.files import load_energy
    from ebm_tf.energies.precision import with_policy

    energy = with_policy(load_energy(ROOT / "pretrained/cifar_hybrid_bank.keras"), "float32")
    images = [one["image"] for one in tfds.as_numpy(tfds.load("cifar10", split="test[:64]", data_dir=data_dir))]
    x = np.stack(images).astype(np.float32) / 127.5 - 1
    x += energy.origin.data_noise * np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    return log_density_of(energy), tf.constant(x), 0.005


def log_density_of(energy):
    return lambda x: -tf.cast(energy(x), tf.float32) / energy.origin.temperature


TARGETS = {"rings": of_rings, "table": of_table, "cifar": of_cifar}

if __name__ == "__main__":
    main()

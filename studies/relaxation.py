"""How far Langevin chains from noise relax in L steps, if CIFAR-10 were Gaussian: its own spectrum says.

  python studies/relaxation.py [--data_dir=TFDS] [--settings=0.03,1,100,25:0.1,10,100,25]

A Gaussian of the training images' mean and covariance, with data noise sigma, has the energy T/2 (x - m)' C^-1 (x - m).
Along a principal component of variance v a Langevin step is linear, so all is known without a network:

  d_noise    E of data less E of the ends of L steps from noise, under that energy: white noise, and noise with the
             data's spectrum (--gaussian=start), the latter also with preconditioned steps
             (--gaussian=start+steps). Eq. 7's difference of a model that is right.
  slowest    1 / (epsilon k) steps of the flattest direction, in which chains forget their start; preconditioned too.
  falling    directions that Eq. 6 with lambda makes curve downwards. Along each the curvature k rests where lambda
             (v - variance of ends from data) + (v - variance of ends from white noise) = 0. Where data vary more than
             noise does after L steps, k < 0 solves it, and chains leave along such a direction by a factor of e in
  leave in   1 / (epsilon |k|) steps, of the fastest.
"""

import argparse
import pathlib
import sys

import numpy as np
from scipy import optimize

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TEMPERATURE = 5e-5
SETTINGS = (
    "0.03,1,100,25:0.03,1,500,25:0.05,2.5,200,25:0.1,10,100,10:0.1,10,100,25:0.1,10,100,50:0.1,10,100,500:0.1,10,500,25"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets")
    parser.add_argument("--settings", default=SETTINGS, help="sigma,epsilon,L,lambda, by colons")
    options = parser.parse_args()
    settings = [tuple(map(float, one.split(","))) for one in options.settings.split(":")]
    mean, factor, covariance = fit(options.data_dir)
    starts = coloured_covariance(mean, factor)
    own, directions = np.linalg.eigh(covariance)
    own_starts = np.einsum("ai,ab,bi->i", directions, starts, directions, optimize=True)  # along the same directions
    few = f"{np.sum(own > 1)} above 1, {np.mean(own < 1e-3):.0%} below 0.001"
    print(f"variances of the {len(own)} principal components: largest {own[-1]:.0f}, {few}")
    print("                           | d_noise, starts:              | slowest, steps    | white noise:")
    print("sigma epsilon     L lambda |   white  spectrum  and with P |   plain    with P | falling  leave in")
    for sigma, step_size, num_steps, cd_weight in settings:
        variances = own + sigma**2
        white = energy_difference(variances, np.ones_like(variances), step_size, num_steps)
        coloured = energy_difference(variances, own_starts + sigma**2, step_size, num_steps)
        widths, width_starts = preconditioned(mean, factor, covariance, starts, sigma)
        faster = energy_difference(widths, width_starts, step_size, num_steps)
        slowest, slowest_with = (v.max() / (step_size * TEMPERATURE) for v in (variances, widths))
        rates = resting_curvatures(variances, step_size, num_steps, cd_weight)
        falling = int(np.sum(rates < 0))
        leave = f"{-1 / (step_size * rates.min()):.0f} steps" if falling else "-"
        values = (
            f"{sigma:5g} {step_size:7g} {num_steps:5g} {cd_weight:6g} | {white:7.4f} {coloured:9.4f} {faster:11.4f}"
        )
        print(f"{values} | {slowest:7.0f} {slowest_with:9.0f} | {falling:7d}  {leave}")


def fit(data_dir):
    """Mean and spectrum of the training images by noise_spectrum, and the covariance [P, P] of their pixels."""
    from ebm_tf import build
    from ebm_tf.data import images
    from ebm_tf.data.spectrum import noise_spectrum
    from ebm_tf.settings.train import TrainConfig

    config = TrainConfig(data_dir=data_dir)
    x = images.load(config.dataset, config.train_split, data_dir, config.image_size) / 127.5 - 1
    mean, factor = noise_spectrum(build.dataset(config), config.data_noise)
    x = (x - mean).reshape(len(x), -1)
    return mean, factor, x.T @ x / len(x)


def coloured_covariance(mean, factor):
    """Covariance [P, P] of starts with the spectrum."""
    from ebm_tf.mcmc.chain_init import coloured

    root = coloured(_units(mean), (0 * mean, factor)).numpy().reshape(mean.size, -1)  # a row per coefficient
    return root.T @ root


def preconditioned(mean, factor, covariance, starts, sigma):
    """Variances of data with noise, and of starts, along directions in which preconditioned steps are plain ones."""
    from ebm_tf.mcmc.preconditioner import precondition, root_of_spectrum

    noisy = factor @ factor.swapaxes(-1, -2) + sigma**2 * np.eye(3)
    units = _units(mean)
    root = precondition(root_of_spectrum(np.linalg.cholesky(noisy)), 0 * units, units).numpy().reshape(mean.size, -1).T
    inverse, white = np.linalg.inv(root.astype(np.float64)), sigma**2 * np.eye(mean.size)
    own, directions = np.linalg.eigh(inverse @ (covariance + white) @ inverse.T)
    back = directions.T @ inverse
    return own, np.einsum("ia,ab,ib->i", back, starts + white, back, optimize=True)


def _units(mean):
    return np.eye(mean.size, dtype=np.float32).reshape(-1, *mean.shape)


def variance_after(v_start, curvature, step_size, num_steps):
    """Variance of x along one direction after num_steps of x - epsilon k x + sqrt(2 epsilon T) z."""
    kept = (1 - step_size * curvature) ** 2
    sum_kept = np.where(np.abs(1 - kept) < 1e-12, num_steps, (1 - kept**num_steps) / np.where(kept == 1, 1, 1 - kept))
    return kept**num_steps * v_start + 2 * step_size * TEMPERATURE * sum_kept


def energy_difference(variances, v_start, step_size, num_steps):
    """d_noise under the Gaussian's own energy."""
    ends = variance_after(v_start, TEMPERATURE / variances, step_size, num_steps)
    return TEMPERATURE / 2 * np.sum(1 - ends / variances)


def resting_curvatures(variances, step_size, num_steps, cd_weight):
    """Per direction the curvature at which Eq. 6 is 0, with white noise."""

    def balance(curvature, v):
        from_data, from_noise = (variance_after(start, curvature, step_size, num_steps) for start in (v, 1.0))
        return cd_weight * (v - from_data) + (v - from_noise)  # rises with the curvature

    return np.array(
        [optimize.brentq(balance, -1 / step_size, 0.9 / step_size, args=(v,), xtol=1e-15) for v in variances]
    )


if __name__ == "__main__":
    main()

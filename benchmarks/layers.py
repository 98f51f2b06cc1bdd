"""How large the numbers inside an image energy are, how sharply the energy bends, and what rounding leaves of Eq. 6.

  python benchmarks/layers.py --model=RUN/model.keras [--data_dir=DIR] [--num_images=16]

Prints the root mean square of every layer's output at test images of CIFAR-10, the mean and spread of E over them, the
mean norm of dE/dx, and the largest curvature of E: an eigenvalue of the Hessian, by power iteration with differences of
gradients. Langevin steps of size epsilon are unstable where epsilon times it is beyond 2. Then the norm of Eq. 6's
gradient in bfloat16, by image_energy.py, where chains have ended where they began, at the data, and it is 0: with one
copy of the data, as the package once did, and with one per bracket, as it does. Read in docs/log/cifar.md.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

ITERATIONS, DIFFERENCE = 20, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a .keras file of an image energy of 32x32 images")
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets")
    parser.add_argument("--num_images", type=int, default=16)
    options = parser.parse_args()
    from ebm_tf.data import images
    from ebm_tf.energies.files import load_energy
    from ebm_tf.energies.precision import with_policy

    energy = with_policy(load_energy(options.model), "float32")
    x = images.to_unit_range(images.load("cifar10", "test", options.data_dir, 32)[: options.num_images])
    state = x
    for layer in energy.network.layers:
        state = layer(state)
        print(f"{layer.name:<16} {_rms(state):.3g}")
    values, slopes = energy.energy_and_grad(x)
    norms = np.linalg.norm(np.reshape(slopes, [len(x), -1]), axis=1)
    print(f"E {np.mean(values):.4g}, spread {np.std(values):.3g}; |dE/dx| {norms.mean():.3g}")
    curvature = _largest_curvature(energy, x)
    print(f"largest curvature: median {np.median(curvature):.3g}, largest of {len(x)} images {curvature.max():.3g}")
    for brackets, left in _left_over(with_policy(energy, "mixed_bfloat16"), x).items():
        print(f"gradient where it is 0, {brackets}: {left:.3g}")


def _rms(values) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _largest_curvature(energy, x) -> np.ndarray:
    """Per image the eigenvalue of the largest size, [N]."""
    direction = np.random.default_rng(0).standard_normal(x.shape)
    for _ in range(ITERATIONS):
        norm = np.linalg.norm(direction.reshape(len(x), -1), axis=1)
        direction /= np.maximum(norm, 1e-30)[:, None, None, None]  # E may be flat, or a plane, around an image
        step = (DIFFERENCE * direction).astype(np.float32)
        after, before = (energy.energy_and_grad(x + sign * step)[1].numpy() for sign in (1, -1))
        change = (after - before) / (2 * DIFFERENCE)
        curvature = np.sum(change * direction, axis=(1, 2, 3))
        direction = change
    return curvature


def _left_over(energy, x) -> dict[str, float]:
    """Norm of the gradient of Eq. 6 over the weights, lambda = 25, with data and chain ends the same x."""
    import tensorflow as tf

    def norm(weights):
        with tf.GradientTape() as tape:
            energies = energy.prepare_for_gpu()(np.tile(x, (len(weights), 1, 1, 1)))
            loss = tf.add_n([w * tf.reduce_mean(e) for w, e in zip(weights, tf.split(energies, len(weights)))])
        return float(tf.linalg.global_norm(tape.gradient(loss, energy.trainable_variables)))

    return {"one copy of the data": norm([26.0, -1.0, -25.0]), "one per bracket": norm([1.0, -1.0, 25.0, -25.0])}


if __name__ == "__main__":
    main()

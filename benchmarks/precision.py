"""What rounding does to a trained image energy, by dtype policy.

  python benchmarks/precision.py --model=pretrained/cifar_hybrid_settled.keras [--data_dir=DIR] [--num_images=32]

Prints a table in Markdown, against float32 with all its bits. Files of pretrained/ hold weights rounded to float16,
which float16 would then not round: the bits that they lack are drawn at random. E and dE/dx are those of test images of
CIFAR-10 with Gaussian noise; dE/dtheta is the gradient of Eq. 6 with lambda = 25, whose chains are taken to end at
white noise and at the data with noise of 0.02. "zeros" is the share of its numbers that are 0. "factor 1" is float16
without the factor that image_energy.py has on gradients. With a GPU also the milliseconds of a Langevin step of
--num_chains chains.
"""

import argparse
import contextlib
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from ebm_tf.cli import xla  # noqa: E402

CD_WEIGHT, MOVED = 25.0, 0.02
ROWS = {  # policy, factor, whether a GPU may use TF32
    "float32": ("float32", None, False),
    "TF32": ("float32", None, True),
    "mixed_bfloat16": ("mixed_bfloat16", None, False),
    "mixed_float16, factor 1": ("mixed_float16", 1.0, False),
    "mixed_float16": ("mixed_float16", None, False),
}
HEAD = "| policy | error of E, RMS / T | largest / T | of dE/dx | of dE/dtheta | zeros | ms per step |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a .keras file of an image energy of 32x32 images")
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets")
    parser.add_argument("--num_images", type=int, default=32)
    parser.add_argument("--data_noise", type=float, default=0.05, help="standard deviation, per pixel")
    parser.add_argument("--temperature", type=float, default=5e-5, help="T, the unit of E's errors")
    parser.add_argument("--num_chains", type=int, default=200)
    parser.add_argument("--num_steps", type=int, default=400, help="of the chains that are timed on a GPU")
    options = parser.parse_args()
    xla.configure()
    import tensorflow as tf

    from ebm_tf.data import images
    from ebm_tf.energies.files import load_energy

    energy = load_energy(options.model)
    gpus = tf.config.list_physical_devices("GPU")
    rng = np.random.default_rng(0)
    x = images.to_unit_range(images.load("cifar10", "test", options.data_dir, 32)[: options.num_images]).numpy()
    x = _noisy(rng, x, options.data_noise)
    for weight in energy.trainable_variables:
        if np.array_equal(value := weight.numpy(), value.astype(np.float16)):
            weight.assign(value + np.spacing(value.astype(np.float16)) * rng.uniform(-0.5, 0.5, value.shape))
    ends = rng.standard_normal(x.shape, dtype=np.float32), _noisy(rng, x, MOVED)
    names = [name for name in ROWS if gpus or name != "TF32"]
    device = tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "CPU"
    print(f"{options.model}, {len(x)} images with noise of {options.data_noise}, T = {options.temperature}, {device}")
    print(HEAD + "\n|" + " --- |" * 7)
    exact = None
    for name in names:
        with _row(energy, name) as model:
            numbers = _numbers(model, x, ends)
            exact = exact or numbers
            ms = f"{_ms_per_step(model, options):.3f}" if gpus else ""
        error = (numbers[0] - exact[0]) / options.temperature
        slopes = (np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(numbers[1:], exact[1:], strict=True))
        shares = [f"{100 * share:.2g} %" for share in (*slopes, np.mean(numbers[2] == 0))]
        print("| " + " | ".join([name, f"{_rms(error):.2g}", f"{np.abs(error).max():.2g}", *shares, ms]) + " |")


def _noisy(rng, x, std):
    return x + np.float32(std) * rng.standard_normal(x.shape, dtype=np.float32)


def _rms(values) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


@contextlib.contextmanager
def _row(energy, name):
    """The energy under a row's policy; within it, float16's factor and TF32 are the row's."""
    import tensorflow as tf

    from ebm_tf.energies import image_energy
    from ebm_tf.energies.precision import with_policy

    policy, factor, tf32 = ROWS[name]
    before = image_energy.FACTOR
    image_energy.FACTOR = factor or before
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    try:
        yield with_policy(energy, policy)
    finally:
        image_energy.FACTOR = before


def _numbers(energy, x, ends) -> list[np.ndarray]:
    """E [N], dE/dx [N, *event] and the gradient of Eq. 6 [number of weights], as a GPU would compute them."""
    import tensorflow as tf

    @tf.function(jit_compile=bool(tf.config.list_physical_devices("GPU")), autograph=False)
    def compute(x, *ends):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            values = energy.prepare_for_gpu()(x)
        slopes = tape.gradient(values, x)
        with tf.GradientTape() as tape:
            energies = tf.split(energy.prepare_for_gpu()(tf.concat([x, ends[0], x, ends[1]], axis=0)), 4)
            means = [tf.reduce_mean(part) for part in energies]
            loss = means[0] - means[1] + CD_WEIGHT * (means[2] - means[3])
        gradient = tape.gradient(loss, energy.trainable_variables)
        return values, slopes, tf.concat([tf.reshape(part, [-1]) for part in gradient], axis=0)

    return [part.numpy() for part in compute(tf.constant(x), *map(tf.constant, ends))]


def _ms_per_step(energy, options) -> float:
    """Median of five timings."""
    import tensorflow as tf

    from ebm_tf.mcmc.langevin import compile_chain

    chain = compile_chain(energy, energy.event_shape, True, energy.preconditioner)
    x, seed = tf.random.stateless_normal([options.num_chains, *energy.event_shape], [1, 2]), tf.constant([3, 4])
    times = []
    for _ in range(6):  # the first also compiles
        start = time.monotonic()
        chain(x, options.num_steps, 1.0, options.temperature, seed)[0].numpy()
        times.append(time.monotonic() - start)
    return 1e3 * float(np.median(times[1:])) / options.num_steps


if __name__ == "__main__":
    main()

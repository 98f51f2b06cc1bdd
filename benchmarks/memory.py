"""Does the memory of a GPU grow with the number of Langevin steps?

  python benchmarks/memory.py [--num_filters=64] [--num_chains=20] [--num_steps=100,100000]

Runs chains of 32x32 images of either length, one compiled program for both, and prints the peak of each.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ebm_tf.cli import xla  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_filters", type=int, default=64)
    parser.add_argument("--num_chains", type=int, default=20)
    parser.add_argument("--num_steps", default="100,100000", help="lengths, by commas")
    parser.add_argument("--output", help="a .json file")
    options = parser.parse_args()
    xla.configure()
    peaks = measure(options.num_filters, options.num_chains, [int(steps) for steps in options.num_steps.split(",")])
    print(json.dumps(peaks, indent=1))
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(peaks, indent=1) + "\n")
    return 0


def measure(num_filters: int, num_chains: int, lengths: list[int]) -> dict[str, int]:
    """Peak bytes of GPU memory, by number of steps."""
    import tensorflow as tf

    from ebm_tf.build import build_energy, build_sampler, step_sizes
    from ebm_tf.settings.train import TrainConfig

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        sys.exit("a GPU is needed: TensorFlow counts no memory of a CPU (tests/end_to_end/test_memory.py does)")
    config = TrainConfig(num_filters=num_filters, dtype_policy="mixed_bfloat16")
    energy = build_energy(config)
    chain = build_sampler(energy, config).compile(energy)
    x, sizes = tf.random.stateless_normal([num_chains, *config.event_shape], [1, 2]), step_sizes(config)
    chain(x, 1, sizes, config.temperature, tf.constant([3, 4]))[0].numpy()  # compiles
    peaks = {}
    for steps in lengths:
        tf.config.experimental.reset_memory_stats("GPU:0")
        chain(x, steps, sizes, config.temperature, tf.constant([3, 4]))[0].numpy()
        peaks[str(steps)] = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    return peaks


if __name__ == "__main__":
    sys.exit(main())

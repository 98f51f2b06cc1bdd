"""Updates per second of a whole training run, and the share of its time that is not Langevin steps.

  python benchmarks/train.py [--dataset=cifar10] [--num_filters=128] [--dtype_policy=mixed_bfloat16] [--num_steps=100]
      [--scheme=hybrid] [--bank_weight=1]

Trains exactly as bin/train.py does, with logging, in a folder that is thrown away: on a GPU CIFAR-10's
shapes, from random images unless --data_dir names prepared CIFAR-10; on a CPU the rings. Then times the chains alone,
at two lengths, so that what one step costs is their difference; and the input pipeline alone.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ebm_tf.cli import xla  # noqa: E402

LOG_EVERY = 50  # as bin/train.py does by default


def main() -> None:
    options = _options()
    xla.configure()
    numbers: dict = {}
    for part in measure(options):  # what is known is told and written, should the rest not be reached
        numbers |= part
        print(json.dumps(part, indent=1), flush=True)
        if options.output:
            pathlib.Path(options.output).write_text(json.dumps(numbers, indent=1) + "\n")


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=("cifar10", "rings"), help="default: cifar10 on a GPU, rings on a CPU")
    parser.add_argument("--num_filters", type=int, help="default: 128, rings 64")
    parser.add_argument("--scheme", default="hybrid")
    parser.add_argument("--bank_weight", type=float, default=0.0, help="above 0: a bracket of old chains too")
    parser.add_argument("--bank_size", type=int, default=2_000)
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--num_steps", type=int, default=100, help="L")
    parser.add_argument("--dtype_policy", help="default: mixed_bfloat16, rings float32")
    parser.add_argument("--updates", type=int, default=400, help="a multiple of 50, 200 or more")
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets. None: random images")
    parser.add_argument("--output", help="a .json file")
    return parser.parse_args()


def measure(options) -> Iterator[dict]:
    """JSON values, part by part: of training, of the chains alone, of the input alone."""
    import tensorflow as tf

    from ebm_tf import build
    from ebm_tf.settings.train import TrainConfig
    from ebm_tf.training import run

    rings = (options.dataset or ("cifar10" if tf.config.list_physical_devices("GPU") else "rings")) == "rings"
    has_bank = options.bank_weight > 0 or options.scheme.startswith("persistent")
    if options.data_dir is None:
        _use_random_images()
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            workdir=f"{folder}/run",
            dataset="rings" if rings else "cifar10",
            data_dir=None if rings else options.data_dir,
            num_filters=options.num_filters or (64 if rings else 128),
            step_size=0.001 if rings else 1.0,
            temperature=0.005 if rings else 5e-5,
            energy_scale=0.005 if rings else 1.0,
            scheme=options.scheme,
            bank_weight=options.bank_weight,
            **({"bank_size": options.bank_size} if has_bank else {}),
            batch_size=options.batch_size,
            num_steps=options.num_steps,
            dtype_policy=options.dtype_policy or ("float32" if rings else "mixed_bfloat16"),
            jit_compile="true" if rings else "auto",  # as configs/ has it
            train_steps=options.updates,
            log_every=LOG_EVERY,
            checkpoint_every=10**9,
        )
        run.train(config)
        rows = [json.loads(line) for line in (pathlib.Path(config.workdir) / "metrics.jsonl").read_text().splitlines()]
    update_ms = 1e3 / statistics.median(row["updates_per_second"] for row in rows[2:])
    first_rows_ms = LOG_EVERY * 1e3 / rows[0]["updates_per_second"]
    yield {
        "device": _device(tf),
        "dataset": config.dataset,
        "num_filters": config.num_filters,
        "dtype_policy": config.dtype_policy,
        "brackets": config.brackets,
        "batch_size": config.batch_size,
        "num_steps": config.num_steps,
        "updates_per_s": 1e3 / update_ms,
        "ms_per_update": update_ms,
        "first_update_s": (first_rows_ms - (LOG_EVERY - 1) * update_ms) / 1e3,  # nearly all of it is compilation
    }
    step_ms = _step_ms(config)
    yield {"ms_per_langevin_step": step_ms, "share_not_langevin": 1 - config.num_steps * step_ms / update_ms}
    yield {"ms_per_batch_of_input": _batch_ms(build.make_dataset(config))}
    if tf.config.list_physical_devices("GPU"):
        yield {"peak_memory_mib": tf.config.experimental.get_memory_info("GPU:0")["peak"] >> 20}


def _step_ms(config) -> float:
    """Milliseconds per step of an update's chains, compiled for their length as training's are; by two lengths."""
    import tensorflow as tf

    from ebm_tf.build import build_energy, step_sizes, use_xla
    from ebm_tf.mcmc.langevin import in_halves, langevin_chain

    sizes, seed, is_compiled = step_sizes(config), tf.constant([3, 4]), use_xla(config.jit_compile)
    energy = in_halves(build_energy(config), config.event_shape, is_compiled)
    num_chains = len(config.brackets) * config.batch_size
    x_init = tf.random.stateless_normal([num_chains, *config.event_shape], [1, 2])

    def of_length(num_steps):
        @tf.function(jit_compile=is_compiled, autograph=False)
        def chain():
            return langevin_chain(energy, x_init, tf.constant(num_steps), sizes, config.temperature, seed)[0]

        chain()
        return lambda: chain().numpy()

    chains = [of_length(n * config.num_steps) for n in (1, 3)]
    times = []
    for _ in range(5):
        short, long = (_seconds(chain) for chain in chains)
        times.append((long - short) / (2 * config.num_steps) * 1e3)
    return statistics.median(times)


def _batch_ms(dataset) -> float:
    """Milliseconds per batch of the input pipeline, with nobody to wait for."""
    batches = iter(dataset)
    for _ in range(20):
        next(batches)
    return _seconds(lambda: [next(batches) for _ in range(100)]) / 100 * 1e3


def _use_random_images() -> None:
    import numpy as np

    from ebm_tf.data import images

    pixels = np.random.default_rng(1).integers(0, 256, (50_000, 32, 32, 3), np.uint8)
    images.load = lambda *_: pixels


def _seconds(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _device(tf) -> str:
    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "CPU"


if __name__ == "__main__":
    main()

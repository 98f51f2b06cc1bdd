"""What a checkpoint costs training: stretches of updates with one and without, in turn, in one process.

  python benchmarks/checkpoints.py [--num_filters=128] [--num_steps=500] [--bank_dtype=float16] [--folder=DIR]

Trains the persistent scheme on CIFAR-10's shapes, from random images, with the paper's bank of 60,000. A stretch with a
checkpoint saves it after its first update, and holds all that goes on beside training until it is on the disk. Its cost
is the median difference to the stretch without one that ran just before or after it; its share is that cost over
--checkpoint_every updates.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ebm_tf.cli import xla  # noqa: E402
from ebm_tf.settings.train import TrainConfig  # noqa: E402

GOAL = 0.02  # of training time


def main() -> None:
    options = _options()
    xla.configure()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        numbers = measure(options, folder)
    print(json.dumps(numbers, indent=1))
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(numbers, indent=1) + "\n")


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_filters", type=int, help="default: 128, on a CPU 2")
    parser.add_argument("--num_steps", type=int, help="L. Default: 500, on a CPU 2")
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--bank_size", type=int, default=60_000)
    parser.add_argument("--bank_dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--updates", type=int, default=30, help="of a stretch: long enough to finish a checkpoint in")
    parser.add_argument("--rounds", type=int, default=6, help="pairs of stretches")
    parser.add_argument("--checkpoint_every", type=int, default=TrainConfig().checkpoint_every)
    parser.add_argument("--folder", help="where checkpoints go, on the disk that is meant. Default: the system's")
    parser.add_argument("--output", help="a .json file")
    return parser.parse_args()


def measure(options, folder) -> dict:
    """Everything, as JSON values."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    config = TrainConfig(
        scheme="persistent",
        workdir=f"{folder}/run",
        num_filters=options.num_filters or (128 if gpus else 2),
        num_steps=options.num_steps or (500 if gpus else 2),
        batch_size=options.batch_size,
        bank_size=options.bank_size,
        bank_dtype=options.bank_dtype,
        dtype_policy="mixed_bfloat16" if gpus else "float32",
        checkpoint_every=options.checkpoint_every,
        learning_rate=1e-12,
    )
    stretch = _stretches(config, options.updates)
    stretch(True)
    rows = [_pair(stretch, checkpoint_first=bool(number % 2)) for number in range(options.rounds)]
    cost = statistics.median(row["with"] - row["without"] for row in rows)
    update = statistics.median(row["without"] for row in rows) / options.updates
    share = cost / (config.checkpoint_every * update)
    return {
        "device": tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "CPU",
        **{name: getattr(config, name) for name in ("num_filters", "num_steps", "batch_size", "bank_dtype")},
        "checkpoint_every": config.checkpoint_every,
        "updates_per_stretch": options.updates,
        "share": share,
        "share_of_the_wait": statistics.median(row["wait"] for row in rows) / (config.checkpoint_every * update),
        "checkpoint_over_update": cost / update,
        "least_update_ms_for_2_percent": 1e3 * cost / (GOAL * config.checkpoint_every),
        "checkpoint_mib": rows[0]["bytes"] / 2**20,
        "rows": rows,
    }


def _pair(stretch, checkpoint_first) -> dict:
    both = {}
    for with_checkpoint in (checkpoint_first, not checkpoint_first):
        both |= stretch(with_checkpoint)
    return both


def _stretches(config, updates):
    """A function that does a stretch, and returns seconds: of it all, and of a checkpoint's wait and whole."""
    import tensorflow as tf

    from ebm_tf.runs.run_dir import RunDir
    from ebm_tf.training import run
    from ebm_tf.training.checkpoints import Checkpoints

    run_dir = RunDir(config.workdir)
    run_dir.prepare(config)
    files = Checkpoints(run_dir, config.keep_checkpoints)
    trainer = run.build_trainer(config)
    checkpoint = trainer.checkpoint
    images = tf.random.stateless_uniform((10, config.batch_size, *config.event_shape), [0, 0], -1.0, 1.0)
    batches = iter(tf.data.Dataset.from_tensor_slices(images).cache().repeat())
    trainer.make_train_function()

    def stretch(with_checkpoint):
        start = time.perf_counter()
        times = {}
        for number in range(updates):
            loss = float(trainer.train_function(batches)["loss"])  # waits for the device, as the guard does
            if with_checkpoint and number == 0:
                begun = time.perf_counter()
                files.save(checkpoint, int(trainer.update_count.numpy()), 0)
                times["wait"] = time.perf_counter() - begun
        times["with" if with_checkpoint else "without"] = time.perf_counter() - start
        if not abs(loss) < float("inf"):
            raise FloatingPointError(f"loss = {loss}")
        if with_checkpoint:
            times["is_whole_in_time"] = not files.is_writing
            files.wait()
            newest = run_dir.checkpoints.glob(f"update-{run_dir.checkpoint_steps()[-1]}.*")
            times["bytes"] = sum(path.stat().st_size for path in newest)
        return times

    return stretch


if __name__ == "__main__":
    main()

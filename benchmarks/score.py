"""Scoring against reading: CPU time and wall time of bin/score.py's parts, in one run.

  python benchmarks/score.py [--num_filters=32] [--num_images=4000] [--batch_size=256] [--rounds=5] [--photos]
      [--bfloat16]

Writes random images, 32x32 PNG files or with --photos 500x375 JPEG files, and a model with random weights into a folder
that is thrown away. Then takes turns, as often as --rounds: reading the files; the energies of what was read; all that
bin/score.py does but loading the model; a product of matrices with as many operations as the energies' convolutions.
What counts are the ratios, medians over the rounds: they hold on a machine that others use too. --bfloat16 lets
TensorFlow compute convolutions and products in bfloat16, and says how far the energies are then off.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        numbers = measure(options, pathlib.Path(folder))
    print(json.dumps(numbers, indent=1))
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(numbers, indent=1) + "\n")


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_filters", type=int, default=32)
    parser.add_argument("--num_images", type=int, default=4000)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", action="store_true", help="500x375 JPEG files in place of 32x32 PNG files")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--output", help="a .json file")
    return parser.parse_args()


def measure(options, folder: pathlib.Path) -> dict:
    """Everything, as JSON values."""
    import numpy as np
    import tensorflow as tf

    from ebm_tf.serving import score
    from ebm_tf.serving.sources.inputs import find_shards
    from ebm_tf.serving.trained import load_exported
    from ebm_tf.settings.scoring import ScoreConfig

    _write_images(folder / "images", options.num_images, options.photos)
    model_folder = _export(folder, options.num_filters)
    model = load_exported(model_folder)
    shards = find_shards(str(folder / "images"), model.info, None)
    images = np.stack([record.x for record in score.read_all(shards(), model)])
    exact = model.energy(images)
    if options.bfloat16:
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
        model = load_exported(model_folder)
    score.load_exported = lambda _: model
    settings = dict(model=model_folder, input=str(folder / "images"), batch_size=options.batch_size)

    def whole():
        (folder / "table.csv").unlink(missing_ok=True)
        score.score(ScoreConfig(**settings, output=str(folder / "table.csv")))

    parts = {
        "read": lambda: sum(1 for _ in score.read_all(shards(), model)),
        "energy": lambda: model.energy(images, options.batch_size),
        "score": whole,
        "matmul": _matmul(options.num_images * _products(options.num_filters)),
    }
    times = {name: [] for name in parts}
    for _ in range(options.rounds + 1):
        for name, part in parts.items():
            times[name].append(_seconds(part))
    ratios = {}
    for above, below in (("energy", "read"), ("score", "read"), ("energy", "matmul")):
        pairs = list(zip(times[above], times[below]))[1:]  # the first round compiles
        for kind, clock in enumerate(("cpu", "wall")):
            ratios[f"{above}_over_{below}_{clock}"] = statistics.median(one[kind] / other[kind] for one, other in pairs)
    error = model.energy(images) - exact
    return {
        "num_filters": options.num_filters,
        "batch_size": options.batch_size,
        "photos": options.photos,
        "bfloat16": options.bfloat16,
        "cores": os.cpu_count(),
        **ratios,
        "rms_error_over_spread": float(np.sqrt(np.mean(error**2)) / exact.std()),
    }


def _write_images(folder: pathlib.Path, count: int, photos: bool) -> None:
    """Smooth with some noise, so that they compress as photographs do."""
    import numpy as np
    from PIL import Image

    rng, size = np.random.default_rng(0), (500, 375) if photos else (32, 32)
    folder.mkdir()
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        image = np.asarray(coarse) // 2 + rng.integers(0, 32, (*size[::-1], 3), np.uint8)
        Image.fromarray(image).save(folder / f"{number:06d}.{'jpg' if photos else 'png'}")


def _products(num_filters: int) -> int:
    """Products of two numbers in the convolutions, for one image of 32x32; attention has a seventh as many."""
    return 32**2 * 27 * num_filters + (16**2 * 32 + 8**2 * 128 + 4**2 * 512) * num_filters**2 + 128 * num_filters


def _matmul(products: int):
    """A function that takes about so many products of two numbers, as one matrix product after another."""
    import tensorflow as tf

    long, short = tf.random.stateless_normal([4096, 1024], [0, 1]), tf.random.stateless_normal([1024, 1024], [0, 2])
    return lambda: [tf.matmul(long, short).numpy() for _ in range(max(1, round(products / (4096 * 1024 * 1024))))]


def _export(folder: pathlib.Path, num_filters: int) -> str:
    import numpy as np

    from ebm_tf.build import build_energy
    from ebm_tf.serving.export import export
    from ebm_tf.settings.commands import ExportConfig
    from ebm_tf.settings.train import TrainConfig

    config, rng = TrainConfig(num_filters=num_filters), np.random.default_rng(1)
    energy = build_energy(config)
    for variable in energy.trainable_variables:  # attention starts at zero: move it
        variable.assign_add(0.02 * rng.standard_normal(variable.shape))
    (folder / "run").mkdir()
    (folder / "run" / "config.json").write_text(json.dumps(config.to_dict()))
    energy.save(folder / "run" / "model.keras")
    return str(export(ExportConfig(workdir=str(folder / "run"), output=str(folder / "model"))))


def _seconds(action) -> tuple[float, float]:
    """Seconds of CPU time, all threads together, and seconds by the clock on the wall."""
    start = time.process_time(), time.perf_counter()
    action()
    return time.process_time() - start[0], time.perf_counter() - start[1]


if __name__ == "__main__":
    main()

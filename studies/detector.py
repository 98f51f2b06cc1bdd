"""What the detector sees and what it does not: the table of docs/detection.md, and the baseline without a model.

  python studies/detector.py --data_dir=../shared/tfds --model=pretrained/cifar_hybrid_bank.keras --output=DIR

In-distribution is CIFAR-10, and nothing else fits: the first --num_fit of its training images, half of them for the
Gaussian, half for p-values. Reported are its test images but the first 2,000, on which settings were chosen; SVHN's and
the flowers' test images, also without the 1,000 that were looked at; and --num_changed of the reported test images,
changed. With --inside=flowers the first --num_fit of the flowers' test images fit, which did not train, the rest are
reported, and CIFAR-10's test images are other. With --develop all are training images of CIFAR-10, and what is other
are the changes of other_changes.py, none of them in the table: on these the detector's form is chosen. Statistics
stream to DIR/MODEL/, so that a run that was stopped goes on.
Writes DIR/MODEL/detector.json.
"""

import argparse
import io
import json
import pathlib
import sys
import time

import numpy as np
from PIL import Image, ImageFilter
from scipy import stats

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

DEVELOPMENT = {"cifar10": 2_000, "svhn": 1_000, "flowers": 1_000}  # images that settings were chosen on
BLOCK = 100
NUM_SEEDS = 3
FALSE_POSITIVE_RATE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets")
    parser.add_argument("--model", default=str(ROOT / "pretrained" / "cifar_hybrid_bank.keras"), help="an energy")
    parser.add_argument("--output", required=True, help="folder for statistics and table")
    parser.add_argument("--inside", choices=list(OWN), default="cifar10", help="what is in-distribution")
    parser.add_argument("--develop", action="store_true", help="training images and other changes alone")
    parser.add_argument("--num_fit", type=int, default=6_000, help="images that fit")
    parser.add_argument("--num_test", type=int, default=8_000, help="test images")
    parser.add_argument("--num_changed", type=int, default=1_000, help="of these that are changed, in each way")
    parser.add_argument("--num_other", type=int, default=10_000, help="images of another set, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the halves and the changes")
    parser.add_argument("--time", action="store_true", help="only time the statistics beside the gradient alone")
    options = parser.parse_args()
    if options.time:
        return time_statistics(options.model)
    folder = pathlib.Path(options.output) / pathlib.Path(options.model).stem
    compute = Compute(options.model, folder)
    found, own = {name: compute(name, x) for name, x in image_sets(options)}, OWN[options.inside]
    names, tables = np.array(compute.names), {}
    for view, begins in VIEWS.items():
        places = np.flatnonzero([name.startswith(begins) for name in names])
        if len(places):
            chosen = {name: statistics[:, places] for name, statistics in found.items()}
            tables[view] = table(chosen, own, names[places], options.seed, "upper" if view == "E alone" else "both")
    places = np.flatnonzero([name.startswith(VIEWS["detector"]) for name in names])
    chosen = {name: statistics[:, places] for name, statistics in found.items()}
    by_number = by_number_fitted(chosen, own, names[places])
    numbers = {**vars(options), "rates": compute.rates, "tables": tables, "by_number_fitted": by_number}
    (folder / "detector.json").write_text(json.dumps(numbers, indent=2) + "\n")
    show(tables, own)
    for num, row in by_number.items():
        words = ", ".join(f"{name} {low:.3f} to {high:.3f}" for name, (low, high) in row.items())
        print(f"fitted on {num} images, {NUM_SEEDS} draws: {words}")


def time_statistics(model):
    """Images a second, the best of three times after the first calls: of processor time; on a GPU of time on the wall,
    compiled by XLA, in larger batches.
    """
    import tensorflow as tf

    from ebm_tf.energies.files import load_energy
    from ebm_tf.energies.statistics import Statistics

    own, has_gpu = Statistics(load_energy(model)), bool(tf.config.list_physical_devices("GPU"))
    batch, calls, clock = (1_000, 10, time.perf_counter) if has_gpu else (BLOCK, 1, time.process_time)
    x = tf.random.stateless_uniform([batch, 32, 32, 3], [0, 1], -1, 1)
    for name, fn in (("gradient", own.energy.energy_and_grad), ("statistics", own)):
        compiled, seconds = tf.function(fn, autograph=False, jit_compile=has_gpu), []
        for _ in range(4):
            start = clock()
            [value.numpy() for value in [compiled(x) for _ in range(calls)][-1]]
            seconds.append(clock() - start)
        unit = "" if has_gpu else " of processor time"
        print(f"{name}: {batch * calls / min(seconds[1:]):.0f} images a second{unit}")


OWN = {"cifar10": "CIFAR-10 test", "flowers": "Flowers 102 test"}  # the set reported of each data set inside
VIEWS = {  # of the statistics, how their names begin
    "detector": ("energy", "network", "rest", "cosine", "layer", "pixels"),
    "no bands": ("energy", "network", "rest", "cosine", "layer"),  # the detector without the pixels' bands
    "Gaussian": ("rest",),  # the reference that the network tilts, alone
    "any energy": ("energy", "pixels"),  # what a network has whose layers are not known, and that tilts nothing
    "no model": ("pixels",),
    "E alone": ("energy",),
}


def image_sets(options):
    """(name, uint8 [N, 32, 32, 3]) of each set."""
    from ebm_tf.data import images

    if options.develop:
        yield from development_sets(images.load("cifar10", "train", options.data_dir, 32), options)
        return
    cifar = images.load("cifar10", "test", options.data_dir, 32)
    flowers = images.load_any("oxford_flowers102", options.data_dir, 32)
    if options.inside == "cifar10":
        fit, reported = images.load("cifar10", "train", options.data_dir, 32), cifar[DEVELOPMENT["cifar10"] :]
        other = {"Flowers 102": flowers}
    else:
        fit, reported, other = flowers, flowers[options.num_fit :], {"CIFAR-10": cifar}
    yield "fit", fit[: options.num_fit]
    yield OWN[options.inside], reported[: options.num_test]
    yield "SVHN", images.load_any("svhn_cropped", options.data_dir, 32)[: options.num_other]
    changed = reported[: options.num_changed]
    for name, change in CHANGES.items():
        # The tables' own draws: of two names as long only the shuffles draw, blocks of other numbers.
        rng = np.random.default_rng([options.seed, len(name)])
        yield name, np.stack([change(image, rng) for image in changed]).astype(np.uint8)
    for name, x in other.items():
        yield name, x[: options.num_other]


def development_sets(train, options):
    """The same of training images that are not among those that fit the reported table."""
    from other_changes import OTHER_CHANGES

    count, others = options.num_changed, train[30_000:]
    yield "fit", train[10_000 : 10_000 + options.num_fit]
    yield OWN["cifar10"], train[20_000 + count : 24_000]
    for name, change in OTHER_CHANGES.items():
        rng = np.random.default_rng([options.seed, *name.encode()])
        yield name, change(train[20_000 : 20_000 + count], others[: 3 * count], rng)


def add(image, rng):
    return np.clip(np.round(image + rng.normal(0, 16, image.shape)), 0, 255)


def blurred(image, rng):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))


def as_jpeg(image, rng):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=10)
    return np.asarray(Image.open(file))


def shuffled(side):
    def change(image, rng):
        count = 32 // side
        blocks = image.reshape(count, side, count, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        blocks = rng.permutation(blocks).reshape(count, count, side, side, 3)
        return blocks.swapaxes(1, 2).reshape(32, 32, 3)

    return change


def contrast(factor):
    def change(image, rng):
        mean = image.mean(axis=(0, 1))
        return np.clip(np.round(mean + factor * (image - mean)), 0, 255)

    return change


CHANGES = {
    "one colour": lambda image, rng: np.broadcast_to(rng.integers(0, 256, 3), image.shape),
    "uniform noise": lambda image, rng: rng.integers(0, 256, image.shape),
    "blurred by 2 pixels": blurred,
    "+ noise 16/255": add,
    "JPEG quality 10": as_jpeg,
    "blocks of 8x8 shuffled": shuffled(8),
    "blocks of 4x4 shuffled": shuffled(4),
    "contrast x 3": contrast(3),
    "contrast x 0.3": contrast(0.3),
    "negative": lambda image, rng: 255 - image,
    "turned by 90 degrees": lambda image, rng: np.rot90(image),
    "channels swapped": lambda image, rng: image[..., [1, 2, 0]],
}


class Compute:
    """Statistics of images, kept in files.

    Attributes:
      names: of the statistics of the model, then of those of the pixels alone.
      rates: images a second, of each set.
    """

    def __init__(self, model, folder):
        import tensorflow as tf

        from ebm_tf.data import images
        from ebm_tf.energies.files import load_energy
        from ebm_tf.energies.statistics import Statistics, pixel_statistics

        own, self.folder, self.rates = Statistics(load_energy(model)), folder, {}
        known = [place for place, name in enumerate(own.names) if not name.startswith("pixels")]
        self.names = [own.names[place] for place in known]
        self.names += [f"pixels.{name}" for name in pixel_statistics(tf.zeros([1, 32, 32, 3]))]

        @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.uint8)], autograph=False)
        def statistics(image):
            x = images.to_unit_range(image)
            without = tf.stack(list(pixel_statistics(x).values()), axis=1)
            return tf.concat([tf.gather(own(x)[1], known, axis=1), without], axis=1)

        self._fn = statistics

    def __call__(self, name, x):
        """[N, K] of images [N, 32, 32, 3]."""
        from ebm_tf.runs.partial import PartialArrays, blocks

        partial = PartialArrays(self.folder / name.replace("/", "_"), f"{len(x)} {int(x.sum(dtype=np.int64))}")
        array = partial.array("statistics", (len(x), len(self.names)), np.float32)
        start, before = time.monotonic(), partial.blocks_done
        for block, part in list(blocks(len(x), BLOCK))[before:]:
            array[part] = self._fn(x[part]).numpy()
            partial.mark(block + 1)
        if (num_new := len(x) - before * BLOCK) > 0:
            self.rates[name] = num_new / (time.monotonic() - start)
            print(f"{name}: {num_new} images, {self.rates[name]:.1f} a second", flush=True)
        return array


def table(found, inside, names, seed, tail):
    """A row per set: what stats.detection says of the score, and the share flagged."""
    from ebm_tf.stats.detection import detection
    from ebm_tf.stats.typicality import Detector

    detector = Detector.fit(found["fit"], names, seed, tail)
    scores = {name: detector.ood_score(statistics) for name, statistics in found.items()}
    own, known = scores[inside], detector.known_scores
    del scores["fit"]
    looked = {"SVHN": DEVELOPMENT["svhn"], "Flowers 102": DEVELOPMENT["flowers"]}
    for name, looked_at in ((name, number) for name, number in looked.items() if name in scores):
        scores[f"{name}, not looked at"] = scores[name][looked_at:]
    p_values = {name: detector.p_value(score) for name, score in scores.items()}
    rows = {name: detection(-own, -score) for name, score in scores.items()}
    rows[inside] = {**detection(-known, -own), "as_calibrated": float(stats.ks_2samp(known, own).pvalue)}
    for name, row in rows.items():
        row["flagged"] = float(np.mean(p_values[name] <= FALSE_POSITIVE_RATE))
    return rows


def by_number_fitted(found, inside, names):
    """AUROC, lowest and highest over NUM_SEEDS draws of so many of the images that fit, halves included."""
    from ebm_tf.stats.detection import detection
    from ebm_tf.stats.typicality import Detector

    rows = {}
    for num in (10_000, 4_000, 2_000, 1_000, 400, 200):
        aurocs = {name: [] for name in found if name not in ("fit", inside)}
        if num > len(found["fit"]):
            continue
        for seed in range(NUM_SEEDS):
            chosen = np.random.default_rng(seed).permutation(len(found["fit"]))[:num]
            detector = Detector.fit(found["fit"][chosen], names, seed)
            own = detector.ood_score(found[inside])
            for name, values in aurocs.items():
                values.append(detection(-own, -detector.ood_score(found[name]))["auroc"])
        rows[num] = {name: (min(values), max(values)) for name, values in aurocs.items()}
    return rows


def show(tables, inside):
    """AUROC and share flagged at 5 %, of each view."""
    print(f"{'':27s} {'images':>6s} " + " ".join(f"{view:>13s}" for view in tables))
    for name, row in tables["detector"].items():
        numbers = [f"{table[name]['auroc']:6.3f} {table[name]['flagged']:6.3f}" for table in tables.values()]
        print(f"{name:27s} {row['num_out']:6d} " + " ".join(numbers))
    for view, table in tables.items():
        print(f"{view}: mean AUROC {np.mean([row['auroc'] for name, row in table.items() if name != inside]):.4f}")
    own = tables["detector"][inside]
    print(f"scores of {inside} against those that give p-values: Kolmogorov-Smirnov p {own['as_calibrated']:.3f}")


if __name__ == "__main__":
    main()

"""Which form the detector has: the table of forms in docs/detection.md, of development images alone.

  python studies/detector.py --data_dir=TFDS --output=DIR --develop --num_fit=4000 --num_changed=300
  python studies/detector_forms.py --output=DIR

A form is a choice of parts (see ebm_tf.stats.typicality) and of their weights. The rule is that of one standard error
(Breiman et al. 1984): of all forms whose mean AUROC over the changes lies below the best's by no more than a standard
error of this difference over the changes, the simplest. Simpler is one of fewer statistics, then of fewer parts, then
of equal weights, then of fewer statistics in its parts together.
"""

import argparse
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ebm_tf.energies.files import load_energy  # noqa: E402
from ebm_tf.energies.statistics import Statistics  # noqa: E402
from ebm_tf.stats import typicality  # noqa: E402
from ebm_tf.stats.detection import detection  # noqa: E402

NUM_SEEDS = 3  # of the halves
EVERY = ("",)
ENERGY = ("energy", "network", "rest", "cosine", "layer")  # how names begin: all but the pixels
REST, PIXELS = ("rest",), ("pixels",)
KINDS = (REST, ("energy",), ("network",), ("layer",))
FORMS = {  # how the names of each part begin, weights where they are not equal
    "energy": ([ENERGY], None),
    "energy, reference": ([ENERGY, REST], None),
    "energy, reference; the bands in both": ([EVERY, REST + PIXELS], None),
    "energy, reference, bands": ([ENERGY, REST, PIXELS], None),
    "the same, weights 1/2, 1/4, 1/4": ([ENERGY, REST, PIXELS], (1 / 2, 1 / 4, 1 / 4)),
    "energy with bands, reference, bands": ([EVERY, REST, PIXELS], None),
    "the same with weights 1/2, 1/4, 1/4": ([EVERY, REST, PIXELS], (1 / 2, 1 / 4, 1 / 4)),
    "energy, every kind": ([ENERGY, *KINDS], None),
    "energy with bands, every kind, bands": ([EVERY, *KINDS, PIXELS], None),
}
BEFORE = "energy, reference"  # the form that the others are compared with


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, help="folder of studies/detector.py --develop")
    parser.add_argument("--model", default=str(ROOT / "pretrained" / "cifar_hybrid_bank.keras"), help="its energy")
    options = parser.parse_args()
    folder = pathlib.Path(options.output) / pathlib.Path(options.model).stem
    names = sorted(Statistics(load_energy(options.model)).names, key=lambda name: name.startswith(PIXELS))
    found = {path.parent.name: np.load(path) for path in sorted(folder.glob("*/statistics.npy"))}
    fit, own = found.pop("fit"), found.pop("CIFAR-10 test")
    aurocs = {form: areas(fit, own, found, np.array(names), *spec) for form, spec in FORMS.items()}
    best = max(aurocs, key=lambda form: aurocs[form].mean())
    print("form, statistics | mean AUROC | below the best | within one standard error | worst change, best change")
    for form, values in aurocs.items():
        below, change = aurocs[best] - values, values - aurocs[BEFORE]
        error = below.std(ddof=1) / np.sqrt(len(below))
        parts = [sum(name.startswith(begins) for name in names) for begins in FORMS[form][0]]
        worst, most = (list(found)[place] for place in (change.argmin(), change.argmax()))
        print(
            f"{form}, {' + '.join(map(str, parts))} | {values.mean():.4f} | {below.mean():.4f} ± {error:.4f}"
            f" | {'yes' if below.mean() <= error else 'no'}"
            f" | {change.min():+.3f} {worst}, {change.max():+.3f} {most}, {sum(change > 0)} higher"
        )


def areas(fit, own, found, names, parts, weights):
    """AUROC [changes], mean over NUM_SEEDS divisions into halves."""
    kept = np.flatnonzero([name.startswith(tuple(begin for part in parts for begin in part)) for name in names])
    typicality._parts = lambda names: [np.flatnonzero([name.startswith(part) for name in names]) for part in parts]
    rows = []
    for seed in range(NUM_SEEDS):
        detector = typicality.Detector.fit(fit[:, kept], list(names[kept]), seed)
        inside = score(detector, own[:, kept], weights)
        outside = [score(detector, statistics[:, kept], weights) for statistics in found.values()]
        rows.append([detection(-inside, -values)["auroc"] for values in outside])
    return np.mean(rows, axis=0)


def score(detector, statistics, weights):
    """ood_score [N] of statistics [N, K], with weights of the parts where they are not equal."""
    if weights is None:
        return detector.ood_score(statistics)
    logs = typicality._log_distances(detector.normal_scores(statistics) - detector.mean, detector.whitening)
    return (logs - detector.level) / detector.spread @ np.array(weights)


if __name__ == "__main__":
    main()

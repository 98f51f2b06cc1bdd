"""Does an image energy measure how rough an image is?

  python benchmarks/roughness.py --model=RUN/model.keras [--data_dir=DIR] [--num_images=2000]

Roughness: the mean difference of neighbouring pixels, down plus across. Prints the AUROC of -roughness and of -E for
CIFAR-10's test images against SVHN's, and the rank correlation of roughness and E over each: the small budget's log
(docs/log) has them.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from scipy import stats  # noqa: E402

SETS = ("cifar10", "svhn_cropped")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a .keras file of an image energy of 32x32 images")
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets")
    parser.add_argument("--num_images", type=int, default=2_000, help="of each set, the first")
    options = parser.parse_args()
    from ebm_tf.data import images
    from ebm_tf.energies.files import load_energy
    from ebm_tf.stats.detection import detection

    energy = load_energy(options.model)
    x = [images.to_unit_range(images.load(s, "test", options.data_dir, 32)[: options.num_images]) for s in SETS]
    roughness = [sum(np.abs(np.diff(some, axis=axis)).mean(axis=(1, 2, 3)) for axis in (1, 2)) for some in x]
    energies = [energy.predict(some, batch_size=250, verbose=0) for some in x]
    for name, (inside, outside) in {"roughness": roughness, "E": energies}.items():
        print(f"AUROC of -{name}: {detection(-inside, -outside)['auroc']:.3f}")
    for name, rough, values in zip(SETS, roughness, energies, strict=True):
        print(f"{name}: rank correlation of roughness and E {stats.spearmanr(rough, values)[0]:.2f}")


if __name__ == "__main__":
    main()

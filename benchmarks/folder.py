"""Does a large folder stream: a start that does not decode it, flat memory, batches as fast as files can be decoded?

  python benchmarks/folder.py [--files=100000] [--distinct=3000] [--side=64] [--batches=300]

Makes JPEGs in a temporary folder, `distinct` of them different and the rest hard links, and prints, in this order: the
seconds until the first batch, with the Gaussian of the images that chains start from; images per second of decoding
alone, by as many threads as the pipeline has; images per second of the pipeline alone; their ratio; and the peak of
the process's memory after the first batch and after the last. The two rates are measured in turns of 20 batches.
"""

import argparse
import json
import os
import pathlib
import resource
import sys
import tempfile
import time

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
BATCH, TURN = 100, 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--distinct", type=int, default=3_000)
    parser.add_argument("--side", type=int, default=64, help="pixels")
    parser.add_argument("--batches", type=int, default=300, help=f"of {BATCH} images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(pathlib.Path(folder), options.files, options.distinct, options.side)
        print(json.dumps(measure(folder, options.batches), indent=1))
    return 0


def make(root: pathlib.Path, count: int, distinct: int, side: int) -> None:
    """a00000/000000.jpg and so on, 1,000 a folder."""
    rng = np.random.default_rng(0)
    files = [root / f"a{index // 1000:05d}" / f"{index:06d}.jpg" for index in range(count)]
    for index, file in enumerate(files):
        file.parent.mkdir(exist_ok=True)
        if index < distinct:
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            coarse.resize((side, side), Image.Resampling.BICUBIC).save(file, quality=90)
        else:
            os.link(files[index % distinct], file)


def measure(folder: str, num_batches: int) -> dict[str, float]:
    from ebm_tf.data.base import TRAIN, Dataset
    from ebm_tf.data.spectrum import noise_spectrum

    start, start_cpu = time.monotonic(), time.process_time()
    data = Dataset.from_folder(folder)
    opened = time.monotonic() - start
    noise_spectrum(data)
    batches = iter(data.batches(BATCH, 0))
    next(batches)
    found = {"seconds_opened": opened, "seconds_first_batch": time.monotonic() - start}
    found |= {"cpu_seconds_first_batch": time.process_time() - start_cpu, "peak_mib_first_batch": peak()}
    store, rng, seconds = data._load(TRAIN), np.random.default_rng(0), {"decoding": 0.0, "pipeline": 0.0}
    for _ in range(num_batches // TURN):
        rows = rng.permutation(len(store))[: BATCH * TURN]
        start = time.monotonic()
        for part in np.split(rows, TURN):
            store.read(part)
        seconds["decoding"] += time.monotonic() - start
        start = time.monotonic()
        batches = iter(data.batches(BATCH, 0))
        for _ in range(TURN):
            next(batches)
        seconds["pipeline"] += time.monotonic() - start
    rates = {name: num_batches // TURN * TURN * BATCH / value for name, value in seconds.items()}
    found |= {f"{name}_images_per_second": rate for name, rate in rates.items()}
    found |= {"ratio": rates["pipeline"] / rates["decoding"], "peak_mib": peak()}
    return {name: round(value, 2) for name, value in found.items()}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())

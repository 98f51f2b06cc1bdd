"""Does a large folder stream: a start that does not decode it, flat memory, batches as fast as files can be decoded?

  python benchmarks/folder.py [--files=100000] [--distinct=3000] [--side=64] [--batches=300]

Makes JPEGs in a temporary folder, `distinct` of them different and the rest hard links, and prints, in this order: the
seconds until the first batch, with the Gaussian of the images that chains start from; images per second of decoding
alone, by as many threads as the pipeline has, and of the pipeline alone, each with the CPU time of an image; the ratio
of both, which is 1 where the pipeline costs nothing beside decoding; and the peak of the process's memory after the
first batch and after the last. The two are measured in turns of 20 batches.
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
    store, rng = data._load(TRAIN), np.random.default_rng(0)
    spent = {"decoding": np.zeros(2), "pipeline": np.zeros(2)}  # wall and CPU seconds
    for _ in range(num_batches // TURN):
        rows, start = rng.permutation(len(store))[: BATCH * TURN], clocks()
        for part in np.split(rows, TURN):
            store.read(part)
        spent["decoding"] += clocks() - start
        start = clocks()
        for _ in data.batches(BATCH, 0).take(TURN):
            pass
        spent["pipeline"] += clocks() - start
    images = num_batches // TURN * TURN * BATCH
    for name, (wall, cpu) in spent.items():
        found |= {f"{name}_images_per_second": images / wall, f"{name}_cpu_microseconds": 1e6 * cpu / images}
    found |= dict(zip(("ratio", "cpu_ratio"), spent["decoding"] / spent["pipeline"], strict=True))
    found["peak_mib"] = peak()
    return {name: round(value, 2) for name, value in found.items()}


def clocks() -> np.ndarray:
    return np.array([time.monotonic(), time.process_time()])


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())

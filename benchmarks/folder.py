"""Does a large folder stream: a start that does not decode it, flat memory, batches as fast as files can be decoded?

  python benchmarks/folder.py [--files=100000] [--distinct=3000] [--side=64] [--batches=300] [--updates=0]

Makes JPEGs in a temporary folder, `distinct` of them different and the rest hard links, and prints, in this order: the
seconds until the first batch, with the Gaussian of the images that chains start from; images per second of decoding
alone, by as many threads as the pipeline has, and of the pipeline alone, each with the CPU time of an image; the ratio
of both, which is 1 where the pipeline costs nothing beside decoding; and the peak of the process's memory after the
first batch and after the last. The two are measured in turns of 20 batches.

With --updates, in place of these: a training by the settings that fit the data, its batches from the folder as it
streams and from memory, in turns of 5 updates. Prints of both the milliseconds of an update and the share of them in
which it waits for its batch, and the ratio of the updates' times (medians over turns).
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
BATCH, TURN, UPDATES = 100, 20, 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--distinct", type=int, default=3_000)
    parser.add_argument("--side", type=int, default=64, help="pixels")
    parser.add_argument("--batches", type=int, default=300, help=f"of {BATCH} images")
    parser.add_argument("--updates", type=int, default=0, help="of a training, from the folder and as many from memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(pathlib.Path(folder), options.files, options.distinct, options.side)
        found = trained(folder, options.updates) if options.updates else measure(folder, options.batches)
        print(json.dumps(found, indent=1))
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


def trained(folder: str, num_updates: int) -> dict[str, float]:
    from ebm_tf import build
    from ebm_tf.data import folder as folders
    from ebm_tf.data.base import Dataset
    from ebm_tf.defaults import preset_of, with_preset
    from ebm_tf.settings.train import TrainConfig
    from ebm_tf.training.run import build_trainer

    memory = Dataset.from_folder(folder)
    folders.MOST_BYTES = 0
    streamed = Dataset.from_folder(folder)
    assert memory.is_in_memory and not streamed.is_in_memory
    config = with_preset(TrainConfig(dataset=f"folder:{folder}"), (), preset_of(memory, "density"))
    trainer = build_trainer(config, data=memory)
    sources = {"folder": streamed, "memory": memory}
    batches = {name: iter(build.make_dataset(config, data=data)) for name, data in sources.items()}
    for one in batches.values():
        update(trainer, one)  # compiles; decodes a first batch
    turns = {name: [] for name in sources}
    for _ in range(num_updates // UPDATES):
        for name, one in batches.items():
            turns[name].append(np.sum([update(trainer, one) for _ in range(UPDATES)], axis=0))
    found = {"files": memory.num_examples, "batch_size": config.batch_size, "num_steps": config.num_steps}
    for name, times in turns.items():
        waits, wholes = np.transpose(times)
        found |= {f"{name}_ms_per_update": round(1e3 * float(np.median(wholes)) / UPDATES, 1)}
        found |= {f"{name}_share_waiting": round(float(waits.sum() / wholes.sum()), 5)}
    ratio = np.median(np.divide([whole for _, whole in turns["folder"]], [whole for _, whole in turns["memory"]]))
    return {**found, "ratio": round(float(ratio), 3)}


def update(trainer, batches) -> tuple[float, float]:
    """Seconds in which it waits for its batch, and seconds of all of it."""
    start = time.monotonic()
    x = next(batches)
    waited = time.monotonic() - start
    trainer._step(x)["loss"].numpy()
    return waited, time.monotonic() - start


def clocks() -> np.ndarray:
    return np.array([time.monotonic(), time.process_time()])


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())

"""Feeds made-up settings and files to the readers: whatever comes, a value that holds, or ConfigError on one line.

  .venv/bin/python tests/fuzz/fuzz_readers.py --seconds=60

`make fuzz` runs it. A failure prints the smallest input that hypothesis finds, and exits 1.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import math
import os
import pathlib
import random
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import numpy as np
from hypothesis import HealthCheck, Verbosity, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from ebm_tf.data import images
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation import finished
from ebm_tf.runs import saved
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.commands import EvaluateConfig, ReproduceConfig, SampleConfig
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training.checkpoints import Checkpoints, newest_intact

EXAMPLES = 200  # of each target in a round
FOLDER = pathlib.Path(tempfile.gettempdir())  # main sets one of its own

numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([0, 1, -1, 2**31, 10**400, math.nan, math.inf, 1e-320]))
words = ["rings", "cifar10", "data", "hybrid", "train+test", "train[:90%]", "auto"]
texts = st.one_of(st.text(), st.sampled_from(words))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


documents = values.map(lambda value: json.dumps(value).encode())


def names(cls):
    return [field.name for field in dataclasses.fields(cls)]


@contextlib.contextmanager
def refused():
    """ConfigError may come, on one line; other exceptions are failures."""
    try:
        yield
    except ConfigError as error:
        assert str(error) and "\n" not in str(error), repr(str(error))


# Settings.


@given(st.dictionaries(st.one_of(st.sampled_from(names(TrainConfig)), texts), values, max_size=5))
def train_settings(found):
    with refused():
        config = TrainConfig.from_dict(found)
        assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        assert config.batch_size >= 1 and 0 < config.step_size < math.inf and config.first_learning_rate >= 0
        assert config.test_split or config.dataset == "rings" or ":" in config.dataset


PLAIN = {bool: st.booleans(), int: st.integers(), float: st.floats(), str: texts}


def typed(cls):
    """Settings of the right types, as flags give them."""
    kinds = {field.name: field.type for field in dataclasses.fields(cls)}
    optional = {int | None: int, float | None: float, str | None: str}
    fields = {}
    for name, kind in kinds.items():
        fields[name] = st.one_of(st.none(), PLAIN[optional[kind]]) if kind in optional else PLAIN[kind]
    return st.fixed_dictionaries({}, optional=fields)


@given(st.one_of(*(st.tuples(st.just(cls), typed(cls)) for cls in (EvaluateConfig, ReproduceConfig, SampleConfig))))
def other_settings(found):
    cls, given_settings = found
    with refused():
        cls(**given_settings)


# Files. Bytes are what a reader expects, changed here and there, or anything.


def changed(whole):
    """whole with some bytes replaced, cut out or put in."""
    edit = st.tuples(st.integers(0, max(len(whole), 1)), st.integers(0, 40), st.binary(max_size=8))
    edits = st.lists(edit, max_size=4)

    def apply(found):
        content = bytearray(whole)
        for start, length, new in found:
            content[start : start + length] = new
        return bytes(content)

    return st.one_of(edits.map(apply), st.binary(max_size=200))


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def picture(kind):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


X = np.arange(12, dtype=np.float32).reshape(4, 3)
CONFIG = json.dumps(TrainConfig(dataset="rings").to_dict()).encode()
ROWS = b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": null}\n'


@given(st.one_of(changed(CONFIG), documents))
def config_file(content):
    run_dir = RunDir(FOLDER)
    run_dir.config.write_bytes(content)
    with refused():
        assert isinstance(run_dir.load_config(), TrainConfig)


@given(st.one_of(changed(ROWS), st.lists(values, max_size=4).map(lambda v: "\n".join(map(json.dumps, v)).encode())))
def metrics_file(content):
    run_dir = RunDir(FOLDER)
    run_dir.metrics.write_bytes(content)
    rows = run_dir.read_metrics()
    saved.training_minutes([row for row in rows if row["step"] >= 0])
    run_dir.truncate_metrics(1)
    assert all(row["step"] <= 1 for row in run_dir.read_metrics())


@given(st.one_of(changed(b'{"short_run": {"model": "x", "num_samples": 4}}'), documents))
def results_file(content):
    (FOLDER / "results.json").write_bytes(content)
    with refused():
        results = RunDir(FOLDER).read_results()
        saved.SavedRun(FOLDER, TrainConfig(), "x", results).has("short_run")


@given(changed(npz(x=X)))
def arrays_file(content):
    (FOLDER / "t.npz").write_bytes(content)
    entry = saved.SavedRun(FOLDER, TrainConfig(), "x", {"t": {"model": "x"}})
    with refused():
        x = entry.arrays("t", "x")["x"]
        assert not x.dtype.hasobject
    entry.array_names("t")
    (FOLDER / "results.json").unlink(missing_ok=True)
    (FOLDER / "model.keras").write_bytes(b"x")
    with refused():
        finished.FinishedRun(RunDir(FOLDER), TrainConfig(), FOLDER / "model.keras").arrays("t")


@given(st.one_of(*(changed(picture(kind)) for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF"))))
def image_file(content):
    folder = FOLDER / "images"
    folder.mkdir(exist_ok=True)
    (folder / "x.png").write_bytes(content)
    with refused():
        assert images.load_any(str(folder), None, 32).shape == (1, 32, 32, 3)


@given(changed(b'{"key": "k", "blocks_done": 3}'), changed(b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}"))
def partial_arrays(state, array):
    folder = FOLDER / "partial"
    folder.mkdir(exist_ok=True)
    (folder / "state.json").write_bytes(state)
    (folder / "x.npy").write_bytes(array)
    partial = PartialArrays(folder, "k")
    assert partial.blocks_done >= 0
    assert partial.array("x", (2,), np.float32).shape == (2,)
    partial.mark(1)
    assert PartialArrays(folder, "k").blocks_done == 1


MANIFEST = b'{"step": 3, "rollbacks": 0, "sha256": {"update-3.index": "00"}}'


@given(st.one_of(changed(MANIFEST), documents), changed(b"data"))
def checkpoint_files(manifest, index):
    run_dir = RunDir(FOLDER)
    run_dir.checkpoints.mkdir(exist_ok=True)
    (run_dir.checkpoints / "update-3.index").write_bytes(index)
    (run_dir.checkpoints / "update-3.json").write_bytes(manifest)
    with refused(), contextlib.redirect_stderr(io.StringIO()):
        found = newest_intact(run_dir)
        assert found is None or (found.step == 3 and found.rollbacks >= 0)
    Checkpoints(run_dir, 1)._rotate(3)


TARGETS = [
    train_settings,
    other_settings,
    config_file,
    metrics_file,
    results_file,
    arrays_file,
    image_file,
    partial_arrays,
    checkpoint_files,
]


def main():
    global FOLDER
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    args = parser.parse_args()
    begun, rounds = time.monotonic(), 0
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    options = settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=checks, verbosity=Verbosity.quiet
    )
    targets = [options(target) for target in TARGETS]
    with tempfile.TemporaryDirectory() as folder:
        FOLDER = pathlib.Path(folder)
        while time.monotonic() - begun < args.seconds:
            for target in targets:
                with contextlib.redirect_stderr(io.StringIO()):
                    seed(args.seed + rounds)(target)()
            rounds += 1
    print(f"{rounds} rounds of {EXAMPLES} inputs to each of {len(TARGETS)} readers (seed {args.seed}): nothing found")


if __name__ == "__main__":
    main()

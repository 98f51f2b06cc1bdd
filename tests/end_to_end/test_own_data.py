"""Own data and own networks, as a user has them: in a folder of one's own, by the command line and in Python."""

import csv
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from tests import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(3)
# Two clusters, of another size and another place in every column.
X = (
    RNG.integers(0, 2, (600, 1)) * [3.0, -40.0, 1.0] + RNG.normal(size=(600, 3)) * [0.3, 4.0, 0.1] + [10, 500, 0]
).astype(np.float32)
SMALL = ("--train_steps=6", "--num_filters=4", "--num_steps=2", "--batch_size=8")

# As in docs/own_data.md, with fewer updates.
LINES = """
import keras, numpy as np, ebm_tf

data = ebm_tf.Dataset.from_array(np.load("x.npy"))
dense = [keras.layers.Dense(128, "silu") for _ in range(2)]
net = keras.Sequential([keras.Input(data.event_shape), *dense, keras.layers.Dense(1)])
trainer = ebm_tf.Trainer(ebm_tf.EnergyModel.from_network(net), data)
trainer.compile(optimizer=keras.optimizers.Adam(1e-3))
trainer.fit(train_steps=60)
trainer.energy.save("mine.keras")
model = ebm_tf.load("mine.keras")
"""

NETWORK = """
import keras


@keras.saving.register_keras_serializable(package="mine")
class Network(keras.Model):
    def __init__(self, width=8, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.first, self.last = keras.layers.Dense(width, "silu"), keras.layers.Dense(1)

    def call(self, x):
        return self.last(self.first(x)) + 0.5 * keras.ops.sum(keras.ops.square(x), axis=-1, keepdims=True)

    def get_config(self):
        return {**super().get_config(), "width": self.width}
"""

OWN_NETWORK = """
import network, numpy as np, ebm_tf

data = ebm_tf.Dataset.from_array(np.load("x.npy"))
trainer = ebm_tf.Trainer(ebm_tf.EnergyModel.from_network(network.Network(), event_shape=data.event_shape), data)
trainer.compile("adam")
trainer.fit(train_steps=20, verbose=0)
trainer.energy.save("mine.keras")
np.savez("here.npz", energy=trainer.energy((np.load("x.npy")[:7] - data.mean) / data.scale))
"""

READ = """
import {module} numpy as np, ebm_tf

model = ebm_tf.load("mine.keras")
x = np.load("x.npy")[:7]
np.savez("there.npz", energy=model.energy(x), grad=model.energy_grad(x), samples=model.sample(40, seed=1))
"""


def python(folder, *arguments, code=0):
    """Runs Python in a folder outside the repository, as if the package were installed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = processes.run(arguments, folder, environment)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def command(folder, name, *flags, code=0):
    return python(folder, str(ROOT / "bin" / f"{name}.py"), *flags, code=code)


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return tmp_path


def check_what_was_read(folder):
    """Samples are in the data's units: their mean lies among the data, which are at (11.5, 480, 0.5)."""
    there = np.load(folder / "there.npz")
    assert there["samples"].shape == (40, 3) and np.isfinite(there["samples"]).all()
    assert there["energy"].shape == (7,) and there["grad"].shape == (7, 3)
    assert (np.abs(there["samples"].mean(axis=0) - X.mean(axis=0)) < 3 * X.std(axis=0)).all()


def test_ten_lines_in_a_fresh_folder(folder):
    (folder / "mine.py").write_text(LINES)
    assert "update 60/60" in python(folder, "mine.py")
    (folder / "read.py").write_text(READ.format(module=""))
    python(folder, "read.py")
    check_what_was_read(folder)


def test_the_lines_are_those_of_the_docs():
    text = (ROOT / "docs" / "own_network.md").read_text()
    for line in filter(None, LINES.replace("train_steps=60", "train_steps=2_000").splitlines()):
        assert line in text


def test_a_network_of_ones_own_is_read_in_a_new_process(folder):
    (folder / "network.py").write_text(NETWORK)
    (folder / "mine.py").write_text(OWN_NETWORK)
    python(folder, "mine.py")
    (folder / "read.py").write_text(READ.format(module="network,"))
    python(folder, "read.py")
    check_what_was_read(folder)
    np.testing.assert_allclose(
        np.load(folder / "there.npz")["energy"], np.load(folder / "here.npz")["energy"], rtol=1e-4
    )
    (folder / "read.py").write_text(READ.format(module=""))
    assert "import the module that registers them first" in python(folder, "read.py", code=1)


def test_vectors_by_the_command_line(folder):
    """Trained with settings that fit them, resumed with these, evaluated, sampled, exported and scored."""
    np.save(folder / "other.npy", X + 5 * X.std(axis=0))
    flags = ("--dataset=array:x.npy", "--workdir=RUN", "--num_filters=8", "--bank_size=300")
    said = command(folder, "train", *flags, "--train_steps=20")
    assert "540 examples train, 60 are held out" in said
    assert "next: python bin/evaluate.py --workdir=RUN --tasks=short_run,energies,likelihood" in said
    config = json.loads((folder / "RUN" / "config.json").read_text())
    chosen = {
        "temperature": 1.0,
        "num_steps": 20,
        "scheme": "data",
        "bank_jump": True,
        "gaussian": "start+reference",
    }
    given = {"num_filters": 8, "bank_size": 300, "train_steps": 20, "batch_size": 128}
    assert chosen.items() | given.items() <= config.items()
    other = "RUN goes on with other data than it had"
    assert other not in command(folder, "train", "--workdir=RUN", "--train_steps=30", "--resume")
    again = json.loads((folder / "RUN" / "config.json").read_text())
    assert {**again, "train_steps": 20, "resume": False} == {**config, "resume": False}
    shutil.copytree(folder / "RUN", folder / "RUN-2")
    for x in (X[:500], 3 * X + 5):  # the second is the same once it is standardised
        np.save(folder / "x.npy", x)
        said = command(folder, "train", "--workdir=RUN-2", "--train_steps=30", "--resume")
        assert other.replace("RUN", "RUN-2") in said and "nothing to do" in said
    np.save(folder / "x.npy", X)
    tasks = ("--tasks=short_run,energies,ood", "--num_samples=100", "--ood_data=array:other.npy")
    command(folder, "evaluate", "--workdir=RUN", *tasks)
    results = json.loads((folder / "RUN" / "results.json").read_text())
    assert results["short_run"]["num_usable"] == 100 and results["energies"]["num"] == {
        "test": 60,
        "train": 100,
        "other": 100,
    }
    assert (folder / "RUN" / "figures" / "short_run.png").exists()
    assert results["ood"]["against"]["other"]["auroc"] > 0.95  # five standard deviations away
    for source, output in (("--workdir=RUN", "S1"), ("--model=RUN/model.keras", "S2")):
        command(folder, "sample", source, "--num_samples=50", f"--output={output}")
    one, other = (np.load(folder / name / "samples.npz")["x_final"] for name in ("S1", "S2"))
    assert (np.abs(one.mean(axis=0) - X.mean(axis=0)) < 3 * X.std(axis=0)).all()
    np.testing.assert_allclose(one, other, rtol=1e-5)
    cold = ("--workdir=RUN", "--temperature=0", "--init=data", "--num_samples=50", "--num_steps=20")
    for seed in (0, 1):  # descent: no noise
        command(folder, "sample", *cold, f"--seed={seed}", f"--output=COLD{seed}")
    one, other = (np.load(folder / f"COLD{seed}" / "samples.npz") for seed in (0, 1))
    np.testing.assert_array_equal(one["x_final"], other["x_final"])
    assert (one["x_final"] != one["x_init"]).any(axis=1).all()
    command(folder, "export", "--workdir=RUN", "--output=EXPORT")
    command(folder, "score", "--model=EXPORT", "--input=x.npy", "--output=scores.csv")
    with open(folder / "scores.csv") as file:
        energy = np.array([float(row["energy"]) for row in csv.DictReader(file)])
    kept = np.load(folder / "RUN" / "energies.npz")
    assert len(energy) == 600
    assert np.abs(energy[:, None] - kept["test"]).min(axis=0).max() < 1e-4


def test_grey_images_of_28_pixels_by_the_command_line(folder):
    np.save(folder / "grey.npy", RNG.integers(0, 256, (40, 28, 28)).astype(np.uint8))
    said = command(folder, "train", "--dataset=array:grey.npy", "--workdir=RUN", *SMALL)
    assert "images of 28 x 28, padded to 32 x 32" in said
    command(folder, "evaluate", "--workdir=RUN", "--tasks=short_run,energies", "--num_samples=8")
    assert np.load(folder / "RUN" / "short_run.npz")["x_from_noise"].shape == (8, 32, 32, 1)


def test_a_folder_of_images_by_the_command_line(folder):
    (folder / "photos").mkdir()
    for index in range(20):
        pixels = RNG.integers(0, 256, (40, 30 + index, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{index}.png")
    flags = ("--dataset=folder:photos", "--workdir=RUN")
    assert "--image_size: expected a size where images differ" in command(folder, "train", *flags, *SMALL, code=2)
    assert not (folder / "RUN").exists()
    command(folder, "train", *flags, *SMALL, "--image_size=32")
    command(folder, "sample", "--workdir=RUN", "--num_samples=4", "--output=S")
    assert np.load(folder / "S" / "samples.npz")["x_final"].shape == (4, 32, 32, 3)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--attention=false",), "--attention: expected True for array:x.npy, which are no images"),
        (("--dtype_policy=mixed_float16",), "--dtype_policy: expected float32 or mixed_bfloat16 for array:x.npy"),
        (("--image_size=32",), "--image_size: expected None for array:x.npy"),
    ],
)
def test_what_is_for_images_is_refused_of_vectors(folder, flags, text):
    assert text in command(folder, "train", "--dataset=array:x.npy", "--workdir=RUN", *flags, code=2)
    assert not (folder / "RUN").exists()

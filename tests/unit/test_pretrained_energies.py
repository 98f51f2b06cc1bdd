"""The energies in pretrained/: they stay what they are, and the commands take them."""

import hashlib
import os
import pathlib
import re

import numpy as np
import pytest

from ebm_tf.data import images
from ebm_tf.energies.files import load_energy
from ebm_tf.energies.precision import with_policy
from ebm_tf.evaluation.opening import bare_run
from ebm_tf.settings.commands import SampleConfig, resolve
from tests import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("EBM_TF_DATA", ROOT.parent / "shared" / "tfds"))

# Of the first ten test images, in float32.
ENERGIES = {
    "cifar_hybrid_bank": [
        *(-0.036607, -0.068046, -0.041200, -0.128275, -0.017931),
        *(-0.007381, -0.006141, -0.186774, -0.063794, -0.044155),
    ],
    "cifar_hybrid_settled": [
        *(-0.035876, -0.053979, -0.017388, -0.066662, -0.020683),
        *(-0.005749, -0.005005, -0.155547, -0.037741, -0.022981),
    ],
    "cifar_hybrid_short": [
        *(-0.015074, -0.032583, 0.004766, -0.031656, -0.013170),
        *(0.012784, 0.014476, -0.035193, -0.017335, -0.000622),
    ],
    "flowers_hybrid": [
        *(-0.041113, -0.068932, -0.008690, -0.058400, -0.037342),
        *(-0.007339, -0.006534, -0.068627, -0.039716, -0.021813),
    ],
}
FILES = [ROOT / "pretrained" / f"{name}.keras" for name in ENERGIES]

pytestmark = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def test_the_card_is_of_this_file(file):
    content = file.read_bytes()
    assert hashlib.sha256(content).hexdigest() in (ROOT / "pretrained" / "README.md").read_text(encoding="utf-8")
    assert len(content) < 12_000_000


@pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason=f"no CIFAR-10 in {DATA}; set EBM_TF_DATA")
def test_energies_of_ten_images(file):
    """To 1e-5, a fifth of T: float32 differs from machine to machine by about 1e-7 of terms of size 1."""
    x = images.to_unit_range(images.load("cifar10", "test[:10]", str(DATA), 32))
    energy = with_policy(load_energy(str(file)), "float32")
    np.testing.assert_allclose(energy(x), ENERGIES[file.stem], rtol=0, atol=1e-5)


def test_the_file_says_how_it_is_sampled(file):
    """As its card's command does, which gives no step."""
    run = bare_run(str(file), ".", None)
    found = resolve(SampleConfig(model=str(file), output="."), run.config)
    step_size = {"cifar_hybrid_settled": 1.25, "cifar_hybrid_short": 0.625}.get(file.stem, 2.5)
    assert (found.step_size, found.temperature, run.config.data_noise) == (step_size, 5e-5, 0.05)
    card = (ROOT / "pretrained" / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(rf"bin/sample.py --model=pretrained/{file.name} .*", card)
    assert f"--num_steps={found.num_steps} " in command and "--step_size" not in command
    origin = run.energy.origin
    dataset = "oxford_flowers102" if file.stem.startswith("flowers") else "cifar10"
    assert (origin.dataset, origin.data_range, origin.fit) == (dataset, (-1.0, 1.0), "crop")
    assert origin.scheme == "hybrid"


def test_bin_sample_takes_it(file, tmp_path):
    settings = "--num_samples=4", "--num_steps=2"
    done = processes.run(["bin/sample.py", f"--model={file}", *settings, f"--output={tmp_path}"])
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "samples.npz") as arrays:
        assert arrays["x_final"].shape == (4, 32, 32, 3)

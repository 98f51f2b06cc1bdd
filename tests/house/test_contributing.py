"""CONTRIBUTING.md adds a data set, a network, a kernel and a task: a copy of the package gets all four, and works."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = r"```python\n# (\S+?)(?:, (after|in place of): ([^\n]*))?\n(.*?)```"
BLOCKS = re.findall(BLOCK, (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)

USE = """
import json
import os
import ebm_tf
import numpy as np
import tensorflow as tf
from ebm_tf import TrainConfig, train
from ebm_tf.evaluation import tasks
from ebm_tf.mcmc.metropolis import metropolis_step
from ebm_tf.settings.commands import EvaluateConfig

trainer = train(TrainConfig(dataset="moons:0.1", train_steps=2, num_filters=8, num_steps=2, workdir="run"))
few = dict(num_samples=200, num_steps=2, num_chains=20, long_run_steps=10)
tasks.evaluate(EvaluateConfig(workdir="run", tasks="moments,short_run,long_run,energies", **few))
quadratic = lambda x: 2.0 * tf.reduce_sum(x**2, axis=-1)  # at T = 1 of variance 1/4
x = 0.5 * tf.random.stateless_normal([100_000, 1], [1, 2])
x, is_accepted = metropolis_step(quadratic, x, 2.0, 1.0, tf.constant([3, 4]))
found = {"network": trainer.energy.network.name, "rate": float(np.mean(is_accepted)), "variance": float(np.var(x))}
found["package"] = ebm_tf.__file__
found["ends"] = [np.load("run/energies.npz")["long_run"].tolist(), np.load("run/long_run.npz")["energy"][-1].tolist()]
print(json.dumps(found | json.load(open("run/results.json"))["moments"]))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package with all that the blocks add."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("ebm_tf", "tools"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for path, how, line, text in BLOCKS:
        file = root / path
        if not how:
            assert not file.exists()
            file.write_text(text)
            continue
        before = file.read_text()
        assert before.count(f"\n{line}\n") == 1 and text.count("\n") == 1
        file.write_text(before.replace(f"\n{line}\n", f"\n{line}\n{text}" if how == "after" else f"\n{text}"))
    return root


def test_each_is_one_file_of_ten_lines_and_at_most_one_line_elsewhere():
    new = [path for path, how, *_ in BLOCKS if not how]
    assert [path.split("/")[1] for path in new] == ["data", "energies", "mcmc", "evaluation"]
    assert sum(bool(how) for _, how, *_ in BLOCKS) == 3  # a kernel needs none
    assert all(len([line for line in text.splitlines() if line]) <= 10 for *_, text in BLOCKS)


def test_they_train_sample_and_evaluate(copy):
    done = processes.run(["-c", USE], copy)
    assert done.returncode == 0, done.stderr[-2_000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert pathlib.Path(found["package"]).parents[1] == copy
    assert found["network"] == "residual_net"
    # In the data's units, where the first column has mean 0.5 and standard deviation 0.9, 0.3 of 200 chains at 1e-6.
    assert abs(found["mean"][0] - 0.5) < 0.35 and len(found["std"]) == 2
    assert found["ends"][0] == pytest.approx(found["ends"][1], rel=1e-3, abs=1e-3)
    # The variance of 100,000 draws of N(0, 1/4) has standard error 0.0011: 4.9 of them are 1e-6. A step of standard
    # deviation 2 that is always taken would leave 4.25.
    assert abs(found["variance"] - 0.25) < 4.9 * 0.25 * (2 / 100_000) ** 0.5 and 0.1 < found["rate"] < 0.9


def test_the_house_stands_with_them(copy):
    command = [pathlib.Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    for one in (command, [sys.executable, "tools/house.py"]):
        done = subprocess.run(
            one, cwd=copy, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout

"""bin/evaluate.py, sample.py and reproduce.py on runs of a few updates."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ebm_tf.config import ConfigError, EvaluateConfig, ReproduceConfig, SampleConfig, Scheme, TrainConfig
from ebm_tf.evaluation import reproduce, runs
from ebm_tf.training.run import train

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Five rings runs of two updates."""
    folder = tmp_path_factory.mktemp("runs")
    for scheme in Scheme:
        train(
            TrainConfig(
                dataset="rings",
                scheme=scheme,
                batch_size=4,
                num_filters=4,
                num_steps=2,
                step_size=0.005,
                temperature=0.005,
                bank_size=8,
                train_steps=2,
                workdir=str(folder / scheme.value),
            )
        )
    return folder


def test_evaluate_writes_a_key_per_task(root):
    run = runs.evaluate(EvaluateConfig(workdir=str(root / "hybrid"), num_samples=50))
    results = json.loads((root / "hybrid" / "results.json").read_text())
    assert set(results) == {"density", "short_run"}
    assert 0 < results["density"]["jensen_shannon_nats"] < np.log(2)
    assert results["short_run"]["from_data"]["on_rings"] > results["short_run"]["from_noise"]["on_rings"]
    assert Image.open(run.run_dir.figures / "fig2.png").size[0] > 300
    with np.load(root / "hybrid" / "short_run.npz") as arrays:
        assert arrays["x_from_noise"].shape == (50, 10)


def test_reproduce_draws_five_columns_with_numbers(root, tmp_path):
    assert reproduce.fig2(ReproduceConfig(runs=str(root), output=str(tmp_path))) == tmp_path / "fig2.png"
    numbers = json.loads((tmp_path / "fig2.json").read_text())["ours"]
    assert set(numbers) == {scheme.value for scheme in Scheme}
    width, height = Image.open(tmp_path / "fig2.png").size
    assert width > 2.5 * height


def test_reproduce_refuses_without_all_schemes(root, tmp_path):
    (tmp_path / "only").symlink_to(root / "data")
    with pytest.raises(ConfigError, match="without noise, persistent, persistent_refresh, hybrid"):
        reproduce.fig2(ReproduceConfig(runs=str(tmp_path), output=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_sample_writes_starts_and_ends(root, tmp_path):
    runs.sample(SampleConfig(workdir=str(root / "data"), output=str(tmp_path), num_samples=5, num_steps=0))
    with np.load(tmp_path / "samples.npz") as arrays:
        np.testing.assert_array_equal(arrays["x_init"], arrays["x_final"])
    assert (tmp_path / "samples.png").exists()


def test_sample_step_size_is_the_one_asked_for(root, tmp_path):
    """0.05 is ten times the run's 0.005."""
    runs.sample(SampleConfig(workdir=str(root / "data"), output=str(tmp_path), num_samples=9, step_size=0.05))
    run = runs.load_run(root / "data")
    with np.load(tmp_path / "samples.npz") as arrays:
        ten_times = runs.run_chains(run, arrays["x_init"], run.config.num_steps, 10.0, seed=0)
        as_trained = runs.run_chains(run, arrays["x_init"], run.config.num_steps, 1.0, seed=0)
        np.testing.assert_allclose(arrays["x_final"], ten_times, rtol=1e-5, atol=1e-5)
        assert abs(arrays["x_final"] - as_trained).max() > 0.01


@pytest.mark.parametrize("command", ["evaluate", "sample", "reproduce"])
def test_bad_input_is_one_line_and_exit_2(command, tmp_path):
    flags = {
        "evaluate": ["--workdir=nowhere"],
        "sample": ["--workdir=nowhere", "--output=out"],
        "reproduce": ["--runs=nowhere", "--output=out"],
    }
    done = subprocess.run(
        [sys.executable, ROOT / "bin" / f"{command}.py", *flags[command]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=300,
    )
    assert done.returncode == 2
    assert "nowhere" in done.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())

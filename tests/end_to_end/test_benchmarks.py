"""benchmarks/ and studies/: the programs run, and say what is missing. What they measure is not tested."""

import json
import pathlib

import pytest

from ebm_tf.energies import ImageNet
from ebm_tf.evaluation.features.extractors import load_extractor
from tests import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
TFDS = ROOT.parent / "shared" / "tfds"


def run(*arguments, status=0):
    done = processes.run(arguments, timeout=600)
    assert done.returncode == status, done.stderr[-2000:]
    return done.stdout


def test_langevin_times_ours_and_says_what_is_missing(tmp_path):
    output = tmp_path / "table.json"
    rows = "ours/float32/graph,nobody/float32/eager"
    small = ["--networks=tiny_8_attention", "--num_chains=2", "--rounds=2", "--seconds=0.05", "--busy"]
    table = run("benchmarks/langevin.py", *small, f"--rows={rows}", f"--output={output}")
    ours, missing = json.loads(output.read_text())["rows"]
    assert ours["energy_error"] < 1e-4 and ours["grad_error"] < 1e-4
    assert ours["ms_per_step"] > 0 and ours["compile_s"] > 0
    # Products per weight and place of 8 filters: 32²·216, 16²·2,048, 8²·8,192, 4²·32,768, 1,024; attention's
    # 16²·(2·128 + 128/2) + 2·256·64·8 and 8²·(2·512 + 512/2) + 2·64·16·16. Two operations each, forward and back.
    products = 221_184 + 3 * 524_288 + 1_024 + 81_920 + 262_144 + 81_920 + 32_768
    assert ours["gflop_per_step"] == pytest.approx(2 * 4e-9 * products)
    assert missing["error"].startswith("no nobody here: pip install -r requirements-bench.txt")
    assert "ours/float32/graph" in table and "no nobody here" in table and "others used up to" in table


def test_checkpoints_reports_shares_of_one_run(tmp_path):
    output = tmp_path / "numbers.json"
    small = ["--num_filters=1", "--num_steps=1", "--batch_size=2", "--bank_size=8", "--updates=3", "--rounds=2"]
    run("benchmarks/checkpoints.py", *small, "--checkpoint_every=50", f"--folder={tmp_path}", f"--output={output}")
    numbers = json.loads(output.read_text())
    first, second = numbers["rows"]
    update = (first["without"] + second["without"]) / 2 / 3
    cost = (first["with"] - first["without"] + second["with"] - second["without"]) / 2
    assert numbers["share"] == pytest.approx(cost / (50 * update))
    assert numbers["checkpoint_over_update"] == pytest.approx(cost / update)
    assert 0 < numbers["share_of_the_wait"] == pytest.approx((first["wait"] + second["wait"]) / 2 / (50 * update))
    assert numbers["checkpoint_mib"] > 8 * 32 * 32 * 3 * 4 / 2**20
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.json"]


def test_train_reports_the_share_that_is_not_langevin(tmp_path):
    output = tmp_path / "numbers.json"
    small = ["--dataset=rings", "--num_filters=4", "--batch_size=2", "--num_steps=2", "--updates=200"]
    run("benchmarks/train.py", *small, f"--output={output}")
    numbers = json.loads(output.read_text())
    assert numbers["updates_per_s"] == pytest.approx(1e3 / numbers["ms_per_update"])
    # Two steps of four chains are too short to time on a busy machine: only that the numbers belong together.
    langevin_ms = numbers["num_steps"] * numbers["ms_per_langevin_step"]
    assert numbers["share_not_langevin"] == pytest.approx(1 - langevin_ms / numbers["ms_per_update"])
    assert numbers["first_update_s"] > 0 and numbers["ms_per_batch_of_input"] > 0


@pytest.mark.skipif(not (TFDS / "cifar10").is_dir(), reason="needs CIFAR-10 in ../shared/tfds")
def test_precision_has_a_row_per_policy(tmp_path):
    """float16 is nearest to float32, whose own error is none."""
    ImageNet(num_filters=4).save(tmp_path / "model.keras")
    small = [f"--model={tmp_path / 'model.keras'}", f"--data_dir={TFDS}", "--num_images=2"]
    table = run("benchmarks/precision.py", *small)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    errors = {name: float(error) for name, error, *_ in rows[2:]}
    assert list(errors) == ["float32", "mixed_bfloat16", "mixed_float16, factor 1", "mixed_float16"]
    assert errors["float32"] == 0 < errors["mixed_float16"] < errors["mixed_bfloat16"]


def test_score_compares_with_reading(tmp_path):
    output = tmp_path / "numbers.json"
    small = ["--num_filters=4", "--num_images=40", "--batch_size=16", "--rounds=2"]
    run("benchmarks/score.py", *small, "--bfloat16", f"--output={output}")
    numbers = json.loads(output.read_text())
    assert all(numbers[f"{part}_over_read_{clock}"] > 0 for part in ("energy", "score") for clock in ("cpu", "wall"))
    # bfloat16 keeps 8 bits; on a processor without it TensorFlow keeps float32.
    assert 0 <= numbers["rms_error_over_spread"] < 0.1


@pytest.mark.slow
@pytest.mark.skipif(not (TFDS / "cifar10").is_dir(), reason=f"no CIFAR-10 in {TFDS}")
def test_a_classifier_is_trained_at_toy_size(tmp_path):
    flags = ["--epochs=1", "--train_size=128", "--test_size=64", "--batch_size=32", "--dtype_policy=float32"]
    run("studies/cifar_features.py", f"--data_dir={TFDS}", f"--output={tmp_path}", *flags)
    report = json.loads((tmp_path / "cifar_features.json").read_text())
    assert report["scale"]["sets"]["cifar10/test"]["num_samples"] == 64
    assert load_extractor(str(tmp_path / "cifar_features.keras"), 32).sha256 == report["sha256"]

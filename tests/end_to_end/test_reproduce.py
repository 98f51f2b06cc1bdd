"""bin/reproduce.py on runs whose arrays were made by hand: what it reads, refuses, draws and writes."""

import csv
import hashlib
import html.parser
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ebm_tf.errors import ConfigError
from ebm_tf.paper import curves
from ebm_tf.paper import numbers as paper
from ebm_tf.paper import reproduce as module
from ebm_tf.paper.catalog import Artifact, Table
from ebm_tf.paper.reproduce import reproduce
from ebm_tf.pixels import to_uint8
from ebm_tf.plots import figures
from ebm_tf.runs import saved
from ebm_tf.settings.commands import ARTIFACTS, ReproduceConfig
from ebm_tf.settings.train import Scheme, TrainConfig
from ebm_tf.stats.drift import histogram

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED_STRIDE = 7919
PAGE = "index.html"


def write_run(root, name, dataset, scheme, images, cd_weight=None, seed=0, rows=60, chains=20, **config):
    """A run on disk with every array that a figure or table reads, from uint8 images [N, S, S, 3], N >= 100.

    The model is a file of bytes: nothing that reads saved arrays opens it.
    """
    rng = np.random.default_rng([seed, SEED_STRIDE, *name.encode()])
    folder = root / name
    folder.mkdir(parents=True)
    settings = TrainConfig(dataset=dataset, scheme=scheme, cd_weight=cd_weight, seed=seed, **config)
    (folder / "config.json").write_text(json.dumps(settings.to_dict()))
    (folder / "model.keras").write_bytes(name.encode())
    _write_metrics(folder, settings, rng, rows)
    results = {} if dataset == "rings" else _write_image_tasks(folder, settings, rng, images, chains)
    if dataset == "rings":
        results = _write_rings_tasks(folder, settings, rng)
    for task in results:
        results[task] = {"model": model_of(folder), "settings": {"seed": 0}, **results[task]}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def model_of(folder):
    return hashlib.sha256((folder / "model.keras").read_bytes()).hexdigest()[:16]


def _write_metrics(folder, config, rng, rows):
    levels = {"data": 0.02, "noise": 0.2, "persistent": 2.0, "persistent_refresh": 1.0, "hybrid": 0.6}
    groups = {"total": levels[config.scheme.value]}
    if config.scheme is Scheme.HYBRID:
        groups |= {"noise_init": 0.1, "data_init": 0.02}
    lines = []
    for row in range(1, rows + 1):
        line = {"step": row * config.train_steps // rows, "updates_per_second": 0.5}
        for group, level in groups.items():
            snr = 3.0 if group == "noise_init" else 0.2 / (1 + level)
            line[f"{group}/std"] = level * (1 + 4 * math.exp(-8 * row / rows)) * rng.lognormal(0, 0.3)
            line[f"{group}/snr"] = rng.normal(snr * (1 - math.exp(-6 * row / rows)), 0.3)
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def _write_rings_tasks(folder, config, rng):
    angle, radius = rng.uniform(0, 2 * np.pi, 500), rng.choice([1.0, 2.0, 3.0], 500) + rng.normal(0, 0.1, 500)
    x = np.zeros((500, 10), np.float32)
    x[:, 0], x[:, 1] = radius * np.cos(angle), radius * np.sin(angle)
    np.savez_compressed(folder / "short_run.npz", x_from_noise=x, x_from_data=x)
    np.savez_compressed(folder / "density.npz", model_density=rng.dirichlet(np.ones(161**2)).reshape(161, 161))
    shares = {"on_rings": 0.9, "ring_1": 0.3, "ring_2": 0.3, "ring_3": 0.3}
    return {
        "short_run": {"num_samples": 500, "num_steps": 300, "from_noise": shares, "from_data": shares},
        "density": {"jensen_shannon_nats": 0.03},
    }


def _write_image_tasks(folder, config, rng, images, chains):
    """Every task's arrays and numbers for one run of images."""

    def draw(count):
        return images[rng.integers(0, len(images), count)]

    scheme = config.scheme.value
    long_steps = np.unique(np.r_[0, np.geomspace(1, 100_000, 40).astype(np.int64)])
    fall = -0.05 if scheme == "noise" else 0.0
    trend = 40 * np.exp(-long_steps / 300.0) + fall * long_steps / 1000
    energy = (trend[:, None] + rng.normal(0, 1, (len(long_steps), chains))).astype(np.float32)
    shift = {"data": 30.0, "noise": -12.0}.get(scheme, 0.8)
    arrays = {
        "short_run": {"x_from_noise": draw(chains), "energy_from_noise": energy[-1]},
        "long_run": {"steps": long_steps, "energy": energy, "x_final": draw(chains)},
        "data_init": {"steps": long_steps, "energy": energy, "x_final": images[:chains], "x_init": images[:chains]},
        "energies": {
            "test": rng.normal(0, 1, 500).astype(np.float32),
            "train": rng.normal(-0.1, 1, 500).astype(np.float32),
            "long_run": rng.normal(shift, 1.5, 100).astype(np.float32),
        },
        "ood": {"energy_in": rng.normal(0, 1, 50), "energy_svhn_cropped": rng.normal(1, 1, 50)},
    }
    finite = {"finite": True}
    chains_of = {"num_samples": chains, "step_size": config.step_size, **finite}
    verdict = {"converged": scheme != "noise", "verdict": "drift 0.01 per 1,000 steps, spread 1.02"}
    trace = {**chains_of, "energy_drift_per_1000_steps": fall, "energy_std": 1.02, **verdict}
    sets = [name for name in ("short_run", "long_run") if name == "short_run" or scheme == "hybrid"]
    if config.scheme.has_bank:
        sets.append("bank")
        arrays["bank"] = {"x_init": images[:60], "x_final": np.roll(images[:60], 1, axis=2)}
    value = {"frechet_distance": 50.0 + config.seed, "num_samples": 50_000, "kid": 0.03, "kid_std_error": 0.001}
    numbers = {
        "short_run": {**chains_of, "finite": {"noise": True}, "num_steps": config.num_steps},
        "long_run": {**trace, "num_steps": 100_000},
        "data_init": {**trace, "num_steps": 10_000},
        "energies": {"mean": {}, "std": {}},
        "ood": {
            "in_distribution": "cifar10/test",
            "against": {
                "svhn_cropped": {
                    "num_in": 10_000,
                    "num_out": 26_032,
                    "auroc": 0.8 + config.seed / 100,
                    "fpr_at_95_tpr": 0.6,
                    "average_precision": 0.7,
                }
            },
        },
        "fid": {
            "features": "inception",
            "features_sha256": "0" * 64,
            "distance_name": "FID",
            "reference": "cifar10/train",
            "num_reference": 50_000,
            "rounding": "uint8, half to even",
            "values": dict.fromkeys(sets, value),
        },
    }
    if config.scheme.has_bank:
        numbers["bank"] = {**chains_of, "num_steps": config.num_steps}
    if scheme == "hybrid":
        nearest = images[rng.integers(0, len(images), (10, 3))]
        arrays["neighbours"] = {
            "samples": draw(10),
            "pixel_images": nearest,
            "pixel_distance": rng.uniform(4, 9, (10, 3)),
            "feature_images": nearest[::-1],
        }
        arrays["mala"] = {
            "steps_warmup": np.arange(50, 2_001, 50),
            "acceptance_warmup": (0.67 - 0.6 * np.exp(-np.arange(40) / 6)).astype(np.float32),
            "steps": np.arange(373, 74_601, 373),
            "acceptance_sampling": rng.normal(0.66, 0.01, 200).astype(np.float32),
            "samples": draw(chains),
        }
        numbers["neighbours"] = {"num_samples": 10, "num_neighbours": 3}
        numbers["mala"] = {
            "acceptance_rate": 0.66,
            "target": 0.67,
            "step_size": 0.4,
            "num_steps": 50_000,
            "num_moves": 74_600,
            "num_warmup_steps": 2_000,
        }
    for task, content in arrays.items():
        np.savez_compressed(folder / f"{task}.npz", **content)
    return numbers


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory, images):
    """Runs for every artifact: five schemes of each data set; of the CIFAR-10 hybrid three seeds and two lambdas."""
    folder = tmp_path_factory.mktemp("runs")
    for scheme in Scheme:
        for name, dataset in (("cifar", "cifar10"), ("flowers", "oxford_flowers102"), ("rings", "rings")):
            write_run(folder, f"{name}_{scheme}", dataset, scheme, images)
    for seed in (1, 2):
        write_run(folder, f"cifar_hybrid_seed{seed}", "cifar10", Scheme.HYBRID, images, seed=seed)
    write_run(folder, "cifar_hybrid_lambda10", "cifar10", Scheme.HYBRID, images, cd_weight=10.0)
    return folder


@pytest.fixture
def copied(root, tmp_path):
    """A function that copies runs to a folder of their own, to be spoilt."""

    def copy(*names):
        for name in names:
            shutil.copytree(root / name, tmp_path / "runs" / name)
        return tmp_path / "runs"

    return copy


def make(artifact, runs, output):
    return reproduce(ReproduceConfig(artifact=artifact, runs=str(runs), output=str(output)))


def read_json(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def made(root, tmp_path_factory):
    """A folder with every artifact, and the page."""
    output = tmp_path_factory.mktemp("page")
    written = make("all", root, output)
    assert written == [*(output / f"{name}.{'png' if 'fig' in name else 'csv'}" for name in ARTIFACTS), output / PAGE]
    return output


@pytest.mark.parametrize("name", [name for name in ARTIFACTS if name.startswith("fig")])
def test_a_figure_is_a_picture_with_its_numbers(root, made, name):
    width, height = Image.open(made / f"{name}.png").size
    assert width > 800 and height > 300
    content = read_json(made / f"{name}.json")
    assert content["command"].startswith(f"bin/reproduce.py --artifact={name} --runs={root}")
    assert content["ours"] and content["runs"] and content["notes"]
    budget = content["runs"][0]
    assert (budget["updates"], budget["batch_size"], budget["num_filters"], budget["num_steps"]) == (
        50_000,
        100,
        128,
        500,
    )
    assert (budget["seed"], budget["dtype_policy"]) == (0, "float32")
    assert budget["minutes"] == pytest.approx(50_000 / 0.5 / 60, abs=0.1)


def test_figures_are_of_the_lowest_seed_and_lambda_25(root, tmp_path):
    assert make("fig3,fig9", root, tmp_path) == [tmp_path / "fig3.png", tmp_path / "fig9.png"]
    for name in ("fig3", "fig9"):
        used = [run["run"] for run in read_json(tmp_path / f"{name}.json")["runs"]]
        assert used == [f"cifar_{scheme}" for scheme in Scheme]


def test_table1_has_the_papers_rows_and_every_seed(root, tmp_path):
    assert make("table1", root, tmp_path) == [tmp_path / "table1.csv"]
    content = read_json(tmp_path / "table1.json")
    assert [row["value"] for row in content["paper"]] == [row.value for row in paper.TABLE1]
    rows = list(csv.DictReader((tmp_path / "table1.csv").open()))
    hybrid = [row for row in rows if (row["scheme"], row["lambda"], row["chains"]) == ("hybrid", "25.0", "short")]
    assert [row["seed"] for row in hybrid] == ["0", "1", "2", "mean of 3"]
    assert [float(row["ours"]) for row in hybrid] == [50, 51, 52, 51]
    assert float(hybrid[-1]["std"]) == pytest.approx(1.0)  # of 50, 51, 52 with N - 1
    assert {row["paper"] for row in hybrid} == {"36.8"}
    assert [row["status"] for row in rows if row["lambda"] == "50.0"] == ["not run"]
    bank = [row for row in rows if row["chains"] == "bank"]
    assert [(row["scheme"], row["paper"], row["ours"]) for row in bank] == [
        ("persistent", "40.1", "50.0"),
        ("persistent+refresh", "35.1", "50.0"),
    ]
    assert {row["distance"] for row in bank} == {"FID"}
    assert {row["num_samples"] for row in bank} == {"50000"}


def test_table2_has_the_papers_rows(root, tmp_path):
    make("table2", root, tmp_path)
    rows = list(csv.DictReader((tmp_path / "table2.csv").open()))
    first = {(row["scheme"], row["lambda"]): row for row in reversed(rows)}
    assert [float(first["data", ""]["paper"]), float(first["data", ""]["ours"])] == [0.95, 0.8]
    assert float(first["hybrid", "25.0"]["paper"]) == 0.87
    mean = next(row for row in rows if row["seed"] == "mean of 3")
    assert float(mean["ours"]) == pytest.approx(0.81)


def test_the_papers_numbers_are_those_that_the_configs_quote():
    """configs/*.flags were written from the paper by themselves."""
    for path in sorted((ROOT / "configs").glob("cifar_*.flags")):
        text = path.read_text()
        quoted = re.search(r"FID ([\d.]+) \(short-run chains from noise\), AUROC ([\d.]+)", text)
        if not quoted:
            continue
        scheme = Scheme(re.search(r"--scheme=(\w+)", text)[1])
        weight = re.search(r"--cd_weight=(\d+)", text)
        key = (scheme, float(weight[1]) if weight else None)
        fid = {(row.scheme, row.cd_weight): row.value for row in paper.TABLE1 if row.chains == "short"}
        auroc = {(row.scheme, row.cd_weight): row.value for row in paper.TABLE2}
        assert (fid.pop(key), auroc[key]) == (float(quoted[1]), float(quoted[2])), path


def test_no_mean_of_runs_that_differ_in_more_than_the_seed(copied, tmp_path):
    runs = copied("cifar_hybrid", "cifar_hybrid_seed1", "cifar_hybrid_seed2")
    config = read_json(runs / "cifar_hybrid_seed2" / "config.json")
    (runs / "cifar_hybrid_seed2" / "config.json").write_text(json.dumps({**config, "learning_rate": 1e-3}))
    make("table2", runs, tmp_path / "out")
    assert "mean of 3" not in (tmp_path / "out" / "table2.csv").read_text()
    shutil.rmtree(runs / "cifar_hybrid_seed2")
    make("table2", runs, tmp_path / "out")
    assert "mean" not in (tmp_path / "out" / "table2.csv").read_text()


def test_a_distance_that_is_not_fid_keeps_its_name(copied, tmp_path):
    runs = copied("cifar_data")
    results = read_json(runs / "cifar_data" / "results.json")
    results["fid"]["distance_name"] = "FD (CIFAR features)"
    (runs / "cifar_data" / "results.json").write_text(json.dumps(results))
    make("table1", runs, tmp_path / "out")
    content = read_json(tmp_path / "out" / "table1.json")
    assert content["ours"][0]["distance"] == "FD (CIFAR features)"
    assert any("another scale than the paper's FID" in note for note in content["notes"])


def test_a_row_without_its_sample_set_names_the_command(copied, tmp_path):
    runs = copied("cifar_persistent")
    results = read_json(runs / "cifar_persistent" / "results.json")
    del results["fid"]["values"]["bank"]
    (runs / "cifar_persistent" / "results.json").write_text(json.dumps(results))
    make("table1", runs, tmp_path / "out")
    row = read_json(tmp_path / "out" / "table1.json")["ours"][-2]
    flags = "--tasks=short_run,bank,fid --fid_samples=short_run,bank"
    command = f"bin/evaluate.py --workdir={runs}/cifar_persistent {flags}"
    assert (row["chains"], row["ours"], row["status"]) == ("bank", None, f"not evaluated: {command}")


def test_absent_schemes_are_named(copied, tmp_path, capsys):
    make("fig9", copied("cifar_data", "cifar_hybrid"), tmp_path / "out")
    expected = "Absent, for want of a finished run: noise, persistent, persistent+refresh."
    assert expected in read_json(tmp_path / "out" / "fig9.json")["notes"]
    assert expected in capsys.readouterr().out


def test_a_missing_task_names_the_command(copied, tmp_path):
    runs = copied("cifar_data")
    results = read_json(runs / "cifar_data" / "results.json")
    del results["long_run"]
    (runs / "cifar_data" / "results.json").write_text(json.dumps(results))
    command = re.escape(f"run bin/evaluate.py --workdir={runs}/cifar_data --tasks=long_run.")
    for name in ("fig3", "fig9"):
        with pytest.raises(ConfigError, match=command):
            make(name, runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_of_another_model_are_stale(copied, tmp_path):
    runs = copied("cifar_data")
    (runs / "cifar_data" / "model.keras").write_bytes(b"trained further")
    for name in ("fig3", "fig5", "fig9", "table1", "table2"):
        with pytest.raises(ConfigError, match=r"stale \w+ of another model"):
            make(name, runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spoil", ["cut", "flip", "absent", "without_the_array"])
def test_arrays_that_cannot_be_read_name_the_command(copied, tmp_path, spoil):
    runs = copied("cifar_data")
    path = runs / "cifar_data" / "long_run.npz"
    content = bytearray(path.read_bytes())
    if spoil == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif spoil == "flip":
        content[60:200] = bytes(140)
        path.write_bytes(content)
    elif spoil == "absent":
        path.unlink()
    else:
        np.savez(path, steps=np.arange(3))
    with pytest.raises(ConfigError, match=r"--runs: expected long_run of .*--tasks=long_run\. Received: ") as error:
        make("fig9", runs, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_unfinished_run_is_left_out_by_name(copied, tmp_path, capsys):
    runs = copied("cifar_data", "cifar_noise")
    (runs / "cifar_noise" / "model.keras").unlink()
    make("fig9", runs, tmp_path / "out")
    assert f"not finished: {runs / 'cifar_noise'}" in capsys.readouterr().err
    assert [run["run"] for run in read_json(tmp_path / "out" / "fig9.json")["runs"]] == ["cifar_data"]
    (runs / "cifar_data" / "model.keras").unlink()
    for name in ("fig9", "table1", "fig7", "fig8"):
        with pytest.raises(ConfigError, match=r"without one \(not finished: cifar_data, cifar_noise\)"):
            make(name, runs, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_energies_that_are_not_finite_are_left_out(copied, tmp_path):
    """A scheme whose long chains diverge is what Fig. 9 is there to show."""
    runs = copied("cifar_noise")
    path = runs / "cifar_noise" / "long_run.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["energy"][-3:] = -np.inf
    arrays["energy"][5, :4] = np.nan
    np.savez(path, **arrays)
    with np.load(runs / "cifar_noise" / "energies.npz") as file:
        energies = dict(file)
    energies["long_run"][:] = np.nan
    np.savez(runs / "cifar_noise" / "energies.npz", **energies)
    make("fig5,fig9", runs, tmp_path / "out")
    assert read_json(tmp_path / "out" / "fig5.json")["ours"][0]["long run, finite of"] == "0 of 100"


def test_energies_without_long_run_samples_name_the_command(copied, tmp_path):
    runs = copied("cifar_data")
    np.savez(runs / "cifar_data" / "energies.npz", test=np.zeros(3), train=np.zeros(3))
    with pytest.raises(ConfigError, match=r"--tasks=long_run,energies\. Received: none"):
        make("fig5", runs, tmp_path / "out")


def test_fig7_falls_back_and_says_so(copied, tmp_path):
    make("fig7", copied("cifar_persistent"), tmp_path / "out")
    notes = read_json(tmp_path / "out" / "fig7.json")["notes"]
    assert notes == [
        "(A), (B): persistent on cifar10.",
        "(C) absent: no finished image run of the hybrid (lambda = 25).",
    ]


def test_fig2_refuses_without_all_schemes(copied, tmp_path):
    runs = copied("rings_data")
    with pytest.raises(ConfigError, match="without noise, persistent, persistent_refresh, hybrid"):
        make("fig2", runs, tmp_path / "out")
    (runs / "rings_data" / "model.keras").unlink()
    with pytest.raises(ConfigError, match="expected finished rings runs"):
        make("fig2", runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fig2_evaluates_what_has_not_been(copied, tmp_path):
    from ebm_tf.training.run import train

    runs = copied(*(f"rings_{scheme}" for scheme in Scheme if scheme is not Scheme.DATA))
    small = {"batch_size": 4, "num_filters": 4, "num_steps": 2, "step_size": 0.005, "temperature": 0.005}
    train(TrainConfig(dataset="rings", scheme=Scheme.DATA, train_steps=2, workdir=str(runs / "fresh"), **small))
    make("fig2", runs, tmp_path / "out")
    ours = read_json(tmp_path / "out" / "fig2.json")["ours"]
    assert set(ours) == {scheme.value for scheme in Scheme}
    assert 0 < ours["data"][0]["jensen_shannon_nats"] < math.log(2)
    assert set(read_json(runs / "fresh" / "results.json")) == {"density", "short_run"}


class Page(html.parser.HTMLParser):
    """What stands in a page."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(made):
    return (made / PAGE).read_text(encoding="utf-8")


def test_the_page_holds_every_artifact_and_needs_nothing_else(page):
    parsed = Page(page)
    assert {section["id"] for section in parsed.all("section")} == {"budgets", *ARTIFACTS}
    pictures = parsed.all("img")
    assert len(pictures) == len(ARTIFACTS) - 2
    assert all(picture["src"].startswith("data:image/png;base64,") and picture["alt"] for picture in pictures)
    for tag, attributes in parsed.tags:
        assert tag not in ("link", "iframe", "object", "base"), tag
        assert attributes.get("src", "data:").startswith("data:"), tag
        assert attributes.get("href", "#").startswith("#"), tag
    text = re.sub(r"data:image/png;base64,[^\"]*", "", page)
    for word in ("http:", "https:", "@import", "url(", "Not made", "<!--"):
        assert word not in text


def test_the_pages_tables_carry_what_they_are_sorted_by(page):
    parsed = Page(page)
    cells = parsed.all("td")
    assert cells and all("data-sort" in cell for cell in cells)
    assert "128" in {cell["data-sort"] for cell in cells}  # shown as a number, sorted as a number
    assert "50000" in {cell["data-sort"] for cell in cells}
    assert ">50,000</td>" in page
    assert len(parsed.all("button")) == len(parsed.all("th"))


def test_all_makes_what_it_can_and_lists_the_rest(copied, tmp_path, capsys):
    written = make("all", copied("flowers_data", "flowers_hybrid"), tmp_path / "out")
    assert [path.name for path in written] == ["fig4.png", "fig7.png", "fig10.png", "index.html"]
    page = (tmp_path / "out" / "index.html").read_text()
    said = capsys.readouterr().err
    for name in ("fig2", "fig3", "fig8", "table1"):
        assert f"{name}: not made. --runs: expected" in said
    assert page.count("Not made.") == len(ARTIFACTS) - 3
    assert "expected a finished cifar10 run" in page


def run_command(tmp_path, *flags):
    """bin/reproduce.py in a process of its own: (exit status, stdout, stderr, whether TensorFlow was imported)."""
    code = (
        "import runpy, sys\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as done:\n"
        "    print('tensorflow' in sys.modules)\n    sys.exit(done.code)\n"
    )
    script = f"import sys; sys.argv = {[str(ROOT / 'bin' / 'reproduce.py'), *flags]!r}\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, env={**os.environ}, timeout=300
    )
    return done.returncode, done.stdout, done.stderr


def test_saved_arrays_are_read_without_tensorflow(root, tmp_path):
    names = ",".join(name for name in ARTIFACTS if name != "fig2")
    status, stdout, stderr = run_command(tmp_path, f"--artifact={names}", f"--runs={root}", f"--output={tmp_path}/out")
    assert (status, stderr) == (0, "")
    assert stdout.splitlines()[-1] == "False"
    assert f"wrote {tmp_path}/out/fig10.png" in stdout
    assert "cifar_hybrid_seed2: cifar10 hybrid lambda=25, seed 2, 50,000 updates, batch 100, n_f 128, L 500" in stdout


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--artifact=fig3", "--runs=nowhere"], "--runs: expected a folder of runs. Received: runs=nowhere"),
        (["--artifact=fig11", "--runs=."], "--artifact: expected all, or some of fig2, "),
        (["--artifact=all,fig3", "--runs=."], "Received: artifact=all,fig3"),
        (["--artifact=all", "--runs=empty"], "expected a folder whose folders are runs"),
        (["--artifact=all", "--runs=broken"], "--runs: expected config.json as bin/train.py writes it"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, flags, text):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken" / "run").mkdir(parents=True)
    (tmp_path / "broken" / "run" / "config.json").write_text("{")
    (tmp_path / "broken" / "run" / "model.keras").touch()
    status, _, stderr = run_command(tmp_path, *flags, "--output=out")
    assert status == 2
    assert text in stderr and len(stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["runs", "output"])
def test_a_missing_folder_is_refused(missing):
    with pytest.raises(ConfigError, match=f"--{missing}: expected a folder. Received: {missing}=None"):
        ReproduceConfig(**{"runs": "runs", "output": "out", missing: ""})


def test_artifacts_come_in_the_papers_order_each_once():
    config = ReproduceConfig(artifact="table1, fig3,fig2,fig3", runs="runs", output="out")
    assert config.artifact_names == ["fig2", "fig3", "table1"]


def test_an_output_that_is_a_file_is_refused(root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--output: expected a folder, new or old\. Received: the file"):
        make("table2", root, tmp_path / "file" / "below")


def test_fig6_needs_metrics(copied, tmp_path):
    runs = copied("cifar_data")
    (runs / "cifar_data" / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(ConfigError, match=r"expected total/std in metrics\.jsonl"):
        make("fig6", runs, tmp_path / "out")


def test_smooth_is_a_centred_average():
    values = np.array([1.0, 2.0, 6.0, np.nan, 5.0])
    np.testing.assert_allclose(curves.smooth(values, 3), [1.5, 3.0, 4.0, 5.5, 5.0])
    np.testing.assert_allclose(curves.smooth(values, 1), values)
    np.testing.assert_allclose(curves.smooth(values[:2], 7), [1.5, 1.5])  # a window longer than the curve


def test_histogram_literals():
    edges, heights = histogram(np.array([0.0] * 30 + [10.0] * 15 + [np.nan, np.inf]))
    assert len(heights) == 6  # the root of 45
    np.testing.assert_allclose(edges[[0, -1]], [0, 10])
    np.testing.assert_allclose(heights[[0, -1]], [1, 0.5])
    assert histogram(np.full(9, 3.0))[1].max() == 1
    assert not histogram(np.full(4, np.nan))[1].any()


def test_training_minutes_add_up_the_logged_rates():
    rows = [{"step": 60, "updates_per_second": 1.0}, {"step": 120, "updates_per_second": 0.5}]
    assert saved.training_minutes(rows) == pytest.approx(3.0)
    assert saved.training_minutes([]) is None
    assert saved.training_minutes([{"step": 60, "updates_per_second": None}]) is None


def test_pixels_are_clipped_and_halves_go_to_even():
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, np.nan, -1 + 5 / 255], np.float32)  # 127.5 -> 128, 2.5 -> 2
    np.testing.assert_array_equal(to_uint8(x), [0, 0, 128, 255, 255, 0, 2])
    pixels = np.arange(256, dtype=np.uint8)
    assert to_uint8(pixels) is pixels
    np.testing.assert_array_equal(to_uint8(pixels / 127.5 - 1), pixels)


def test_image_grid_is_the_same_from_floats_and_from_bytes(images, tmp_path):
    figures.save_image_grid(images[:5], tmp_path / "bytes.png", columns=3, zoom=1)
    figures.save_image_grid(images[:5] / 127.5 - 1, tmp_path / "floats.png", columns=3, zoom=1)
    pictures = [np.asarray(Image.open(tmp_path / f"{kind}.png")) for kind in ("bytes", "floats")]
    np.testing.assert_array_equal(*pictures)
    assert pictures[0].shape == (65, 98, 3)  # three images of 32 and two gaps of 1 in a row, two rows
    np.testing.assert_array_equal(pictures[0][33:, 33:65], images[4])


DATA = next((path for path in (ROOT / "shared" / "tfds", ROOT.parent / "shared" / "tfds") if path.is_dir()), None)
FEATURES = ROOT / "pretrained" / "cifar_features.keras"


@pytest.mark.skipif(DATA is None or not FEATURES.exists(), reason="needs ../shared/tfds and pretrained/")
def test_the_whole_chain_on_real_images(tmp_path, monkeypatch):
    """Training, every task, and all that two schemes can give; CIFAR-10 and SVHN as they are, everything else tiny."""
    from ebm_tf.evaluation import tasks
    from ebm_tf.settings.commands import EvaluateConfig
    from ebm_tf.training.run import train
    from tests.asked import read_by

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small = {"data_dir": str(DATA), "train_split": "train[:1%]", "batch_size": 4, "num_filters": 2, "num_steps": 2}
    common = "short_run,long_run,data_init,energies,ood,fid"
    for scheme, more in ((Scheme.HYBRID, "mala,neighbours"), (Scheme.PERSISTENT_REFRESH, "bank")):
        folder = tmp_path / "runs" / scheme.value
        bank = {"bank_size": 8} if scheme.has_bank else {}
        train(
            TrainConfig(
                scheme=scheme, attention=False, train_steps=2, log_every=1, workdir=str(folder), **small, **bank
            )
        )
        settings = dict(
            num_samples=20,
            num_chains=16,
            num_steps=2,
            long_run_steps=20,
            data_init_steps=10,
            mala_steps=20,
            mala_warmup_steps=20,
            mala_count="all",
            fid_features=str(FEATURES),
            fid_samples="short_run,bank" if scheme.has_bank else "short_run,long_run",
            reference_split="train[:1%]",
            neighbour_samples=4,
        )
        names = f"{common},{more}"
        tasks.evaluate(EvaluateConfig(workdir=str(folder), tasks=names, **read_by(names, settings)))
    written = {path.name for path in make("all", tmp_path / "runs", tmp_path / "out")}
    pictures = {f"fig{number}.png" for number in (3, 5, 6, 7, 8, 9)}
    assert written == {*pictures, "table1.csv", "table2.csv", "index.html"}
    rows = read_json(tmp_path / "out" / "table1.json")["ours"]
    assert [row["chains"] for row in rows if row["status"] == "measured"] == ["short", "short", "long", "bank"]
    assert {row["distance"] for row in rows if "distance" in row} == {"FD (CIFAR features)"}
    assert {row["reference"] for row in rows if "reference" in row} == {"cifar10/train[:1%]"}
    auroc = [row["ours"] for row in read_json(tmp_path / "out" / "table2.json")["ours"] if row["status"] == "measured"]
    assert len(auroc) == 2 and all(0 <= value <= 1 for value in auroc)
    assert "nearest" in str(read_json(tmp_path / "out" / "fig7.json")["ours"])

    path = tmp_path / "runs" / "hybrid" / "results.json"
    results = read_json(path)
    results["long_run"]["settings"]["seed"] = 1  # as if the long chains had been run again, and nothing after them
    path.write_text(json.dumps(results))
    for name, task in (("fig5", "energies"), ("table1", "fid")):
        with pytest.raises(ConfigError, match=f"Received: stale {task}, of long_run as it was before"):
            make(name, tmp_path / "runs", tmp_path / "out")


def test_a_table_cut_short_leaves_nothing(tmp_path):
    class Unwritable:
        def __str__(self):
            raise OSError("no space left on device")

    artifact = Artifact([], Table(["a"], []), [], {}, [], csv=Table(["a"], [[1], [Unwritable()]]))
    with pytest.raises(OSError):
        module._write("table1", artifact, tmp_path, ReproduceConfig(runs="runs", output=str(tmp_path)))
    assert not list(tmp_path.iterdir())

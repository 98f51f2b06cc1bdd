"""bin/evaluate.py and bin/sample.py on runs of a few updates."""

import dataclasses
import itertools
import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from ebm_tf.data import images
from ebm_tf.errors import ConfigError, UnusableError
from ebm_tf.evaluation import finished, sampling, tasks
from ebm_tf.evaluation.chains import density
from ebm_tf.evaluation.detection import ood
from ebm_tf.evaluation.finished import load_run
from ebm_tf.evaluation.sampling import sample
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.commands import EvaluateConfig, SampleConfig
from ebm_tf.settings.train import TrainConfig
from ebm_tf.streams import Stream, block_seed
from ebm_tf.training.checkpoints import newest_intact
from ebm_tf.training.run import train
from tests import processes
from tests.asked import read_by

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("EBM_TF_DATA", ROOT.parent / "shared" / "tfds"))
needs_data = pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason=f"no data sets in {DATA}; set EBM_TF_DATA")

RINGS = TrainConfig(
    dataset="rings",
    scheme="persistent",
    batch_size=4,
    num_filters=4,
    energy_scale=0.005,
    num_steps=2,
    step_size=0.005,
    gaussian="steps",
    temperature=0.005,
    bank_size=20,
    train_steps=2,
)
# Chains in blocks of 3, 3 and 1; long ones in pieces that end at 0, 1, 2, 5, ..., 1,000, 1,100.
SETTINGS = {"num_samples": 7, "num_chains": 7, "batch_size": 3, "long_run_steps": 1_100, "data_init_steps": 40}
TASKS = ("density", "short_run", "long_run", "data_init", "bank")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A rings run of two updates, not evaluated."""
    folder = tmp_path_factory.mktemp("runs") / "made"
    train(dataclasses.replace(RINGS, workdir=str(folder)))
    return folder


@pytest.fixture(scope="module")
def evaluated(made, tmp_path_factory):
    """The same run with all the tasks that rings have but mala."""
    folder = tmp_path_factory.mktemp("runs") / "evaluated"
    shutil.copytree(made, folder)
    with pytest.MonkeyPatch.context() as patch:  # the plane has 25,921 points, too many for batches of three
        patch.setattr(density, "energies", lambda run, x, _: finished.energies(run, x, 5_000))
        tasks.evaluate(EvaluateConfig(workdir=str(folder), tasks=",".join(TASKS), **SETTINGS))
    return folder


def copy(folder, tmp_path):
    return pathlib.Path(shutil.copytree(folder, tmp_path / "copy"))


def evaluate(folder, names, **settings):
    return tasks.evaluate(EvaluateConfig(workdir=str(folder), tasks=names, **{**read_by(names, SETTINGS), **settings}))


def test_every_task_leaves_its_arrays_and_its_settings(evaluated):
    results = json.loads((evaluated / "results.json").read_text())
    assert tuple(results) == TASKS
    run = load_run(evaluated)
    assert {entry["model"] for entry in results.values()} == {run.model_id}
    assert results["long_run"]["settings"] == {
        "seed": 0,
        "step_size": 0.005,
        "batch_size": 3,
        "num_chains": 7,
        "long_run_steps": 1_100,
    }
    assert 0 < results["density"]["jensen_shannon_nats"] < np.log(2)
    short = results["short_run"]
    assert (short["num_samples"], short["num_steps"], short["finite"]) == (7, 2, {"noise": True, "data": True})
    assert short["from_data"]["on_rings"] > short["from_noise"]["on_rings"]
    assert set(run.arrays("short_run")) == {"x_from_noise", "x_from_data", "energy_from_noise"}
    assert run.arrays("short_run")["x_from_noise"].shape == (7, 10)
    long_run = run.arrays("long_run")
    assert long_run["steps"][[0, 1, -1]].tolist() == [0, 1, 1_100]
    assert long_run["energy"].shape == (len(long_run["steps"]), 7)
    assert set(long_run) == {"steps", "energy", "x_final"}
    assert run.arrays("data_init")["x_init"].shape == (7, 10)
    assert results["bank"]["bank_size"] == 20
    assert not (evaluated / "partial").exists()
    assert Image.open(evaluated / "figures" / "fig2.png").size[0] > 300


def test_recorded_energies_are_those_of_the_recorded_states(evaluated):
    run = load_run(evaluated)
    for task, x, energy in (
        ("long_run", "x_final", -1),
        ("data_init", "x_final", -1),
        ("data_init", "x_init", 0),
        ("bank", "x_init", "energy_init"),
        ("bank", "x_final", "energy_final"),
        ("short_run", "x_from_noise", "energy_from_noise"),
    ):
        arrays = run.arrays(task)
        expected = run.energy(arrays[x], training=False)
        found = arrays["energy"][energy] if isinstance(energy, int) else arrays[energy]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_the_bank_starts_at_the_newest_checkpoints_bank(made, evaluated):
    """The bank that a resumed trainer would draw from, after the second update."""
    from ebm_tf.training.run import build_trainer, restore

    trainer = build_trainer(RINGS)
    restore(trainer, newest_intact(RunDir(made)))
    assert int(trainer.update_count) == 2
    np.testing.assert_array_equal(load_run(evaluated).arrays("bank")["x_init"], trainer.bank.samples.numpy()[:7])


def test_long_chains_have_langevins_law_across_pieces(evaluated):
    """A chain cut into pieces is a chain: piece by piece it is langevin_chain from the state before."""
    run = load_run(evaluated)
    x = finished.noise_starts(run, 3, 0, 0)
    steps = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, *range(550, 1_000, 55), 1_000, 1_045, 1_100]
    for start, stop in itertools.pairwise(steps):
        x, _ = finished.run_chains(run, x, stop - start, 0.005, block_seed(0, Stream.CHAINS, 0, start))
    np.testing.assert_array_equal(run.arrays("long_run")["x_final"][:3], x)


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


@pytest.mark.parametrize(
    ("task", "kill_at"), [("short_run", 2), ("long_run", 1), ("long_run", 17), ("long_run", 40), ("bank", 3)]
)
@pytest.mark.parametrize("when", ["before the mark", "after the mark"])
def test_a_killed_task_goes_on_as_if_it_had_not_been(task, kill_at, when, made, evaluated, tmp_path, monkeypatch):
    """Bit for bit. Before the mark: what was written is there, and is not marked."""
    folder, mark, marks = copy(made, tmp_path), PartialArrays.mark, []

    def deadly(partial, blocks_done):
        marks.append(blocks_done)
        if len(marks) == kill_at and when == "before the mark":
            raise Killed
        mark(partial, blocks_done)
        if len(marks) == kill_at:
            raise Killed

    monkeypatch.setattr(PartialArrays, "mark", deadly)
    with pytest.raises(Killed):
        evaluate(folder, task)
    assert not (folder / f"{task}.npz").exists()
    evaluate(folder, task)
    repeated = kill_at if when == "before the mark" else kill_at + 1
    assert marks[kill_at:] == list(range(repeated, max(marks) + 1))  # it did not start anew
    found, expected = load_run(folder).arrays(task), load_run(evaluated).arrays(task)
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    assert load_run(folder).read_results()[task] == load_run(evaluated).read_results()[task]


def test_what_has_been_done_is_skipped(evaluated, tmp_path, monkeypatch, capsys):
    folder = copy(evaluated, tmp_path)
    monkeypatch.setattr(finished, "run_chains", None)  # would fail
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    evaluate(folder, ",".join(TASKS))
    assert capsys.readouterr().out.count("has been done with this model and these settings") == len(TASKS)
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}


@pytest.mark.parametrize("change", ["model", "setting", "arrays"])
def test_what_has_changed_is_done_anew(change, evaluated, tmp_path, capsys):
    folder = copy(evaluated, tmp_path)
    before = load_run(folder).arrays("short_run")["x_from_noise"]
    settings = {}
    if change == "model":
        energy = load_run(folder).energy
        for weight in energy.trainable_variables:
            weight.assign(3 * weight + 0.1)
        energy.save(folder / "model.keras")
        with pytest.raises(ConfigError, match=r"short_run\.npz of the model as it is now, made by bin/evaluate\.py"):
            load_run(folder).arrays("short_run")
    elif change == "setting":
        settings["seed"] = 1
    else:
        (folder / "short_run.npz").unlink()
    evaluate(folder, "short_run", **settings)
    assert "has been done" not in capsys.readouterr().out
    after = load_run(folder).arrays("short_run")["x_from_noise"]
    assert np.array_equal(before, after) == (change == "arrays")
    assert load_run(folder).read_results()["short_run"]["model"] == load_run(folder).model_id


def test_data_starts_are_the_same_for_every_run(evaluated, tmp_path):
    other = tmp_path / "other"
    train(dataclasses.replace(RINGS, scheme="hybrid", bank_size=60_000, seed=5, workdir=str(other)))
    evaluate(other, "data_init", seed=3)
    found = load_run(other).arrays("data_init")
    np.testing.assert_array_equal(found["x_init"], load_run(evaluated).arrays("data_init")["x_init"])
    assert not np.array_equal(found["x_final"], load_run(evaluated).arrays("data_init")["x_final"])


def test_diverged_chains_are_told_and_kept(made, tmp_path, capsys):
    folder = copy(made, tmp_path)
    with pytest.raises(UnusableError, match="short_run, long_run: no sample can be used"):
        evaluate(folder, "long_run,short_run", step_size=1e38, long_run_steps=5)
    out, results = capsys.readouterr().out, load_run(folder).read_results()
    assert "long_run: warning: values that are not finite" in out
    assert results["long_run"]["finite"] is False
    assert results["long_run"]["verdict"].startswith("diverged: 7 of 7 chains are not finite, the first by step 1")
    assert results["short_run"]["finite"]["noise"] is False


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        ("ood", {}, "--tasks: expected ood for images or own data only. Received: a run of rings"),
        ("short_run,fid", {}, "--tasks: expected fid for images only. Received: a run of rings"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_runs(names, settings, message, made, tmp_path):
    folder = copy(made, tmp_path)
    with pytest.raises(ConfigError) as caught:
        evaluate(folder, names, **settings)
    assert str(caught.value).startswith(message)
    assert not (folder / "results.json").exists()


def test_no_bank_is_told_before_anything_runs(made, tmp_path):
    folder = copy(made, tmp_path)
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(ConfigError, match="--tasks: expected, for bank, a checkpoint that holds it in"):
        evaluate(folder, "short_run,bank")
    hybrid = dataclasses.replace(RINGS, scheme="hybrid", bank_size=60_000).to_dict()
    (folder / "config.json").write_text(json.dumps(hybrid))
    with pytest.raises(ConfigError, match="expected bank for a run that keeps one only"):
        evaluate(folder, "short_run,bank")
    assert not (folder / "results.json").exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_damaged_arrays_are_one_line(damage, evaluated, tmp_path):
    folder = copy(evaluated, tmp_path)
    path = folder / "long_run.npz"
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"not a zip file at all"}[damage])
    with pytest.raises(ConfigError, match=r"--workdir: expected .*long_run\.npz whole, made by bin/evaluate\.py"):
        load_run(folder).arrays("long_run")


def test_damaged_results_are_one_line(evaluated, tmp_path):
    folder = copy(evaluated, tmp_path)
    (folder / "results.json").write_text('{"short_run": ')
    with pytest.raises(ConfigError, match=r"--workdir: expected results\.json as bin/evaluate\.py writes it"):
        evaluate(folder, "short_run")


def test_sample_writes_starts_and_ends(made, tmp_path, capsys):
    """Into the run's folder, as evaluate does, and once; what is wrong with them is said after that."""
    folder = copy(made, tmp_path)
    asked = SampleConfig(workdir=str(folder), num_samples=5, num_steps=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling.usable, "warning", lambda numbers, total: f"all {total} are odd")
        assert sample(asked) == folder
    wrote = f"wrote {folder}/samples.npz and samples.png\nwarning: all 5 are odd\n"
    assert capsys.readouterr().out.endswith(wrote)
    with np.load(folder / "samples.npz") as arrays:
        np.testing.assert_array_equal(arrays["x_init"], arrays["x_final"])
    (folder / "samples.npz").unlink()
    with pytest.raises(ConfigError, match=rf"--output: expected .* without samples\.png\. Received: {folder}, which"):
        sample(asked)
    assert not (folder / "samples.npz").exists()


@pytest.mark.parametrize("settings", [{"step_size": 0.05}, {"temperature": 0.5}])
def test_sample_uses_the_step_size_and_temperature_asked_for(settings, made, tmp_path):
    sample(SampleConfig(workdir=str(made), output=str(tmp_path), num_samples=9, batch_size=9, **settings))
    run = load_run(made)
    as_asked = dataclasses.replace(run, config=dataclasses.replace(run.config, **settings))
    seed = block_seed(0, Stream.CHAINS, 0)
    with np.load(tmp_path / "samples.npz") as arrays:
        ends = [
            finished.run_chains(each, arrays["x_init"], 2, each.config.step_size, seed)[0] for each in (as_asked, run)
        ]
        np.testing.assert_allclose(arrays["x_final"], ends[0], rtol=1e-5, atol=1e-5)
        assert abs(arrays["x_final"] - ends[1]).max() > 0.01


def test_sample_from_a_bare_model_is_sample_from_its_run(made, tmp_path):
    """The rings' steps, a setting of training, are in the file."""
    folder = copy(made, tmp_path)
    given = {"num_samples": 4, "num_steps": 3, "step_size": 0.01, "temperature": 0.005}
    sample(SampleConfig(workdir=str(folder), output=str(tmp_path / "a"), **given))
    sample(SampleConfig(model=str(folder / "model.keras"), output=str(tmp_path / "b"), **given))
    with np.load(tmp_path / "a" / "samples.npz") as a, np.load(tmp_path / "b" / "samples.npz") as b:
        np.testing.assert_array_equal(a["x_final"], b["x_final"])
    energy = load_run(folder).energy
    energy.origin = None  # as in files of before
    energy.save(tmp_path / "old.keras")
    with pytest.raises(ConfigError, match="--model: expected --num_steps, --step_size and --temperature"):
        sample(SampleConfig(model=str(tmp_path / "old.keras"), output=str(tmp_path / "c")))
    assert not (tmp_path / "c").exists()


def test_a_model_says_how_it_is_sampled(made, tmp_path):
    """Without a number given its chains are those of its run, the rings' long steps in x, y, z included."""
    sample(SampleConfig(workdir=str(made), output=str(tmp_path / "a"), num_samples=4))
    sample(SampleConfig(model=str(made / "model.keras"), output=str(tmp_path / "b"), num_samples=4))
    with np.load(tmp_path / "a" / "samples.npz") as a, np.load(tmp_path / "b" / "samples.npz") as b:
        np.testing.assert_allclose(a["x_final"], b["x_final"], rtol=1e-4, atol=1e-5)


IMAGES = TrainConfig(
    dataset="cifar10",
    scheme="persistent",
    data_dir=str(DATA),
    train_split="train[:1%]",
    batch_size=4,
    num_filters=2,
    attention=False,
    num_steps=2,
    bank_size=12,
    train_steps=2,
    checkpoint_every=2,
)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """A run of two updates on real images, with every task that needs no features."""
    folder = tmp_path_factory.mktemp("runs") / "cifar"
    train(dataclasses.replace(IMAGES, workdir=str(folder)))
    names = "short_run,long_run,data_init,bank,energies,ood"
    evaluate(folder, names, long_run_steps=20, data_init_steps=10, num_samples=50, batch_size=40)
    return folder


@needs_data
def test_cifar_every_task(cifar):
    run = load_run(cifar)
    results, short, bank = run.read_results(), run.arrays("short_run"), run.arrays("bank")
    assert (short["x_from_noise"].shape, short["x_from_noise"].dtype) == ((50, 32, 32, 3), np.uint8)
    assert (bank["x_init"].shape, bank["x_final"].dtype) == ((12, 32, 32, 3), np.uint8)
    long_run = run.arrays("long_run")
    assert long_run["grid_steps"].tolist() == [0, 1, 10, 20]
    assert (long_run["grids"].shape, long_run["grids"].dtype) == ((4, 7, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(long_run["grids"][-1], images.to_uint8(long_run["x_final"]))
    energies = run.arrays("energies")
    assert {name: len(values) for name, values in energies.items()} == {
        "test": 50,
        "train": 50,
        "svhn_cropped": 50,
        "long_run": 7,
    }
    np.testing.assert_allclose(energies["long_run"], long_run["energy"][-1], rtol=1e-4, atol=1e-5)
    assert results["energies"]["inputs"].keys() == {"long_run"}
    assert results["ood"]["in_distribution"] == "cifar10/test"
    assert 0 <= results["ood"]["against"]["svhn_cropped"]["auroc"] <= 1
    np.testing.assert_array_equal(run.arrays("ood")["energy_in"], energies["test"])
    for name in ("short_run", "long_run", "data_init", "bank", "energies"):
        assert (cifar / "figures" / f"{name}.png").exists()


@needs_data
def test_cifar_data_starts_are_the_first_test_images(cifar):
    arrays = load_run(cifar).arrays("data_init")
    pixels = images.load("cifar10", "test[:7]", str(DATA), 32)
    np.testing.assert_array_equal(arrays["x_init"], pixels)
    np.testing.assert_array_equal(arrays["grids"][0], pixels)


@needs_data
def test_cifar_more_starts_than_images_are_refused(cifar, tmp_path):
    folder = copy(cifar, tmp_path)
    before = (folder / "results.json").read_text()
    expected = "expected at most 10000, the images of cifar10/test. Received: "
    with pytest.raises(ConfigError, match=f"--num_chains: {expected}num_chains=10001"):
        evaluate(folder, "short_run,data_init", num_chains=10_001)
    assert (folder / "results.json").read_text() == before
    with pytest.raises(ConfigError, match=f"--num_samples: {expected}num_samples=10001"):
        sample(SampleConfig(workdir=str(folder), output=str(tmp_path / "out"), init="data", num_samples=10_001))
    assert not (tmp_path / "out").exists()


@needs_data
def test_cifar_a_new_long_run_makes_its_energies_out_of_date(cifar, tmp_path, capsys):
    folder = copy(cifar, tmp_path)
    evaluate(folder, "long_run,energies", long_run_steps=3, num_samples=50, batch_size=40)
    assert "has been done" not in capsys.readouterr().out
    run = load_run(folder)
    np.testing.assert_allclose(run.arrays("energies")["long_run"], run.arrays("long_run")["energy"][-1], rtol=1e-4)
    evaluate(folder, "energies", num_samples=50, batch_size=40)
    assert "energies: has been done" in capsys.readouterr().out


@needs_data
def test_cifar_what_a_task_reads_must_have_been_made(cifar, tmp_path):
    folder = copy(cifar, tmp_path)
    (folder / "short_run.npz").unlink()
    with pytest.raises(ConfigError, match="--tasks: expected short_run before neighbours, as in --tasks=short"):
        evaluate(folder, "neighbours")


@needs_data
def test_cifar_a_killed_ood_goes_on(cifar, tmp_path, monkeypatch):
    folder, energies, calls = copy(cifar, tmp_path), ood.energies, []
    (folder / "ood.npz").unlink()

    def deadly(run, x, batch_size):
        calls.append(len(x))
        if len(calls) == 4:
            raise Killed
        return energies(run, x, batch_size)

    monkeypatch.setattr(ood, "energies", deadly)
    with pytest.raises(Killed):
        evaluate(folder, "ood", num_samples=50, batch_size=40)
    evaluate(folder, "ood", num_samples=50, batch_size=40)
    assert calls == [40, 10, 40, 10, 10]
    for name, values in load_run(cifar).arrays("ood").items():
        np.testing.assert_array_equal(load_run(folder).arrays("ood")[name], values)


@needs_data
def test_cifar_a_bare_model_has_its_runs_chains(cifar, tmp_path):
    chains = {"num_samples": 5, "num_chains": 5, "num_steps": 2, "long_run_steps": 2, "data_init_steps": 2}
    names = "short_run,long_run,data_init"
    shared = {**chains, "step_size": 0.5, "batch_size": 5, "tasks": names, "data_dir": str(DATA)}
    folder = copy(cifar, tmp_path)
    bare = tasks.evaluate(EvaluateConfig(model=str(folder / "model.keras"), output=str(tmp_path / "out"), **shared))
    run = tasks.evaluate(EvaluateConfig(workdir=str(folder), **shared))
    for name in names.split(","):
        for array, values in run.arrays(name).items():
            np.testing.assert_array_equal(bare.arrays(name)[array], values)
    assert bare.read_results()["short_run"]["temperature"] == run.config.temperature == 5e-5


def test_a_bare_model_of_vectors_has_its_runs_numbers_of_the_same_rows_alone(tmp_path):
    rows = np.random.default_rng(0).normal(7, [1, 2, 3], (300, 3))
    np.save(tmp_path / "x.npy", rows)
    run_dir = RunDir(tmp_path / "run")
    train(TrainConfig(dataset=f"array:{tmp_path}/x.npy", workdir=str(run_dir.path), train_steps=2))
    names = ("short_run", "long_run", "mala", "likelihood", "energies")
    chains = {"num_samples": 20, "num_steps": 3, "num_chains": 6, "long_run_steps": 20, "ais_steps": 10}
    chains |= {"tasks": ",".join(names), "mala_steps": 10, "mala_warmup_steps": 10}
    run = tasks.evaluate(EvaluateConfig(workdir=str(run_dir.path), **chains))
    of_file = EvaluateConfig(model=str(run_dir.model), output=str(tmp_path / "out"), **chains)
    bare = tasks.evaluate(of_file)
    for name in names:
        for array, values in run.arrays(name).items():
            np.testing.assert_array_equal(bare.arrays(name)[array], values, err_msg=f"{name} {array}")
    found, expected = (one.read_results()["likelihood"]["log_likelihood_nats"] for one in (bare, run))
    assert found == expected
    np.save(tmp_path / "x.npy", rows[:-1])
    with pytest.raises(ConfigError, match=r"^--model: expected array:.*x\.npy with the rows that trained"):
        tasks.evaluate(dataclasses.replace(of_file, num_samples=21))


@needs_data
def test_cifar_a_bare_model_has_its_runs_ood(cifar, tmp_path):
    """And a folder of images is a set as any other."""
    shutil.copy(cifar / "model.keras", tmp_path / "bare.keras")
    folder = tmp_path / "some images"
    folder.mkdir()
    for index, pixels in enumerate(images.load("svhn_cropped", "test[:6]", str(DATA), 32)):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    bare = EvaluateConfig(
        model=str(tmp_path / "bare.keras"),
        output=str(tmp_path / "out"),
        tasks="ood",
        data_dir=str(DATA),
        num_samples=50,
        ood_data=f"svhn_cropped,{folder}",
    )
    run = tasks.evaluate(bare)
    found, expected = run.arrays("ood"), load_run(cifar).arrays("ood")
    np.testing.assert_allclose(found["energy_in"], expected["energy_in"], rtol=1e-5)
    np.testing.assert_allclose(found["energy_some images"], found["energy_svhn_cropped"][:6], rtol=1e-5)
    assert set(run.read_results()["ood"]["detector"]["against"]) == {"svhn_cropped", "some images"}
    with pytest.raises(ConfigError, match=r"--fid_samples: expected some of short_run, .*Received: bank"):
        features = str(ROOT / "pretrained" / "cifar_features.keras")
        of_bank = {"fid_samples": "bank", "fid_features": features, "ood_data": None}
        tasks.evaluate(dataclasses.replace(bare, tasks="fid", **of_bank))
    with pytest.raises(ConfigError, match=r"--tasks: expected some of .*, fid with --model\. Received: bank"):
        tasks.evaluate(dataclasses.replace(bare, tasks="bank,ood"))
    with pytest.raises(ConfigError, match="--output: expected a folder that is not a run's"):
        tasks.evaluate(dataclasses.replace(bare, output=str(cifar)))


@needs_data
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ood_data": "svhn_cropped/train"}, "svhn_cropped/test, the only split"),
        ({"ood_data": "no_such_set"}, "no_such_set"),
        ({"ood_data": "svhn_cropped,svhn_cropped/test"}, "--ood_data: expected sets separated by commas"),
        ({"data_dir": "nowhere"}, "nowhere"),
    ],
)
def test_cifar_missing_data_are_told_before_anything_runs(settings, message, cifar, tmp_path):
    folder = copy(cifar, tmp_path)
    before = (folder / "results.json").read_text()
    with pytest.raises(ConfigError, match=message):
        evaluate(folder, "short_run,ood", seed=1, **settings)
    assert (folder / "results.json").read_text() == before


def command(name, *flags, cwd):
    return processes.run([ROOT / "bin" / f"{name}.py", *flags], cwd)


@pytest.mark.parametrize(
    ("name", "flags"),
    [("evaluate", ["--workdir=nowhere"]), ("sample", ["--model=nowhere.keras", "--output=out"])],
)
def test_bad_input_is_one_line_and_exit_2(name, flags, tmp_path):
    done = command(name, *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "nowhere" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "no model"])
def test_a_file_that_is_no_model_is_refused(text, made, tmp_path):
    folder = copy(made, tmp_path)
    (folder / "model.keras").write_text(text)
    with pytest.raises(ConfigError, match=r"--workdir: expected a \.keras file that Keras can read"):
        evaluate(folder, "short_run")
    assert not (folder / "results.json").exists()


def test_a_keras_model_that_is_no_energy_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(ConfigError, match=r"--model: expected a file with an energy of ebm_tf\. .*, a Sequential"):
        sample(SampleConfig(model=str(tmp_path / "model.keras"), output=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_the_command_evaluates(made, tmp_path):
    folder = copy(made, tmp_path)
    done = command("evaluate", f"--workdir={folder}", "--tasks=short_run,density", "--num_samples=5", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("short_run: 5/5 chains")
    starts = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert starts == ["density", "short_run", f"wrote {folder}/results.json"]

"""The task fid: its numbers, the reference's cache, going on after a kill, warnings and what it refuses."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import ebm_tf
from ebm_tf.data import images
from ebm_tf.errors import ConfigError, UnusableError
from ebm_tf.evaluation.features import fid
from ebm_tf.evaluation.features.extractors import load_extractor
from ebm_tf.evaluation.finished import FinishedRun
from ebm_tf.runs import cache
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.commands import EvaluateConfig, resolve
from ebm_tf.settings.train import TrainConfig
from ebm_tf.stats.distances import Moments, frechet_distance, kernel_distance

RNG = np.random.default_rng(0)
REFERENCE = RNG.integers(0, 256, (60, 32, 32, 3)).astype(np.uint8)
SAMPLES = RNG.integers(0, 200, (41, 32, 32, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def no_data_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "load", lambda *args: REFERENCE)
    monkeypatch.setattr(fid, "_extractor", load_extractor)
    monkeypatch.setattr(fid, "BLOCK", 25)


@pytest.fixture(scope="module")
def features_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "own.keras"
    layers = [keras.Input((32, 32, 3)), keras.layers.AveragePooling2D(8), keras.layers.Flatten()]
    keras.Sequential([*layers, keras.layers.Dense(6, activation="relu")]).save(path)
    return path


def make_run(folder, **arrays):
    """A finished run that has done short_run; nothing here reads its model."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TrainConfig().to_dict()))
    (folder / "model.keras").write_bytes(b"never read")
    for name, x in arrays.items():
        np.savez(folder / f"{name}.npz", **{fid.SAMPLE_SETS[name][0]: x})
    return FinishedRun(RunDir(folder), TrainConfig(), folder / "model.keras")


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", short_run=SAMPLES, bank=REFERENCE[:30])


@pytest.fixture
def settings(run, features_file):
    settings = EvaluateConfig(workdir=str(run.run_dir.path), tasks="fid", fid_features=str(features_file))
    return resolve(settings, run.config)


def partial_of(run):
    return PartialArrays(run.run_dir.path / "partial" / "fid", "key")


def count_images(monkeypatch, stop_at=None):
    """Counts the images of each call of the extractor; at the call of number stop_at it raises."""
    calls = []

    def load(*args):
        extractor = load_extractor(*args)

        def call(x):
            if stop_at is not None and len(calls) == stop_at:
                raise KeyboardInterrupt
            calls.append(len(x))
            return extractor.call_fn(x)

        return extractor._replace(call_fn=call)

    monkeypatch.setattr(fid, "_extractor", load)
    return calls


def test_numbers_are_those_of_the_features(run, settings, capsys):
    settings = dataclasses.replace(settings, fid_samples="short_run, bank", num_samples=40)
    numbers, arrays = fid.fid_task(run, settings, partial_of(run))
    extractor = load_extractor(settings.fid_features, 32)
    x, y = extractor(SAMPLES[:40]), extractor(REFERENCE)
    a, b = Moments.of(x), Moments.of(y)
    expected = frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    value = numbers["values"]["short_run"]
    assert value["frechet_distance"] == pytest.approx(expected, rel=1e-4)
    assert value["kid"] == pytest.approx(kernel_distance(x, y).value, rel=1e-3)
    assert (value["num_samples"], value["kid_subset_size"], value["kid_num_subsets"]) == (40, 4, 10)
    assert numbers["values"]["bank"]["frechet_distance"] < value["frechet_distance"]
    assert numbers["values"]["bank"]["num_samples"] == 30
    assert arrays == {}
    assert {name: numbers[name] for name in ("features", "distance_name", "reference", "num_reference")} == {
        "features": "own.keras",
        "distance_name": "FD (own.keras)",
        "reference": "cifar10/train",
        "num_reference": 60,
    }
    assert numbers["features_sha256"] == extractor.sha256
    assert "half to even" in numbers["rounding"]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fid: short_run: ")]
    for part in ("FD (own.keras) ", extractor.sha256[:16], "40 samples", "60 of cifar10/train", "half to even", "+-"):
        assert part in lines[0]


def test_float_samples_are_rounded_first(run, settings, tmp_path):
    x = SAMPLES / np.float32(127.5) - 1
    x[0] = 3.0
    other = make_run(tmp_path / "float", mala=x)
    numbers, _ = fid.fid_task(other, dataclasses.replace(settings, fid_samples="mala"), partial_of(other))
    clipped = SAMPLES.copy()
    clipped[0] = 255
    same = make_run(tmp_path / "uint8", mala=clipped)
    expected, _ = fid.fid_task(same, dataclasses.replace(settings, fid_samples="mala"), partial_of(same))
    assert numbers["values"] == expected["values"]


def test_reference_is_read_from_the_cache(run, settings, tmp_path, monkeypatch):
    first, _ = fid.fid_task(run, settings, partial_of(run))
    calls = count_images(monkeypatch)
    other = make_run(tmp_path / "other", short_run=SAMPLES)
    second, _ = fid.fid_task(other, settings, partial_of(other))
    assert sum(calls) == len(SAMPLES)
    assert second == first


@pytest.mark.parametrize("damage", ["cut", "text", "shape"])
def test_damaged_cache_is_made_anew(run, settings, damage):
    first, _ = fid.fid_task(run, settings, partial_of(run))
    (cached,) = (cache.cache_dir() / "features").iterdir()
    content = cached.read_bytes()
    if damage == "shape":
        np.save(cached, np.zeros((3, 6), np.float32))
    else:
        cached.write_bytes(content[:-100] if damage == "cut" else b"no array")
    partial_of(run).remove()
    second, _ = fid.fid_task(run, settings, partial_of(run))
    assert second == first
    assert cached.read_bytes() == content


def test_two_evaluations_may_keep_the_same_reference_at_once(tmp_path, monkeypatch, capsys):
    path, rows, save = tmp_path / "features.npy", np.ones((4, 3), np.float32), np.save
    processes = iter((1, 2))

    def save_while_another_does(file, rows):
        monkeypatch.setattr(np, "save", save)
        with open(file, "wb") as draft:
            cache.write_array(path, rows, "fid: warning")
            save(draft, rows)

    monkeypatch.setattr(cache.os, "getpid", lambda: next(processes))
    monkeypatch.setattr(np, "save", save_while_another_does)
    cache.write_array(path, rows, "fid: warning")
    assert capsys.readouterr().out == "" and [*tmp_path.iterdir()] == [path]
    np.testing.assert_array_equal(np.load(path), rows)


def test_other_reference_images_are_another_entry(run, settings, monkeypatch):
    fid.fid_task(run, settings, partial_of(run))
    monkeypatch.setattr(images, "load", lambda *args: REFERENCE[::-1].copy())
    run = FinishedRun(run.run_dir, run.config, run.model)  # which reads its data anew
    fid.fid_task(run, settings, partial_of(run))
    assert len(list((cache.cache_dir() / "features").iterdir())) == 2


@pytest.mark.parametrize("stop_at", [1, 3])
def test_killed_task_goes_on(run, settings, tmp_path, monkeypatch, stop_at):
    """In blocks of 25: two of the samples, then three of the reference."""
    whole = make_run(tmp_path / "whole", short_run=SAMPLES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache of the whole"))
    expected, _ = fid.fid_task(whole, settings, partial_of(whole))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache of the killed"))
    count_images(monkeypatch, stop_at)
    with pytest.raises(KeyboardInterrupt):
        fid.fid_task(run, settings, partial_of(run))
    calls = count_images(monkeypatch)
    numbers, _ = fid.fid_task(run, settings, partial_of(run))
    assert calls == [25, 16, 25, 25, 10][stop_at:]
    assert numbers == expected


def test_partial_work_of_other_features_is_not_used(run, settings, tmp_path, monkeypatch):
    changed = tmp_path / "changed.keras"
    keras.Sequential([keras.Input((32, 32, 3)), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(6)]).save(changed)
    count_images(monkeypatch, stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        fid.fid_task(run, settings, partial_of(run))
    calls = count_images(monkeypatch)
    fid.fid_task(run, dataclasses.replace(settings, fid_features=str(changed)), partial_of(run))
    assert sum(calls) == len(SAMPLES) + len(REFERENCE)


def test_cache_that_cannot_be_written_is_a_warning(run, settings, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert fid.fid_task(run, settings, partial_of(run)).numbers["values"]
    assert "fid: warning: cannot keep the reference's features" in capsys.readouterr().out


def test_few_samples_are_a_warning_with_the_numbers(run, settings, capsys):
    fid.fid_task(run, dataclasses.replace(settings, num_samples=6), partial_of(run))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert "short_run has 6 images for 6 features" in line and "7 images are the fewest" in line
    fid.fid_task(run, dataclasses.replace(settings, num_samples=7), partial_of(run))
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"num_samples": 1}, "--fid_samples: expected 2 samples or more. Received: short_run with 1"),
        ({"fid_samples": "short_run,walk"}, "--fid_samples: expected some of short_run, bank, .*Received: .*walk"),
        ({"fid_samples": " , "}, "--fid_samples: expected some of"),
        ({"fid_samples": "mala"}, "--workdir: expected .*mala.npz"),
    ],
)
def test_what_is_refused(run, settings, changes, text):
    with pytest.raises(ConfigError, match=text):
        fid.fid_task(run, dataclasses.replace(settings, **changes), partial_of(run))


def test_samples_that_are_not_finite_are_refused(settings, tmp_path):
    run = make_run(tmp_path / "diverged", mala=np.full((5, 32, 32, 3), np.nan, np.float32))
    with pytest.raises(UnusableError, match="fid_samples: 0 of the 5 samples of mala are finite; 2 are needed"):
        fid.fid_task(run, dataclasses.replace(settings, fid_samples="mala"), partial_of(run))


def test_denoised_samples_have_taken_a_step_down_their_energy(run, settings, capsys):
    slope = RNG.normal(0, 1e-3, (32 * 32 * 3, 1)).astype(np.float32)
    net = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(1, use_bias=False)])
    net.layers[-1].set_weights([slope])
    config = dataclasses.replace(run.config, data_noise=0.05, temperature=5e-5)
    energy = ebm_tf.EnergyModel.from_network(net)
    run = dataclasses.replace(run, config=config, loaded=energy)
    found, num_not_finite = fid.sample_images(run, dataclasses.replace(settings, denoise=True), "short_run", 30)
    moved = SAMPLES[:30] / 127.5 - 1 - 50 * slope.reshape(32, 32, 3)  # σ² / T = 50
    np.testing.assert_array_equal(found, images.to_uint8(moved.astype(np.float32)))
    assert num_not_finite == 0 and (found != SAMPLES[:30]).any()
    fid.fid_task(run, settings, partial_of(run))
    fid.fid_task(run, dataclasses.replace(settings, denoise=True), partial_of(run))
    lines = capsys.readouterr().out.splitlines()
    assert ["denoised" in line for line in lines if line.startswith("fid: short_run:")] == [False, True]


def test_samples_of_a_run_without_noise_are_not_denoised(run, settings):
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, data_noise=0.0))
    with pytest.raises(ConfigError, match=r"--denoise: expected false, or a run that has both above 0.*data_noise=0"):
        fid.check_fid(run, dataclasses.replace(settings, denoise=True))


def test_check_refuses_missing_features_before_any_work(run, settings):
    with pytest.raises(ConfigError, match="--fid_features"):
        fid.check_fid(run, dataclasses.replace(settings, fid_features="nowhere.keras"))
    assert fid.fid_inputs(run, settings) == ["short_run"]

"""What the evaluation tasks are made of: arrays that survive a kill, steps to record, verdicts, progress, settings."""

import dataclasses
import io
import json
import re
from unittest import mock

import numpy as np
import pytest

from ebm_tf.errors import ConfigError
from ebm_tf.evaluation import tasks
from ebm_tf.evaluation.chains.long import grid_steps, record_steps
from ebm_tf.evaluation.detection import ood
from ebm_tf.runs import progress
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.runs.results import as_json
from ebm_tf.settings.commands import TASKS, EvaluateConfig, SampleConfig, resolve
from ebm_tf.settings.data import set_names
from ebm_tf.settings.fields import value_type
from ebm_tf.settings.train import TrainConfig
from ebm_tf.stats.drift import verdict
from ebm_tf.streams import block_seed
from tests.asked import read_by


def test_partial_arrays_go_on_where_they_were_marked(tmp_path):
    first = PartialArrays(tmp_path / "partial" / "task", "key")
    assert first.blocks_done == 0
    array = first.array("x", (4, 2), np.float32)
    assert not array.any()
    array[:2] = 1
    first.mark(1)
    array[2:] = 2  # written, not marked
    again = PartialArrays(tmp_path / "partial" / "task", "key")
    assert again.blocks_done == 1
    np.testing.assert_array_equal(again.array("x", (4, 2), np.float32)[:2], 1)
    again.remove()
    assert not (tmp_path / "partial").exists()


@pytest.mark.parametrize("change", ["key", "shape", "dtype", "cut short", "no state"])
def test_partial_arrays_of_something_else_start_anew(change, tmp_path):
    folder = tmp_path / "task"
    first = PartialArrays(folder, "key")
    first.array("x", (4,), np.float32)[:] = 1
    first.mark(3)
    if change == "cut short":
        (folder / "x.npy").write_bytes((folder / "x.npy").read_bytes()[:130])
    if change == "no state":
        (folder / "state.json").write_text("{")
    again = PartialArrays(folder, "other" if change == "key" else "key")
    shape, dtype = (5,) if change == "shape" else (4,), np.int32 if change == "dtype" else np.float32
    assert not again.array("x", shape, dtype).any()
    assert again.blocks_done == 0
    assert PartialArrays(folder, again.key).blocks_done == 0  # and it is so on disk


def test_a_block_reads_what_the_one_before_it_wrote_though_it_be_done_again(tmp_path):
    """A killed block has written its own slot, and must find the other as it was."""
    for kill in (True, False):
        partial = PartialArrays(tmp_path / "task", "key")
        total = partial.state("total", (), np.int32)
        for number, part in partial.remaining([("a", slice(0, 2)), ("b", slice(2, 5))], "task", "unit", first_block=0):
            assert number == "ab"[partial.blocks_done]
            total.after[...] = total.before + part.stop
            if kill and number == "b":
                break
    assert partial.blocks_done == 2 and total.before == 2 + 5


def test_blocks():
    assert list(blocks(7, 3)) == [(0, slice(0, 3)), (1, slice(3, 6)), (2, slice(6, 7))]
    assert list(blocks(6, 3)) == [(0, slice(0, 3)), (1, slice(3, 6))]


def test_block_seeds_differ():
    seeds = {tuple(block_seed(*key).numpy()) for key in np.ndindex(3, 3, 3, 3)}
    assert len(seeds) == 81


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 30, 100, 1_234, 10_000, 100_000])
def test_record_steps(num_steps):
    steps = record_steps(num_steps)
    assert (steps[0], steps[-1]) == (0, num_steps)
    assert (np.diff(steps) > 0).all()
    assert sum(steps >= num_steps // 2) >= min(11, num_steps - num_steps // 2 + 1)  # for the slope
    assert len(steps) <= 30
    grid = grid_steps(num_steps)
    assert set(grid) <= set(steps) and (grid[0], grid[-1]) == (0, num_steps)
    assert len(grid) <= 8


def test_record_steps_are_log_spaced_then_even():
    assert record_steps(1_000).tolist() == [0, 1, 2, 5, 10, 20, 50, 100, 200, *range(500, 1_001, 50)]
    assert grid_steps(100_000).tolist() == [0, 1, 10, 100, 1_000, 10_000, 100_000]


def trace(num_chains, drift=0.0, num_steps=100_000):
    """Independent N(0, 1) energies at every record, plus a drift of so much over the last half."""
    steps = record_steps(num_steps)
    noise = np.random.default_rng(0).normal(size=(len(steps), num_chains))
    return steps, noise + drift * steps[:, None] / (num_steps / 2)


def test_verdict_settled():
    numbers = verdict(*trace(1_000))
    assert (numbers["finite"], numbers["converged"]) == (True, True)
    assert numbers["verdict"].startswith("settled: over the last 50000 steps the mean energy of 1000 chains changes")
    # The slope of white noise over the 11 even records: its standard error over the window, in closed form.
    t = np.linspace(-0.5, 0.5, 11)
    error = numbers["energy_drift_std_error"] * 50
    assert error == pytest.approx(1 / np.sqrt((t**2).sum() * 1_000), rel=0.15)
    assert abs(numbers["energy_drift_per_1000_steps"] * 50) < 5 * error


def test_verdict_drifting():
    numbers = verdict(*trace(1_000, drift=-0.5))
    assert (numbers["finite"], numbers["converged"]) == (True, False)
    assert numbers["verdict"].startswith("drifting: ")
    assert numbers["energy_drift_per_1000_steps"] == pytest.approx(-0.01, abs=5 * numbers["energy_drift_std_error"])
    assert numbers["drift_over_spread"] == pytest.approx(-0.5, abs=0.2)


def test_verdict_undecided_with_few_chains():
    numbers = verdict(*trace(4))
    assert numbers["converged"] is None
    assert numbers["verdict"].startswith("undecided, more chains would tell: ")


@pytest.mark.parametrize("drift", [0.0, -50.0])
def test_verdict_is_not_settled_by_one_chain_that_escaped(drift):
    """A chain at 1e13 makes a standard deviation that would hide any drift of the others."""
    steps, energy = trace(100, drift)
    energy[steps >= 60_000, 3] = 4e13
    numbers = verdict(steps, energy)
    assert (numbers["finite"], numbers["converged"]) == (True, False if drift else None)
    energy[:, 3] = 4e13
    numbers = verdict(steps, energy)
    assert (numbers["converged"], numbers["num_stuck"]) == (False, 1)
    assert numbers["verdict"].startswith("not settled, 1 of 100 chains are stuck")


def test_verdict_is_a_least_squares_line():
    """Without noise, and chains that differ by a constant: exact."""
    steps = record_steps(2_000)
    energy = np.array([1.0, 3.0]) + 0.002 * steps[:, None]
    numbers = verdict(steps, energy.astype(np.float32))
    assert numbers["energy_drift_per_1000_steps"] == pytest.approx(2.0, rel=1e-5)
    assert numbers["energy_std"] == pytest.approx(np.sqrt(2), rel=1e-5)
    assert numbers["energy_mean"] == pytest.approx(6.0, rel=1e-5)
    assert numbers["converged"] is False


def test_verdict_on_chains_that_are_not_finite():
    steps, energy = trace(100)
    energy[steps >= 20_000, 3] = np.nan
    energy[steps >= 50_000, 7] = np.inf
    numbers = verdict(steps, energy)
    assert (numbers["finite"], numbers["num_finite"], numbers["converged"]) == (False, 98, False)
    start = "2 of 100 chains are not finite, the first by step 20000; the rest: "
    assert numbers["verdict"].startswith(start)
    assert np.isfinite(numbers["energy_mean"])
    numbers = verdict(steps, np.full_like(energy, np.inf))
    assert numbers["verdict"] == "diverged: 100 of 100 chains are not finite, the first by step 0"
    assert numbers["energy_std"] is None and numbers["converged"] is False


def test_progress_prints_a_line_at_once_and_one_at_the_end(monkeypatch):
    now = iter([0.0, 1.0, 2.0, 11.5, 12.0, 13.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    file = io.StringIO()
    with progress.bar("short_run", 100, "chain", initial=20, file=file) as bar:
        for _ in range(5):
            bar.update(16)
    assert file.getvalue().splitlines() == [
        "short_run: 36/100 chains  16 chains/s  00:04 left",
        "short_run: 68/100 chains  4.17 chains/s  00:07 left",
        "short_run: 100/100 chains  6.15 chains/s  00:00 left",
    ]


def test_progress_is_a_bar_on_a_terminal():
    file = io.StringIO()
    file.isatty = lambda: True
    with progress.bar("short_run", 4, "chain", file=file) as bar:
        bar.update(4)
    assert re.search(r"short_run: 100%\|[█#]+\| 4/4 \[.*chain/s\]", file.getvalue())


def test_every_task_of_the_flag_is_there_in_order():
    assert tuple(tasks.TASKS) == TASKS
    fields = set(EvaluateConfig.__dataclass_fields__)
    for task in tasks.TASKS.values():
        assert set(task.settings) <= fields


def test_numbers_are_made_json():
    value = {"a": np.float32(0.5), "b": [np.int64(3), np.nan], "c": np.array([1.0, np.inf]), 2: True}
    assert json.loads(json.dumps(as_json(value), allow_nan=False)) == {
        "a": 0.5,
        "b": [3, None],
        "c": [1.0, None],
        "2": True,
    }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (dict(dataset="rings", step_size=0.005, num_steps=300), (300, 0.005, 5_000)),
        (dict(dataset="cifar10", scheme="hybrid"), (1_000, 2.0, 50_000)),
        (dict(dataset="cifar10", scheme="noise", num_steps=70), (70, 1.0, 50_000)),
    ],
)
def test_steps_at_test_time(config, expected):
    """Sec. 3: the hybrid on images has L = 1,000 and epsilon = 2; all others are sampled as they train."""
    settings = resolve(EvaluateConfig(workdir="run"), TrainConfig(**config))
    assert (settings.num_steps, settings.step_size, settings.num_samples) == expected
    of_tfds = TrainConfig(**{**config, "dataset": "cifar10"}, data_dir="data")
    assert resolve(EvaluateConfig(workdir="run"), of_tfds).data_dir == "data"
    asked = resolve(EvaluateConfig(workdir="run", num_steps=3, step_size=0.1, num_samples=9), TrainConfig(**config))
    assert (asked.num_steps, asked.step_size, asked.num_samples) == (3, 0.1, 9)
    sampled = resolve(SampleConfig(workdir="run", output="out"), TrainConfig(temperature=0.5, **config))
    assert (sampled.num_steps, sampled.step_size, sampled.temperature) == (*expected[:2], 0.5)


BAD_VALUES = [
    ({"workdir": None}, "--workdir: expected a finished run's folder, or --model in its place"),
    ({"model": "m.keras"}, "--workdir: expected a finished run's folder, or --model in its place"),
    (
        {"workdir": "a\nb", "model": "m.keras"},
        "--workdir: expected a finished run's folder, or --model in its place. Received: workdir=a b, model=m.keras",
    ),
    ({"workdir": None, "model": "m.keras"}, "--output: expected a folder for what is made from --model"),
    ({"tasks": "short_run,fod"}, f"--tasks: expected some of {', '.join(TASKS)}, separated by commas"),
    ({"tasks": ","}, "--tasks: expected some of "),
    ({"num_samples": 0}, "--num_samples: expected a whole number, 1 or more. Received: num_samples=0"),
    ({"num_chains": 1}, "--num_chains: expected a whole number, 2 or more"),
    ({"batch_size": 0}, "--batch_size: expected a whole number, 1 or more"),
    ({"num_steps": 0}, "--num_steps: expected a whole number, 1 or more (Sec. 3)"),
    ({"step_size": 0.0}, "--step_size: expected a finite number above 0 (Eq. 9, Sec. 3)"),
    ({"long_run_steps": 0}, "--long_run_steps: expected a whole number, 1 or more (Sec. 3)"),
    ({"data_init_steps": -1}, "--data_init_steps: expected a whole number, 1 or more"),
    ({"neighbour_samples": 0}, "--neighbour_samples: expected a whole number"),
    ({"num_neighbours": 0}, "--num_neighbours: expected a whole number"),
    ({"mala_steps": 0}, "--mala_steps: expected a whole number"),
    ({"mala_warmup_steps": 0}, "--mala_warmup_steps: expected a whole number"),
    ({"mala_target": 1.0}, "--mala_target: expected a number in (0, 1)"),
    ({"mala_step_sizes": "each"}, "--mala_step_sizes: expected one of global, per_chain"),
    ({"mala_count": "none"}, "--mala_count: expected one of accepted, all"),
    ({"seed": -1}, "--seed: expected a whole number in [0, 2^31)"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_VALUES, ids=[str(settings) for settings, _ in BAD_VALUES])
def test_a_bad_setting_says_why(settings, message):
    with pytest.raises(ConfigError) as caught:
        EvaluateConfig(**{"workdir": "run", **settings})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output": ""}, "--output: expected a folder, or none for the run's own"),
        ({"workdir": None, "model": "m", "output": None}, "--output: expected a folder for what is made from --model"),
        ({"workdir": None}, "--workdir: expected a finished run's folder, or --model"),
        ({"init": "bank"}, "--init: expected one of noise, data"),
        ({"num_samples": 0}, "--num_samples: expected a whole number"),
        ({"num_steps": -1}, "--num_steps: expected a whole number, 0 or more"),
        ({"step_size": float("nan")}, "--step_size: expected a finite number above 0"),
        ({"temperature": -1.0}, "--temperature: expected a finite number, 0 or more"),
        ({"seed": 2**31}, "--seed: expected a whole number"),
    ],
)
def test_a_bad_setting_of_sample_says_why(settings, message):
    with pytest.raises(ConfigError) as caught:
        SampleConfig(**{"workdir": "run", "output": "out", **settings})
    assert str(caught.value).startswith(message)


def test_tasks_run_in_their_order_each_once():
    asked = EvaluateConfig(workdir="run", tasks="fid, energies,short_run,long_run,short_run")
    assert asked.task_names == ["short_run", "long_run", "energies", "fid"]


def test_names_of_sets(tmp_path):
    (tmp_path / "my images").mkdir()
    sources = f"svhn_cropped/test, oxford_flowers102/validation,{tmp_path}/my images"
    assert set_names(sources) == {
        "svhn_cropped": "svhn_cropped/test",
        "oxford_flowers102_validation": "oxford_flowers102/validation",
        "my images": f"{tmp_path}/my images",
    }
    for bad in ("", "a,a", "a,a/test", "train"):
        with pytest.raises(ConfigError, match="--ood_data: expected sets separated by commas"):
            set_names(bad)


def test_ood_says_what_it_lacks():
    data = mock.Mock(stored=lambda part, most: np.zeros((50, 2)))
    run, settings = mock.Mock(is_image=False, data=lambda data_dir: data), EvaluateConfig(workdir="run", ood_data="")
    with pytest.raises(ConfigError, match=r"^--ood_data: expected what ood tells .* table:FILE\. Received: none$"):
        ood.check_ood(run, settings)


def test_every_setting_is_one_that_some_task_depends_on_or_says_where_things_lie():
    read = {name for task in tasks.TASKS.values() for name in task.settings}
    places = {"workdir", "model", "checkpoint", "output", "tasks", "data_dir"}
    assert {field.name for field in dataclasses.fields(EvaluateConfig)} == read | places


OTHER = {str: "other", int: 7, float: 0.3, bool: True}  # than the default, by the type of a setting
CHOSEN = {"mala_step_sizes": "per_chain", "mala_count": "all"}


def test_a_setting_that_no_task_asked_for_reads_is_refused():
    """Every setting with every task. What is taken ends at the run, which is not there."""
    kinds = {field.name: value_type(field)[0] for field in dataclasses.fields(EvaluateConfig)}
    others = {name: CHOSEN.get(name, OTHER[kind]) for name, kind in kinds.items()}
    for name in read_by(",".join(TASKS), others):
        for task in TASKS:
            read = read_by(task, others)
            given = {**{few: 7 for few in ("num_chains",) if few in read}, name: others[name]}
            with pytest.raises(ConfigError) as error:
                tasks.evaluate(EvaluateConfig(workdir="nowhere", tasks=task, **given))
            assert str(error.value).startswith(f"--{'workdir' if name in read else name}: expected "), (task, name)
    with pytest.raises(ConfigError) as error:
        tasks.evaluate(EvaluateConfig(workdir="nowhere", mala_steps=9))
    line = "--mala_steps: expected 50000 where --tasks has none that reads it: mala. Received: mala_steps=9"
    assert str(error.value) == line

"""What a run shows while it trains: TensorBoard's groups, histograms and card, and the page of --watch."""

import collections
import dataclasses
import itertools
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import ebm_tf
from ebm_tf.cli import flags
from ebm_tf.plots import watch
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import board, callbacks, run

SMOKE = pathlib.Path(__file__).parents[2] / "configs" / "smoke.flags"
GROUPS = ("data", "noise_init", "data_init")


def settings(workdir, **changes):
    every = dict(train_steps=6, log_every=2, figure_every=4, checkpoint_every=4)
    config = flags.config_from_flags(TrainConfig, [f"--flagfile={SMOKE}"])
    return dataclasses.replace(config, workdir=str(workdir), **{**every, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with --watch, and its trainer."""
    folder = tmp_path_factory.mktemp("run")
    return RunDir(folder), run.train(settings(folder, watch=True))


@pytest.fixture(scope="module")
def shown(finished):
    """{plugin: {tag: [(step, value)]}} of all that TensorBoard got."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for path in finished[0].tensorboard.iterdir():
        plugins = {}  # only a tag's first value names its plugin
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                plugin = plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
                found[plugin][value.tag].append((event.step, tf.make_ndarray(value.tensor)))
    return found


def steps(values):
    return {tag: [step for step, _ in found] for tag, found in values.items()}


def test_scalars_stand_in_groups_and_metrics_keep_their_names(finished, shown):
    pairs = itertools.product(("loss", "std", "snr"), ("noise_init", "data_init", "total"))
    tags = [f"{group}/{name}" for group, name in pairs] + [f"energy/{name}" for name in GROUPS]
    tags += ["chain/energy_grad_norm", "chain/max_abs", "chain/num_steps", "chain/step_size"]
    tags += ["optimizer/learning_rate", "optimizer/gradient_norm"]
    tags += ["run/updates_per_second", "run/rollbacks", "run/traces"]
    assert steps(shown["scalars"]) == {tag: [2, 4, 6] for tag in tags}
    row = finished[0].read_metrics()[-1]
    for tag, name in {
        "loss/total": "loss",
        "loss/data_init": "data_init/energy_difference",
        "snr/noise_init": "noise_init/snr",
        "std/total": "total/std",
        "energy/data": "energy/data",
        "chain/max_abs": "max_abs",
        "run/traces": "traces",
    }.items():
        assert shown["scalars"][tag][-1] == (6, pytest.approx(row[name], rel=1e-6))


def test_histograms_are_of_the_energies_whose_means_are_logged(finished, shown):
    run_dir, trainer = finished
    assert steps(shown["histograms"]) == {f"energies/{name}": [4, 6] for name in GROUPS}
    row = run_dir.read_metrics()[-1]
    for name in GROUPS:
        energies = trainer.last_energies[name].numpy()
        assert np.mean(energies) == pytest.approx(row[f"energy/{name}"], rel=1e-4)
        buckets = shown["histograms"][f"energies/{name}"][-1][1]  # [left, right, count] each
        assert (buckets[0, 0], buckets[-1, 1]) == pytest.approx((energies.min(), energies.max()))
        assert energies.min() < energies.max() and buckets[:, 2].sum() == trainer.config.batch_size


def test_the_card_says_what_ran_where(shown):
    ((step, value),) = shown["text"]["run"]
    card = value.item().decode()
    assert step == 0
    for name, text in {
        "ebm_tf": ebm_tf.__version__,
        "tensorflow": tf.__version__,
        "xla": "False",
        "random_numbers": "Philox of TensorFlow",
        "scheme": "hybrid",
        "num_steps": "5",
        "cd_weight": "25.0",
    }.items():
        assert f"\n| {name} | <code>{text}</code> |" in card
    assert all(f"| {name} | " in card for name in ("command", "git_commit", "devices", "threads"))


def test_no_setting_can_break_the_card():
    config = settings("a|b\n<script>")
    (line,) = (line for line in board.card(config.to_dict(), {}).splitlines() if "workdir" in line)
    assert line == "| workdir | <code>a&#124;b &lt;script&gt;</code> |"


def test_images_come_at_the_figure_period(shown):
    assert steps(shown["images"]) == {"chains": [4, 6]}


def test_watch_leaves_a_finished_page_and_changes_no_update(finished, tmp_path):
    run_dir, trainer = finished
    page = (run_dir.path / "watch.html").read_text()
    assert "finished, 6 updates" in page and "http-equiv" not in page
    assert (run_dir.path / "watch.png").stat().st_size > 0
    without = run.train(settings(tmp_path))
    assert not (tmp_path / "watch.html").exists()
    for ours, other in zip(trainer.energy.get_weights(), without.energy.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, other)


def test_watch_draws_as_training_goes_and_takes_a_hundredth_of_its_time(tmp_path, monkeypatch):
    now, drawn = 0.0, []

    def plot(run_dir, every_seconds):
        nonlocal now
        now += 0.5
        drawn.append(watcher.step)

    monkeypatch.setattr(watch, "plot", plot)
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    watcher = callbacks.Watcher(10, RunDir(tmp_path))
    for batch in range(200):
        now += 1.0
        watcher.on_train_batch_end(batch)
    # Drawn at a row of metrics.jsonl, half a second each: 50 s later the next one may come.
    assert drawn == [10, 60, 110, 160]


def test_a_page_that_cannot_be_written_stops_training_in_one_line(tmp_path, monkeypatch):
    run_dir = RunDir(tmp_path)

    def close(*_):
        (run_dir.path / "watch.png" / "x").mkdir(parents=True)  # so that no file can take its place

    monkeypatch.setattr(callbacks.Watcher, "on_begin", close)
    text = r"cannot be read or written: .*watch\.png.*--resume continues"
    with pytest.raises(run.TrainingError, match=text) as caught:
        run.train(settings(run_dir.path, watch=True, checkpoint_every=1))
    assert "\n" not in str(caught.value)
    assert not list(run_dir.path.glob("watch.tmp*"))


def test_without_tensorboard_a_run_says_so_once_and_goes_on(tmp_path, monkeypatch, capsys):
    """TensorFlow has these functions from the package tensorboard: they raise, or are not there, where it cannot be
    imported.
    """
    for name in ("scalar", "text"):
        monkeypatch.setattr(tf.summary, name, lambda *args, **kwargs: 1 / 0)
    for name in ("image", "histogram"):
        monkeypatch.delattr(tf.summary, name)
    monkeypatch.setitem(sys.modules, "tensorboard.summary.v2", None)
    board._warn.cache_clear()
    board._is_there.cache_clear()
    stages = ["first train_steps=3", "second train_steps=3"]
    run.train(settings(tmp_path, train_steps=6, stage=stages))
    warning = "warning: the package tensorboard cannot be imported; nothing is written to tensorboard/\n"
    assert capsys.readouterr().err.count(warning) == 1
    assert list(RunDir(tmp_path).tensorboard.iterdir()) == []
    assert RunDir(tmp_path).model.exists() and len(RunDir(tmp_path).read_metrics()) == 4
    board._is_there.cache_clear()

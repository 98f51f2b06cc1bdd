"""bin/train.py on tiny data: what it writes, resuming, refusing, diverging, and the model read elsewhere."""

import dataclasses
import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.cli import flags
from ebm_tf.errors import ConfigError
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import Scheme, TrainConfig
from ebm_tf.training import callbacks, run
from ebm_tf.training.checkpoints import Saved, newest_intact
from tests import processes
from tests.asked import config_of
from tests.house.test_statements import is_told, written

ROOT = pathlib.Path(__file__).parents[2]
TFDS = ROOT.parent / "shared" / "tfds"
pytestmark = pytest.mark.usefixtures("plain_figures")


@pytest.fixture(autouse=True)
def _forget_models():
    yield
    keras.utils.clear_session(free_memory=False)


def smoke_config(workdir, **changes):
    settings = dict(
        dataset="rings",
        num_filters=8,
        batch_size=4,
        num_steps=3,
        step_size=0.005,
        temperature=0.005,
        energy_scale=0.005,
        bank_size=16,
        train_steps=6,
        log_every=2,
        figure_every=4,
        checkpoint_every=4,
        workdir=workdir and str(workdir),
        jit_compile="false",
    )
    return config_of(settings, **changes)


def run_command(*args):
    return processes.run(["bin/train.py", *args])


def rows_without_rate(workdir):
    rows = RunDir(workdir).read_metrics()
    for row in rows:
        del row["updates_per_second"]
    return rows


def bytes_of(variables):
    return [np.asarray(variable).tobytes() for variable in variables]


@pytest.mark.usefixtures("real_figures")
@pytest.mark.parametrize("scheme", list(Scheme))
def test_every_promised_file_is_there(tmp_path, scheme):
    config = smoke_config(tmp_path / "run", scheme=scheme)
    run.train(config)
    run_dir = RunDir(config.workdir)
    assert run_dir.load_config() == config
    assert [row["step"] for row in run_dir.read_metrics()] == [2, 4, 6]
    row = run_dir.read_metrics()[-1]
    assert {"loss", "total/snr", "energy/data", "max_abs", "learning_rate", "updates_per_second"} <= set(row)
    assert [column for column in row if not is_told(column)] == ["step"]
    assert {path.name for path in run_dir.path.iterdir()} == written("bin/train.py") | {"lock"}
    assert all(np.isfinite(value) for value in row.values())
    assert sorted(path.name for path in run_dir.figures.iterdir()) == ["chains_0000004.png", "chains_0000006.png"]
    assert sorted(path.name for path in run_dir.checkpoints.glob("*.index")) == ["update-4.index", "update-6.index"]
    assert run_dir.model.is_file()
    assert {"loss/total", "energies/data", "chains", "run"} <= tensorboard_tags(run_dir.tensorboard)


def tensorboard_tags(folder):
    events = (event for path in folder.iterdir() for event in tf.compat.v1.train.summary_iterator(str(path)))
    return {value.tag for event in events for value in event.summary.value}


@pytest.mark.parametrize(
    "changes",
    [
        dict(scheme="persistent_refresh", refresh_unit="chain", refresh_prob=0.5, ema_momentum=0.9),
        dict(scheme="noise", data_noise=0.1, step_size_rule="adaptive"),
        dict(bank_weight=2.0, bank_start="data", bank_burn_in=9, bank_restart_data=0.2, bank_restart_noise=0.2),
    ],
    ids=["bank, average", "adaptive", "old"],
)
def test_resuming_is_bit_for_bit_a_straight_run(tmp_path, changes):
    straight = run.train(smoke_config(tmp_path / "straight", train_steps=8, **changes))
    run.train(smoke_config(tmp_path / "stopped", train_steps=4, **changes))
    alone = [f"--workdir={tmp_path / 'stopped'}", "--resume", "--train_steps=8"]  # config.json has the rest
    resumed = run.train(flags.config_from_flags(TrainConfig, alone))
    assert bytes_of(resumed.energy.weights) == bytes_of(straight.energy.weights)
    assert bytes_of(resumed.optimizer.variables) == bytes_of(straight.optimizer.variables)
    if straight.bank:
        assert bytes_of(resumed.bank.variables) == bytes_of(straight.bank.variables)
        assert len(np.unique(straight.bank.ages)) > 2
    assert rows_without_rate(tmp_path / "stopped") == rows_without_rate(tmp_path / "straight")
    # The comparison can fail: four updates are not eight.
    stopped = keras.models.load_model(tmp_path / "straight" / "model.keras").get_weights()
    initial = run.build_trainer(smoke_config(tmp_path / "unused", **changes)).energy.get_weights()
    assert bytes_of(stopped) != bytes_of(initial)


@pytest.mark.parametrize("jit_compile", ["false", "true"])
def test_old_chains_count_when_they_have_burned_in(tmp_path, jit_compile):
    """A bank of one batch, of which all chains run in every update: with a burn-in of two updates the first one is as
    without the bracket, the second is not. Under XLA the bank is read and written inside the compiled update.
    """
    bank = dict(scheme="data", bank_size=4, bank_weight=5.0, bank_start="data", bank_burn_in=6, num_steps=3)
    rows = {}
    for name, changes in {"old": bank, "none": dict(scheme="data", num_steps=3)}.items():
        settings = dict(train_steps=2, log_every=1, jit_compile=jit_compile, temperature=0.0, **changes)
        trainer = run.train(smoke_config(tmp_path / name, **settings))
        rows[name] = RunDir(tmp_path / name).read_metrics()
        if name == "old":
            np.testing.assert_array_equal(trainer.bank.ages, np.full(4, 6.0))
    counted = [(row["bank/age"], row["bank/age_max"], row["bank/counted"]) for row in rows["old"]]
    assert counted == [(3.0, 3.0, 0.0), (6.0, 6.0, 1.0)]
    first, second = zip(*([row["gradient_norm"] for row in rows[name]] for name in ("old", "none")), strict=True)
    assert first[0] == pytest.approx(first[1], rel=1e-5) and second[0] != pytest.approx(second[1], rel=1e-2)
    expected = [row["total/energy_difference"] for row in rows["none"]]
    assert rows["old"][0]["total/energy_difference"] == pytest.approx(expected[0], rel=1e-4)
    parts = [rows["old"][1][f"{name}/energy_difference"] for name in ("data_init", "persistent_init")]
    assert rows["old"][1]["total/energy_difference"] == pytest.approx(parts[0] + 5 * parts[1], rel=1e-4)


def test_a_checkpoint_from_before_chains_had_ages_goes_on(tmp_path):
    config = smoke_config(tmp_path / "run", scheme="persistent", train_steps=4)
    trainer = run.train(config)
    checkpoint = trainer._checkpoint(has_ages=False)
    checkpoint.save_counter  # noqa: B018  makes it, as Checkpoints does
    prefix = checkpoint.write(str(tmp_path / "before"))
    other = run.build_trainer(config)
    run.restore(other, Saved(4, prefix, 0))
    assert bytes_of([other.bank.samples]) == bytes_of([trainer.bank.samples])
    np.testing.assert_array_equal(other.bank.ages, np.zeros(16))


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run of two updates. Do not change it."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    run.train(smoke_config(folder, train_steps=2))
    return folder


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """A run whose model is an average of weights, and its trainer. Do not change them."""
    folder = tmp_path_factory.mktemp("averaged") / "run"
    return folder, run.train(smoke_config(folder, ema_momentum=0.9))


STAGES = (
    "draw train_steps=3 ema_momentum=0.9",
    "old train_steps=4 optimizer=sgd learning_rate=1e-3 bank_weight=2 bank_size=8 num_steps=4 cd_weight=3",
    "calm train_steps=2 learning_rate=1e-3 bank_weight=2 bank_size=8 ema_momentum=0.5",
)


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A run of three stages that was not stopped, and its trainer."""
    folder = tmp_path_factory.mktemp("staged") / "run"
    return folder, run.train(smoke_config(folder, stage=STAGES, train_steps=9, log_every=1, keep_checkpoints=1))


def test_a_stage_goes_on_with_weights_and_bank_and_a_new_optimizer(staged, tmp_path):
    folder, trainer = staged
    run_dir = RunDir(folder)
    assert run_dir.checkpoint_steps() == [3, 7, 9]  # the newest, and the ends of stages
    names = [json.loads((run_dir.checkpoints / f"update-{step}.json").read_text())["stage"] for step in (3, 7, 9)]
    assert names == ["draw", "old", "calm"]
    rows = run_dir.read_metrics()
    assert [row["num_steps"] for row in rows] == [3] * 3 + [4] * 4 + [3] * 2
    assert ["bank/age" in row for row in rows] == [False] * 3 + [True] * 6
    assert rows[-1]["bank/age_max"] > 8  # the last stage goes on with the bank: two updates of its own make 6
    events = [json.loads(line) for line in run_dir.events.read_text().splitlines()]
    assert [(event["event"], event["step"]) for event in events] == [
        ("start", 0), ("stage", 3), ("stage", 7), ("done", 9)
    ]  # fmt: skip
    assert isinstance(trainer.optimizer, keras.optimizers.Adam) and int(trainer.optimizer.iterations) == 2
    # The first stage by itself: the second begins with the average of its weights.
    alone = run.train(smoke_config(tmp_path / "alone", train_steps=3, ema_momentum=0.9))
    second = run.build_trainer(smoke_config(tmp_path / "unused", stage=STAGES, train_steps=9))
    run.restore(second, newest_intact(run_dir)._replace(step=3, prefix=str(run_dir.checkpoints / "update-3")))
    second.optimizer.finalize_variable_values(second.energy.trainable_variables)
    assert bytes_of(second.energy.weights) == bytes_of(alone.energy.weights)


def test_a_run_of_stages_that_stops_anywhere_goes_on_bit_for_bit(staged, tmp_path, monkeypatch):
    """Where a stage ends, and within one."""
    folder, straight = staged
    settings = dict(stage=STAGES, train_steps=9, log_every=1, keep_checkpoints=1, checkpoint_every=1)
    on_update = callbacks.Checkpointer.on_update
    for stop in (3, 5):

        def stopped_after(self, step, logs, stop=stop):
            on_update(self, step, logs)
            if step == stop:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(callbacks.Checkpointer, "on_update", stopped_after)
            with pytest.raises(KeyboardInterrupt):
                run.train(smoke_config(tmp_path / "run", resume=stop > 3, **settings))
        assert RunDir(tmp_path / "run").read_metrics()[-1]["step"] == stop
    resumed = run.train(smoke_config(tmp_path / "run", resume=True, **settings))
    for one, other in zip(
        [*resumed.energy.weights, *resumed.optimizer.variables, *resumed.bank.variables],
        [*straight.energy.weights, *straight.optimizer.variables, *straight.bank.variables],
        strict=True,
    ):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert rows_without_rate(tmp_path / "run") == rows_without_rate(folder)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((), "--stage: expected draw train_steps=3"),
        (("other train_steps=3 ema_momentum=0.9", *STAGES[1:]), "--stage: expected draw train_steps=3"),
        (("draw train_steps=4 ema_momentum=0.9", *STAGES[1:]), "--stage: expected draw train_steps=3"),
        ((STAGES[0], STAGES[1], STAGES[2].replace("0.5", "0.6")), "--stage: expected calm train_steps=2"),
        ((*STAGES[:2], STAGES[2].replace("train_steps=2", "train_steps=1")), "--stage: expected calm of 2 updates or"),
    ],
)
def test_stages_that_have_begun_are_kept(staged, stages, message):
    with pytest.raises(ConfigError) as caught:
        run.train(smoke_config(staged[0], stage=stages, train_steps=50_000, resume=True, log_every=1))
    assert str(caught.value).startswith(message)


def test_a_finished_run_of_stages_is_told_what_it_takes(staged):
    with pytest.raises(ConfigError, match=r"the finished run in .*, or a longer last --stage, or one more\. Received"):
        run.train(smoke_config(staged[0], stage=STAGES, train_steps=9, resume=True, step_size_rule="adaptive"))


def test_the_last_stage_can_be_made_longer(staged, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(staged[0], folder)
    stages = (*STAGES[:2], STAGES[2].replace("train_steps=2", "train_steps=4"), "more train_steps=1")
    trainer = run.train(smoke_config(folder, stage=stages, train_steps=12, resume=True, log_every=1))
    assert int(trainer.update_count) == 12 and RunDir(folder).read_metrics()[-1]["step"] == 12


def test_a_crash_after_the_checkpoint_leaves_no_trace(tmp_path, monkeypatch):
    straight = run.train(smoke_config(tmp_path / "straight", train_steps=8))

    def crash(self, step):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.FigureWriter, "write", crash)
        with pytest.raises(RuntimeError, match="power cut"):
            run.train(smoke_config(tmp_path / "cut", train_steps=8, figure_every=7))
    run_dir = RunDir(tmp_path / "cut")
    assert run_dir.read_metrics()[-1]["step"] == 6
    with run_dir.metrics.open("a") as file:
        file.write('{"step": 7, "lo')  # a row cut short
    resumed = run.train(smoke_config(run_dir.path, train_steps=8, resume=True))
    assert bytes_of(resumed.energy.weights) == bytes_of(straight.energy.weights)
    assert rows_without_rate(run_dir.path) == rows_without_rate(tmp_path / "straight")


def test_the_saved_average_is_not_the_checkpoint(averaged):
    folder, trainer = averaged
    average = bytes_of(trainer.energy.get_weights())
    assert bytes_of(keras.models.load_model(folder / "model.keras").get_weights()) == average
    other = run.build_trainer(trainer.config)
    checkpoint = tf.train.latest_checkpoint(str(folder / "checkpoints"))
    other.checkpoint.restore(checkpoint).assert_existing_objects_matched()
    assert bytes_of(other.energy.get_weights()) != average


def test_chains_grow_and_the_rate_ends_where_asked(tmp_path):
    """1/L goes from 1/2 to 1/8 in equal parts, to the nearest whole L; the rate by half a cosine from 4e-4 to 1e-4."""
    grown = dict(num_steps_start=2, num_steps=8, log_every=1, train_steps=7)
    rates = dict(learning_rate=4e-4, learning_rate_schedule="cosine", learning_rate_end=1e-4)
    trainer = run.train(smoke_config(tmp_path, **grown, **rates))
    rows = RunDir(tmp_path).read_metrics()
    parts = np.arange(7) / 6
    np.testing.assert_array_equal([row["num_steps"] for row in rows], np.round(1 / ((1 - parts) / 2 + parts / 8)))
    cosine = 1e-4 + 3e-4 * (1 + np.cos(np.pi * np.arange(7) / 7)) / 2
    np.testing.assert_allclose([row["learning_rate"] for row in rows], cosine, rtol=1e-5)
    assert float(trainer.optimizer.learning_rate) == pytest.approx(1e-4)


def test_the_first_update_of_growing_chains_is_that_of_its_length(tmp_path):
    lengths = {"grown": dict(num_steps_start=3, num_steps=20), "short": dict(num_steps=3), "long": dict(num_steps=20)}
    configs = {name: smoke_config(tmp_path / name, train_steps=1, **length) for name, length in lengths.items()}
    grown, short, long = (run.train(config).energy.get_weights() for config in configs.values())
    for ours, expected in zip(grown, short, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-8)
    assert bytes_of(long) != bytes_of(short)


def test_a_run_starts_from_the_weights_of_another(averaged, tmp_path):
    first = averaged[1].energy.get_weights()
    model = pathlib.Path(shutil.copy(averaged[0] / "model.keras", tmp_path))
    second = dict(workdir=tmp_path / "second", init_model=str(model), seed=1, ema_momentum=0.5, train_steps=2)
    # A rate too small to change a weight: what the run saves is what it started from.
    trainer = run.train(smoke_config(**second, learning_rate=1e-30))
    assert bytes_of(trainer.energy.get_weights()) == bytes_of(first)
    assert int(trainer.update_count) == 2
    # A run that goes on has its own checkpoint.
    model.unlink()
    resumed = run.train(smoke_config(**{**second, "train_steps": 4}, resume=True))
    assert bytes_of(resumed.energy.get_weights()) != bytes_of(first)
    with pytest.raises(ConfigError, match=r"^--init_model: expected .*model\.keras, as the run in .*init_model=None"):
        run.train(smoke_config(**{**second, "train_steps": 4, "init_model": None}, resume=True))


def test_a_run_keeps_the_gaussian_that_its_first_energy_tilts(tmp_path, monkeypatch):
    """The images of this run may have another."""
    mean, factor = np.zeros((32, 32, 3), np.float32), np.broadcast_to(np.eye(3, dtype=np.float32), (32, 32, 3, 3))
    monkeypatch.setattr(run, "noise_spectrum", lambda data, data_noise: (mean, scale * factor))
    tilted = dict(num_filters=1, data_noise=0.05, gaussian="start+steps+reference")
    config = TrainConfig(**tilted)
    scale = 0.5
    first = run.build_trainer(config).energy
    first.save(tmp_path / "model.keras")
    scale = 2.0
    config = TrainConfig(**tilted, seed=1, init_model=str(tmp_path / "model.keras"))
    trainer = run.build_trainer(config)
    x = tf.random.stateless_normal([2, 32, 32, 3], [1, 2])
    assert abs(trainer.energy(x) - first(x)).numpy().min() > 1e-3
    run.restore(trainer, None, run.initial_energy(config.init_model))
    np.testing.assert_array_equal(trainer.energy(x), first(x))
    assert bytes_of(trainer.energy.get_weights()) == bytes_of(first.get_weights())
    other = run.build_trainer(TrainConfig(**{**tilted, "data_noise": 0.1}, init_model=config.init_model))
    with pytest.raises(ConfigError, match=r"^--init_model: expected data_noise=0.1, as in this run.*data_noise=0.05"):
        run.restore(other, None, run.initial_energy(config.init_model))


@pytest.mark.parametrize(
    "changes, text",
    [
        (dict(num_filters=4), "--init_model: expected num_filters=4, as in this run"),
        (dict(energy_scale=1.0), "--init_model: expected energy_scale=1.0, as in this run"),
        (dict(init_model="/nowhere.keras"), "--init_model: expected a .keras file. Received: /nowhere.keras, which"),
    ],
    ids=["width", "scale", "no file"],
)
def test_starting_from_another_network_is_refused(tmp_path, changes, text):
    model = tmp_path / "model.keras"
    run.build_trainer(smoke_config(None)).energy.save(model)
    with pytest.raises(ConfigError, match=text) as error:
        run.train(smoke_config(**{"workdir": tmp_path / "run", "init_model": str(model), **changes}))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [model]


def test_resuming_takes_a_new_learning_rate_and_tells_of_other_random_numbers(begun, tmp_path, capsys):
    run_dir = RunDir(shutil.copytree(begun, tmp_path / "run"))
    events = map(json.loads, run_dir.events.read_text().splitlines())
    (data_id,) = {event["data_id"] for event in events if "xla" in event}
    assert run_dir.unlike_before(False, data_id) == RunDir(tmp_path).unlike_before(True, "other") == ""
    run_dir.events.write_text(run_dir.events.read_text().replace('"xla": false', '"xla": true') + '{"cut')
    trainer = run.train(smoke_config(tmp_path / "run", resume=True, learning_rate=3e-5))
    assert int(trainer.update_count) == 6
    assert float(trainer.optimizer.learning_rate) == pytest.approx(3e-5)
    assert f"{run_dir.path} goes on without XLA (was with), which draws other random" in capsys.readouterr().err
    assert run_dir.unlike_before(True, data_id).endswith("For that: --jit_compile=false")


def test_a_model_of_a_shorter_run_is_not_the_finished_runs(tmp_path):
    """As where a run was killed that had been made longer, between its last checkpoint and model.keras."""
    run_dir = RunDir(tmp_path)
    run_dir.checkpoints.mkdir()
    assert not run_dir.has_model_of(6)
    for number, path in enumerate([run_dir.checkpoints / "update-6.index", run_dir.model]):
        path.touch()
        os.utime(path, (number, number))
    assert run_dir.has_model_of(6)
    os.utime(run_dir.model, (0, 0))
    os.utime(run_dir.checkpoints / "update-6.index", (1, 1))
    assert not run_dir.has_model_of(6)


def test_resuming_a_finished_run_says_so_and_changes_nothing(averaged, tmp_path, capsys):
    folder, trainer = averaged
    copy = shutil.copytree(folder, tmp_path / "run")

    def files():
        return {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.name != "lock"}

    before = files()
    resumed = run.train(smoke_config(copy, ema_momentum=0.9, resume=True))
    assert bytes_of(resumed.energy.weights) == bytes_of(trainer.energy.weights)
    assert files() == before
    said = f"{copy}: finished after {resumed.config.train_steps} updates; nothing to do. For more: "
    assert capsys.readouterr().err == f"{said}a larger --train_steps\n"


@pytest.mark.parametrize(
    "changes, text",
    [
        (dict(resume=True), "expected the folder of a run"),
        (dict(workdir=None), "--workdir: expected a folder for this run"),
        (dict(dataset="cifar10", data_dir="/nowhere"), "/nowhere"),
    ],
    ids=["no run", "no workdir", "no data"],
)
def test_bad_input_writes_nothing(tmp_path, changes, text):
    with pytest.raises(ConfigError, match=text) as error:
        run.train(smoke_config(**{"workdir": tmp_path / "run", **changes}))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes, text",
    [
        (dict(num_filters=16), "--num_filters: expected 8"),
        (dict(seed=1), "--seed: expected 0"),
        (dict(train_steps=1), "--train_steps: expected 2 or more"),
    ],
    ids=["width", "seed", "steps"],
)
def test_resuming_another_run_is_refused(begun, changes, text):
    before = (begun / "config.json").read_bytes()
    with pytest.raises(ConfigError, match=text):
        run.train(smoke_config(begun, resume=True, **changes))
    assert (begun / "config.json").read_bytes() == before


def test_divergence_stops_the_run_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    train_step = run.Trainer.train_step

    def poisoned(self, x):
        logs = train_step(self, x)
        return logs | {"loss": tf.where(self.update_count >= 5, float("nan"), logs["loss"])}

    monkeypatch.setattr(run.Trainer, "train_step", poisoned)
    text = r"loss = nan at update 5\. Try a smaller --learning_rate .*--step_size .*--resume continues from update-4"
    with pytest.raises(FloatingPointError, match=text):
        run.train(smoke_config(tmp_path, train_steps=8))
    assert tf.train.latest_checkpoint(str(tmp_path / "checkpoints")).endswith("update-4")
    last = RunDir(tmp_path).read_metrics()[-1]
    assert last["step"] == 5 and last["loss"] is None
    assert not (tmp_path / "model.keras").exists()


def test_the_command_trains_refuses_and_its_model_loads_elsewhere(tmp_path):
    workdir = tmp_path / "run"
    args = [f"--workdir={workdir}", "--dataset=rings", "--scheme=data", "--num_steps=2", "--step_size=0.005"]
    args += ["--num_filters=8", "--batch_size=4", "--train_steps=3", "--jit_compile=false"]
    first = run_command(*args)
    assert first.returncode == 0, first.stderr
    assert "update 3/3" in first.stderr
    model, run_next = tmp_path / "run" / "model.keras", f"python bin/evaluate.py --workdir={tmp_path / 'run'}"
    assert first.stdout == f"the model is {model}; next: {run_next}\n"
    again = run_command(*args)
    assert again.returncode == 2
    assert "--workdir: expected a new or empty folder" in again.stderr.strip().splitlines()[-1]
    assert "Traceback" not in again.stderr
    # Trained there, read in a process of its own and here: three processes, one energy.
    x = tf.random.stateless_normal((5, 10), [0, 1])
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, keras, numpy, ebm_tf.energies; path = sys.argv[1]; "
        "energy = keras.models.load_model(path + '/run/model.keras'); "
        "numpy.save(path + '/energy.npy', energy(numpy.load(path + '/x.npy'), training=False))"
    )
    there = processes.run(["-c", code, tmp_path])
    assert there.returncode == 0, there.stderr
    energy = keras.models.load_model(workdir / "model.keras")(x, training=False)
    np.testing.assert_array_equal(np.load(tmp_path / "energy.npy"), energy)
    assert np.std(energy) > 0


def test_flags_are_checked_before_anything_is_written(tmp_path):
    result = run_command(f"--workdir={tmp_path / 'run'}", "--dataset=rings", "--num_steps=0")
    assert result.returncode == 2
    assert "--num_steps: expected a whole number, 1 or more" in result.stderr.strip().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not (TFDS / "cifar10").is_dir(), reason="needs CIFAR-10 in ../shared/tfds")
@pytest.mark.usefixtures("real_figures")
def test_images(tmp_path):
    config = smoke_config(
        tmp_path,
        dataset="cifar10",
        data_dir=str(TFDS),
        train_split="train[:100]",
        num_steps=2,
        train_steps=2,
        temperature=5e-5,
        energy_scale=1.0,
        data_noise=0.03,
    )
    run.train(config)
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 2
    picture = tf.io.decode_png((tmp_path / "figures" / "chains_0000002.png").read_bytes())
    assert picture.shape[0] >= 8 * 32 and picture.shape[1] >= 8 * 32
    assert (tmp_path / "model.keras").is_file()


def test_a_finished_run_goes_on_telling_how_it_was_trained(rings_run):
    """--resume with other settings and no updates left would change what export and sample read."""
    run_dir = RunDir(rings_run)
    config, text = run_dir.load_config(), run_dir.config.read_text()
    same = dataclasses.replace(config, resume=True, workdir=str(rings_run))
    run_dir.check(same)
    with pytest.raises(ConfigError, match=r"--num_steps: expected \d+, as the finished run in .* has it, or a larger"):
        run_dir.check(dataclasses.replace(same, num_steps=config.num_steps + 1))
    assert run_dir.config.read_text() == text
    longer = dataclasses.replace(same, num_steps=config.num_steps + 1, train_steps=config.train_steps + 1)
    run_dir.check(longer)
    assert f"--num_steps={config.num_steps + 1} (was {config.num_steps})" in run_dir.changes(longer.to_dict())
    assert run_dir.changes(same.to_dict()) == ""

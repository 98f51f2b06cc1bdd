"""Runs that are killed, stopped, starved or damaged: what they say, what they leave, and resuming bit for bit."""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.energies.files import load_energy
from ebm_tf.energies.image_net import ImageNet
from ebm_tf.errors import ConfigError
from ebm_tf.runs import lock
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import callbacks, device, run
from ebm_tf.training.checkpoints import Checkpoints, newest_intact
from ebm_tf.training.guard import Guard
from tests import processes
from tests.asked import config_of

pytestmark = pytest.mark.usefixtures("plain_figures")


@pytest.fixture(autouse=True)
def _forget_models():
    yield
    keras.utils.clear_session(free_memory=False)


def tiny(workdir, **changes):
    settings = dict(
        dataset="rings",
        scheme="persistent",
        num_filters=8,
        batch_size=4,
        num_steps=3,
        step_size=0.005,
        temperature=0.005,
        energy_scale=0.005,
        bank_size=16,
        train_steps=8,
        log_every=1,
        figure_every=1000,
        checkpoint_every=2,
        workdir=str(workdir),
        jit_compile="false",
    )
    return config_of(settings, **changes)


def state(workdir):
    """Everything that two runs are compared by, bytes by name."""
    run_dir = RunDir(workdir)
    saved = newest_intact(run_dir)
    reader = tf.train.load_checkpoint(saved.prefix)
    names = [name for name in reader.get_variable_to_shape_map() if not name.startswith("_CHECKPOINTABLE")]
    values = {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}
    rows = run_dir.read_metrics()
    for row in rows:
        del row["updates_per_second"]
    weights = keras.models.load_model(run_dir.model).get_weights()
    return values | {"step": saved.step, "rows": rows, "model": [weight.tobytes() for weight in weights]}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The state of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    run.train(tiny(folder))
    keras.utils.clear_session(free_memory=False)
    return state(folder)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A function that gives a folder the first six updates of `straight`, and their checkpoints."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    run.train(tiny(folder, train_steps=6))
    keras.utils.clear_session(free_memory=False)
    return lambda to: shutil.copytree(folder, to, dirs_exist_ok=True)


@contextlib.contextmanager
def at_update(monkeypatch, step, action):
    """Calls action() once, within update `step`, when its row has been logged."""
    write_row, done = callbacks.MetricsLogger.write_row, []

    def write_row_and_act(self, at, logs):
        write_row(self, at, logs)
        if at == step and not done:
            done.append(at)
            action()

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.MetricsLogger, "write_row", write_row_and_act)
        yield
    assert done == [step]


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def events(workdir):
    return [json.loads(line) for line in RunDir(workdir).events.read_text().splitlines()]


# Killed.


def kill_and_resume(*flags):
    return processes.run(["tests/end_to_end/kill_and_resume.py", *flags], timeout=3000)


def test_killed_at_random_moments_and_resumed_is_bit_for_bit_a_straight_run():
    done = kill_and_resume("--schemes=persistent_refresh", "--kills=3")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("bit for bit the same") == 1


@pytest.mark.slow
def test_killed_twenty_times_every_scheme():
    done = kill_and_resume("--schemes=all", "--kills=20")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("bit for bit the same") == 5


def test_the_comparison_sees_a_lost_random_state(tmp_path, straight, begun, monkeypatch):
    """A run whose chains after a resume have other noise is not the straight run."""
    begun(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(TrainConfig, "chain_seed", property(lambda self: (self.seed, 99)))
        run.train(tiny(tmp_path, resume=True))
    found = state(tmp_path)
    assert found["step"] == straight["step"]
    assert found["model"] != straight["model"] and found["rows"] != straight["rows"]
    assert found["rows"][:6] == straight["rows"][:6]


def test_a_damaged_checkpoint_is_named_and_the_run_ends_the_same(tmp_path, straight, begun, capsys):
    begun(tmp_path)
    (tmp_path / "model.keras").unlink()
    data = tmp_path / "checkpoints" / "update-6.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-100])
    run.train(tiny(tmp_path, resume=True))
    assert "skipped update-6: update-6.data-00000-of-00001 has changed" in capsys.readouterr().err
    assert state(tmp_path) == straight


def test_a_damaged_checkpoint_displaces_none_that_is_whole(tmp_path):
    """As where a run went on from before a damaged one, and was stopped before it came there again."""
    run_dir, state = RunDir(tmp_path), tf.train.Checkpoint(x=tf.Variable(1.0))
    run_dir.checkpoints.mkdir()
    for keep, step in ((2, 4), (2, 6), (1, 5)):
        files = Checkpoints(run_dir, keep)
        files.save(state, step, 0)
        files.wait()
        if step == 6:
            (run_dir.checkpoints / "update-6.index").write_bytes(b"damaged")
    assert newest_intact(run_dir).step == 5 and run_dir.checkpoint_steps() == [5]


def test_a_float16_bank_resumes_bit_for_bit_too(tmp_path):
    run.train(tiny(tmp_path / "straight", bank_dtype="float16"))
    run.train(tiny(tmp_path / "stopped", bank_dtype="float16", train_steps=4))
    run.train(tiny(tmp_path / "stopped", bank_dtype="float16", resume=True))
    bank = tf.train.load_checkpoint(newest_intact(RunDir(tmp_path / "stopped")).prefix).get_tensor(
        "bank/samples/.ATTRIBUTES/VARIABLE_VALUE"
    )
    assert bank.dtype == np.float16
    assert state(tmp_path / "stopped") == state(tmp_path / "straight")
    with pytest.raises(ConfigError, match="--bank_dtype: expected float16"):
        run.train(tiny(tmp_path / "stopped", resume=True))


def test_the_newest_are_kept(tmp_path):
    run.train(tiny(tmp_path, keep_checkpoints=2, train_steps=12))
    assert RunDir(tmp_path).checkpoint_steps() == [10, 12]


# Stopped by a signal.


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), slow(signal.SIGTERM, 143)])
def test_a_signal_finishes_the_update_and_checkpoints(tmp_path, straight, monkeypatch, signum, status):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with at_update(monkeypatch, 3, lambda: os.kill(os.getpid(), signum)):
        text = rf"{signum.name} after update 3; .*--workdir={tmp_path} --resume"
        with pytest.raises(run.Stopped, match=text) as stop:
            run.train(tiny(tmp_path))
    assert stop.value.status == status
    assert RunDir(tmp_path).checkpoint_steps() == [2, 3]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert events(tmp_path)[-1]["event"] == "stop"
    run.train(tiny(tmp_path, resume=True))
    assert state(tmp_path) == straight


def test_a_second_ctrl_c_does_not_wait(tmp_path, monkeypatch):
    def twice():
        # To this thread: os.kill may reach another one of the process, and late, so that two become one.
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    # Python leaves SIGINT ignored where the shell had it ignored, as in its background jobs.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with at_update(monkeypatch, 3, twice), pytest.raises(KeyboardInterrupt):
            run.train(tiny(tmp_path))
    finally:
        signal.signal(signal.SIGINT, handler)
    assert RunDir(tmp_path).checkpoint_steps() == [2]


def test_the_command_exits_as_shells_expect(tmp_path):
    config = tiny(tmp_path / "run", train_steps=1_000_000, checkpoint_every=500_000, scheme="data")
    flags = [f"--{name}={value}" for name, value in config.to_dict().items() if value not in (None, ())]
    command = processes.Started(["bin/train.py", *flags])
    metrics = RunDir(config.workdir).metrics
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    command.send_signal(signal.SIGTERM)
    done = command.finish(timeout=60)
    assert done.returncode == 143, done.stderr
    (step,) = RunDir(config.workdir).checkpoint_steps()
    assert f"stopped by SIGTERM after update {step}; to continue: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert RunDir(config.workdir).read_metrics()[-1]["step"] == step


# Diverging: a rate at which this network really does.

WILD = dict(scheme="noise", optimizer="sgd", learning_rate=1e6, train_steps=12, checkpoint_every=1)


def test_divergence_is_caught_at_the_first_update_beyond_a_bound(tmp_path):
    with pytest.raises(run.DivergenceError, match=r"training diverged: .* at update (\d+)\. .*try a smaller") as error:
        run.train(tiny(tmp_path, **WILD, max_energy=100.0))
    assert "--resume continues from update-" in str(error.value) or "no checkpoint yet" in str(error.value)
    rows = RunDir(tmp_path).read_metrics()
    assert rows[-1]["step"] == error.value.step < 12
    bound = 100.0 * 0.005
    energies = [[row["energy/data"], row["energy/noise_init"]] for row in rows]
    assert all(max(map(abs, row)) <= bound for row in energies[:-1])
    assert RunDir(tmp_path).checkpoint_steps()[-1:] == [rows[-1]["step"] - 1][: len(rows) - 1]
    assert not (tmp_path / "model.keras").exists()


SANE = {"loss": 1.0, "max_abs": 3.0, "energy_grad_norm": 1.0, "energy/data": 0.1, "data_init/energy_difference": 0.1}


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("max_abs", 1001.0, "max_abs_x"),
        ("energy_grad_norm", 501.0, "max_energy_grad_norm"),  # 1e5 times energy_scale
        ("energy/data", -51.0, "max_energy"),
        ("data_init/energy_difference", -5.1, "max_energy_difference"),
    ],
)
def test_each_bound_names_its_number_and_flag(tmp_path, name, value, flag):
    trainer = run.build_trainer(tiny(tmp_path))
    guard = Guard(trainer.config, trainer.energy, trainer.optimizer)
    guard.check(7, SANE)
    guard.check(7, {**SANE, name: value * 0.98})
    with pytest.raises(run.DivergenceError, match=rf"{name} = -?[\d.]+, beyond [\d.]+ \(--{flag}\) at update 7\."):
        guard.check(7, {**SANE, name: value})
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(run.DivergenceError, match=rf"{name} = {wrong} at update 7\."):
            guard.check(7, {**SANE, name: wrong})


@pytest.mark.parametrize(("step_size", "advice"), [(1.0, ""), (4.0, r", or --data_noise=0\.06 or more \(now 0\.03\)")])
def test_steps_too_long_for_the_noise_of_images_are_told(tmp_path, step_size, advice):
    trainer = run.build_trainer(tiny(tmp_path))
    images = dict(dataset="cifar10", step_size=step_size, temperature=5e-5, data_noise=0.03)
    guard = Guard(dataclasses.replace(trainer.config, **images), ImageNet(num_filters=2), trainer.optimizer)
    with pytest.raises(run.DivergenceError, match=rf"or --learning_rate \(now [\d.]+\){advice}$"):
        guard.check(7, {**SANE, "max_abs": 2e3})


def test_a_weight_that_is_not_finite_is_named(tmp_path, monkeypatch):
    train_step = run.Trainer.train_step

    def poisoned(self, x):
        logs = train_step(self, x)
        kernel = self.energy.trainable_variables[2]
        kernel.assign(tf.where((self.update_count >= 5) & (tf.range(kernel.shape[1]) == 1), float("nan"), kernel))
        return logs

    monkeypatch.setattr(run.Trainer, "train_step", poisoned)
    with pytest.raises(run.DivergenceError, match=r"8 of 128 numbers of .*kernel are not finite at update 5"):
        run.train(tiny(tmp_path))
    assert RunDir(tmp_path).checkpoint_steps() == [2, 4]


ROLLBACK = {**WILD, "on_divergence": "rollback", "rollback_rate": 3e-5, "max_energy": 100.0}


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory):
    """(folder of a run that was rolled back twice, its weights at the end, what it said)."""
    folder, said = tmp_path_factory.mktemp("rolled_back") / "run", io.StringIO()
    with contextlib.redirect_stderr(said):
        weights = run.train(tiny(folder, **ROLLBACK)).energy.get_weights()
    keras.utils.clear_session(free_memory=False)
    return folder, weights, said.getvalue()


def test_rollback_goes_on_from_the_last_good_checkpoint_and_says_so(tmp_path, rolled_back):
    folder, weights, said = rolled_back
    # The checkpoint after the wild update was no good one: the second rollback goes behind it.
    first, second = (event for event in events(folder) if event["event"] == "rollback")
    assert (first["step"], first["diverged_at"], first["learning_rate"]) == (1, 2, pytest.approx(30))
    assert (second["step"], second["diverged_at"], second["learning_rate"]) == (0, 2, pytest.approx(9e-4))
    assert "energy/" in first["reason"] and first["rollbacks"] == 1
    assert "Rollback 2 of 3 to update 0" in said
    config = RunDir(folder).load_config()
    assert (config.rollbacks, config.seed, config.learning_rate) == (2, 0, 1e6)
    assert config.chain_seed != tiny(tmp_path).chain_seed
    rows = RunDir(folder).read_metrics()
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert {row["rollbacks"] for row in rows} == {2.0}
    assert rows[-1]["learning_rate"] == pytest.approx(9e-4)
    assert all(np.isfinite(weight).all() for weight in weights)


def test_a_run_that_was_rolled_back_resumes_bit_for_bit(tmp_path, monkeypatch, rolled_back):
    def crash():
        raise RuntimeError("power cut")

    with at_update(monkeypatch, 8, crash), pytest.raises(RuntimeError, match="power cut"):
        run.train(tiny(tmp_path / "b", **ROLLBACK))
    run.train(tiny(tmp_path / "b", **ROLLBACK, resume=True))
    assert state(rolled_back[0]) == state(tmp_path / "b")


def test_rollbacks_come_to_an_end(tmp_path):
    with pytest.raises(run.DivergenceError, match="after 2 rollbacks"):
        run.train(tiny(tmp_path, **{**ROLLBACK, "rollback_rate": 1.0, "max_rollbacks": 2}))
    assert [event["event"] for event in events(tmp_path)].count("rollback") == 2


# Disk, lock, clock, device, memory.


def test_a_disk_that_takes_no_more_keeps_what_is_there(tmp_path, straight, monkeypatch, limited_file_size):
    text = r"(is full|cannot be written): .*; --resume continues from update-2"
    with (
        contextlib.ExitStack() as limits,
        at_update(monkeypatch, 3, lambda: limits.enter_context(limited_file_size(2000))),
        pytest.raises(run.TrainingError, match=text),
    ):
        run.train(tiny(tmp_path))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "checkpoint",
        "update-2.data-00000-of-00001",
        "update-2.index",
        "update-2.json",
    ]
    run.train(tiny(tmp_path, resume=True))
    assert state(tmp_path) == straight


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB of our own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    with contextlib.suppress(OSError), open(folder / "ballast", "wb", 0) as file:
        while True:
            file.write(bytes(1024))


@pytest.mark.parametrize("step", [2, slow(1), slow(8)])
def test_a_full_disk(small_disk, straight, monkeypatch, step):
    filled = at_update(monkeypatch, step, lambda: fill(small_disk))
    with filled, pytest.raises(run.TrainingError, match=r"[Nn]o space left") as error:
        run.train(tiny(small_disk / "run"))
    assert "\n" not in str(error.value)
    (small_disk / "ballast").unlink()
    run.train(tiny(small_disk / "run", resume=True))
    assert state(small_disk / "run") == straight


def test_a_disk_that_is_full_from_the_start(small_disk):
    fill(small_disk)
    with pytest.raises((ConfigError, run.TrainingError), match="No space left"):
        run.train(tiny(small_disk / "run"))


def test_a_read_only_disk(small_disk):
    run.train(tiny(small_disk / "run", train_steps=2))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(ConfigError, match="--workdir: expected a folder that can be written"):
        run.train(tiny(small_disk / "run", resume=True))
    with pytest.raises(ConfigError, match="--workdir: expected a folder that can be written"):
        run.train(tiny(small_disk / "other"))


@pytest.mark.parametrize("step", [3, slow(2), slow(8)])
def test_a_folder_that_vanishes(tmp_path, monkeypatch, step):
    def remove():
        while (tmp_path / "run").exists():  # the thread that finishes a checkpoint may add files meanwhile
            shutil.rmtree(tmp_path / "run", ignore_errors=True)

    with at_update(monkeypatch, step, remove), pytest.raises(run.TrainingError, match="run is gone"):
        run.train(tiny(tmp_path / "run"))


@pytest.mark.parametrize(
    ("error", "there"), [(RuntimeError("no such thing"), "nothing"), (KeyboardInterrupt(), "an empty folder")]
)
def test_a_start_that_fails_leaves_the_place_as_it_was(tmp_path, monkeypatch, error, there):
    """Whatever it is that fails between the first file and the first update; the same command then starts."""
    if there == "an empty folder":
        (tmp_path / "runs" / "a").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "Checkpointer", lambda *_: (_ for _ in ()).throw(error))
        with pytest.raises(type(error)):
            run.train(tiny(tmp_path / "runs" / "a"))
    assert sorted(tmp_path.rglob("*")) == before
    run.train(tiny(tmp_path / "runs" / "a", train_steps=2))


def test_a_run_that_fails_after_an_update_stays(tmp_path, monkeypatch):
    with at_update(monkeypatch, 1, lambda: 1 / 0), pytest.raises(ZeroDivisionError):
        run.train(tiny(tmp_path / "run"))
    assert RunDir(tmp_path / "run").config.exists() and RunDir(tmp_path / "run").read_metrics()


def test_a_failed_start_takes_no_file_of_another(tmp_path, monkeypatch):
    """The folder fills between the first look and the lock."""
    hold = lock.hold

    def hold_late(run_dir):
        run_dir.path.mkdir()
        run_dir.config.write_text("theirs")
        return hold(run_dir)

    monkeypatch.setattr(lock, "hold", hold_late)
    with pytest.raises(ConfigError, match="expected a new or empty folder"):
        run.train(tiny(tmp_path / "run"))
    assert RunDir(tmp_path / "run").config.read_text() == "theirs"


def test_two_processes_do_not_train_one_run(tmp_path, begun, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.2)
    begun(tmp_path)
    hold = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True)"
    hold += "; input()"
    command = [sys.executable, "-c", hold, str(RunDir(tmp_path).lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=r"expected a run that no other process trains.*held by process"):
            run.train(tiny(tmp_path, resume=True))
        other.kill()
    run.train(tiny(tmp_path, resume=True))  # a process that is gone holds nothing


def test_two_processes_that_start_in_one_folder(tmp_path, monkeypatch):
    """The second finds the first at work in the folder that was empty when it looked."""
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.2)
    with at_update(monkeypatch, 1, lambda: None):
        check, second = RunDir.check, []

        def train_second():
            monkeypatch.setattr(RunDir, "check", lambda self, config: None)  # it had looked before
            with pytest.raises(ConfigError, match="no other process trains"):
                run.train(tiny(tmp_path / "run"))
            monkeypatch.setattr(RunDir, "check", check)
            second.append(True)

        with at_update(monkeypatch, 2, train_second):
            run.train(tiny(tmp_path / "run", train_steps=3))
    assert second


def test_a_clock_that_jumps_changes_nothing(tmp_path, straight, monkeypatch):
    jumps = iter(range(10**6))
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + (-1) ** next(jumps) * 10**8)
    run.train(tiny(tmp_path, train_steps=6))
    for step, moment in ((4, 2**31), (6, 0)):  # the newest checkpoint looks the oldest
        for path in (tmp_path / "checkpoints").glob(f"update-{step}.*"):
            os.utime(path, (moment, moment))
    run.train(tiny(tmp_path, resume=True))
    assert all(0 < row["updates_per_second"] < 1e5 for row in RunDir(tmp_path).read_metrics())
    assert state(tmp_path) == straight


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="has a GPU")
def test_no_gpu_where_one_was_asked_for(tmp_path):
    with pytest.raises(ConfigError, match=r"--device: expected a GPU that TensorFlow can use\. Received: none, "):
        run.train(tiny(tmp_path / "run", device="gpu"))
    assert list(tmp_path.iterdir()) == []
    run.train(tiny(tmp_path / "run", device="cpu", train_steps=1))


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[100,32,32,128]"),
        tf.errors.NotFoundError(None, None, "No algorithm worked! RESOURCE_EXHAUSTED"),  # cuDNN's; no file is missing
    ],
)
def test_want_of_memory_names_numbers(error, tmp_path, monkeypatch):
    def out_of_memory(self, x):
        raise error

    monkeypatch.setattr(run.Trainer, "train_step", out_of_memory)
    settings = dict(scheme="persistent", batch_size=100, bank_size=60_000, num_filters=64)
    with pytest.raises(run.TrainingError) as caught:
        run.train(tiny(tmp_path, **settings))
    text = str(caught.value)
    assert "an update holds 100 chains (--batch_size=100)" in text and "--batch_size=50" in text and "\n" not in text
    assert "(--bank_size=60000)" in text and "--bank_dtype=float16" in text and "--num_filters=32" in text


def test_a_gpu_that_another_program_fills_is_told(tmp_path, monkeypatch, capsys):
    """The errors are those of an H200 of which another program held all but 0.7 GiB."""

    def no_library(self, x):
        raise tf.errors.FailedPreconditionError(None, None, "DNN library initialization failed. Look at the errors.")

    monkeypatch.setattr(run.Trainer, "train_step", no_library)
    monkeypatch.setattr(device, "free_memory", lambda: 2.0**10)
    with pytest.raises(run.TrainingError, match="another program holds its memory: nvidia-smi says which") as error:
        run.train(tiny(tmp_path, scheme="noise", num_filters=64, batch_size=100))
    assert "\n" not in str(error.value)
    warned = capsys.readouterr().out.partition("warning: 9.54e-07 GiB are free on the GPU, and by estimate ")[2]
    assert "chains (--batch_size=100)" in warned.splitlines()[0] and "--batch_size=50" in warned.splitlines()[0]

    def no_room(*args, **kwargs):
        raise tf.errors.InternalError(None, None, "cudaSetDevice() on GPU:0 failed. Status: out of memory")

    monkeypatch.setattr(keras.models, "load_model", no_room)
    (tmp_path / "x.keras").touch()
    with pytest.raises(ConfigError, match=r"expected room for .*x\.keras on the GPU, whose memory another"):
        load_energy(tmp_path / "x.keras")


@pytest.mark.parametrize(("answer", "free"), [("1000\n24\n", 2.0**30), ("", None), ("[N/A]\n", None)])
def test_free_memory_is_what_nvidia_smi_says(answer, free, monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(device.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, answer))
    assert device.free_memory() == free


@pytest.mark.slow  # TensorFlow waits ten seconds for memory to come free
def test_real_want_of_memory(tmp_path):
    with pytest.raises(run.TrainingError, match="out of memory: an update holds 4 chains"):
        run.train(tiny(tmp_path / "run", num_filters=400_000))
    assert list(tmp_path.iterdir()) == []


def test_a_run_says_what_it_ran_on(tmp_path):
    run.train(tiny(tmp_path, train_steps=1))
    start = events(tmp_path)[0]
    assert start["event"] == "start" and start["step"] == 0
    assert start["tensorflow"] == tf.__version__ and start["devices"] and start["xla"] is False
    assert {"command", "git_commit", "keras", "numpy", "python", "ebm_tf", "threads", "system"} <= set(start)
    assert RunDir(tmp_path).read_metrics()[-1]["traces"] == 1


@pytest.mark.parametrize("scheme", ["hybrid", *map(slow, ("data", "noise", "persistent", "persistent_refresh"))])
def test_the_same_seed_is_the_same_run(tmp_path, scheme):
    for name in "ab":
        run.train(tiny(tmp_path / name, scheme=scheme, train_steps=2))
    run.train(tiny(tmp_path / "other", scheme=scheme, train_steps=2, seed=1))
    a, b, other = (state(tmp_path / name) for name in ("a", "b", "other"))
    assert a == b and a["model"] != other["model"]

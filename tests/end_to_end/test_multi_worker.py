"""bin/train.py --strategy=multi_worker: two processes on loopback train one run and resume it after one has died."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import time

import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.errors import ConfigError
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import cluster, replicas, run
from tests import processes

SETTINGS = dict(
    dataset="rings",
    scheme="persistent",
    num_filters=8,
    batch_size=8,
    num_steps=3,
    step_size=0.005,
    temperature=0.005,
    energy_scale=0.005,
    bank_size=32,
    learning_rate=1e-3,
    log_every=1,
    figure_every=1_000_000,
    checkpoint_every=2,
    jit_compile="false",
    strategy="multi_worker",
)
LONG = 10_000_000  # updates that nobody waits for


def free_addresses(count=2):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [f"localhost:{server.getsockname()[1]}" for server in servers]


def tf_config(addresses, index):
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


def start(workdir, **changes):
    """Both workers, the chief first."""
    addresses = free_addresses()
    flags = [f"--{name}={value}" for name, value in {**SETTINGS, **changes, "workdir": workdir}.items()]
    environments = [{**os.environ, "TF_CONFIG": tf_config(addresses, index)} for index in range(2)]
    return [processes.Started(["bin/train.py", *flags], env=environment) for environment in environments]


def finish(workers, timeout=200):
    """(exit status, stderr) of each."""
    try:
        return [(done.returncode, done.stderr) for done in [worker.finish(timeout) for worker in workers]]
    finally:
        for worker in workers:
            worker.kill()


def state(workdir, update):
    """What the checkpoint after `update` holds: weights and bank."""
    trainer = run.build_trainer(RunDir(workdir).load_config())
    path = str(RunDir(workdir).checkpoints / f"update-{update}")
    trainer.checkpoint.restore(path).assert_existing_objects_matched()
    return [np.asarray(value) for value in (*trainer.energy.weights, trainer.bank.samples)]


def rows_without_rate(workdir):
    rows = RunDir(workdir).read_metrics()
    for row in rows:
        del row["updates_per_second"]
    return rows


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Four updates by two workers: (the folder, exit status and stderr of each)."""
    workdir = tmp_path_factory.mktemp("straight") / "run"
    return workdir, finish(start(workdir, train_steps=4))


def test_two_workers_train_and_the_chief_alone_writes(straight):
    workdir, [chief, other] = straight
    assert chief[0] == 0 and other[0] == 0, (chief[1][-2000:], other[1][-2000:])
    assert "update 4/4" in chief[1] and "update" not in other[1]
    assert [row["step"] for row in RunDir(workdir).read_metrics()] == [1, 2, 3, 4]
    checkpoints = sorted(path.name for path in RunDir(workdir).checkpoints.glob("*.index"))
    assert checkpoints == ["update-2.index", "update-4.index"]
    assert len(list(RunDir(workdir).tensorboard.iterdir())) == 1
    assert [path.name for path in RunDir(workdir).figures.iterdir()] == ["chains_0000004.png"]
    assert RunDir(workdir).model.is_file()


def test_two_workers_are_two_replicas(straight, tmp_path):
    """The same run on two logical devices of one process, and its bank: the parts of both workers."""
    code = (
        "import json, sys; import tensorflow as tf;"
        "tf.config.set_logical_device_configuration("
        "    tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2);"
        "from ebm_tf.settings.train import TrainConfig; from ebm_tf.training import run;"
        "run.train(TrainConfig.from_dict(json.loads(sys.argv[1])))"
    )
    config = TrainConfig(**{**SETTINGS, "strategy": "mirrored", "train_steps": 4, "workdir": str(tmp_path / "run")})
    done = processes.run(["-c", code, json.dumps(config.to_dict())])
    assert done.returncode == 0, done.stderr[-2000:]
    mirrored, workers = state(config.workdir, 4), state(straight[0], 4)
    for one, other in zip(mirrored, workers, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    before = state(straight[0], 2)
    changed = np.any(before[-1] != workers[-1], axis=1)
    assert changed[:16].any() and changed[16:].any()


def test_a_worker_that_dies_ends_the_run_and_resuming_goes_on(straight, tmp_path):
    """SIGKILL. The chief says what to do and exits 1; both started anew do what two that never stopped do."""
    workdir = tmp_path / "run"
    workers = start(workdir, train_steps=LONG)
    try:
        wait_for(lambda: list(RunDir(workdir).checkpoints.glob("update-*.index")), workers)
        workers[1].send_signal(signal.SIGKILL)
        assert workers[0].finish(timeout=60).returncode == 1
    finally:
        (_, error), _ = finish(workers)
    line = error.strip().splitlines()[-1]
    newest = pathlib.Path(tf.train.latest_checkpoint(str(RunDir(workdir).checkpoints))).name
    assert line.startswith(f"a worker of this run was lost. Start all workers again; --resume continues from {newest}")
    assert "Traceback" not in error
    done = int(newest.partition("-")[2])
    results = finish(start(workdir, train_steps=done + 2, resume="true"))
    assert [status for status, _ in results] == [0, 0], results
    assert rows_without_rate(workdir)[:4] == rows_without_rate(straight[0])
    assert [row["step"] for row in rows_without_rate(workdir)] == list(range(1, done + 3))


def wait_for(condition, workers, seconds=150):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline and all(worker.poll() is None for worker in workers)
        time.sleep(0.1)


def test_workers_with_different_flags_are_refused(monkeypatch):
    config = TrainConfig(**SETTINGS)
    strategy = tf.distribute.get_strategy()
    monkeypatch.setattr(replicas, "gather", lambda mine: tf.concat([mine, mine], axis=0))
    replicas.check_same_run(strategy, config, 4, ())
    monkeypatch.setattr(replicas, "gather", lambda mine: tf.concat([mine, mine + 1], axis=0))
    with pytest.raises(ConfigError, match="expected the same flags, and a --workdir that all share"):
        replicas.check_same_run(strategy, config, 4, ())


ONE = ["localhost:1"]


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "{}", "worker", tf_config(ONE, 1), tf_config(ONE, -1), tf_config(["localhost"], 0)),
        *(tf_config([address, "localhost:2"], 0) for address in (":1", "localhost:0", "localhost:65536")),
        *(tf_config({"0": "localhost:1"}, 0), tf_config(ONE, 0.5), tf_config([*ONE, "localhost:2"], True)),
        tf_config([*ONE, *ONE], 0),
    ],
)
def test_a_tf_config_that_cannot_be_used_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    config = TrainConfig(**{**SETTINGS, "workdir": str(tmp_path / "run")})
    with pytest.raises(ConfigError, match="--strategy: expected for multi_worker an environment variable") as error:
        run.train(config)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_does_not_come_is_named(monkeypatch, capsys):
    """Also while it is awaited: a word after a while, and not at every look."""
    monkeypatch.setattr(cluster, "SAY_SECONDS", (0.1, 60.0))
    addresses = free_addresses()
    workers = cluster.Cluster(tuple(addresses), 0)
    with pytest.raises(cluster.WorkerLostError, match=f"no worker at {addresses[1]}"):
        cluster.wait_for_workers(workers, seconds=0.7)
    assert capsys.readouterr().err == f"waiting for the worker at {addresses[1]} (TF_CONFIG), for 0 s more\n"


def test_a_cluster_of_one_trains_as_one_host_does(tmp_path, monkeypatch, capsys):
    """What is no cluster is none: it rolls back, hears signals, and is the same run bit for bit."""
    monkeypatch.setenv("TF_CONFIG", tf_config(free_addresses(1), 0))
    alone = run.train(TrainConfig(**{**SETTINGS, "train_steps": 4, "workdir": str(tmp_path / "alone")}))
    said = "--strategy=multi_worker: one worker in TF_CONFIG; training as with mirrored\n"
    assert capsys.readouterr().err.startswith(said)
    run.train(TrainConfig(**{**SETTINGS, "train_steps": 6, "workdir": str(tmp_path / "alone"), "resume": True}))
    config = TrainConfig(**{**SETTINGS, "strategy": "one_device", "train_steps": 4, "workdir": str(tmp_path / "run")})
    for one, other in zip(alone.energy.get_weights(), run.train(config).energy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_port_in_use_is_refused():
    with socket.create_server(("", 0)) as server:
        workers = cluster.Cluster((f"localhost:{server.getsockname()[1]}", "localhost:1"), 0)
        with pytest.raises(ConfigError, match="--strategy: expected a free port"):
            cluster.wait_for_workers(workers, seconds=0.3)

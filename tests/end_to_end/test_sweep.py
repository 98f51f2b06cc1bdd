"""bin/sweep.py: a grid of runs, skipped where finished, with numbers for TensorBoard."""

import csv
import functools
import json
import pathlib
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import plugin_data_pb2

from ebm_tf.cli import flags, sweep
from ebm_tf.errors import ConfigError
from ebm_tf.settings.commands import SweepConfig
from ebm_tf.settings.train import Scheme, TrainConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = flags.expand_flag_files([f"--flagfile={ROOT / 'configs' / 'smoke.flags'}"])


def plan(runs, grid, arguments=BASE):
    settings = SweepConfig(runs=str(runs), grid=grid)
    return sweep.plan(settings, arguments, functools.partial(flags.read_values, TrainConfig))


def test_plan_has_each_run_once_and_no_lambda_where_there_is_none(tmp_path):
    trials = plan(tmp_path, "scheme=data,hybrid cd_weight=10,25 seed=0,1")
    assert [trial.name for trial in trials] == [
        "scheme-data_seed-0",
        "scheme-data_seed-1",
        "scheme-hybrid_cd_weight-10_seed-0",
        "scheme-hybrid_cd_weight-10_seed-1",
        "scheme-hybrid_cd_weight-25_seed-0",
        "scheme-hybrid_cd_weight-25_seed-1",
    ]
    assert trials[0].config.scheme is Scheme.DATA and trials[0].config.cd_weight is None
    assert (trials[3].config.cd_weight, trials[3].config.seed, trials[3].config.num_filters) == (10, 1, 4)


def test_plan_leaves_out_what_a_run_has_no_use_for(tmp_path):
    """Of the grid and of what all runs have; a run without a bank is one, whatever the bank's size."""
    trials = plan(tmp_path, "scheme=data,persistent bank_size=60000,90")
    names = ["scheme-data", "scheme-persistent_bank_size-60000", "scheme-persistent_bank_size-90"]
    assert [trial.name for trial in trials] == names
    assert [trial.config.bank_size for trial in trials] == [60_000, 60_000, 90]
    (trial,) = plan(tmp_path, "scheme=persistent", [*BASE, "--bank_weight=1", "--bank_burn_in", "5"])
    assert trial.arguments == [*(flag for flag in BASE if flag != "--cd_weight=25"), "--scheme=persistent"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("scheme=data,noise bank_size=60000,90", "--grid: expected runs of which one has a use for bank_size. Rec"),
        ("scheme", "--grid: expected NAME=VALUE,VALUE ... with each name once. Received: scheme"),
        ("seed=0 seed=1", "--grid: expected NAME=VALUE,VALUE"),
        ("workdir=a,b", "--grid: expected NAME=VALUE,VALUE"),
        ("seed=0,x", "expected a whole number"),
        ("scheme=data,dta", "--scheme: expected one of data, noise"),
        ("sead=0", "Unknown command line flag 'sead'"),
    ],
)
def test_a_bad_grid_is_told_before_anything_runs(grid, message, tmp_path):
    with pytest.raises(ConfigError) as caught:
        plan(tmp_path, grid)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_with_another_run_is_told(tmp_path):
    (trial,) = plan(tmp_path, "seed=0")
    pathlib.Path(trial.config.workdir).mkdir()
    pathlib.Path(trial.config.workdir, "config.json").write_text(json.dumps(trial.config.to_dict()))
    assert plan(tmp_path, "seed=0") == [trial]
    rolled_back = {**trial.config.to_dict(), "rollbacks": 2}
    pathlib.Path(trial.config.workdir, "config.json").write_text(json.dumps(rolled_back))
    assert plan(tmp_path, "seed=0") == [trial]
    assert len(plan(tmp_path, "seed=0", [*BASE, "--log_every=7", "--keep_checkpoints=1"])) == 1  # the same results
    with pytest.raises(ConfigError, match=r"--num_steps: expected 5, as .*seed-0 has it. Received: num_steps=6"):
        plan(tmp_path, "seed=0", [*BASE, "--num_steps=6"])
    own = TrainConfig(dataset="table:x.csv", num_steps=5, step_size=0.5)  # whose step size was not given
    pathlib.Path(trial.config.workdir, "config.json").write_text(json.dumps(own.to_dict()))
    assert len(plan(tmp_path, "seed=0", ["--dataset=table:x.csv", "--num_steps=5"])) == 1
    with pytest.raises(ConfigError, match=r"--num_steps: expected 5, as .*seed-0 has it. Received: num_steps=6"):
        plan(tmp_path, "seed=0", ["--dataset=table:x.csv", "--num_steps=6"])


STUB = """
import json, pathlib, sys
given = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:] if "=" in argument)
folder = pathlib.Path(given["workdir"])
folder.mkdir(exist_ok=True)
with (folder.parent / "log").open("a") as log:
    log.write(f"{folder.name} {'--resume' in sys.argv}\\n")
(folder / "metrics.jsonl").write_text('{"step": 5, "loss": 0.5, "total/snr": 2.0, "max_abs": null}\\n')
if given["seed"] == "1":
    sys.exit(1)
if given["seed"] == "2":
    sys.exit(130)
(folder / "model.keras").touch()
(folder / "results.json").write_text('{"density": {"jensen_shannon_nats": 0.25, "settings": {"on_rings": 1}}}')
"""


def test_runs_what_is_not_finished_and_writes_the_tables(tmp_path):
    """With a command that pretends to train: seed 1 fails, seed 2 is interrupted, which ends the sweep."""
    train = [sys.executable, "-c", STUB]
    trials = plan(tmp_path, "seed=0,1,3")
    assert sweep.run_all(trials, train, tmp_path) == 1
    assert sweep.run_all(trials, train, tmp_path) == 1
    assert (tmp_path / "log").read_text().split("\n")[:-1] == [f"seed-{i} False" for i in (0, 1, 3, 1)]
    assert sweep.run_all(plan(tmp_path, "seed=2,4"), train, tmp_path) == 130
    assert not (tmp_path / "seed-4").exists()
    sweep.write_tables(trials, tmp_path)
    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["finished", "not finished", "finished"]
    assert rows[0] == {
        "run": "seed-0",
        "seed": "0",
        "status": "finished",
        "updates": "5",
        "loss": "0.5",
        "total/snr": "2.0",
        "max_abs": "",
        "density/jensen_shannon_nats": "0.25",
    }
    assert _hparams(tmp_path / "hparams" / "seed-3") == {"seed": 3.0}


def _hparams(folder):
    """The settings of a run as TensorBoard's page reads them."""
    (path,) = folder.iterdir()
    values = [value for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
    assert {"loss", "total/snr", "density/jensen_shannon_nats"} <= {value.tag for value in values}
    (start,) = (value for value in values if value.tag.endswith("session_start_info"))
    data = plugin_data_pb2.HParamsPluginData.FromString(start.metadata.plugin_data.content)
    return {name: value.number_value for name, value in data.session_start_info.hparams.items()}


def test_the_command(tmp_path):
    """One real run of two updates."""
    given = [f"--runs={tmp_path / 'runs'}", "--grid=scheme=data", "--", *BASE, "--train_steps=2"]
    command = [sys.executable, str(ROOT / "bin" / "sweep.py"), *given]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "scheme-data" / "model.keras").exists()
    assert "run 1/1, scheme-data: starts" in done.stdout
    assert "next: python bin/evaluate.py --workdir=" in done.stdout  # as sweep was called, not ebm-tf evaluate


def test_a_folder_of_a_run_with_a_wall_is_none_of_the_trials(tmp_path):
    config = TrainConfig(workdir=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({**config.to_dict(), "confinement": 0.02}))
    with pytest.raises(ConfigError, match=r"--runs: .* with confinement=0\.02$"):
        sweep._check_folder(sweep.Trial("a", {}, [], config))

"""bin/sweep.py: runs of a grid of settings, one after the other, and their numbers side by side.

ROOT/<name>/            a run of bin/train.py
ROOT/sweep.csv          a row per run: its settings, how far it came, its last metrics, its results
ROOT/hparams/           the same for TensorBoard's HParams page: tensorboard --logdir=ROOT
"""

import csv
import dataclasses
import itertools
import json
import math
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ebm_tf.drafts import draft_of
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.commands import SweepConfig
from ebm_tf.settings.data import kind_of
from ebm_tf.settings.fields import Role, names_of
from ebm_tf.settings.presets import PRESET_SETTINGS
from ebm_tf.settings.train import TrainConfig, without_use

__all__ = ["Trial", "plan", "run_all", "write_tables"]

METRICS = ("loss", "energy_grad_norm", "max_abs", "updates_per_second")
RESULTS = ("jensen_shannon_nats", "on_rings", "auroc", "frechet_distance", "acceptance_rate")
INTERRUPTED = (130, 143)  # by Ctrl-C or SIGTERM


class Trial(NamedTuple):
    """One run of the grid.

    Attributes:
      name: of its folder, made of its flags.
      flags: the flags of the grid that it has, and their values.
      arguments: its whole command line, but for the folder.
      config: all of its settings.
    """

    name: str
    flags: dict[str, str]
    arguments: list[str]
    config: TrainConfig


def plan(
    settings: SweepConfig, arguments: list[str], read_values: Callable[[list[str]], dict[str, Any]]
) -> list[Trial]:
    """The runs of a grid, in its order, each once. What one of them has no use for is left out of it, since the grid's
    values and what all runs have serve many schemes: cd_weight where there is no lambda, bank_size where there is no
    bank. A flag of the grid that no run has a use for is refused.

    Args:
      settings: names the grid.
      arguments: what all runs have, as on bin/train.py's command line, no flag files.
      read_values: all settings from a command line. Raises ConfigError.

    Raises:
      ConfigError: the grid cannot be read, one of its runs has bad settings, or its folder holds another run.
    """
    trials: dict[str, Trial] = {}
    grid = _parse_grid(settings.grid)
    never = set(grid)
    for values in itertools.product(*grid.values()):
        flags = dict(zip(grid, values))
        own = [*arguments, *(f"--{name}={value}" for name, value in flags.items())]
        own, unused = _useful(own, read_values)
        never &= unused
        flags = {flag: value for flag, value in flags.items() if flag not in unused}
        name = "_".join(f"{flag}-{value}" for flag, value in flags.items())
        workdir = str(pathlib.Path(settings.runs) / name)
        config = dataclasses.replace(TrainConfig(**read_values(own)), workdir=workdir, resume=False)
        trials[name] = Trial(name, flags, own, config)
    for name in sorted(never):
        raise ConfigError(f"--grid: expected runs of which one has a use for {name}. Received: {settings.grid}")
    for trial in trials.values():
        _check_folder(trial)
    return list(trials.values())


def _useful(arguments: list[str], read_values) -> tuple[list[str], set[str]]:
    """The arguments that have a use beside the others, and the names of the settings that have none."""
    unused: set[str] = set()
    while True:
        names = [one.lstrip("-").partition("=")[0] if one.startswith("-") else "" for one in arguments]
        owners = [name or before for before, name in zip(["", *names], names)]  # --name=value or --name value
        left = [one for owner, one in zip(owners, arguments) if owner not in unused]
        found = without_use(read_values(left)).keys() - unused
        if not found:
            return left, unused
        unused |= found


def _parse_grid(text: str) -> dict[str, list[str]]:
    grid: dict[str, list[str]] = {}
    for part in text.split():
        if not re.fullmatch(r"\w+=[\w.+-]+(,[\w.+-]+)*", part) or part.partition("=")[0] in {
            "workdir",
            "resume",
            *grid,
        }:
            raise ConfigError(f"--grid: expected NAME=VALUE,VALUE ... with each name once. Received: {part}")
        name, _, values = part.partition("=")
        grid[name] = values.split(",")
    return grid


def _check_folder(trial: Trial) -> None:
    run_dir = RunDir(trial.config.workdir or "")
    if not run_dir.config.exists():
        return
    here, wanted = run_dir.load_config().to_dict(), trial.config.to_dict()
    if run_dir.confinement:
        expected = f"--runs: expected runs of today in {run_dir.path}"
        raise ConfigError(f"{expected}. Received: one of an earlier version, with confinement={run_dir.confinement:g}")
    free = {*names_of(TrainConfig, role=Role.OPERATION), "rollbacks"}  # which training counts
    if kind_of(trial.config.dataset):  # training has made of what is not given what fits the data
        free |= {*PRESET_SETTINGS} - trial.config.given
    for name in wanted:
        if name not in free and here[name] != wanted[name]:
            received = f"{name}={wanted[name]}"
            raise ConfigError(f"--{name}: expected {here[name]}, as {run_dir.path} has it. Received: {received}")


def run_all(trials: list[Trial], train: list[str], runs: pathlib.Path) -> int:
    """Runs what is not finished, continues what was broken off, and writes the tables after each.

    Args:
      trials: see plan.
      train: the command that trains, without arguments.
      runs: where the tables go.

    Returns:
      0; 1 if a run failed; a larger status if one was interrupted, which ends the sweep.
    """
    status = 0
    for number, trial in enumerate(trials, 1):
        run_dir = RunDir(trial.config.workdir or "")
        label = f"run {number}/{len(trials)}, {trial.name}"
        if run_dir.model.exists():
            print(f"{label}: finished before", flush=True)
            continue
        resume = ["--resume"] if run_dir.config.exists() else []
        print(f"{label}: {'goes on' if resume else 'starts'}", flush=True)
        done = _status_of([*train, *trial.arguments, f"--workdir={run_dir.path}", *resume])
        write_tables(trials, runs)
        if done in INTERRUPTED:
            return done
        if done:
            print(f"{label}: failed with status {done}", flush=True)
            status = 1
    write_tables(trials, runs)
    return status


def _status_of(command: list[str]) -> int:
    """Runs a command and returns its status, 128 + the signal that ended it where one did.

    It is for the command to answer signals, so that a run ends with a checkpoint: SIGTERM is passed on; Ctrl-C is not,
    since a terminal sends it to both.
    """
    with subprocess.Popen(command) as process:
        handlers = {signal.SIGTERM: lambda *_: process.terminate(), signal.SIGINT: lambda *_: None}
        before = {signum: signal.signal(signum, handler) for signum, handler in handlers.items()}
        try:
            while (status := process.poll()) is None:
                time.sleep(0.05)  # not in wait(), where a signal that another thread takes is heard only in the end
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
    return 128 - status if status < 0 else status


def numbers_of(trial: Trial) -> dict[str, Any]:
    """What is known of a run: status, updates done, its last metrics, and what bin/evaluate.py found."""
    run_dir = RunDir(trial.config.workdir or "")
    rows = run_dir.read_metrics() if run_dir.metrics.exists() else []
    last = rows[-1] if rows else {}
    status = "finished" if run_dir.model.exists() else "not finished" if rows else "not started"
    numbers = {name: last[name] for name in last if name in METRICS or name.endswith("snr")}
    try:
        results = json.loads((run_dir.path / "results.json").read_text())
    except (OSError, ValueError):
        results = {}
    return {"status": status, "updates": last.get("step", 0), **dict(_flatten(results)), **numbers}


def _flatten(values: dict[str, Any], path: str = ""):
    """The numbers of results.json that are worth a column, named by where they stand."""
    for name, value in values.items():
        if isinstance(value, dict) and name not in ("settings", "inputs"):
            yield from _flatten(value, f"{path}{name}/")
        elif name in RESULTS and isinstance(value, (int, float)) and math.isfinite(value):
            yield path + name, value


def write_tables(trials: list[Trial], runs: pathlib.Path) -> None:
    """Writes sweep.csv and hparams/ anew."""
    rows = [{"run": trial.name, **trial.flags, **numbers_of(trial)} for trial in trials]
    columns = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    runs.mkdir(parents=True, exist_ok=True)
    with draft_of(runs / "sweep.csv") as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    _write_hparams(trials, rows, runs / "hparams")


def _write_hparams(trials: list[Trial], rows: list[dict[str, Any]], folder: pathlib.Path) -> None:
    import tensorflow as tf  # not above: a grid is checked without it

    try:
        from tensorboard.plugins.hparams import api
    except ImportError as error:
        print(f"warning: {folder} is not written: {one_line(error)}", file=sys.stderr)
        return
    shutil.rmtree(folder, ignore_errors=True)
    names = list(dict.fromkeys(itertools.chain.from_iterable(trial.flags for trial in trials)))
    numbers = [{k: v for k, v in row.items() if k not in names and isinstance(v, (int, float))} for row in rows]
    tags = list(dict.fromkeys(itertools.chain.from_iterable(numbers)))
    values = {name: [_number(t.flags[name]) for t in trials if name in t.flags] for name in names}
    hparams = [api.HParam(name, api.Discrete(sorted(set(values[name])))) for name in names]
    with tf.summary.create_file_writer(str(folder)).as_default():
        api.hparams_config(hparams=hparams, metrics=[api.Metric(tag) for tag in tags])
    for trial, found in zip(trials, numbers):
        if not found["updates"]:
            continue
        with tf.summary.create_file_writer(str(folder / trial.name)).as_default():
            api.hparams({name: _number(value) for name, value in trial.flags.items()}, trial_id=trial.name)
            for tag, value in found.items():
                tf.summary.scalar(tag, value, step=found["updates"])


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text

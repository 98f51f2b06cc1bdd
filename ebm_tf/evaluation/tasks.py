"""Running the tasks of bin/evaluate.py whose results are not there yet. task.py says what a task is, its module which.

RUN/results.json has a key per task:

    {"model": id of model.keras, "settings": {what the task read}, "inputs": {task it read: digest},
     "files": {path in settings: digest}, **numbers}

A task for which these four are those of its entry is not run again.
"""

import importlib
import json
import os
import pathlib
import pkgutil
from typing import Any

import numpy as np

from ebm_tf.data import rings
from ebm_tf.energies.devices import at_once, memory_explained
from ebm_tf.errors import ConfigError, UnusableError
from ebm_tf.evaluation import chains, detection, features
from ebm_tf.evaluation.finished import FinishedRun
from ebm_tf.evaluation.opening import bare_run, open_run
from ebm_tf.evaluation.task import STORED, Task
from ebm_tf.plots import figures
from ebm_tf.runs import signals
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.runs.results import as_json, content_digest
from ebm_tf.runs.run_dir import writable_folder
from ebm_tf.runs.saved import digest
from ebm_tf.runs.signals import StopRequest
from ebm_tf.settings import applies
from ebm_tf.settings.commands import TASKS as NAMES
from ebm_tf.settings.commands import EvaluateConfig, resolve
from ebm_tf.settings.data import check_data_dir, path_of
from ebm_tf.stats import plane, usable

__all__ = ["TASKS", "evaluate"]


def _found() -> dict[str, Task]:
    """The tasks in the modules of the folders here, in the order in which they run."""
    found: dict[str, Task] = {}
    for folder in (chains, detection, features):
        for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
            found |= getattr(importlib.import_module(module.name), "TASKS", {})
    return {name: found[name] for name in NAMES}


TASKS = _found()
_PATHS = ("fid_features", "inception_graph", "ood_data")  # settings that may name files: what these hold matters too


def evaluate(settings: EvaluateConfig) -> FinishedRun:
    """Runs the tasks that settings names, and writes RUN/results.json, arrays and figures.

    What a killed task had done lies in RUN/partial/<task>/, and the next call goes on from there.

    Raises:
      ConfigError: no finished run, a task that its data have not, a setting that no task asked for reads, or something
        that a task needs is missing. Known before any task runs.
      UnusableError: want of memory; or chains ended, none at a state that can be used: what was asked for is written.
      Stopped: SIGTERM or SIGINT came, and what was at work is written.
    """
    readers = {name: {*task.settings, *task.also} for name, task in TASKS.items()}
    readers["mala"] |= {"step_size"} if settings.model else set()  # with which its warm-up begins
    applies.check_read(settings, readers, settings.task_names, "--tasks")
    run = _open(settings)
    check_data_dir(settings.data_dir, run.config.dataset, settings.ood_data)
    settings = resolve(settings, run.config)
    due = _plan(run, settings)
    if due:
        run.energy  # noqa: B018  a model that cannot be read is told before the data are
    for name in due:
        TASKS[name].check(run, settings)
    if due:  # reading what has been done needs no writing
        for folder in (run.run_dir.figures, run.run_dir.path):
            writable_folder(folder, run.flag, "" if run.is_bare else "; --output takes results elsewhere")
    with signals.listening() as stop:
        for name in settings.task_names:
            stop.obey(f"before {name}; the same command goes on from there")
            if name in due:
                _do(run, settings, name, stop)
            else:
                print(f"{name}: has been done with this model and these settings", flush=True)
    results = run.read_results()
    is_drawn = run.has_density and all(_has_results(run, results, name) for name in ("density", "short_run"))
    if due and is_drawn:
        column = plane.kde_xy(run.arrays("short_run")["x_from_noise"]), run.arrays("density")["model_density"]
        path = run.run_dir.figures / "fig2.png"
        figures.rings_figure(plane.data_density(), {f"{run.config.scheme}": column}, path)
    lost = [name for name in settings.task_names if results.get(name, {}).get("num_usable") == 0]
    if lost:
        raise UnusableError(f"{', '.join(lost)}: no sample can be used, not finite or out of range: see {run.results}")
    return run


def _open(settings: EvaluateConfig) -> FinishedRun:
    """The run, or one made up around a bare model, whose results go to settings.output."""
    is_elsewhere = settings.output and os.path.realpath(settings.output) != os.path.realpath(settings.workdir or "")
    if is_elsewhere and (pathlib.Path(settings.output or "") / "config.json").exists():
        raise ConfigError(f"--output: expected a folder that is not a run's. Received: {settings.output}")
    if settings.workdir:
        return open_run(settings.workdir, settings.checkpoint, settings.output, settings.data_dir)
    assert settings.model and settings.output  # EvaluateConfig sees to it
    bare = [name for name, task in TASKS.items() if task.takes_bare]
    if others := sorted(set(settings.task_names) - set(bare)):
        expected = f"some of {', '.join(bare)} with --model"
        raise ConfigError(f"--tasks: expected {expected}. Received: {', '.join(others)}")
    run = bare_run(settings.model, settings.output, settings.data_dir, settings.step_size)
    if not run.is_image and run.energy.origin is None:
        expected = "an energy of images, or one that Trainer or bin/train.py has trained"
        raise ConfigError(f"--model: expected {expected}. Received: one of shape {run.energy.event_shape}")
    return run


def _plan(run: FinishedRun, settings: EvaluateConfig) -> list[str]:
    """The tasks asked for that must be run, in order. Raises ConfigError for those that cannot."""
    results = run.read_results()
    due: list[str] = []
    for name in settings.task_names:
        task = TASKS[name]
        if not _kinds(run)[task.data]:
            raise ConfigError(f"--tasks: expected {name} for {task.data} only. Received: a run of {run.config.dataset}")
        inputs = task.inputs(run, settings)
        for needed in set(inputs) - set(settings.task_names):
            if settings.model and not TASKS[needed].takes_bare:
                expected = "some of short_run, long_run, data_init, mala with --model"
                raise ConfigError(f"--fid_samples: expected {expected}. Received: {needed}")
            if not _has_results(run, results, needed):
                raise ConfigError(
                    f"--tasks: expected {needed} before {name}, as in --tasks={needed},{name}. Received: a run without "
                    f"{needed} of this model.keras"
                )
        done = _has_results(run, results, name) and not set(inputs) & set(due)
        if not done or not _identity(run, settings, name).items() <= results[name].items():
            due.append(name)
    return due


def _kinds(run: FinishedRun) -> dict[str, bool]:
    """Whether the run's data are of a kind that Task.data may name."""
    return {"": True, rings.NAME: run.has_density, "images": run.is_image, STORED: not run.has_density}


def _has_results(run: FinishedRun, results: dict[str, Any], name: str) -> bool:
    """Whether the task has been done with this model."""
    there = not TASKS[name].has_arrays or run.npz(name).exists()
    return there and results.get(name, {}).get("model") == run.model_id


def _identity(run: FinishedRun, settings: EvaluateConfig, name: str) -> dict[str, Any]:
    """All that a task's results depend on."""
    results, task = run.read_results(), TASKS[name]
    identity = {"model": run.model_id, "settings": {field: getattr(settings, field) for field in task.settings}}
    if settings.model:  # a run's own are known by its model
        identity["run"] = {"step_size": run.config.step_size, "temperature": run.config.temperature}
    if inputs := task.inputs(run, settings):
        identity["inputs"] = {needed: digest(results.get(needed)) for needed in sorted(inputs)}
    named = ",".join(getattr(settings, field) or "" for field in _PATHS if field in task.settings)
    parts = [part.strip() for part in named.split(",") if part.strip()]
    if files := {part: content for part in parts if (content := content_digest(path_of(part)))}:
        identity["files"] = files
    return identity


def _do(run: FinishedRun, settings: EvaluateConfig, name: str, stop: StopRequest) -> None:
    """Runs one task and saves what it hands back."""
    identity = _identity(run, settings, name)
    partial = PartialArrays(run.run_dir.path / "partial" / name, digest(identity), stop)
    with memory_explained(at_once(name, settings, TASKS[name].settings)):
        numbers, arrays = TASKS[name].fn(run, settings, partial)
    numbers = as_json(numbers)
    if not all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f"):
        print(f"{name}: warning: values that are not finite; the energy or its chains have diverged")
    total = numbers.get("num_samples", numbers.get("num_chains"))
    if "num_usable" in numbers and (line := usable.warning(numbers, total)):
        print(f"{name}: warning: {line}")
    run.save(name, {**identity, **numbers}, arrays)
    partial.remove()
    shown = {key: value for key, value in numbers.items() if key not in TASKS[name].unprinted}
    print(f"{name}: {json.dumps(shown)}", flush=True)

"""What a task of bin/evaluate.py is. The module of each ends with its entry, TASKS; tasks.py finds and runs them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.finished import FinishedRun, TaskResult
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.settings.commands import EvaluateConfig

__all__ = ["CHAIN_SETTINGS", "STORED", "Task", "check_is_hot", "if_done"]

STORED = "images or own data"
CHAIN_SETTINGS = ("seed", "step_size", "batch_size")


def _nothing(run: FinishedRun, settings: EvaluateConfig) -> list[str]:
    return []


class Task(NamedTuple):
    """One task.

    Attributes:
      fn: does it.
      settings: fields of EvaluateConfig that its results depend on. Not data_dir: where data lie does not matter.
      data: "rings", "images" or STORED if it is for these alone.
      inputs: tasks whose arrays it reads, of this run under these settings.
      check: raises ConfigError for what can be known to be missing before any task runs. Other returns are ignored.
      has_arrays: whether it leaves a .npz.
      unprinted: keys of its numbers for which results.json is the place.
      also: fields that it reads as well. What no task asked for reads is refused.
      takes_bare: whether a model without its run will do: it reads no other file of a run, and of its settings T alone.
    """

    fn: Callable[[FinishedRun, EvaluateConfig, PartialArrays], TaskResult]
    settings: tuple[str, ...]
    data: str = ""
    inputs: Callable[[FinishedRun, EvaluateConfig], list[str]] = _nothing
    check: Callable[[FinishedRun, EvaluateConfig], Any] = _nothing
    has_arrays: bool = True
    unprinted: tuple[str, ...] = ()
    takes_bare: bool = False
    also: tuple[str, ...] = ("batch_size",)


def if_done(other: str) -> Callable[[FinishedRun, EvaluateConfig], list[str]]:
    """Inputs of a task that reads another one if that is asked for too or has been done with this model."""

    def inputs(run, settings):
        done = run.read_results().get(other, {}).get("model") == run.model_id
        return [other] if done or other in settings.task_names else []

    return inputs


def check_is_hot(run: FinishedRun, task: str) -> None:
    """Raises ConfigError at T = 0, where there is no density."""
    if run.config.temperature == 0:
        raise ConfigError(f"--tasks: expected {task} for a run with temperature above 0. Received: temperature=0")

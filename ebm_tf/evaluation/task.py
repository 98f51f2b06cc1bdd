"""What a task of bin/evaluate.py is. The module of each ends with its entry, TASKS; tasks.py finds and runs them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ebm_tf.evaluation.finished import FinishedRun, TaskResult
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.settings.commands import EvaluateConfig

__all__ = ["CHAIN_SETTINGS", "STORED", "Task"]

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

"""The task bank: chains from the bank of a persistent scheme (Fig. 7; Sec. 3)."""

import numpy as np

from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.chains.short import how_it_ran, save_grid, short_chains
from ebm_tf.evaluation.finished import FinishedRun, TaskResult, energies, to_stored
from ebm_tf.evaluation.task import CHAIN_SETTINGS, Task
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.stats.drift import mean_of
from ebm_tf.training.checkpoints import has_bank, newest_intact, read_bank

__all__ = ["TASKS", "bank_task", "check_bank"]


def check_bank(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError when the run has no bank."""
    if not run.config.has_bank:
        expected = "--tasks: expected bank for a run that keeps one only: a persistent scheme, or bank_weight above 0"
        raise ConfigError(f"{expected}. Received: scheme={run.config.scheme}")
    prefix = _prefix(run)
    if prefix is None or not has_bank(prefix):
        where = run.own_dir.checkpoints
        raise ConfigError(f"--tasks: expected, for bank, a checkpoint that holds it in {where}. Received: {prefix}")


def _prefix(run: FinishedRun) -> str | None:
    """The path of the checkpoint that the run is, or else of its newest."""
    if run.known_id:
        return str(run.model.with_suffix(""))
    saved = newest_intact(run.own_dir)
    return saved and saved.prefix


def bank_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """Chains of num_steps steps from the bank's first num_samples slots, or from all of them.

    Law: see run_chains.
    """
    assert settings.num_samples and settings.num_steps  # resolve has filled them in
    prefix = _prefix(run)
    assert prefix  # check_bank has seen it
    x_bank = read_bank(prefix, settings.num_samples)
    starts = {"final": lambda part, block: x_bank[part]}
    ends = short_chains(run, settings, partial, "bank", starts, len(x_bank))["final"]
    energy_init = energies(run, x_bank, settings.batch_size)
    numbers = {
        "num_samples": len(x_bank),
        "bank_size": run.config.bank_size,
        **how_it_ran(run, settings, settings.num_steps),
        "energy_init_mean": mean_of(energy_init),
        "energy_final_mean": mean_of(ends.energy),
        **ends.usable,
    }
    if run.is_image:
        save_grid(run, "bank", ends.x, ends.energy)
    x_init = [to_stored(run, x_bank[part]) for _, part in blocks(len(x_bank), settings.batch_size)]  # in little memory
    arrays = {"x_init": np.concatenate(x_init), "x_final": ends.x}
    return TaskResult(numbers, {**arrays, "energy_init": energy_init, "energy_final": ends.energy})


TASKS = {"bank": Task(bank_task, (*CHAIN_SETTINGS, "num_samples", "num_steps"), check=check_bank)}

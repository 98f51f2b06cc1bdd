"""The task bank: chains from the bank of a persistent scheme (Fig. 7; Sec. 3)."""

import numpy as np
import tensorflow as tf

from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.chains.short import how_it_ran, save_grid
from ebm_tf.evaluation.finished import FinishedRun, TaskResult, energies, range_bound, run_chains, to_stored
from ebm_tf.evaluation.task import CHAIN_SETTINGS, Task
from ebm_tf.mcmc.streams import CHAINS, block_seed
from ebm_tf.runs import progress
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.stats import usable
from ebm_tf.stats.drift import mean_of
from ebm_tf.training.checkpoints import newest_intact

__all__ = ["TASKS", "bank_task", "check_bank", "read_bank"]

BANK_KEY = "bank/samples/.ATTRIBUTES/VARIABLE_VALUE"


def check_bank(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError when the run has no bank."""
    if not run.config.has_bank:
        expected = "--tasks: expected bank for a run that keeps one only: a persistent scheme, or --bank_weight"
        raise ConfigError(f"{expected}. Received: scheme={run.config.scheme}")
    prefix = _prefix(run)
    if prefix is None or not tf.train.load_checkpoint(prefix).has_tensor(BANK_KEY):
        where = run.own_dir.checkpoints
        raise ConfigError(f"--tasks: expected, for bank, a checkpoint that holds it in {where}. Received: {prefix}")


def _prefix(run: FinishedRun) -> str | None:
    """Of the checkpoint that the run is, or else of its newest."""
    if run.known_id:
        return str(run.model.with_suffix(""))
    saved = newest_intact(run.own_dir)
    return saved and saved.prefix


def read_bank(run: FinishedRun, num_samples: int) -> np.ndarray:
    """The first slots of the bank in the run's checkpoint, float32 [at most num_samples, *event].

    The checkpoint's reader gives a variable as a whole: 60,000 images take 737 MB for the moment.
    """
    prefix = _prefix(run)
    assert prefix  # check_bank has seen it
    return tf.train.load_checkpoint(prefix).get_tensor(BANK_KEY)[:num_samples].astype(np.float32)


def bank_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """Chains of num_steps steps from the bank's first num_samples slots, or from all of them.

    Law: see run_chains.
    """
    assert settings.num_samples and settings.num_steps and settings.step_size  # finished.resolve has filled them in
    x_bank = read_bank(run, settings.num_samples)
    total, kind = len(x_bank), np.uint8 if run.is_image else np.float32
    ends = ("init", "final")
    stored = {end: partial.array(f"x_{end}", x_bank.shape, kind) for end in ends}
    energy = {end: partial.array(f"energy_{end}", (total,), np.float32) for end in ends}
    measured, bound = partial.array("measured", (total, 2), np.float32), range_bound(run)
    with progress.bar("bank", total, "chain", partial.blocks_done * settings.batch_size) as bar:
        for block, part in list(blocks(total, settings.batch_size))[partial.blocks_done :]:
            seed = block_seed(settings.seed, CHAINS, block)
            x_final, energy["final"][part] = run_chains(run, x_bank[part], settings.num_steps, settings.step_size, seed)
            energy["init"][part] = energies(run, x_bank[part], settings.batch_size)
            measured[part] = usable.measure(x_final, bound)
            stored["init"][part], stored["final"][part] = to_stored(run, x_bank[part]), to_stored(run, x_final)
            partial.mark(block + 1)
            bar.update(part.stop - part.start)
    numbers = {"num_samples": total, "bank_size": run.config.bank_size, **how_it_ran(run, settings, settings.num_steps)}
    numbers |= {f"energy_{end}_mean": mean_of(values) for end, values in energy.items()}
    numbers |= usable.summary(measured, bound)
    if run.is_image:
        save_grid(run, "bank", stored["final"], energy["final"])
    arrays = {f"x_{end}": stored[end] for end in ends} | {f"energy_{end}": energy[end] for end in ends}
    return TaskResult(numbers, arrays)


TASKS = {"bank": Task(bank_task, (*CHAIN_SETTINGS, "num_samples", "num_steps"), check=check_bank)}

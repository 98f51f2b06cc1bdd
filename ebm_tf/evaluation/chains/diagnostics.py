"""The task diagnostics: have the training's own chains settled, and what does leaving out the adjustment cost?

Unadjusted chains from noise run for the training's L, are then recorded at even distances, and are judged by split R̂,
effective sample size, autocorrelation time and drift, of the energy and of fixed random projections. Where the task
mala has been run, their mean energy is set beside its.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from ebm_tf.build import use_xla
from ebm_tf.energies.precision import compile_energy, full_float32, with_policy
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.chains.mala import NUM_PROJECTIONS, projections, summary
from ebm_tf.evaluation.finished import FinishedRun, TaskResult, noise_starts, run_chains
from ebm_tf.evaluation.task import Task
from ebm_tf.mcmc.streams import block_seed
from ebm_tf.runs import progress
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.settings.commands import EvaluateConfig

__all__ = ["TASKS", "check_diagnostics", "diagnostics_inputs", "diagnostics_task", "energy_bias"]

NUM_RECORDS = 1_000
RECORDS_PER_BLOCK = 50
BURN_IN, CHAINS = 22, 23  # what the random numbers are for, see streams.block_seed


def check_diagnostics(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError when there are more chains than fit in one batch."""
    if settings.num_chains > settings.batch_size:
        received = f"num_chains={settings.num_chains}, batch_size={settings.batch_size}"
        raise ConfigError(f"--num_chains: expected at most batch_size, for diagnostics. Received: {received}")


def diagnostics_inputs(run: FinishedRun, settings: EvaluateConfig) -> list[str]:
    """mala, if it is asked for too or has been done with this model."""
    done = run.read_results().get("mala", {}).get("model") == run.model_id
    return ["mala"] if done or "mala" in settings.task_names else []


def diagnostics_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """Diagnostics of unadjusted chains at the training's step size. Reads seed, num_chains and long_run_steps."""
    config = run.config
    num_records = min(NUM_RECORDS, settings.long_run_steps)
    moves_per_record = settings.long_run_steps // num_records
    energy, projected = _record(run, settings, partial, num_records, moves_per_record)
    found, words = summary(energy, projected, moves_per_record)
    numbers = {
        "num_chains": settings.num_chains,
        "burn_in_steps": config.num_steps,
        "num_steps": num_records * moves_per_record,
        "num_records": num_records,
        "step_size": config.step_size,
        "temperature": config.temperature,
        "diagnostics": found,
        "verdict": words,
    }
    mala = run.read_results()["mala"] if diagnostics_inputs(run, settings) else {}
    if found and mala.get("diagnostics"):
        numbers["bias"] = energy_bias(found["energy"], mala["diagnostics"]["energy"], config.temperature)
    steps = config.num_steps + moves_per_record * np.arange(1, num_records + 1, dtype=np.int64)
    return TaskResult(numbers, {"steps": steps, "energy": energy, "projections": projected})


def _record(run, settings, partial, num_records, moves_per_record):
    """(energies [N, C] in float32, projections [N, C, P]) of the chains after each record's moves."""
    config = run.config
    shape = (settings.num_chains, *run.event_shape)
    slots = partial.array("x", (2, *shape), np.float32)  # block i reads slot i % 2 and writes the other
    energy = partial.array("energy", (num_records, settings.num_chains), np.float32)
    projected = partial.array("projections", (*energy.shape, NUM_PROJECTIONS), np.float32)
    directions = projections(run.event_shape).numpy()
    as_mala = with_policy(run.energy, "float32")  # to be compared with it
    energy_fn = compile_energy(as_mala, use_xla(config.jit_compile))
    starts = range(0, num_records, RECORDS_PER_BLOCK)
    with progress.bar("diagnostics", num_records, "record", initial=partial.blocks_done * RECORDS_PER_BLOCK) as bar:
        for block in range(partial.blocks_done, len(starts)):
            x = slots[block % 2] if block else _burnt_in(run, settings)
            for record in range(starts[block], min(starts[block] + RECORDS_PER_BLOCK, num_records)):
                x, _ = run_chains(run, x, moves_per_record, config.step_size, block_seed(settings.seed, CHAINS, record))
                with full_float32():
                    energy[record] = energy_fn(tf.constant(x))
                projected[record] = x.reshape(len(x), -1) @ directions
                bar.update(1)
            slots[(block + 1) % 2] = x
            partial.mark(block + 1)
    return np.asarray(energy), np.asarray(projected)


def _burnt_in(run, settings):
    x_init = noise_starts(run, settings.num_chains, settings.seed, 0)
    seed = block_seed(settings.seed, BURN_IN, 0)
    return run_chains(run, x_init, run.config.num_steps, run.config.step_size, seed)[0]


def energy_bias(ula: dict[str, float], mala: dict[str, float], temperature: float) -> dict[str, Any]:
    """Mean energies without and with the Metropolis adjustment, their difference and its standard error, over T.

    Args:
      ula: numbers of the energy of unadjusted chains, as ChainDiagnostics.
      mala: the same of adjusted chains.
      temperature: T. With T = 0 there is no unit, and no bias.
    """
    difference = ula["mean"] - mala["mean"]
    error = float(np.hypot(ula["mean_std_error"], mala["mean_std_error"]))
    return {
        "ula_energy_mean": ula["mean"],
        "mala_energy_mean": mala["mean"],
        "difference": difference,
        "std_error": error,
        "difference_over_temperature": difference / temperature if temperature else None,
    }


TASKS = {
    "diagnostics": Task(
        diagnostics_task,
        ("seed", "num_chains", "long_run_steps"),
        inputs=diagnostics_inputs,
        check=check_diagnostics,
    )
}

"""The task diagnostics: have the training's own chains settled, and what does leaving out the adjustment cost?

Unadjusted chains from noise run for the training's L, are then recorded at even distances, and are judged by split R̂,
effective sample size, autocorrelation time and drift, of the energy and of fixed random projections. Where the task
mala has been run, their mean energy is set beside its.
"""

import numpy as np
import tensorflow as tf

from ebm_tf.build import use_xla
from ebm_tf.energies.precision import compile_energy, full_float32, with_policy
from ebm_tf.evaluation.finished import FinishedRun, TaskResult, noise_starts, run_chains
from ebm_tf.evaluation.task import Task, if_done
from ebm_tf.mcmc.diagnostics import NUM_PROJECTIONS, energy_bias, projections, summary
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.streams import Stream, block_seed

__all__ = ["TASKS", "diagnostics_inputs", "diagnostics_task"]

NUM_RECORDS = 1_000
RECORDS_PER_BLOCK = 50


diagnostics_inputs = if_done("mala")


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
    state = partial.state("x", shape)
    energy = partial.array("energy", (num_records, settings.num_chains), np.float32)
    projected = partial.array("projections", (*energy.shape, NUM_PROJECTIONS), np.float32)
    directions = projections(run.event_shape).numpy()
    as_mala = with_policy(run.energy, "float32")  # to be compared with it
    energy_fn = compile_energy(as_mala, use_xla(config.jit_compile))
    for block, part in partial.remaining(blocks(num_records, RECORDS_PER_BLOCK), "diagnostics", "record"):
        x = state.before if block else _burnt_in(run, settings)
        for record in range(part.start, part.stop):
            seed = block_seed(settings.seed, Stream.RECORDS, record)
            x, _ = run_chains(run, x, moves_per_record, config.step_size, seed)
            with full_float32():
                energy[record] = energy_fn(tf.constant(x))
            projected[record] = x.reshape(len(x), -1) @ directions
        state.after[:] = x
    return np.asarray(energy), np.asarray(projected)


def _burnt_in(run, settings):
    x_init = noise_starts(run, settings.num_chains, settings.seed, 0)
    seed = block_seed(settings.seed, Stream.BURN_IN, 0)
    return run_chains(run, x_init, run.config.num_steps, run.config.step_size, seed)[0]


TASKS = {
    "diagnostics": Task(
        diagnostics_task, ("seed", "num_chains", "long_run_steps"), inputs=diagnostics_inputs, takes_bare=True
    )
}

"""The task likelihood: log p of test points, with bounds, by annealed importance sampling from both sides.

    log p(x) = −E(x)/T − log Z,    lower ≤ log Z ≤ upper

The chains of the lower bound start in a Gaussian, those of the upper at test data; see stats.log_z. Images are
dequantised: uniform noise over one of the 256 levels is added, and the discrete images' log probability is at least
that of the noisy ones plus D log(2 / 255).
"""

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf

from ebm_tf.build import step_sizes, use_xla
from ebm_tf.energies.precision import compile_energy, full_float32, with_policy
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.finished import FinishedRun, TaskResult
from ebm_tf.evaluation.task import Task, check_is_hot
from ebm_tf.mcmc import ais
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.stats import log_z
from ebm_tf.streams import Stream, block_seed

__all__ = ["TASKS", "check_likelihood", "likelihood_task"]

STAGES_PER_BLOCK = 200
MOST_POINTS = 10_000  # test points
LEVEL = 2 / 255  # between two values of a pixel in [-1, 1]


def check_likelihood(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError: T = 0, more chains than fit in one batch or than there are test points, no test data."""
    check_is_hot(run, "likelihood")
    most = min(settings.batch_size, len(_test_points(run, settings)))
    if settings.num_chains > most and settings.num_chains != EvaluateConfig.num_chains:  # the default is cut to it
        raise ConfigError(
            f"--num_chains: expected at most {most} for likelihood, the batch_size or the number of test points. "
            f"Received: num_chains={settings.num_chains}"
        )


def _test_points(run: FinishedRun, settings: EvaluateConfig) -> np.ndarray:
    """Test data as points of the density, float32 [N, *event]; images with noise over one level."""
    seed = block_seed(settings.seed, Stream.POINTS, 0)
    x = run.data(settings.data_dir).held_out(min(settings.num_samples or MOST_POINTS, MOST_POINTS), seed)
    if not run.is_image:
        return x
    return x + tf.random.stateless_uniform(x.shape, seed, -LEVEL / 2, LEVEL / 2, alg="philox").numpy()


def likelihood_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """Bounds on log Z and on the test points' log p. Reads seed, num_chains, num_samples and ais_steps."""
    energy = with_policy(run.energy, "float32")
    if energy is not run.energy:
        print(f"likelihood: the energy is computed in float32, not in the training's {run.config.dtype_policy}")
    points = _test_points(run, settings)
    settings = dataclasses.replace(settings, num_chains=min(settings.num_chains, settings.batch_size, len(points)))
    base = ais.Base(tf.constant(points.mean(axis=0)), tf.constant(points.std(axis=0) + np.float32(1e-6)))
    with full_float32():
        log_weights, rates = _anneal(run, settings, partial, energy, base, points)
        compiled = compile_energy(energy, use_xla(run.config.jit_compile))
        parts = [compiled(tf.constant(points[part])).numpy() for _, part in blocks(len(points), settings.batch_size)]
    unnormalised = -np.concatenate(parts).astype(np.float64) / run.config.temperature
    forward, backward = log_weights["forward"], log_weights["reverse"]
    numbers = {
        "num_chains": settings.num_chains,
        "num_stages": settings.ais_steps,
        "num_points": len(points),
        "temperature": run.config.temperature,
        "num_gradients": 2 * settings.num_chains * settings.ais_steps,
        "acceptance_rate": {name: float(np.mean(rate)) for name, rate in rates.items()},
        **_judged(run, points, unnormalised, forward, backward),
    }
    arrays = {
        "log_weight_forward": forward,
        "log_weight_reverse": backward,
        "minus_energy_over_temperature": unnormalised,
    }
    return TaskResult(numbers, arrays)


def _anneal(run, settings, partial, energy, base, points):
    """(ln w [N], acceptance rates [K]), each by direction. Block 0 is the pilot; then come the stages of both."""
    config, num_chains, num_stages = run.config, settings.num_chains, settings.ais_steps
    betas = partial.array("betas", (num_stages + 1,), np.float64)
    log_steps = partial.array("log_steps", (num_stages,), np.float32)
    x, log_weight = partial.state("x", (num_chains, *run.event_shape)), partial.state("ln_w", (num_chains,), np.float64)
    last = partial.array("log_weight", (2, num_chains), np.float64)
    rates = partial.array("rates", (2, num_stages), np.float32)
    pilot_seed, start_seed = (block_seed(settings.seed, Stream.AIS_STARTS, number) for number in (0, 1))
    jit_compile = use_xla(config.jit_compile)
    step_shape = step_sizes(config, run.event_shape) / config.step_size
    fixed = {"step_shape": step_shape, "temperature": config.temperature, "base": base}
    if not partial.blocks_done:
        pilot = base.draw(num_chains, pilot_seed)
        seed = block_seed(settings.seed, Stream.PILOT, 0)
        schedule = ais.find_schedule(energy, pilot, num_stages, **fixed, seed=seed, jit_compile=jit_compile)
        betas[:], log_steps[:] = schedule
        partial.mark(1)
    forward = ais.Schedule(np.asarray(betas), np.asarray(log_steps))
    schedules = (forward, forward.reverse())
    anneal = ais.compile_anneal(energy, run.event_shape, jit_compile)
    parts = [((way, number), part) for way in (0, 1) for number, part in blocks(num_stages, STAGES_PER_BLOCK)]
    for (way, number), part in partial.remaining(parts, "likelihood", "stage", first_block=1):
        if number:
            state = ais.AisState(tf.constant(x.before), tf.constant(log_weight.before))
        else:
            state = ais.init_state(points[:num_chains] if way else base.draw(num_chains, start_seed))
        purpose = (Stream.FORWARD, Stream.REVERSE)[way]
        (betas, log_steps), seed = schedules[way], block_seed(settings.seed, purpose, number)
        state, found = anneal(state, betas[part.start : part.stop + 1], log_steps[part], *fixed.values(), seed)
        x.after[:], log_weight.after[:], last[way] = state.x, state.log_weight, state.log_weight
        rates[way, part] = found
    names = ("forward", "reverse")
    return {name: np.array(last[way]) for way, name in enumerate(names)}, dict(zip(names, np.array(rates)))


def _judged(run, points, unnormalised, forward, reverse) -> dict[str, Any]:
    """Bounds on log Z and on the points' log p; of images in bits too, and where there is a true density the KL."""
    dimensions = math.prod(run.event_shape)
    numbers = log_z.bounds(forward, reverse, unnormalised, dimensions)
    log_p = numbers["log_likelihood_nats"]
    if log_prob := run.data(None).log_prob if run.has_density else None:
        numbers |= log_z.against_the_truth(log_prob(points), unnormalised, log_p)
    if run.is_image:
        numbers["bits_per_dimension"] = log_z.bits_per_dimension(log_p, dimensions, LEVEL)
        numbers["dequantisation"] = "uniform noise over one of 256 levels"
    return {**numbers, "verdict": log_z.verdict(numbers["log_z_nats"], dimensions)}


TASKS = {
    "likelihood": Task(
        likelihood_task, ("seed", "num_chains", "num_samples", "ais_steps"), check=check_likelihood, takes_bare=True
    )
}

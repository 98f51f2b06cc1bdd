"""The task likelihood: log p of test points, with bounds, by annealed importance sampling from both sides.

    log p(x) = −E(x)/T − log Z,    lower ≤ log Z ≤ upper

The lower bound is from chains that start in a Gaussian; the upper from chains that start at test data, and holds in so
far as these are draws of the model. Images are dequantised: uniform noise over one of the 256 levels is added, and the
discrete images' log probability is at least that of the noisy ones plus D log(2 / 255).
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from ebm_tf.build import step_sizes, use_xla
from ebm_tf.energies.precision import compile_energy, full_float32, with_policy
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.finished import FinishedRun, TaskResult
from ebm_tf.evaluation.task import Task
from ebm_tf.mcmc import ais
from ebm_tf.mcmc.streams import block_seed
from ebm_tf.runs import progress
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.settings.commands import EvaluateConfig

__all__ = ["TASKS", "check_likelihood", "likelihood_task"]

STAGES_PER_BLOCK = 200
MOST_POINTS = 10_000  # test points
USEFUL_GAP = 0.1  # bits per dimension
_NO_DRAWS = "test data are no draws of this model, and only the lower bound of log Z holds"
LEVEL = 2 / 255  # between two values of a pixel in [-1, 1]
POINTS, STARTS, PILOT, FORWARD, REVERSE = 30, 31, 32, 33, 34  # what the random numbers are for, see streams.block_seed


def check_likelihood(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError: T = 0, more chains than fit in one batch or than there are test points, no test data."""
    if run.config.temperature == 0:
        raise ConfigError("--tasks: expected likelihood for a run with temperature above 0. Received: temperature=0")
    most = min(settings.batch_size, len(_test_points(run, settings)))
    if settings.num_chains > most:
        raise ConfigError(
            f"--num_chains: expected at most {most} for likelihood, the batch_size or the number of test points. "
            f"Received: num_chains={settings.num_chains}"
        )


def _test_points(run: FinishedRun, settings: EvaluateConfig) -> np.ndarray:
    """Test data as points of the density, float32 [N, *event]; images with noise over one level."""
    seed = block_seed(settings.seed, POINTS, 0)
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
        **_bounds(run, points, unnormalised, forward, backward),
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
    # Of each direction two slots: a block reads one and writes the other.
    x = partial.array("x", (2, 2, num_chains, *run.event_shape), np.float32)
    log_weight = partial.array("log_weight", (2, 2, num_chains), np.float64)
    rates = partial.array("rates", (2, num_stages), np.float32)
    fixed = (step_sizes(config, run.event_shape) / config.step_size, config.temperature, base)
    if not partial.blocks_done:
        pilot = base.draw(num_chains, block_seed(settings.seed, STARTS, 0))
        seed = block_seed(settings.seed, PILOT, 0)
        schedule = ais.find_schedule(energy, pilot, num_stages, *fixed, seed, jit_compile=use_xla(config.jit_compile))
        betas[:], log_steps[:] = schedule
        x[0, 0], x[1, 0] = base.draw(num_chains, block_seed(settings.seed, STARTS, 1)).numpy(), points[:num_chains]
        log_weight[:, 0] = 0
        partial.mark(1)
    forward = ais.Schedule(np.asarray(betas), np.asarray(log_steps))
    schedules = (forward, forward.reverse())
    anneal = ais.compile_anneal(energy, run.event_shape, use_xla(config.jit_compile))
    parts = list(blocks(num_stages, STAGES_PER_BLOCK))
    with progress.bar("likelihood", 2 * len(parts), "block", initial=partial.blocks_done - 1) as bar:
        for block in range(partial.blocks_done - 1, 2 * len(parts)):
            direction, number = divmod(block, len(parts))
            part, slot = parts[number][1], number % 2
            seed = block_seed(settings.seed, (FORWARD, REVERSE)[direction], number)
            state = ais.AisState(tf.constant(x[direction, slot]), tf.constant(log_weight[direction, slot]))
            betas, log_steps = schedules[direction]
            state, found = anneal(state, betas[part.start : part.stop + 1], log_steps[part], *fixed, seed)
            x[direction, 1 - slot], log_weight[direction, 1 - slot] = state.x.numpy(), state.log_weight.numpy()
            rates[direction, part] = found.numpy()
            partial.mark(block + 2)
            bar.update(1)
    last, names = len(parts) % 2, ("forward", "reverse")
    weights = {name: np.array(log_weight[direction, last]) for direction, name in enumerate(names)}
    return weights, {name: np.array(rates[direction]) for direction, name in enumerate(names)}


def _bounds(run, points, unnormalised, forward, backward) -> dict[str, Any]:
    """log Z and the test points' mean log p, each with both bounds; on images in bits too, on the rings the KL."""
    dimensions = math.prod(run.event_shape)
    errors = [float(np.std(weights, ddof=1) / math.sqrt(len(weights))) for weights in (forward, backward)]
    weights = np.exp(forward - forward.max())
    log_z = {
        "lower": float(np.mean(forward)),
        "lower_std_error": errors[0],
        "estimate": ais.log_mean_exp(forward),
        "estimate_reverse": -ais.log_mean_exp(backward),
        "upper": -float(np.mean(backward)),
        "upper_std_error": errors[1],
        "ess_of_weights": float(weights.sum() ** 2 / np.sum(weights**2)),
    }
    mean = float(np.mean(unnormalised))
    log_p = {"lower": mean - log_z["upper"], "estimate": mean - log_z["estimate"], "upper": mean - log_z["lower"]}
    gap = log_z["upper"] - log_z["lower"]
    gap_bits = gap / dimensions / math.log(2)
    numbers = {
        "log_z_nats": log_z,
        "gap_nats": gap,
        "gap_bits_per_dimension": gap_bits,
        "log_likelihood_nats": {**log_p, "std_error": float(np.std(unnormalised) / math.sqrt(len(unnormalised)))},
    }
    if log_prob := run.data(None).log_prob if run.has_density else None:
        numbers |= _against_the_truth(log_prob(points), unnormalised, log_p)
    if run.is_image:
        bits = {name: -(value / dimensions + math.log(LEVEL)) / math.log(2) for name, value in log_p.items()}
        numbers["bits_per_dimension"] = {"lower": bits["upper"], "estimate": bits["estimate"], "upper": bits["lower"]}
        numbers["dequantisation"] = "uniform noise over one of 256 levels"
    return {**numbers, "verdict": _verdict(log_z, dimensions)}


def _against_the_truth(true, unnormalised, log_p):
    """From the points' true log density: its mean, the KL from it, and Z by importance sampling from it."""
    ratio = unnormalised - true
    weights = np.exp(ratio - ratio.max())
    return {
        "true_log_likelihood_nats": float(true.mean()),
        "kl_nats": {
            "lower": float(true.mean()) - log_p["upper"],
            "estimate": float(true.mean()) - log_p["estimate"],
            "upper": float(true.mean()) - log_p["lower"],
        },
        "log_z_by_importance": {
            "estimate": ais.log_mean_exp(ratio),
            "std_error": float(np.std(weights) / weights.mean() / math.sqrt(len(weights))),
        },
    }


def _verdict(log_z, dimensions):
    """In words. What can be used has a gap, and errors of it, that are small for each dimension."""
    gap = log_z["upper"] - log_z["lower"]
    error = math.hypot(log_z["lower_std_error"], log_z["upper_std_error"])
    if not (math.isfinite(gap) and math.isfinite(error)):
        return "no verdict: weights are not finite"
    gap_bits, error_bits = gap / dimensions / math.log(2), error / dimensions / math.log(2)
    bounds = f"log Z between {log_z['lower']:.2f} and {log_z['upper']:.2f} nats"
    words = f"{bounds}, a gap of {gap_bits:.3f} ± {error_bits:.3f} bits per dimension"
    apart = abs(log_z["estimate"] - log_z["estimate_reverse"]) / dimensions / math.log(2)
    if gap < -4 * error:
        return f"{words}: the bounds cross; {_NO_DRAWS}"
    if abs(gap_bits) + 2 * error_bits > USEFUL_GAP:
        return f"{words}: too wide to use (above {USEFUL_GAP}); raise --ais_steps"
    if apart > USEFUL_GAP:
        return f"{words}: narrow, but the estimates from the two sides lie {apart:.3f} apart; {_NO_DRAWS}"
    return f"{words}: narrow enough to use (at most {USEFUL_GAP})"


TASKS = {
    "likelihood": Task(likelihood_task, ("seed", "num_chains", "num_samples", "ais_steps"), check=check_likelihood)
}

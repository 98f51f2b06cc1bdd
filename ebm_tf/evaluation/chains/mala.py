"""The task mala: Metropolis-adjusted chains from noise (Sec. 4.2.5, Fig. 8).

Warm-up, in which the step size adapts, then sampling with the step frozen. Both are recorded, bin by bin.
"""

import math

import numpy as np
import tensorflow as tf

from ebm_tf.build import use_xla
from ebm_tf.data.images import to_uint8
from ebm_tf.energies.precision import compile_energy, full_float32, rounding_over_temperature, with_policy
from ebm_tf.evaluation.finished import FinishedRun, TaskResult, noise_starts, usable_numbers
from ebm_tf.evaluation.task import Task, check_is_hot
from ebm_tf.mcmc.diagnostics import NUM_PROJECTIONS, projections, summary
from ebm_tf.mcmc.mala import MalaState, MalaTrace, compile_mala, freeze, init_state
from ebm_tf.plots import figures
from ebm_tf.runs import progress
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.stats import plane, usable
from ebm_tf.streams import Stream, block_seed

__all__ = ["TASKS", "check_mala", "mala_task"]

NUM_BINS = 20  # of one block; the moves of one block are computed and recorded at once
MOST_MOVES = 10  # for each accepted one: an end for chains that accept next to nothing
CHECKED = 32  # states at which rounding is measured


class _Recorder:
    """State and record of the chains, on disk."""

    def __init__(self, partial: PartialArrays, event_shape: tuple[int, ...], num_chains: int, num_blocks: int):
        bins = num_blocks * NUM_BINS
        shapes = {
            "x": (num_chains, *event_shape),
            "log_step_scale": (num_chains,),
            "log_step_scale_mean": (num_chains,),
            "num_adapted": (),
            "num_accepted": (num_chains,),
        }
        kinds = {name: np.int32 if name == "num_accepted" else np.float32 for name in shapes}
        self.state = {name: partial.state(name, shape, kinds[name]) for name, shape in shapes.items()}
        self.trace = MalaTrace(
            num_moves=partial.array("trace_num_moves", (bins,), np.int32),
            acceptance_rate=partial.array("trace_acceptance_rate", (bins,), np.float32),
            log_step_scale=partial.array("trace_log_step_scale", (bins,), np.float32),
            energy=partial.array("trace_energy", (bins, num_chains), np.float32),
            projections=partial.array("trace_projections", (bins, num_chains, NUM_PROJECTIONS), np.float32),
        )
        self.partial = partial

    def read(self) -> MalaState:
        return MalaState(**{name: tf.constant(array.before) for name, array in self.state.items()})

    def write(self, state: MalaState, trace: MalaTrace) -> None:
        block = self.partial.blocks_done
        for name, array in self.state.items():
            array.after[...] = getattr(state, name).numpy()
        for kept, new in zip(self.trace, trace):
            kept[block * NUM_BINS : (block + 1) * NUM_BINS] = new.numpy()
        self.partial.mark(block + 1)

    def phase(self, first_block: int, last_block: int) -> MalaTrace:
        """The bins of some blocks that hold moves."""
        part = slice(first_block * NUM_BINS, last_block * NUM_BINS)
        held = np.asarray(self.trace.num_moves[part]) > 0
        return MalaTrace(*(np.asarray(array[part])[held] for array in self.trace))


class _Plan:
    """How many moves each block makes."""

    def __init__(self, settings: EvaluateConfig):
        self.is_accepted_counted = settings.mala_count == "accepted"
        self.moves_per_bin = min(max(settings.mala_steps // 1_000, 1), 50)
        self.block = NUM_BINS * self.moves_per_bin
        self.num_warmup, self.num_steps = settings.mala_warmup_steps, settings.mala_steps
        self.most_moves = self.num_steps * (MOST_MOVES if self.is_accepted_counted else 1)
        self.warmup_blocks = math.ceil(self.num_warmup / self.block)
        self.num_blocks = self.warmup_blocks + math.ceil(self.most_moves / self.block)

    def num_moves(self, block: int) -> int:
        done = block * self.block if block < self.warmup_blocks else (block - self.warmup_blocks) * self.block
        return min(self.block, (self.num_warmup if block < self.warmup_blocks else self.most_moves) - done)

    @property
    def enough_accepted(self) -> float:
        return float(self.num_steps) if self.is_accepted_counted else math.inf


def check_mala(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError at T = 0."""
    check_is_hot(run, "mala")


def mala_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """Metropolis-adjusted chains from noise. Reads seed, num_chains and mala_*."""
    config = run.config
    energy = with_policy(run.energy, "float32")
    if energy is not run.energy:
        policy = run.energy.dtype_policy.name
        print(f"mala: the energy is computed in float32: {policy}, as in training, would spoil the ratios")
    plan = _Plan(settings)
    recorder = _Recorder(partial, run.event_shape, settings.num_chains, plan.num_blocks)
    with full_float32():
        chain_fn = compile_mala(energy, run.event_shape, NUM_BINS, use_xla(config.jit_compile))
        state = _run(run, settings, plan, recorder, chain_fn)
        compiled = compile_energy(energy, use_xla(config.jit_compile))
        rounding = rounding_over_temperature(compiled, energy, state.x[:CHECKED].numpy(), config.temperature)
    return _result(run, settings, plan, recorder, state, rounding)


def _run(run, settings, plan, recorder, chain_fn):
    """Does the blocks that are left; returns the last state."""
    config, partial = run.config, recorder.partial
    directions, sizes = projections(run.event_shape), tf.constant(run.sampler.step_size)
    fixed = (sizes, config.temperature, settings.mala_target, settings.mala_step_sizes == "per_chain", directions)
    state = recorder.read() if partial.blocks_done else None
    if state is None:
        state = init_state(tf.constant(noise_starts(run, settings.num_chains, settings.seed, 0)))
    done = _moves_to_show(plan, partial.blocks_done, state)
    with progress.bar("mala", plan.num_warmup + plan.num_steps, "move", initial=done) as bar:
        while not _is_complete(plan, partial.blocks_done, state):
            block = partial.blocks_done
            is_warmup = block < plan.warmup_blocks
            if block == plan.warmup_blocks:
                state = freeze(state)
            enough = math.inf if is_warmup else plan.enough_accepted
            seed = block_seed(settings.seed, Stream.MALA, block)
            state, trace = chain_fn(state, plan.num_moves(block), enough, is_warmup, *fixed, seed)
            recorder.write(state, trace)
            shown = _moves_to_show(plan, partial.blocks_done, state)
            bar.update(shown - done)
            done = shown
    return state


def _is_complete(plan, blocks_done, state):
    if blocks_done <= plan.warmup_blocks:  # the state has not been frozen, its counter is the warm-up's
        return False
    mean_accepted = float(np.mean(state.num_accepted.numpy()))
    return blocks_done == plan.num_blocks or mean_accepted >= plan.enough_accepted


def _moves_to_show(plan, blocks_done, state):
    if blocks_done <= plan.warmup_blocks:
        return min(blocks_done * plan.block, plan.num_warmup)
    moves = min((blocks_done - plan.warmup_blocks) * plan.block, plan.most_moves)
    return plan.num_warmup + (int(np.mean(state.num_accepted.numpy())) if plan.is_accepted_counted else moves)


def _result(run, settings, plan, recorder, state, rounding):
    config, x_final = run.config, state.x.numpy()
    warmup = recorder.phase(0, plan.warmup_blocks)
    sampling = recorder.phase(plan.warmup_blocks, recorder.partial.blocks_done)
    even = sampling.num_moves == plan.moves_per_bin  # a last bin may be shorter
    records = sampling.energy[even], sampling.projections[even]
    found, words = summary(*records, plan.moves_per_bin, state.num_accepted.numpy())
    numbers = {
        **_how_it_ran(config, settings, plan, sampling, state),
        "energy_dtype": "float32",
        "training_dtype_policy": run.energy.dtype_policy.name,
        "energy_rounding_nats": rounding,
        "finite": bool(np.isfinite(x_final).all() and np.isfinite(sampling.energy).all()),
        "energy_mean": float(sampling.energy[-1].mean()),
        "energy_std": float(sampling.energy[-1].std()),
        "diagnostics": found,
    }
    if run.has_density:
        numbers["from_noise"] = plane.on_ring_shares(x_final)
    numbers |= {**usable_numbers(run, x_final), "verdict": _verdict(numbers, words)}
    scales = np.concatenate([warmup.log_step_scale, sampling.log_step_scale])
    arrays = {
        "acceptance_warmup": warmup.acceptance_rate,
        "steps_warmup": np.cumsum(warmup.num_moves, dtype=np.int64),
        "acceptance_sampling": sampling.acceptance_rate,
        "steps": np.cumsum(sampling.num_moves, dtype=np.int64),
        "step_size_trace": np.float32(config.step_size) * np.exp(scales),
        "energy_warmup": warmup.energy,
        "energy": sampling.energy,
        "projections": sampling.projections,
        "x_final": x_final,
    }
    if run.is_image:
        arrays["samples"] = np.asarray(to_uint8(x_final))
    _plot(run, settings, arrays)
    return TaskResult(numbers, {**arrays, "x_final": run.to_data(x_final)})


def _how_it_ran(config, settings, plan, sampling, state):
    """Moves, acceptance and step sizes, for results.json."""
    accepted, num_moves = state.num_accepted.numpy(), int(sampling.num_moves.sum())
    scales = np.exp(state.log_step_scale.numpy())
    return {
        "num_chains": settings.num_chains,
        "num_steps": settings.mala_steps,
        "count": settings.mala_count,
        "num_warmup_steps": settings.mala_warmup_steps,
        "num_moves": num_moves,
        "accepted_moves": {"mean": float(accepted.mean()), "min": int(accepted.min()), "max": int(accepted.max())},
        "is_complete": not plan.is_accepted_counted or bool(accepted.mean() >= plan.num_steps),
        "acceptance_rate": float(accepted.mean()) / num_moves,
        "target": settings.mala_target,
        "step_sizes": settings.mala_step_sizes,
        "step_size": float(config.step_size * np.exp(np.log(scales).mean())),
        "step_size_range": [float(config.step_size * scales.min()), float(config.step_size * scales.max())],
        "training_step_size": config.step_size,
        "temperature": config.temperature,
    }


def _verdict(numbers, words):
    rate, target = numbers["acceptance_rate"], numbers["target"]
    parts = [f"acceptance {rate:.3f} with the step frozen, {target:g} aimed at"]
    if abs(rate - target) > 0.1:
        parts.append("the chains changed after the warm-up: raise --mala_warmup_steps")
    if not numbers["is_complete"]:
        mean = numbers["accepted_moves"]["mean"]
        parts.append(f"stopped after {numbers['num_moves']} moves with {mean:.0f} of {numbers['num_steps']} accepted")
    if numbers["energy_rounding_nats"] > 0.5:
        parts.append(f"float32 rounds E/T by {numbers['energy_rounding_nats']:.2f} nats, too much for an exact law")
    return "; ".join([*parts, words])


def _plot(run, settings, arrays):
    """Fig. 8 of this run."""
    warmup = (arrays["steps_warmup"], arrays["acceptance_warmup"])
    sampling = (arrays["steps"], arrays["acceptance_sampling"])
    path = run.run_dir.figures / "mala.png"
    finite = usable.finite_rows(arrays["x_final"])
    finite |= not finite.any()  # a picture of nothing cannot be drawn
    samples = arrays["samples"][finite][:36] if "samples" in arrays else arrays["x_final"][finite]
    figures.acceptance_figure(warmup, sampling, settings.mala_target, samples, path)


_SETTINGS = ("mala_steps", "mala_warmup_steps", "mala_target", "mala_step_sizes", "mala_count")
TASKS = {"mala": Task(mala_task, ("seed", "num_chains", *_SETTINGS), check=check_mala, takes_bare=True)}

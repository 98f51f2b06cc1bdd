"""Annealed importance sampling (Neal 2001): bounds on log Z of exp(−E/T), from both sides.

    ln π_β(x) = (1 − β) ln p₀(x) − β E(x)/T,    p₀ = N(μ, diag s²),  β from 0 to 1
    ln w = Σ_k (β_{k+1} − β_k) [−E(x_k)/T − ln p₀(x_k)],    x_k → x_{k+1} by a move that keeps π_{β_{k+1}}

Forward, x₀ ~ p₀: E[w] = Z, so E[ln w] ≤ ln Z. In reverse, β from 1 to 0 and x₀ ~ exp(−E/T)/Z: E[w] = 1/Z, so
−E[ln w] ≥ ln Z (Grosse et al. 2015). The moves are mala's for u = −ln π_β at T = 1, with steps in nats.

A pilot finds where β must go slowly and which step is accepted there. The runs that count use both as fixed numbers: a
schedule that looked at the chains it weighs would bias the weights.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ebm_tf.mcmc import checks
from ebm_tf.mcmc.chain_init import by_chain
from ebm_tf.mcmc.langevin import EnergyFn, energy_and_grad, prepare
from ebm_tf.mcmc.mala import mala_move

__all__ = ["AisState", "Base", "Schedule", "anneal", "compile_anneal", "find_schedule", "init_state"]

TARGET_RATE, GAIN = 0.67, 0.3  # of the pilot: the step's logarithm moves by GAIN (rate - TARGET_RATE) a move
SPACING, GROWTH = 0.5, 64.0  # of the pilot: size of an increment of ln w, in nats, and how much it grows to the end
MOVES_PER_STAGE, MOVES_AT_BASE = 20, 100  # of the pilot


class Base(NamedTuple):
    """p₀ = N(mean, diag std²), both float32 [*event]."""

    mean: tf.Tensor
    std: tf.Tensor

    def draw(self, num_chains: int, seed: tf.Tensor) -> tf.Tensor:
        """Draws from p₀, float32 [num_chains, *event]."""
        return self.mean + self.std * tf.random.stateless_normal([num_chains, *self.mean.shape], seed, alg="philox")

    def log_prob_and_grad(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(ln p₀(x) [B], ∂ ln p₀(x) [B, *event])."""
        z = (x - self.mean) / self.std
        terms = -0.5 * tf.square(z) - tf.math.log(self.std) - 0.5 * np.float32(np.log(2 * np.pi))
        return tf.reduce_sum(terms, axis=list(range(1, x.shape.rank))), -z / self.std


class Schedule(NamedTuple):
    """β at the K + 1 ends of K stages, and for each stage the logarithm of the step h at its second end.

    Attributes:
      betas: float64 [K + 1].
      log_steps: float32 [K].
    """

    betas: np.ndarray
    log_steps: np.ndarray

    def reverse(self) -> "Schedule":
        """From β = 1 to 0, with the same step at the same β. At 0 there is none: the first stage's."""
        steps = np.concatenate([self.log_steps[:1], self.log_steps])
        return Schedule(self.betas[::-1].copy(), steps[::-1][1:].copy())


class AisState(NamedTuple):
    """What the next stage needs: x float32 [B, *event], and ln w so far, float64 [B]."""

    x: tf.Tensor
    log_weight: tf.Tensor


class _Point(NamedTuple):
    """States with all that is known of them; energies over T."""

    x: tf.Tensor
    energy: tf.Tensor
    energy_grad: tf.Tensor
    base: tf.Tensor
    base_grad: tf.Tensor

    @property
    def increment(self) -> tf.Tensor:
        """∂ ln π_β / ∂β = −E/T − ln p₀, [B]."""
        return -self.energy - self.base

    def potential(self, beta):
        """(u, ∂u) at β."""
        potential = beta * self.energy - (1.0 - beta) * self.base
        return potential, beta * self.energy_grad - (1.0 - beta) * self.base_grad


def _look_at(energy_fn, base, temperature, x):
    energy, grad = energy_and_grad(energy_fn, x)
    return _Point(x, energy / temperature, grad / temperature, *base.log_prob_and_grad(x))


def _move(look, point, beta, step, seed):
    """One MALA move for π_β. Returns (point, acceptance probability [B])."""
    proposed: list[_Point] = []

    @tf.custom_gradient
    def potential_fn(x):  # TFP's tape would take the gradient of the energy a second time
        proposed.append(look(x))
        potential, grad = proposed[0].potential(beta)

        def slope(upstream, variables=()):
            return by_chain(upstream, grad) * grad, [None] * len(variables)

        return potential, slope

    potential, grad = point.potential(beta)
    _, info = mala_move(potential_fn, point.x, potential, grad, step, seed)

    def choose(one, other):
        return tf.where(by_chain(info.is_accepted, one), one, other)

    return _Point(*map(choose, proposed[0], point)), tf.exp(tf.minimum(info.log_accept_ratio, 0.0))


def init_state(x_init: tf.Tensor) -> AisState:
    """Before the first stage: weights 1."""
    x_init = tf.cast(x_init, tf.float32)
    return AisState(x_init, tf.zeros(tf.shape(x_init)[:1], tf.float64))


def _as_base(base: Any, event_shape: tf.TensorShape) -> Base:
    """base in float32. Raises ValueError unless it is (mean, std), each a number or [*event]."""
    parts = [tf.cast(one, tf.float32) for one in base] if isinstance(base, tuple | list) else []
    if len(parts) != 2 or not all(one.shape.rank == 0 or one.shape.is_compatible_with(event_shape) for one in parts):
        received = [list(one.shape) for one in parts] if parts else type(base).__name__
        raise ValueError(f"expected base, (mean, std), both of shape {list(event_shape)}. Received: {received}")
    return Base(*parts)


def anneal(
    energy_fn: EnergyFn,
    state: AisState,
    betas: tf.Tensor,
    log_steps: tf.Tensor,
    *,
    step_shape: tf.Tensor,
    temperature: tf.Tensor,
    base: Base,
    seed: tf.Tensor,
) -> tuple[AisState, tf.Tensor]:
    """Some stages, each one increment of ln w and one move; one gradient a stage.

    Law: E[w] = Z when betas go from 0 to 1 and x starts in p₀; 1/Z when they go back and x starts in exp(−E/T)/Z.
    Limits: at E = −T ln p₀ every ln w is 0.

    Args:
      energy_fn: [B, *event] -> [B]. If it has a method prepare() -> energy_fn, that is called once, before the stages.
      state: of the stages before, or where chains start, [B, *event].
      betas: float64 [K + 1].
      log_steps: float32 [K].
      step_shape: float32 [*event], the step of each coordinate over exp(log_steps).
      temperature: T, float32 [], above 0.
      base: p₀, as (mean, std), both float32 [*event].
      seed: int32 [2].

    Returns:
      (AisState, acceptance rate of each stage [K]).

    Raises:
      ValueError: an argument of another kind, shape or range.
    """
    x = checks.start_of_chains(energy_fn, state.x if isinstance(state, AisState) else state)
    checks.at_least("temperature", temperature, 0, is_open=True)
    state, seed = state if isinstance(state, AisState) else init_state(x), checks.seed_of(seed)
    energy_fn, temperature, base = prepare(energy_fn), tf.cast(temperature, tf.float32), _as_base(base, x.shape[1:])
    betas, log_steps = tf.cast(betas, tf.float64), tf.cast(log_steps, tf.float32)
    stages = log_steps.shape[0] if log_steps.shape.rank else 0
    if not betas.shape.is_compatible_with([None if stages is None else stages + 1]):
        received = f"{list(betas.shape)} and {list(log_steps.shape)}"
        raise ValueError(f"expected betas [K + 1] and log_steps [K]. Received: {received}")
    num_stages = tf.shape(log_steps)[0]

    def look(x):
        return _look_at(energy_fn, base, temperature, x)

    def body(stage, point, log_weight, rates):
        increment = (betas[stage + 1] - betas[stage]) * tf.cast(point.increment, tf.float64)
        step = tf.exp(log_steps[stage]) * step_shape
        stage_seed = tf.random.experimental.stateless_fold_in(seed, stage)
        point, accept_prob = _move(look, point, tf.cast(betas[stage + 1], tf.float32), step, stage_seed)
        rates = tf.tensor_scatter_nd_update(rates, [[stage]], [tf.reduce_mean(accept_prob)])
        return stage + 1, point, log_weight + increment, rates

    loop = (tf.constant(0), look(state.x), state.log_weight, tf.zeros([num_stages]))
    _, point, log_weight, rates = tf.while_loop(lambda stage, *_: stage < num_stages, body, loop, parallel_iterations=1)
    return AisState(point.x, log_weight), rates


def compile_anneal(
    energy_fn: EnergyFn, event_shape: tuple[int, ...], jit_compile: bool | None = None
) -> tf.types.experimental.PolymorphicFunction:
    """anneal as one compiled function of its other arguments, in their order; traced once, whatever the chains and
    stages.
    """
    event = tf.TensorSpec(event_shape, tf.float32)
    signature = {
        "state": AisState(tf.TensorSpec([None, *event_shape], tf.float32), tf.TensorSpec([None], tf.float64)),
        "betas": tf.TensorSpec([None], tf.float64),
        "log_steps": tf.TensorSpec([None], tf.float32),
        "step_shape": event,
        "temperature": tf.TensorSpec([], tf.float32),
        "base": Base(event, event),
        "seed": tf.TensorSpec([2], tf.int32),
    }

    @tf.function(input_signature=list(signature.values()), jit_compile=jit_compile, autograph=False)
    def traced(*arguments):
        return anneal(energy_fn, **dict(zip(signature, arguments)))

    return traced


def _compile_pilot(energy_fn, step_shape, temperature, base, jit_compile):
    """Some moves at one β, after each of which the step follows the acceptance, as one compiled function.

    Returns:
      fn(point, beta, log_step, num_moves, seed), which returns (point, log_step, standard deviation of ∂ ln π_β / ∂β).
    """

    @tf.function(jit_compile=jit_compile, autograph=False)
    def stage(point, beta, log_step, num_moves, seed):
        prepared = prepare(energy_fn)

        def look(x):
            return _look_at(prepared, base, temperature, x)

        def body(move, point, log_step):
            move_seed = tf.random.experimental.stateless_fold_in(seed, move)
            point, accept_prob = _move(look, point, beta, tf.exp(log_step) * step_shape, move_seed)
            return move + 1, point, log_step + GAIN * (tf.reduce_mean(accept_prob) - TARGET_RATE)

        loop = (tf.constant(0), point, log_step)
        _, point, log_step = tf.while_loop(lambda move, *_: move < num_moves, body, loop, parallel_iterations=1)
        return point, log_step, tf.math.reduce_std(tf.cast(point.increment, tf.float64))

    return stage


def find_schedule(
    energy_fn: EnergyFn,
    x_init: tf.Tensor,
    num_stages: int,
    *,
    step_shape: tf.Tensor,
    temperature: float,
    base: Base,
    seed: tf.Tensor,
    jit_compile: bool | None = None,
) -> Schedule:
    """A pilot: β grows by increments of ln w whose standard deviation over the chains is known, and the step follows
    the acceptance. The path found is then cut into num_stages increments of the same size.

    It makes at most about num_stages / 2 moves: its own increments are SPACING at first and grow, should the path be
    long, and the last one takes what is left.

    Args:
      energy_fn, step_shape, temperature, base, seed: see anneal.
      x_init: float32 [B, *event], draws from p₀, of chains that are not used again.
      num_stages: K of the schedule.
      jit_compile: compile with XLA. None: leave it to TensorFlow.

    Returns:
      Schedule from 0 to 1.
    """
    temperature = tf.constant(temperature, tf.float32)
    stage = _compile_pilot(energy_fn, step_shape, temperature, base, jit_compile)

    def stage_seed(number):
        return tf.random.experimental.stateless_fold_in(seed, number)

    guess = tf.reduce_min(tf.math.log(tf.square(base.std) / step_shape))
    moves = tf.constant(MOVES_AT_BASE)
    start = _look_at(energy_fn, base, temperature, x_init)
    point, log_step, spread = stage(start, tf.constant(0.0), guess, moves, stage_seed(0))
    betas, log_steps, lengths = [0.0], [float(log_step)], [0.0]
    most_stages = max(20, num_stages // (2 * MOVES_PER_STAGE))
    while betas[-1] < 1:
        done = len(betas) / most_stages
        speed = float(spread) if np.isfinite(float(spread)) else 0.0  # 0: energies have diverged, so jump
        left = (1.0 - betas[-1]) * speed
        length = left if done >= 1 else min(left, SPACING * GROWTH**done)
        betas.append(1.0 if length == left else betas[-1] + length / speed)
        lengths.append(lengths[-1] + max(length, 1e-6))
        beta, moves = tf.constant(betas[-1], tf.float32), tf.constant(MOVES_PER_STAGE)
        point, log_step, spread = stage(point, beta, log_step, moves, stage_seed(len(betas)))
        log_steps.append(float(log_step))
    places = np.linspace(0, lengths[-1], num_stages + 1)
    found = np.interp(places, lengths, log_steps)[1:].astype(np.float32)
    return Schedule(np.interp(places, lengths, betas), found)

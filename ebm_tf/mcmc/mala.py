"""The Metropolis-adjusted Langevin algorithm (MALA): Sec. 4.2.5.

    x' = x − ε ∂E/∂x(x) + √(2 ε T) z,    z ~ N(0, I)                                        (Eq. 9, the proposal)
    r(x, x') = exp{(E(x) − E(x')) / T} q(x | x') / q(x' | x),    q(· | x) = N(x − ε ∂E/∂x(x), 2 ε T I)
    x' is accepted with probability min(1, r), else the chain stays at x

so that exp(−E/T) is left unchanged at any ε, where ULA changes it. The kernel is TFP's, on the log density −E/T: there
its step size is 2 ε T. The step is adapted toward an acceptance rate in a warm-up, then frozen: a step that never
stops following the chain (as the paper's does) has no stationary law to speak of.

ε is `exp(log_step_scale)` times a given step size, [] or one number per coordinate (see langevin).
"""

import functools
import sys
from typing import NamedTuple

import tensorflow as tf

from ebm_tf.mcmc import checks
from ebm_tf.mcmc.langevin import EnergyFn, prepare

__all__ = ["MalaInfo", "MalaState", "MalaTrace", "compile_mala", "freeze", "init_state", "mala_chain", "mala_step"]

GAIN_DECAY = 0.6  # the step's logarithm moves by t^-0.6 (rate - target): sums diverge, squares do not
AVERAGE_POWER = 3.0  # the frozen step averages the logarithms with weights of about t^3: the newest quarter counts


class MalaInfo(NamedTuple):
    """What a person wants to know of one move.

    Attributes:
      is_accepted: bool [B].
      log_accept_ratio: [B]. ln r; -inf where the proposal is not finite.
      x_proposed: [B, *event]. x'.
    """

    is_accepted: tf.Tensor
    log_accept_ratio: tf.Tensor
    x_proposed: tf.Tensor


class MalaState(NamedTuple):
    """What the next move needs.

    Attributes:
      x: float32 [B, *event].
      log_step_scale: [B]. Logarithm of each chain's step over the given step size; equal under a global step.
      log_step_scale_mean: [B]. Its weighted average over the warm-up, which `freeze` installs.
      num_adapted: float32 []. Moves of the warm-up so far.
      num_accepted: int32 [B]. Accepted moves since `init_state` or `freeze`.
    """

    x: tf.Tensor
    log_step_scale: tf.Tensor
    log_step_scale_mean: tf.Tensor
    num_adapted: tf.Tensor
    num_accepted: tf.Tensor


class MalaTrace(NamedTuple):
    """A record of a run of moves, in K bins of equally many moves. Bins that were not reached hold zeros.

    Attributes:
      num_moves: int32 [K]. Moves in each bin.
      acceptance_rate: [K]. Mean of is_accepted over chains and the bin's moves.
      log_step_scale: [K]. Mean over chains at the bin's end.
      energy: [K, B]. At the bin's end.
      projections: [K, B, P]. At the bin's end.
    """

    num_moves: tf.Tensor
    acceptance_rate: tf.Tensor
    log_step_scale: tf.Tensor
    energy: tf.Tensor
    projections: tf.Tensor


def _kernel(energy_fn, step_size, temperature):
    def log_density(x):
        return -tf.cast(checks.energies(energy_fn(x)), tf.float32) / temperature

    return _tfps_kernel()(log_density, 2.0 * step_size * temperature, _unit_volatility)


def _unit_volatility(*_):
    """The volatility that TFP takes by default, as a function that can be told from others."""
    return 1.0


@functools.cache
def _tfps_kernel():
    """TFP's class. By default its volatility is the constant 1, whose slope it takes coordinate by coordinate: a loop
    of 3,072 rounds in every move of a 32x32 image, which on a GPU takes far longer than the energy's gradient. Here
    that slope is 0 at once; any other volatility's stays as TFP takes it. A TFP without this name stays as it is.
    """
    import tensorflow_probability as tfp  # 2 s, and tf-keras: only for who needs it

    kernel = tfp.mcmc.MetropolisAdjustedLangevinAlgorithm
    module = sys.modules[kernel.__module__]
    if tfps := getattr(module, "diag_jacobian", None):  # a private name

        def diag_jacobian(xs, ys=None, **options):
            if options.get("fn") is _unit_volatility:
                return ys, [tf.zeros_like(x) for x in xs]
            return tfps(xs, ys, **options)

        setattr(module, "diag_jacobian", diag_jacobian)  # noqa: B010
    return kernel


def _move(kernel, x, results, seed):
    """One move. TFP keeps the drift of the last accepted state, made with the step of that time: make it anew."""
    accepted = results.accepted_results
    drift = [0.5 * kernel.step_size * grad for grad in accepted.grads_target_log_prob]
    results = results._replace(accepted_results=accepted._replace(diffusion_drift=drift))
    return kernel.one_step(x, results, seed=seed)


def mala_step(
    energy_fn: EnergyFn, x: tf.Tensor, step_size: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, MalaInfo]:
    """One move.

    Law: leaves exp(−E/T) unchanged, at any step_size. Chains are independent.
    Limits: as step_size → 0 every proposal is accepted. T = 0 has no acceptance ratio.

    Args:
      energy_fn: [B, *event] -> [B].
      x: float32 [B, *event].
      step_size: ε, float32, broadcastable to x. Paper: adapted toward an acceptance of 0.67 (Sec. 4.2.5).
      temperature: T, float32 [], above 0.
      seed: int32 [2].

    Returns:
      (x_next [B, *event], MalaInfo).
    """
    x, temperature = tf.convert_to_tensor(x), tf.cast(temperature, tf.float32)
    kernel = _kernel(energy_fn, tf.cast(step_size, tf.float32), temperature)
    x_next, results = _move(kernel, x, kernel.bootstrap_results(x), seed)
    return x_next, MalaInfo(results.is_accepted, results.log_accept_ratio, results.proposed_state)


def mala_move(
    potential_fn: EnergyFn,
    x: tf.Tensor,
    potential: tf.Tensor,
    potential_grad: tf.Tensor,
    step: tf.Tensor,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, MalaInfo]:
    """mala_step for exp(−u), from where u and its gradient are known: potential_fn is called once, at the proposals.

    Args:
      potential_fn: u, [B, *event] -> [B].
      x: float32 [B, *event].
      potential: u(x), [B].
      potential_grad: ∂u(x), [B, *event].
      step: float32, broadcastable to x.
      seed: int32 [2].
    """
    flat = _kernel(lambda x: 0.0 * tf.reduce_sum(x, axis=list(range(1, x.shape.rank))), step, 1.0)
    results = flat.bootstrap_results(x)
    known = {"target_log_prob": -potential, "grads_target_log_prob": [-potential_grad]}
    results = results._replace(accepted_results=results.accepted_results._replace(**known))
    x_next, results = _move(_kernel(potential_fn, step, 1.0), x, results, seed)
    return x_next, MalaInfo(results.is_accepted, results.log_accept_ratio, results.proposed_state)


def init_state(x_init: tf.Tensor) -> MalaState:
    """The state of chains that start at x_init [B, *event] with the given step size."""
    x_init = tf.cast(x_init, tf.float32)
    zeros = tf.zeros(tf.shape(x_init)[:1])
    return MalaState(x_init, zeros, zeros, tf.constant(0.0), tf.cast(zeros, tf.int32))


def freeze(state: MalaState) -> MalaState:
    """Ends the warm-up: the averaged step is installed, and accepted moves are counted from 0. Without a warm-up
    the step stays as given.
    """
    return state._replace(log_step_scale=state.log_step_scale_mean, num_accepted=tf.zeros_like(state.num_accepted))


def _next_state(state, x, results, adapt, target_rate, per_chain):
    """The state after a move to x. Where adapt is true the step has moved by Robbins and Monro's rule on its logarithm,
    and the average of that (Polyak and Ruppert) with it.
    """
    count = state.num_adapted + 1.0
    accept_prob = tf.exp(tf.minimum(results.log_accept_ratio, 0.0))
    rate = tf.where(per_chain, accept_prob, tf.reduce_mean(accept_prob))
    log_scale = state.log_step_scale + count**-GAIN_DECAY * (rate - target_rate)
    weight = (AVERAGE_POWER + 1.0) / (count + AVERAGE_POWER)
    mean = state.log_step_scale_mean + weight * (log_scale - state.log_step_scale_mean)
    as_before = (state.log_step_scale, state.log_step_scale_mean, state.num_adapted)
    log_scale, mean, count = (tf.where(adapt, new, old) for new, old in zip((log_scale, mean, count), as_before))
    return MalaState(x, log_scale, mean, count, state.num_accepted + tf.cast(results.is_accepted, tf.int32))


def _record(trace, index, state, results, temperature, projections):
    """The trace after one more move that falls into bin `index`."""
    at = tf.reshape(index, [1, 1])

    def add(array, value):
        return tf.tensor_scatter_nd_add(array, at, value[tf.newaxis])

    def put(array, value):
        return tf.tensor_scatter_nd_update(array, at, value[tf.newaxis])

    accepted = tf.cast(results.is_accepted, tf.float32)
    return MalaTrace(
        num_moves=add(trace.num_moves, tf.constant(1)),
        acceptance_rate=add(trace.acceptance_rate, tf.reduce_mean(accepted)),  # a sum until mala_chain divides
        log_step_scale=put(trace.log_step_scale, tf.reduce_mean(state.log_step_scale)),
        energy=put(trace.energy, -temperature * results.accepted_results.target_log_prob),
        projections=put(trace.projections, tf.reshape(state.x, [tf.shape(state.x)[0], -1]) @ projections),
    )


def _empty_trace(num_bins, num_chains, num_projections):
    zeros = tf.zeros([num_bins])
    energy, projections = tf.zeros([num_bins, num_chains]), tf.zeros([num_bins, num_chains, num_projections])
    return MalaTrace(tf.zeros([num_bins], tf.int32), zeros, zeros, energy, projections)


def _checked(energy_fn, state, num_moves, step_size, temperature, seed):
    """(energy_fn, state, temperature) as the moves take them. Raises ValueError."""
    x = checks.start_of_chains(energy_fn, state.x if isinstance(state, MalaState) else state)
    checks.at_least("num_moves", num_moves, 0, int)
    checks.at_least("step_size", step_size, 0, list, is_open=True)
    checks.at_least("temperature", temperature, 0, is_open=True)
    checks.seed_of(seed)
    start = state if isinstance(state, MalaState) else init_state(x)
    return prepare(energy_fn), start, tf.cast(temperature, tf.float32)


def mala_chain(
    energy_fn: EnergyFn,
    state: MalaState,
    *,
    num_moves: tf.Tensor,
    enough_accepted: tf.Tensor,
    adapt: tf.Tensor,
    step_size: tf.Tensor,
    temperature: tf.Tensor,
    target_rate: tf.Tensor,
    per_chain: tf.Tensor,
    projections: tf.Tensor,
    seed: tf.Tensor,
    num_bins: int = 20,
) -> tuple[MalaState, MalaTrace]:
    """At most num_moves moves of all chains, in memory that does not grow with their number; one gradient a move.

    Law: with adapt false, that of a Markov chain which leaves exp(−E/T) unchanged. All chains make the same number of
      moves and stop together, since a chain stopped at its own L-th accepted move would end in a state that has just
      been accepted, and those follow another law. With adapt true no law is promised.
    Limits: num_moves = 0 returns the state.

    Args:
      energy_fn: [B, *event] -> [B]. If it has a method prepare() -> energy_fn, that is called once, before the moves.
      state: of freeze or an earlier call, or where chains start, [B, *event].
      num_moves: int32 [].
      enough_accepted: float32 []. The run ends at the first move at which the accepted moves since `freeze`, averaged
        over chains, are this many: the paper does not count rejected moves (Sec. 4.2.5). inf: all moves are made.
      adapt: bool []. Whether the step follows the acceptance.
      step_size: ε at log_step_scale = 0, float32 [] or [*event].
      temperature: T, float32 [], above 0. Paper: 5e-5 for images (Sec. 3).
      target_rate: float32 []. Paper: 0.67 (Sec. 4.2.5); 0.574 is the optimum of Roberts & Rosenthal (1998).
      per_chain: bool []. One step for each chain, by its own acceptance, in place of one for all.
      projections: float32 [prod(event), P]. Directions whose inner products with x are recorded.
      seed: int32 [2].
      num_bins: K of the trace.

    Returns:
      (MalaState, MalaTrace).

    Raises:
      ValueError: an argument of another kind, shape or range.
    """
    energy_fn, state, temperature = _checked(energy_fn, state, num_moves, step_size, temperature, seed)
    step_size = tf.broadcast_to(tf.cast(step_size, tf.float32), state.x.shape[1:])
    num_chains, ones = tf.shape(state.x)[0], [1] * (state.x.shape.rank - 1)
    moves_per_bin = tf.maximum(1, (num_moves + num_bins - 1) // num_bins)

    def kernel_of(state):
        scale = tf.reshape(tf.exp(state.log_step_scale), [num_chains, *ones])
        return _kernel(energy_fn, scale * step_size, temperature)

    def condition(move, state, results, trace):
        mean_accepted = tf.reduce_mean(tf.cast(state.num_accepted, tf.float32))
        return (move < num_moves) & (mean_accepted < enough_accepted)

    def body(move, state, results, trace):
        move_seed = tf.random.experimental.stateless_fold_in(seed, move)
        x, results = _move(kernel_of(state), state.x, results, move_seed)
        state = _next_state(state, x, results, adapt, target_rate, per_chain)
        trace = _record(trace, move // moves_per_bin, state, results, temperature, projections)
        return move + 1, state, results, trace

    trace = _empty_trace(num_bins, num_chains, tf.shape(projections)[1])
    loop = (tf.constant(0), state, kernel_of(state).bootstrap_results(state.x), trace)
    _, state, _, trace = tf.while_loop(condition, body, loop, parallel_iterations=1)
    rate = trace.acceptance_rate / tf.cast(tf.maximum(trace.num_moves, 1), tf.float32)
    return state, trace._replace(acceptance_rate=rate)


def compile_mala(
    energy_fn: EnergyFn, event_shape: tuple[int, ...], num_bins: int = 20, jit_compile: bool | None = None
) -> tf.types.experimental.PolymorphicFunction:
    """mala_chain as one compiled function, traced once whatever the chains, moves, ε, T and target.

    Args:
      energy_fn: [B, *event] -> [B].
      event_shape: shape of one x.
      num_bins: K of the trace.
      jit_compile: compile with XLA. None: leave it to TensorFlow.

    Returns:
      fn(state, num_moves, enough_accepted, adapt, step_size, temperature, target_rate, per_chain, projections, seed),
      returning what mala_chain returns.
    """
    scalar, vector = tf.TensorSpec([], tf.float32), tf.TensorSpec([None], tf.float32)
    x = tf.TensorSpec([None, *event_shape], tf.float32)
    signature = {
        "state": MalaState(x, vector, vector, scalar, tf.TensorSpec([None], tf.int32)),
        "num_moves": tf.TensorSpec([], tf.int32),
        "enough_accepted": scalar,
        "adapt": tf.TensorSpec([], tf.bool),
        "step_size": tf.TensorSpec(None, tf.float32),  # [] or [*event]
        "temperature": scalar,
        "target_rate": scalar,
        "per_chain": tf.TensorSpec([], tf.bool),
        "projections": tf.TensorSpec([None, None], tf.float32),
        "seed": tf.TensorSpec([2], tf.int32),
    }

    @tf.function(input_signature=list(signature.values()), jit_compile=jit_compile, autograph=False)
    def traced(*arguments):
        return mala_chain(energy_fn, **dict(zip(signature, arguments)), num_bins=num_bins)

    return traced

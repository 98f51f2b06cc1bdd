"""Unadjusted Langevin dynamics with temperature (ULA): Eqs. 3, 8 and 9, lines 19-26 of Algorithm 1.

    x̂_{l+1} = x̂_l − ε ∂E/∂x(x̂_l) + √(2 ε T) ẑ_l,    ẑ_l ~ N(0, I)                           (Eq. 9)

ε is a number, or one number per coordinate: with a diagonal matrix ε the law of the continuous-time dynamics is still
p(x) ∝ exp(−E(x) / T), since drift and noise are scaled together. A preconditioner P does the same by a matrix.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from ebm_tf.mcmc import checks
from ebm_tf.mcmc.preconditioner import precondition

__all__ = [
    *("EnergyFn", "LangevinInfo", "compile_chain", "denoise", "energy_and_grad", "in_halves", "langevin_chain"),
    *("langevin_step", "prepare"),
]

EnergyFn = Callable[[tf.Tensor], tf.Tensor]  # [B, *event] -> [B]
BLOCK = 50  # steps without a question to the host, where L is not known to the compiler
PHILOX = 1  # TensorFlow's number of the algorithm, a counter-based generator


class LangevinInfo(NamedTuple):
    """What a person wants to know of a run of chains.

    Attributes:
      energy_grad_norm: []. Mean over chains and steps of |∂E/∂x|, energy per unit of x.
      energy_init: [B]. Energy at the start of each chain.
      energy_final: [B]. Energy at its end.
      max_abs: []. Largest |x| at the end, over chains and coordinates.
    """

    energy_grad_norm: tf.Tensor
    energy_init: tf.Tensor
    energy_final: tf.Tensor
    max_abs: tf.Tensor


def energy_and_grad(energy_fn: EnergyFn, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(E(x) float32 [B], ∂E/∂x [B, *event]) at x [B, *event]. Raises ValueError where energy_fn gives no such thing."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        energy = tf.cast(checks.energies(energy_fn(x)), tf.float32)
    energy_grad = tape.gradient(energy, x)
    if energy_grad is None:
        raise ValueError("expected energy_fn of TensorFlow's operations. Received: one without a gradient in x")
    return energy, energy_grad


def prepare(energy_fn: EnergyFn) -> EnergyFn:
    """energy_fn, what does not depend on x done once where it offers that. XLA leaves such work inside the loop."""
    return energy_fn.prepare() if hasattr(energy_fn, "prepare") else energy_fn


def in_halves(energy_fn: EnergyFn, event_shape: tuple[int, ...], jit_compile: bool | None) -> EnergyFn:
    """energy_fn, of vectors that XLA compiles for a CPU each half of the batch by itself; else as it is.

    XLA does a small product on one core, and at the same time another one that does not depend on it. Two halves on any
    machine, so that energies do not depend on how many cores it has; docs/log/performance.md has what they gain.

    Args:
      energy_fn: [B, *event] -> [B], with or without prepare().
      event_shape: shape of one x.
      jit_compile: whether XLA compiles what calls it. None: not all of it.
    """
    on_cpu = not tf.config.get_visible_devices("GPU")
    return _Halves(energy_fn) if jit_compile and len(event_shape) == 1 and on_cpu else energy_fn


class _Halves:
    def __init__(self, energy_fn):
        self._energy_fn = energy_fn

    def prepare(self):
        return _Halves(prepare(self._energy_fn))

    def __call__(self, x):
        num = tf.shape(x)[0]
        parts = tf.split(x, tf.stack([num // 2, num - num // 2]))
        return tf.concat([self._energy_fn(part) for part in parts], axis=0)


def _stream(seed: tf.Tensor, first_step: int | tf.Tensor = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Philox key [1] and counter [2], uint64, of a seed, at draw number first_step. The upper half of the 128-bit
    counter is the number of the draw, so no two draws overlap.
    """
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    return key, _at(counter, first_step)


def _at(counter, step):
    return counter + tf.stack([tf.constant(0, tf.uint64), tf.cast(step, tf.uint64)])


def _normal(shape: tf.Tensor, stream: tuple[tf.Tensor, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
    """Draw number `step` of a stream, counted from where the stream stands."""
    key, counter = stream[0], _at(stream[1], step)
    return tf.raw_ops.StatelessRandomNormalV2(shape=shape, key=key, counter=counter, alg=PHILOX)


def langevin_step(
    energy_fn: EnergyFn, x: tf.Tensor, step_size: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """One step of Eq. 9, the first of the chain with this seed.

    Law: x_next ~ N(x − ε ∂E/∂x, 2 ε T I). For E = k|x|²/2 the stationary variance is T / (k (1 − ε k / 2)), larger
      than the T / k of exp(−E/T); the bias vanishes with ε.
    Limits: T = 0 is gradient descent. ε k > 2 diverges.

    Args:
      energy_fn: [B, *event] -> [B].
      x: float32 [B, *event].
      step_size: ε, float32 [] or broadcastable to x. Paper: 1 for images, 0.05 for rings (Sec. 3).
      temperature: T, float32 [], energy. Paper: 5e-5 for images, 0.005 for rings (Sec. 3).
      seed: int32 [2].

    Returns:
      (x_next [B, *event], energy at x [B], energy_grad at x [B, *event]).

    Source: Eq. 9 (App. A.4); lines 23-24 of Algorithm 1.
    """
    return _step(energy_fn, x, step_size, temperature, _stream(seed), tf.constant(0))


def _step(energy_fn, x, step_size, temperature, stream, step, preconditioner=None):
    energy, energy_grad = energy_and_grad(energy_fn, x)
    z = _normal(tf.shape(x), stream, step)
    noise_std = tf.sqrt(2.0 * step_size * temperature)
    if preconditioner is None:
        return x - step_size * energy_grad + noise_std * z, energy, energy_grad
    return x + precondition(preconditioner, -step_size * energy_grad, noise_std * z), energy, energy_grad


def langevin_chain(
    energy_fn: EnergyFn,
    x_init: tf.Tensor,
    num_steps: tf.Tensor,
    step_size: tf.Tensor,
    temperature: tf.Tensor,
    seed: tf.Tensor,
    preconditioner: tf.Tensor | None = None,
    *,
    first_step: int | tf.Tensor = 0,
) -> tuple[tf.Tensor, LangevinInfo]:
    """L steps of Eq. 9 from x_init, all chains at once, in memory that does not grow with L.

    Law: that of x_L given x_0 under Eq. 9; see langevin_step for its stationary bias. Chains are independent. The noise
      of a step is a function of (seed, its number): a chain that is cut and goes on from there is the same chain.
    Limits: num_steps = 0 returns x_init. No gradient flows from the end to the start (Algorithm 1 stops it).

    Args:
      energy_fn: [B, *event] -> [B]. If it has a method prepare() -> energy_fn, that is called once, before the steps.
      x_init: [B, *event]; computed in float32 whatever the energy's dtype policy.
      num_steps: L, int32 []. Paper: 500 (Sec. 3).
      step_size: ε, float32 [] or broadcastable to x_init.
      temperature: T, float32 [].
      seed: int32 [2]. The same seed gives the same chains.
      preconditioner: P^{1/2}, see `precondition`; step_size is then the same for all. None: P = I, Eq. 9.
      first_step: the number of the first step, above 0 where x_init has had that many of this chain.

    Returns:
      (x_final float32 [B, *event], LangevinInfo of these steps).

    Raises:
      ValueError: an argument of another kind, shape or range.

    Source: LangDyn, lines 19-26 of Algorithm 1.
    """
    x_init = tf.stop_gradient(checks.start_of_chains(energy_fn, x_init))
    checks.at_least("num_steps", num_steps, 0, int)
    checks.at_least("step_size", step_size, 0, list)
    checks.at_least("temperature", temperature, 0)
    if preconditioner is not None and x_init.shape[1:].is_fully_defined():
        checks.shape_of("preconditioner", preconditioner, (*x_init.shape[1:], x_init.shape[-1]), "P^{1/2}")
    step_size, temperature = tf.cast(step_size, tf.float32), tf.cast(temperature, tf.float32)
    tf.broadcast_static_shape(step_size.shape, x_init.shape)  # or raises ValueError
    num_steps = tf.cast(num_steps, tf.int32)
    energy_fn, stream = prepare(energy_fn), _stream(checks.seed_of(seed), first_step)

    def body(step, x, norm_sum):
        x_next, _, energy_grad = _step(energy_fn, x, step_size, temperature, stream, step, preconditioner)
        squares = tf.reduce_sum(tf.square(energy_grad), axis=list(range(1, x.shape.rank)))
        return step + 1, tf.ensure_shape(x_next, x_init.shape), norm_sum + tf.reduce_mean(tf.sqrt(squares))

    state, blocks = (tf.constant(0, tf.int32), x_init, tf.constant(0.0)), functools.partial(_repeat, body)
    if tf.get_static_value(num_steps) is None:  # else XLA knows the length of the whole loop
        state = tf.while_loop(lambda step, *_: step + BLOCK <= num_steps, blocks, state, parallel_iterations=1)
    _, x_final, norm_sum = tf.while_loop(lambda step, *_: step < num_steps, body, state, parallel_iterations=1)
    x_final = tf.stop_gradient(x_final)
    info = LangevinInfo(
        energy_grad_norm=norm_sum / tf.cast(tf.maximum(num_steps, 1), tf.float32),
        energy_init=tf.cast(energy_fn(x_init), tf.float32),
        energy_final=tf.cast(energy_fn(x_final), tf.float32),
        max_abs=tf.reduce_max(tf.abs(x_final)),
    )
    return x_final, info


def _repeat(body, *state):
    """BLOCK steps, as a loop whose length XLA knows: a GPU does them without asking the host whether to go on."""

    def counted(count, *state):
        return count + 1, *body(*state)

    return tf.while_loop(lambda count, *_: count < BLOCK, counted, (tf.constant(0), *state), parallel_iterations=1)[1:]


def compile_chain(
    energy_fn: EnergyFn,
    event_shape: tuple[int, ...],
    jit_compile: bool | None = None,
    preconditioner: tf.Tensor | None = None,
) -> tf.types.experimental.PolymorphicFunction:
    """langevin_chain as one compiled function, traced once whatever the batch, L, ε and T.

    Args:
      energy_fn: [B, *event] -> [B].
      event_shape: shape of one x.
      jit_compile: compile with XLA. None: leave it to TensorFlow.
      preconditioner: see langevin_chain.

    Returns:
      fn(x_init [B, *event], num_steps [], step_size [] or [*event], temperature [], seed int32 [2], first_step [] = 0),
      returning what langevin_chain returns.
    """
    signature = [
        tf.TensorSpec([None, *event_shape], tf.float32),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec(None, tf.float32),  # [] or [*event]
        tf.TensorSpec([], tf.float32),
        tf.TensorSpec([2], tf.int32),
        tf.TensorSpec([], tf.int32),
    ]

    energy_fn = in_halves(energy_fn, event_shape, jit_compile)

    @tf.function(input_signature=signature, jit_compile=jit_compile, autograph=False)
    def traced(x_init, num_steps, step_size, temperature, seed, first_step=0):
        further = {"preconditioner": preconditioner, "first_step": first_step}
        return langevin_chain(energy_fn, x_init, num_steps, step_size, temperature, seed, **further)

    return traced


def denoise(energy_fn: EnergyFn, x: tf.Tensor, noise_std: Any, temperature: Any) -> tf.Tensor:
    """Takes the noise of training out of states by one gradient.

    Training adds σ z, z ~ N(0, I), to the data, so chains come to the law p of noisy data, p(x) ∝ exp(−E(x) / T). The
    mean of what was clean, given x, is then

        E[x_0 | x = x_0 + σ z] = x + σ² ∂ log p(x)/∂x = x − (σ² / T) ∂E/∂x(x)

    Law: as right as the energy is; a chain's noise beyond σ stays.
    Limits: noise_std = 0 returns x.

    Args:
      energy_fn: [B, *event] -> [B].
      x: float32 [B, *event].
      noise_std: σ, a number or one per coordinate.
      temperature: T above 0.

    Returns:
      float32 [B, *event].

    Source: not in the paper; Miyasawa's estimator, the jump of Saremi and Hyvärinen, Neural Empirical Bayes (2019).
    """
    _, energy_grad = energy_and_grad(energy_fn, x)
    return x - tf.cast(noise_std, tf.float32) ** 2 / temperature * tf.cast(energy_grad, tf.float32)

"""The one way to sample: step size, temperature, L, starts and preconditioner of Langevin chains as one object.

    x̂_0 ~ start,    x̂_{l+1} = x̂_l − ε P ∂E/∂x(x̂_l) + √(2 ε T) P^{1/2} ẑ_l,    l = 0 … L − 1

What a chain is stands in langevin, where it starts in chain_init, P in preconditioner; here they meet.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from ebm_tf.mcmc import chain_init, checks
from ebm_tf.mcmc.langevin import EnergyFn, LangevinInfo, compile_chain, langevin_chain

__all__ = ["Sampler"]

KEPT = 4  # energies whose compiled chains a Sampler keeps, the last ones, and with them the energies

@dataclasses.dataclass(frozen=True, eq=False)
class Sampler:
    """Langevin chains: how far, how hot, how long, and from where.

    Law: langevin_chain's, from chain_init.noise or from the states that `run` is given.
    Limits: T = 0 is gradient descent; L = 0 returns the starts.

    Args:
      step_size: ε, a number or one per coordinate, [*event]. Paper: 1 for images, 0.05 for rings (Sec. 3). With a
        preconditioner a number: whitened steps take any data alike.
      temperature: T, energy. Paper: 5e-5 for images, 0.005 for rings (Sec. 3).
      num_steps: L. Paper: 500 (Sec. 3).
      event_shape: shape of one x. None: that of start or of step_size; without either ebm_tf.Trainer knows it.
      start: (mean, factor) of the Gaussian that chains start from, see chain_init.coloured. None: N(0, I).
      preconditioner: P^{1/2}, see mcmc/preconditioner.py. None: I.
      jit_compile: compile with XLA. None: leave it to TensorFlow.

    Raises:
      ValueError: a number is out of its range, an argument is of another kind or shape, or steps are of several sizes
        beside a preconditioner: drift and noise would no longer fit each other.
    """

    step_size: float | Any
    temperature: float | Any
    num_steps: int
    event_shape: tuple[int, ...] | None = None
    start: chain_init.Spectrum | None = None
    preconditioner: tf.Tensor | tf.Variable | None = None
    jit_compile: bool | None = None
    _chains: dict[tuple[int, ...], Any] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        checks.at_least("step_size", self.step_size, 0, list, is_open=True)
        checks.at_least("temperature", self.temperature, 0)
        checks.at_least("num_steps", self.num_steps, 0, int)
        if self.start is not None and not (isinstance(self.start, tuple | list) and len(self.start) == 2):
            expected = "expected start, (mean, factor) of a Gaussian, or None for N(0, I)"
            raise ValueError(f"{expected}. Received: start={type(self.start).__name__}")
        shape = self.event_shape
        if shape is not None and not isinstance(shape, tuple | list | tf.TensorShape):
            raise ValueError(f"expected event_shape, a tuple as (3,) or (32, 32, 3). Received: event_shape={shape}")
        if shape is None:
            shape = np.shape(self.start[0]) if self.start else np.shape(self.step_size)
        shape = tuple(shape) or None
        object.__setattr__(self, "event_shape", shape)
        if self.start:
            checks.shape_of("the mean of start", self.start[0], shape, "an array")
        matrix = shape and (*shape, shape[-1])
        for name, value in (
            ("the factor of start", self.start and self.start[1]),
            ("preconditioner", self.preconditioner),
        ):
            if value is not None:
                checks.shape_of(name, value, matrix, "an array")
        if np.ptp(self.step_size) > 0 and not _is_identity(self.preconditioner):
            expected = "expected one step_size for all coordinates beside a preconditioner"
            raise ValueError(f"{expected}. Received: step_size={self.step_size}")

    def starts(self, num: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Starts from noise, float32 [num, *event].

        Law: chain_init.noise with `start`.

        Args:
          num: of chains.
          seed: int32 [2].

        Raises:
          ValueError: event_shape is not known.
        """
        if self.event_shape is None:
            raise ValueError("expected event_shape, the shape of one x, to start from noise. Received: None")
        checks.at_least("num", num, 0, int)
        shape = tf.concat([tf.reshape(tf.cast(num, tf.int32), [1]), tf.constant(self.event_shape, tf.int32)], axis=0)
        x_init = chain_init.noise(shape, checks.seed_of(seed), self.start)
        return tf.ensure_shape(x_init, [tf.get_static_value(num), *self.event_shape])

    def run(
        self, energy_fn: EnergyFn, x_init: tf.Tensor, seed: tf.Tensor, num_steps: int | tf.Tensor | None = None
    ) -> tuple[tf.Tensor, LangevinInfo]:
        """Chains from x_init. From Python they are compiled once an energy and shape of x, and the last few are kept;
        within a graph they join it.

        Law: langevin_chain's.
        Limits: num_steps = 0 returns x_init.

        Args:
          energy_fn: [B, *event] -> [B], e.g. an EnergyModel.
          x_init: [B, *event].
          seed: int32 [2].
          num_steps: L. None: the sampler's.

        Returns:
          (x_final float32 [B, *event], LangevinInfo).
        """
        x_init, arguments = checks.start_of_chains(energy_fn, x_init), self.arguments(seed, num_steps)
        if not tf.executing_eagerly():
            return langevin_chain(energy_fn, x_init, *arguments, self.preconditioner)
        key = id(energy_fn), *x_init.shape[1:]
        kept = self._chains.pop(key, None)  # with the energy: no other takes its id
        self._chains[key] = kept = kept or (energy_fn, self.compile(energy_fn, tuple(x_init.shape[1:])))
        if len(self._chains) > KEPT:
            del self._chains[next(iter(self._chains))]
        return kept[1](x_init, *arguments)

    def compile(
        self, energy_fn: EnergyFn, event_shape: tuple[int, ...] | None = None
    ) -> tf.types.experimental.PolymorphicFunction:
        """compile_chain for the energy with this preconditioner: fn(x_init, *arguments(seed)).

        Args:
          energy_fn: [B, *event] -> [B].
          event_shape: shape of one x. None: the sampler's.
        """
        shape = event_shape or self.event_shape
        assert shape is not None
        return compile_chain(energy_fn, shape, self.jit_compile, self.preconditioner)

    def arguments(self, seed: Any, num_steps: Any = None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """(L, ε, T, seed), what a compiled chain takes beside x_init; num_steps None: the sampler's L."""
        steps, seed = self.num_steps if num_steps is None else num_steps, checks.seed_of(seed)
        checks.at_least("num_steps", steps, 0, int)
        step_size = tf.cast(self.step_size, tf.float32)
        return tf.convert_to_tensor(steps, tf.int32), step_size, tf.constant(self.temperature, tf.float32), seed


def _is_identity(preconditioner):
    """Whether it is I, as None is, and the weights of an energy are whose sampler has none."""
    root = np.eye(1) if preconditioner is None else tf.convert_to_tensor(preconditioner).numpy()
    return np.array_equal(root, np.broadcast_to(np.eye(root.shape[-1]), root.shape))

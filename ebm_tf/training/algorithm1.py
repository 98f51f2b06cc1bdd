"""Algorithm 1 of the paper, OneStepUpdate, as one function. Comments carry its line numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from ebm_tf.mcmc.langevin import EnergyFn, LangevinInfo, langevin_chain

__all__ = ["StepResult", "one_step_update"]


class StepResult(NamedTuple):
    """The gradient of one update and what it was made of.

    Attributes:
      gradient: one tensor per parameter, the gradient of Eq. 6.
      gradient_norm: []. Norm of all of it together.
      energy_data: [N], E(x^(n)).
      energy_final: per group of chains [N], E at the end of its chains.
      x_final: per group [N, *event], the ends of its chains.
      info: LangevinInfo of all chains together.
    """

    gradient: list[tf.Tensor]
    gradient_norm: tf.Tensor
    energy_data: tf.Tensor
    energy_final: list[tf.Tensor]
    x_final: list[tf.Tensor]
    info: LangevinInfo


def one_step_update(
    energy_fn: EnergyFn,
    theta: Sequence[tf.Variable],
    x: tf.Tensor,
    x_inits: Sequence[tf.Tensor],
    weights: Sequence[float | tf.Tensor],
    num_steps: tf.Tensor,
    step_size: tf.Tensor,
    temperature: tf.Tensor,
    seed: tf.Tensor,
    preconditioner: tf.Tensor | None = None,
) -> StepResult:
    """The gradient of Eq. 6 by Algorithm 1; the optimizer takes the step.

    Each group of chains is one bracket of Eq. 6, with its weight: the hybrid has noise starts with weight 1 and data
    starts with weight λ; the other schemes have one group with weight 1; old chains of a bank may be one more, with
    weight μ, 0 for the chains that have not burned in. All groups run as one batch of chains. Where Algorithm 1 sums
    over the batch this averages, as Eq. 6 does.

    Law: the gradient is random through the chains; see langevin_chain.
    Limits: weights (1, 0) is noise-initialised training; the gradient over λ tends to contrastive divergence as λ
      grows.

    Args:
      energy_fn: [B, *event] -> [B].
      theta: parameters of the energy.
      x: training data [N, *event].
      x_inits: per group, starts of its chains [N, *event].
      weights: per group, its weight in Eq. 6, [] or one per chain [N].
      num_steps: L, int32 [].
      step_size: ε, [] or broadcastable to x.
      temperature: T, [].
      seed: int32 [2].
      preconditioner: see langevin_chain.

    Returns:
      StepResult.

    Source: Algorithm 1, Eq. 6.
    """
    # Lines 11 and 14, LangDyn for every group at once; lines 19-26 are langevin_chain.
    settings = num_steps, step_size, temperature, seed, preconditioner
    x_final, info = langevin_chain(energy_fn, tf.concat(x_inits, axis=0), *settings)
    # The generator is held fixed while the energy learns (Sec. 2): no gradient through the chains.
    x_hat = tf.split(tf.stop_gradient(x_final), len(x_inits))

    # Every bracket of Eq. 6 has its own copy of the data, so that what is subtracted has the same weight. With one copy
    # of weight 1 + λ the three weights, rounded to bfloat16 or TF32, do not sum to 0: what is left drives the features
    # always the same way, and grows with them (docs/cifar_recipe.md).
    with tf.GradientTape() as tape:
        pairs = [part for x_end in x_hat for part in (x, x_end)]
        energies = tf.split(energy_fn(tf.concat(pairs, axis=0)), len(pairs))
        # Lines 10, 12, 15 (g_data, g_data-init, g_noise-init) and 31, whose bracket is the gradient of this sum.
        loss = tf.add_n(
            [
                tf.reduce_mean(weight * (energy_data - energy_final))
                for weight, energy_data, energy_final in zip(weights, energies[::2], energies[1::2], strict=True)
            ]
        )
    gradient = tape.gradient(loss, theta)
    norm = tf.linalg.global_norm(gradient)
    return StepResult(gradient, norm, energies[0], energies[1::2], x_hat, info)

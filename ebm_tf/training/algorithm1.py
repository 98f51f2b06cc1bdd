"""Algorithm 1 of the paper: where chains start, and OneStepUpdate as one function. Comments carry its line numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ebm_tf.data.base import Dataset
from ebm_tf.mcmc import chain_init
from ebm_tf.mcmc.jump import jump
from ebm_tf.mcmc.langevin import EnergyFn, LangevinInfo, langevin_chain
from ebm_tf.mcmc.sample_bank import Drawn
from ebm_tf.settings.train import Scheme, TrainConfig

__all__ = ["Starts", "StepResult", "centres", "chain_starts", "one_step_update", "with_jumps"]

MOST_CENTRES = 1_000  # of jumps: their distances to the chains cost less than a Langevin step of the default network


class Starts(NamedTuple):
    """Where the chains of an update start.

    Attributes:
      x_inits: by bracket [N, *event].
      weights: by bracket, its weight in Eq. 6, [] or one per chain [N].
      drawn: the chains of the bank, as they will be written back but for their steps. None without a bank.
      has_jumped: bool [N], which of them start from an accepted jump. None without jumps.
    """

    x_inits: dict[str, tf.Tensor]
    weights: dict[str, float | tf.Tensor]
    drawn: Drawn | None
    has_jumped: tf.Tensor | None = None


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


def chain_starts(
    config: TrainConfig,
    spectrum: chain_init.Spectrum | None,
    bank: Any,
    x: tf.Tensor,
    num_steps: tf.Tensor,
    seed: tf.Tensor,
) -> Starts:
    """Where an update's chains start, lines 11 to 14, by config.brackets, the one rule of which chains it has.

    Args:
      config: gives the scheme, and how often old chains start anew.
      spectrum: of noise, see chain_init.coloured.
      bank: SampleBank or a part of it; None without one.
      x: the batch's data [N, *event].
      num_steps: L, int32 [].
      seed: int32 [2].
    """
    seeds = tf.unstack(tf.random.split(seed, 2))
    x_inits, weights, drawn = {}, dict(config.brackets), None
    if "noise_init" in weights:
        x_inits["noise_init"] = chain_init.noise(tf.shape(x), seeds[0], spectrum)
    if "data_init" in weights:
        x_inits["data_init"] = x
    if bank:
        draw_seed, restart_seed = seeds if config.scheme.has_bank else tf.unstack(tf.random.split(seeds[1], 2))
        drawn = bank.draw(x.shape[0], draw_seed)
        x_bank, is_new = drawn.x, tf.zeros([x.shape[0]], tf.bool)
        if config.scheme is Scheme.PERSISTENT_REFRESH:
            share = config.refresh_prob, config.refresh_unit
            x_bank, is_new = chain_init.refresh(x_bank, *share, restart_seed, spectrum)
        elif config.bank_restart_data or config.bank_restart_noise:
            shares = config.bank_restart_data, config.bank_restart_noise
            x_bank, is_new = chain_init.restart(x_bank, x, *shares, restart_seed, spectrum)
        ages = tf.where(is_new, 0.0, drawn.ages) + tf.cast(num_steps, tf.float32)
        x_inits["persistent_init"], drawn = x_bank, Drawn(drawn.indices, x_bank, ages)
        if config.bank_burn_in:
            weights["persistent_init"] *= tf.cast(ages >= config.bank_burn_in, tf.float32)
    return Starts(x_inits, weights, drawn)


def centres(data: Dataset) -> tf.Tensor:
    """The training examples that jumps are proposed to, float32 [M, *event]."""
    return tf.constant(np.concatenate(list(data.examples(most=MOST_CENTRES))))


def with_jumps(starts: Starts, energy_fn: EnergyFn, centres: tf.Tensor, config: TrainConfig, seed: tf.Tensor) -> Starts:
    """The starts, of which the bank's chains have proposed a jump each; see mcmc/jump.py.

    Args:
      starts: of chain_starts, with a bank.
      energy_fn: [B, *event] -> [B].
      centres: training examples, [M, *event].
      config: gives data_noise and T.
      seed: int32 [2], that of chain_starts.
    """
    assert starts.drawn
    seed = tf.random.experimental.stateless_fold_in(seed, 1)
    temperature = tf.constant(config.temperature)
    x, has_jumped = jump(energy_fn, starts.drawn.x, centres, config.data_noise, temperature, seed)
    x_inits = starts.x_inits | {"persistent_init": x}
    return starts._replace(x_inits=x_inits, drawn=starts.drawn._replace(x=x), has_jumped=has_jumped)


def one_step_update(
    energy_fn: EnergyFn,
    theta: Sequence[tf.Variable],
    x: tf.Tensor,
    x_inits: Sequence[tf.Tensor],
    weights: Sequence[float | tf.Tensor],
    *,
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
    # always the same way, and grows with them (docs/log/cifar.md).
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

"""Scores of a point beside -E(x): the size of the energy's gradient, and how MALA moves fare from it.

    -|∂E/∂x|,    mean over proposals x' of min(0, ln r(x, x')),  r MALA's acceptance ratio (see ebm_tf.mcmc.mala)

Near a mode the gradient is small. From a typical point a move of the training's step size is accepted about as often as
from any other; from a point in a place that the model does not know, seldom. The logarithm is taken since at T = 5e-5
most acceptance probabilities are 0 or 1 to all digits. All in float32.
"""

import numpy as np
import tensorflow as tf

from ebm_tf.build import step_sizes, use_xla
from ebm_tf.data import images
from ebm_tf.energies.precision import full_float32, with_policy
from ebm_tf.evaluation.finished import FinishedRun
from ebm_tf.mcmc.mala import mala_step
from ebm_tf.mcmc.streams import block_seed
from ebm_tf.runs import progress
from ebm_tf.runs.partial import PartialArrays, blocks

__all__ = ["MOST_POINTS", "SCORES", "compile_scores", "scores_of"]

SCORES = ("minus_energy", "minus_energy_grad_norm", "mala_log_acceptance")
MOST_POINTS = 2_000  # of a set: these scores cost about nine times the energy's gradient
NUM_PROPOSALS, LEAST = 4, -1e6
AT_ONCE = 100  # points, whatever batch_size: their random numbers do not hang on it
PROPOSALS = 40  # what the random numbers are for, see streams.block_seed


def compile_scores(run: FinishedRun) -> tf.types.experimental.PolymorphicFunction:
    """fn(x float32 [B, *event], seed int32 [2]) -> float32 [3, B], in the order of SCORES.

    Limits: at T = 0 there is no acceptance, and the last score is NaN. An ln r below -1e6 counts as -1e6.
    """
    energy, config = with_policy(run.energy, "float32"), run.config
    sizes = step_sizes(config, run.event_shape)
    signature = [tf.TensorSpec([None, *run.event_shape], tf.float32), tf.TensorSpec([2], tf.int32)]

    @tf.function(input_signature=signature, jit_compile=use_xla(config.jit_compile), autograph=False)
    def scores(x, seed):
        value, grad = energy.energy_and_grad(x)
        norm = tf.sqrt(tf.reduce_sum(tf.square(grad), axis=list(range(1, grad.shape.rank))))
        if config.temperature == 0:
            return tf.stack([-value, -norm, tf.fill(tf.shape(norm), np.nan)])

        def log_accept(one_seed):
            info = mala_step(energy, x, sizes, config.temperature, one_seed)[1]
            return tf.clip_by_value(info.log_accept_ratio, LEAST, 0.0)

        seeds = tf.random.split(seed, NUM_PROPOSALS)
        of_proposals = tf.map_fn(log_accept, seeds, fn_output_signature=tf.float32, parallel_iterations=1)
        return tf.stack([-value, -norm, tf.reduce_mean(of_proposals, axis=0)])

    return scores


def scores_of(
    run: FinishedRun, partial: PartialArrays, sets: dict[str, np.ndarray], first_block: int
) -> dict[str, dict[str, np.ndarray]]:
    """The scores of the first MOST_POINTS images of each set: score -> set -> [N].

    Args:
      run: gives energy, step size and temperature.
      partial: the task's, of which first_block blocks are done before these.
      sets: name -> uint8 [M, *event].
    """
    counts = {name: min(len(x), MOST_POINTS) for name, x in sets.items()}
    found = {name: partial.array(f"scores_{name}", (len(SCORES), count), np.float32) for name, count in counts.items()}
    parts = [(name, block, part) for name, count in counts.items() for block, part in blocks(count, AT_ONCE)]
    scores, done = compile_scores(run), max(partial.blocks_done - first_block, 0)
    with progress.bar("ood, other scores", len(parts), "block", done) as bar, full_float32():
        for index in range(done, len(parts)):
            name, block, part = parts[index]
            x = tf.constant(images.to_unit_range(sets[name][part]))
            found[name][:, part] = scores(x, block_seed(0, PROPOSALS, block)).numpy()
            partial.mark(first_block + index + 1)
            bar.update(1)
    return {score: {name: np.array(found[name][row]) for name in sets} for row, score in enumerate(SCORES)}

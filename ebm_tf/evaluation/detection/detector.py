"""The detector of ebm_tf.stats.typicality on the sets of the task ood.

It is fitted on two thirds of the held-out examples, drawn by the seed, half of them for p-values; the other third is
told from the sets. Beside it stands the same detector of statistics that need no model.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from ebm_tf.build import use_xla
from ebm_tf.data import images
from ebm_tf.energies import EnergyModel, devices
from ebm_tf.energies.precision import full_float32
from ebm_tf.energies.statistics import Statistics, pixel_statistics
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.finished import FinishedRun
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.stats.detection import RATE, Trial
from ebm_tf.stats.typicality import LEAST

__all__ = ["LEAST_HELD_OUT", "detect", "print_table"]

LEAST_HELD_OUT = -(-3 * LEAST // 2)
Sets = dict[str, np.ndarray]


def detect(
    run: FinishedRun, partial: PartialArrays, sets: Sets, first_block: int, batch_size: int, seed: int
) -> tuple[dict[str, Any], Sets]:
    """How well the detector tells the held-out examples from each of the other sets.

    Args:
      run: gives the energy.
      partial: the task's, of which first_block blocks are done before these.
      sets: name -> uint8 [N, H, W, C] or float32 [N, D], the held-out examples under the name "in".
      batch_size: examples at once.
      seed: of the thirds.

    Returns:
      (numbers, arrays): `against`, a row per set; `without_a_model`, the same; `itself`, the held-out examples that are
      told against those that gave p-values; `by_statistic`, {statistic: {set: P(larger there than here)}}, 0.5 where it
      says nothing; counts. The arrays are ood_score and p_value of each set. `failed` is why where there is none.
    """
    names, found = _statistics(run, partial, sets, first_block, batch_size)
    order = np.random.default_rng(seed).permutation(len(sets["in"]))
    fit, told = np.split(order, [2 * len(order) // 3])
    try:
        own, pixels = (
            Trial(kind, {name: arrays[row] for name, arrays in found.items()}, fit, told, seed)
            for row, kind in enumerate(names)
        )
    except ConfigError as error:  # energies that are not finite
        return {"failed": str(error)}, {}
    numbers = {
        "num_fit": len(fit) - own.detector.num_calibration,
        "num_calibration": own.detector.num_calibration,
        "num_statistics": len(own.detector.names),
        "constant": own.detector.dropped,
        "gradients_each": 1,
        "false_positive_rate": RATE,
        "itself": own.itself(),
        "against": own.against(),
        "without_a_model": pixels.against(),
        "by_statistic": own.by_statistic(),
    }
    arrays = {f"ood_score_{name}": score for name, score in own.scores.items()}
    return numbers, arrays | {f"p_value_{name}": own.detector.p_value(score) for name, score in own.scores.items()}


def print_table(numbers: dict[str, Any], source: str) -> None:
    """A row per set, the nearest first: the one that is hardest to tell.

    Args:
      numbers: of `detect`.
      source: of the held-out examples.
    """
    if "failed" in numbers:
        print(f"ood: warning: no detector: {numbers['failed']}", flush=True)
        return
    fitted = f"{numbers['num_fit']} + {numbers['num_calibration']} of {source}"
    print(f"ood: the detector, fitted on {fitted}, and the same without a model")
    print(f"{'':24s} {'images':>7s}  AUROC  AUPR in  chance  AUPR out chance   FPR95  at 5 % |  AUROC  at 5 %")
    rows: list[tuple[str, dict, dict]] = [("(others of the same)", numbers["itself"], {})]
    near_first = sorted(numbers["against"].items(), key=lambda item: item[1]["auroc"] or 0)
    rows += [(name, row, numbers["without_a_model"][name]) for name, row in near_first]
    keys = ("auroc", "average_precision", "chance", "average_precision_out", "chance_out", "fpr_at_95_tpr", "flagged")
    for name, row, without in rows:
        values = [*(row.get(key) for key in keys), *(without.get(key) for key in ("auroc", "flagged"))]
        shown = [f"{'-':>7s}" if value is None else f"{value:7.3f}" for value in values]
        print(f"{name[:24]:24s} {row['num_out']:7d} {' '.join(shown[:7])} | {' '.join(shown[7:])}", flush=True)


def _statistics(run: FinishedRun, partial: PartialArrays, sets: Sets, first_block: int, batch_size: int):
    """((names, names without a model), {set: (statistics, those without a model)}), block by block."""
    replicas = devices.replicate(run.energy, lambda energy: _compile(energy, use_xla(run.config.jit_compile)))
    names = Statistics(run.energy).names, tuple(pixel_statistics(tf.zeros([1, *run.event_shape])))
    found = {
        name: tuple(
            partial.array(f"{kind}_{name}", (len(x), len(of)), np.float32)
            for kind, of in zip(("statistics", "pixels"), names)
        )
        for name, x in sets.items()
    }
    parts = [(name, part) for name, x in sets.items() for _, part in blocks(len(x), batch_size)]
    unit = "image" if run.is_image else "row"
    with full_float32():
        for name, part in partial.remaining(parts, "ood, detector", unit, first_block):
            x = sets[name][part]
            x = images.to_unit_range(x).numpy() if x.dtype == np.uint8 else np.asarray(x, np.float32)
            for array, values in zip(found[name], zip(*devices.run_on_all(replicas, x))):
                array[part] = np.concatenate(values)
    return names, found


def _compile(energy: EnergyModel, jit_compile: bool):
    """x float32 [B, *event] -> (statistics, statistics without a model)."""
    own = Statistics(energy)
    signature = [tf.TensorSpec([None, *energy.event_shape], tf.float32)]

    @tf.function(input_signature=signature, jit_compile=jit_compile, autograph=False)
    def both(x):
        return own(x)[1], tf.stack(list(pixel_statistics(x).values()), axis=1)

    return both

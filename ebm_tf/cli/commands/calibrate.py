"""Finds the energy above which an input counts as out of distribution, from held-out data of the distribution.

  bin/calibrate.py --model=DIR --input=tfds:cifar10/test --false_positive_rate=0.05

Writes DIR/calibration.json (threshold, rate, its exact confidence interval) and DIR/calibration.npz (the energies);
bin/score.py uses them.
"""

import functools

from ebm_tf.cli import flags
from ebm_tf.settings.commands import CalibrateConfig


def main(settings: CalibrateConfig) -> None:
    from ebm_tf.serving import score  # TensorFlow: after the flags have been checked

    numbers = score.calibrate(settings)
    low, high = numbers["interval"]
    print(f"wrote {settings.model}/calibration.json: {numbers['num_inputs']} inputs, {numbers['num_bad']} left out")
    print(f"out above {numbers['threshold']:.6g}: false-positive rate {numbers['false_positive_rate']:g}, ", end="")
    print(f"{numbers['confidence']:.0%} interval [{low:.4g}, {high:.4g}]")


start = functools.partial(flags.run_main, main, CalibrateConfig)

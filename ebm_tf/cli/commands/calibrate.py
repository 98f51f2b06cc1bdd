"""Fits the detector of what does not belong, on held-out data of the distribution.

  bin/calibrate.py --model=DIR [--input=tfds:cifar10/test] [--false_positive_rate=0.05]

DIR is a folder of bin/export.py or of a finished run, or FILE.keras. Without --input, of a run: on what it held out.
Writes calibration.npz (the detector) and calibration.json (rate, its exact confidence interval) into the folder, or
FILE.calibration.npz and .json beside the file; into an exported folder also the signatures detect. bin/score.py and
bin/export.py use them.
"""

import functools

from ebm_tf.cli import flags
from ebm_tf.settings.scoring import CalibrateConfig


def main(settings: CalibrateConfig) -> None:
    from ebm_tf.serving import calibrate  # TensorFlow: after the flags have been checked
    from ebm_tf.serving.detector import place_of
    from ebm_tf.stats.conformal import reached

    wrote = "replaced" if place_of(settings.model).exists() else "wrote"
    numbers = calibrate.calibrate(settings)
    low, high = numbers["interval"]
    print(f"{wrote} {place_of(settings.model)}: {numbers['num_inputs']} inputs, {numbers['num_bad']} left out")
    print(f"{numbers['num_statistics']} statistics; {numbers['num_calibration']} inputs for p-values")
    rate, confidence = numbers["false_positive_rate"], numbers["confidence"]
    most = reached(rate, numbers["num_calibration"])
    print(f"out at p <= {rate:g}: false-positive rate {most:.4g}, {confidence:.0%} interval [{low:.4g}, {high:.4g}]")


start = functools.partial(flags.run_main, main, CalibrateConfig)

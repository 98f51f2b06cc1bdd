"""Says whether a training would work here, what it would need, and how long it would take. Writes nothing.

  bin/doctor.py --flagfile=configs/cifar_hybrid.flags [--workdir=RUN]

Takes the flags of bin/train.py. A line per finding; exits 1 when training would fail.
"""

import functools

from ebm_tf.cli import flags
from ebm_tf.settings.train import TrainConfig


def main(settings: TrainConfig) -> int:
    from ebm_tf.training import doctor  # TensorFlow: after the flags have been checked

    is_good = True
    for finding in doctor.examine(settings, given=flags.given(TrainConfig)):
        is_good &= finding.is_good
        print(f"{'ok  ' if finding.is_good else 'BAD '} {finding.name}: {finding.text}", flush=True)
    return 0 if is_good else 1


start = functools.partial(flags.run_main, main, TrainConfig)

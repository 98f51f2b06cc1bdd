"""Samples from a trained energy by Langevin dynamics.

  bin/sample.py --workdir=RUN [--num_samples=64] [--num_steps=500] [--init=noise] [--output=DIR]
  bin/sample.py --workdir=RUN --checkpoint=N [--output=DIR]
  bin/sample.py --model=FILE.keras --num_samples=64 --output=DIR

A file says itself with which step size, temperature and number of steps; --checkpoint, the number of an update,
takes a run at work, too. Writes samples.npz and samples.png, without --output into RUN or RUN/update-N, never over
others. SIGTERM and Ctrl-C let the steps at work end, ten or more of them; it then exits 143 or 130.
"""

import functools

from ebm_tf.cli import flags
from ebm_tf.settings.commands import SampleConfig


def main(settings: SampleConfig) -> None:
    from ebm_tf.evaluation import sampling  # TensorFlow: after the flags have been checked

    sampling.sample(settings)


start = functools.partial(flags.run_main, main, SampleConfig)

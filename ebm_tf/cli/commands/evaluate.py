"""Evaluates a finished run, or one at work by a checkpoint of it.

  bin/evaluate.py --workdir=RUN --tasks=short_run,long_run,energies,ood
  bin/evaluate.py --workdir=RUN --checkpoint=N --tasks=short_run      (writes into RUN/update-N)
  bin/evaluate.py --model=FILE.keras --output=DIR --tasks=short_run,energies,ood

Writes RUN/results.json, a key per task with its settings, RUN/figures/*.png and the arrays as RUN/*.npz. A task that
was done before with the same model and settings is skipped; one that was killed goes on from RUN/partial/. SIGTERM and
Ctrl-C let the block at work finish, or where it takes long some of its steps; it then exits 143 or 130.
"""

import functools

from ebm_tf.cli import flags
from ebm_tf.settings.commands import EvaluateConfig


def main(settings: EvaluateConfig) -> None:
    from ebm_tf.evaluation import tasks  # TensorFlow: after the flags have been checked

    print(f"wrote {tasks.evaluate(settings).results}")


start = functools.partial(flags.run_main, main, EvaluateConfig)

"""Evaluates a finished run.

  bin/evaluate.py --workdir=RUN --tasks=density,short_run

Writes RUN/results.json, a key per task with its settings, RUN/figures/*.png and the arrays as RUN/*.npz.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from ebm_tf import flags
from ebm_tf.config import EvaluateConfig


def main(settings: EvaluateConfig) -> None:
    from ebm_tf.evaluation import runs  # TensorFlow: after the flags have been checked

    run = runs.evaluate(settings)
    print(f"wrote {run.results}")


if __name__ == "__main__":
    flags.run_main(main, EvaluateConfig)

"""Redraws a figure of the paper from finished runs.

  bin/reproduce.py --artifact=fig2 --runs=ROOT --output=DIR

Writes DIR/fig2.png and DIR/fig2.json, with ours beside the paper's.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from ebm_tf import flags
from ebm_tf.config import ReproduceConfig


def main(settings: ReproduceConfig) -> None:
    from ebm_tf.evaluation import reproduce  # TensorFlow: after the flags have been checked

    print(f"wrote {reproduce.fig2(settings)}")


if __name__ == "__main__":
    flags.run_main(main, ReproduceConfig)

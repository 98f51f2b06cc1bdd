"""Scores data by a trained energy as an Apache Beam pipeline; needs the extra beam.

  bin/score_beam.py --model=DIR --input=FOLDER --output=PREFIX [-- --runner=DirectRunner --direct_num_workers=4]

What stands after -- goes to Beam: any runner with its flags. The same rows as of bin/score.py, in no order:
PREFIX-00000-of-0000N.csv, and those with an error in PREFIX-errors-*.csv. Workers must be able to read model and input.
"""

import os
import pathlib
import sys

ROOT = str(pathlib.Path(__file__).resolve().parent.parent)
sys.path.insert(0, ROOT)

from ebm_tf.cli import flags  # noqa: E402
from ebm_tf.settings.commands import ScoreConfig  # noqa: E402

REST = flags.split_arguments()


def main(settings: ScoreConfig) -> int:
    os.environ["PYTHONPATH"] = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])  # of workers
    from ebm_tf.serving import beam  # TensorFlow and Beam: after the flags have been checked

    try:
        rows, bad = beam.score(settings, REST)
    except beam.PipelineError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {settings.output}-*.csv: {rows} inputs, {bad} of them could not be read")
    return 1 if bad and not settings.skip_bad else 0


if __name__ == "__main__":
    flags.run_main(main, ScoreConfig)

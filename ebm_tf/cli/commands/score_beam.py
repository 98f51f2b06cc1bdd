"""Scores data by a trained energy as an Apache Beam pipeline; needs the extra beam.

  bin/score_beam.py --model=DIR --input=FOLDER --output=PREFIX [-- --runner=DirectRunner --direct_num_workers=4]

What stands after -- goes to Beam: any runner with its flags. The same rows as of bin/score.py, in no order:
PREFIX-00000-of-0000N.csv, and those with an error in PREFIX-errors-*.csv. Workers must be able to read model and input.
"""

import functools
import sys

from ebm_tf.cli import flags
from ebm_tf.cli.commands.score import bad_words
from ebm_tf.settings.scoring import BeamConfig


def main(settings: BeamConfig, rest: list[str]) -> int:
    flags.share_package()  # with Beam's workers
    from ebm_tf.serving import beam  # TensorFlow and Beam: after the flags have been checked

    try:
        rows, bad = beam.score(settings, rest)
    except beam.PipelineError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {settings.output}-*.csv: {rows} inputs, {bad_words(bad, settings.skip_bad)}")
    return 1 if bad and not settings.skip_bad else 0


start = functools.partial(flags.run_main, main, BeamConfig, takes_rest=True)

"""Rebuilds figures and tables of the paper from finished and evaluated runs, ours beside the paper's.

  bin/reproduce.py --artifact=fig3,table1 --runs=ROOT --output=DIR
  bin/reproduce.py --artifact=all --runs=ROOT --output=DIR

Writes DIR/<artifact>.png or .csv, and .json; for all also DIR/index.html, one page that needs no other file. Reads
saved arrays: needs no GPU. fig2 evaluates rings runs that have not been.
"""

import functools

from ebm_tf.cli import flags
from ebm_tf.settings.commands import ReproduceConfig


def main(settings: ReproduceConfig) -> None:
    from ebm_tf.paper import reproduce  # after the flags have been checked

    for path in reproduce.reproduce(settings, flags.load_tensorflow):
        print(f"wrote {path}")


start = functools.partial(flags.run_main, main, ReproduceConfig, needs_tensorflow=False)

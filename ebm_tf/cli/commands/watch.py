"""Keeps one picture and one page of a run up to date while it trains, from another terminal.

  bin/watch.py --workdir=RUN [--every_seconds=10] [--once]

Writes RUN/watch.png and RUN/watch.html: energies, energy differences, chain ends. The page reloads itself and needs no
other file. Ends with the run. bin/train.py --watch does the same from within.
"""

import functools

from ebm_tf.cli import flags
from ebm_tf.settings.commands import WatchConfig


def main(settings: WatchConfig) -> None:
    from ebm_tf.plots import watch

    print(f"wrote {watch.watch(settings)}")


start = functools.partial(flags.run_main, main, WatchConfig, needs_tensorflow=False)

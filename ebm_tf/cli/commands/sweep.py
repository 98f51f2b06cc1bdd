"""Trains the runs of a grid of settings, one after the other; skips those that are finished.

  bin/sweep.py --runs=ROOT --grid='scheme=data,hybrid cd_weight=10,25' -- --flagfile=configs/rings_hybrid.flags

What stands after -- goes to every bin/train.py. Writes a run per combination, ROOT/sweep.csv and ROOT/hparams/ for
TensorBoard. A run that was broken off goes on. Exits 1 if a run failed; the others are done all the same.
"""

import functools
import pathlib
import sys

from ebm_tf.cli import flags
from ebm_tf.settings.commands import SweepConfig
from ebm_tf.settings.train import TrainConfig


def main(settings: SweepConfig, rest: list[str]) -> int:
    from ebm_tf.cli import sweep

    arguments = flags.expand_flag_files(rest)
    trials = sweep.plan(settings, arguments, functools.partial(flags.read_values, TrainConfig))
    flags.load_tensorflow()
    runs = pathlib.Path(settings.runs)
    flags.share_package()
    status = sweep.run_all(trials, [sys.executable, *_train()], runs)
    print(f"wrote {runs}/sweep.csv, and {runs}/hparams for tensorboard --logdir={runs}")
    return status


def _train() -> list[str]:
    """bin/train.py where this is bin/sweep.py: its lines name the commands as they are called."""
    script = pathlib.Path(sys.argv[0]).with_name("train.py")
    return [str(script)] if script.exists() else ["-m", "ebm_tf.cli.main", "train"]


start = functools.partial(flags.run_main, main, SweepConfig, needs_tensorflow=False, takes_rest=True)

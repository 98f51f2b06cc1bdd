"""Trains the runs of a grid of settings, one after the other; skips those that are finished.

  bin/sweep.py --runs=ROOT --grid='scheme=data,hybrid cd_weight=10,25' -- --flagfile=configs/rings_hybrid.flags

What stands after -- goes to every bin/train.py. Writes a run per combination, ROOT/sweep.csv and ROOT/hparams/ for
TensorBoard. A run that was broken off goes on. Exits 1 if a run failed; the others are done all the same.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from ebm_tf.cli import flags
from ebm_tf.settings.commands import SweepConfig
from ebm_tf.settings.train import TrainConfig

TRAIN = pathlib.Path(__file__).resolve().with_name("train.py")
REST = flags.split_arguments()


def main(settings: SweepConfig) -> int:
    from ebm_tf.cli import sweep

    arguments = flags.expand_flag_files(REST)
    trials = sweep.plan(settings, arguments, lambda arguments: flags.read_config(TrainConfig, arguments))
    flags.load_tensorflow()
    runs = pathlib.Path(settings.runs)
    status = sweep.run_all(trials, [sys.executable, str(TRAIN)], runs)
    print(f"wrote {runs}/sweep.csv, and {runs}/hparams for tensorboard --logdir={runs}")
    return status


if __name__ == "__main__":
    flags.run_main(main, SweepConfig, needs_tensorflow=False)

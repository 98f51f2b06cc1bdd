"""Trains an energy-based model.

  bin/train.py --flagfile=configs/rings_hybrid.flags [--workdir=RUN] [--train_steps=N] [--resume] [--watch]

  bin/train.py --dataset=folder:PATH --image_size=64 --workdir=RUN      (data of your own; also array:, table:, tfds:)

The defaults below are the paper's for CIFAR-10. On data of your own, settings that no flag gives come from the data:
docs/own_data.md. RUN/config.json has what was taken.

Without --workdir RUN is runs/NAME, NAME being the flag file's, here runs/rings_hybrid; where a run lies there, it is
runs/NAME-2 and so on.

Writes RUN/config.json, metrics.jsonl, events.jsonl, tensorboard/, checkpoints/, model.keras and figures/; with --watch
also watch.png and watch.html, the run so far, drawn anew as it goes. Exits 0 on success, 2 on bad input, 1 when
training fails, and 143 or 130 when SIGTERM or Ctrl-C stopped it.
"""

import functools
import sys

from ebm_tf.cli import flags
from ebm_tf.runs import run_name
from ebm_tf.settings.train import TrainConfig


def main(settings: TrainConfig) -> int:
    settings = run_name.with_workdir(settings, sys.argv)
    flags.load_tensorflow()
    from ebm_tf.training import run  # TensorFlow: after the flags have been checked

    try:
        run.train(settings, flags.given(TrainConfig))
    except (run.DivergenceError, run.TrainingError, run.WorkerLostError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


start = functools.partial(flags.run_main, main, TrainConfig, needs_tensorflow=False)

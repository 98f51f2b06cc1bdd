"""Trains an energy-based model.

  bin/train.py --flagfile=configs/rings_hybrid.flags [--workdir=RUN] [--train_steps=N] [--resume] [--watch]

  bin/train.py --dataset=folder:PATH --image_size=64 --workdir=RUN      (data of your own; also array:, table:, tfds:)

The defaults below are the paper's for CIFAR-10. On data of your own, settings that no flag gives come from the data:
docs/own_data.md. RUN/config.json has what was taken.

  bin/train.py --workdir=RUN --resume      (goes on by RUN/config.json; flags that are given beside it change that)

Without --workdir RUN is runs/NAME, NAME being the flag file's, here runs/rings_hybrid; where a run lies there, it is
runs/NAME-2 and so on.

Writes RUN/config.json, metrics.jsonl, events.jsonl, tensorboard/, checkpoints/, model.keras and figures/; with --watch
also watch.png and watch.html, the run so far, drawn anew as it goes. Exits 0 on success, 2 on bad input, 1 when
training fails, and 143 or 130 when SIGTERM or Ctrl-C stopped it.
"""

import functools
import pathlib
import shlex
import sys
from typing import TYPE_CHECKING

from ebm_tf.cli import flags
from ebm_tf.runs import run_name
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import TrainConfig

if TYPE_CHECKING:
    from ebm_tf.training.trainer import Trainer


def main(settings: TrainConfig) -> int:
    settings = run_name.with_workdir(settings, sys.argv)
    flags.load_tensorflow()
    from ebm_tf.training import replicas, run  # TensorFlow: after the flags have been checked

    try:
        trainer = run.train(settings, flags.given(TrainConfig))
    except (run.DivergenceError, run.TrainingError, run.WorkerLostError) as error:
        print(error, file=sys.stderr)
        return 1
    if replicas.is_chief(trainer.config.strategy):
        run_dir = RunDir(settings.workdir or "")
        print(flags.as_called(f"the model is {run_dir.model}; next: {_next(run_dir.path, trainer)}"))
    return 0


def _next(workdir: pathlib.Path, trainer: "Trainer") -> str:
    """The command to look at a model with. evaluate draws thousands of images: there sample, which takes seconds; and
    where no log p of held-out vectors can be had.
    """
    config, name, rest = trainer.config, "evaluate", ["--tasks=short_run,energies,likelihood"]
    if config.is_rings:
        rest = []
    elif trainer.data.is_image or not config.held_out or not config.temperature:
        name, rest = "sample", []
    return shlex.join(["python", f"bin/{name}.py", f"--workdir={workdir}", *rest])


start = functools.partial(flags.run_main, main, TrainConfig, needs_tensorflow=False)

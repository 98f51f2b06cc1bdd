"""One training run, from settings to model.keras."""

import tensorflow as tf

from ebm_tf import data
from ebm_tf.config import ConfigError, TrainConfig
from ebm_tf.training import callbacks
from ebm_tf.training.run_dir import RunDir
from ebm_tf.training.trainer import Trainer

__all__ = ["build_trainer", "restore", "train"]

CHECKPOINTS_KEPT = 3


def train(config: TrainConfig) -> Trainer:
    """Trains in config.workdir, or continues there with config.resume.

    Everything that can be refused is refused before anything is written. A resumed run does the same updates, bit for
    bit, as one that never stopped, where TensorFlow's kernels are deterministic: on a CPU.

    Args:
      config: settings of the run.

    Returns:
      The trainer, its energy as in RUN/model.keras: with ema_momentum > 0 the average of the weights.

    Raises:
      ConfigError: bad input; nothing was written.
      FloatingPointError: the run diverged; the newest checkpoint before that is kept.
    """
    if not config.workdir:
        raise ConfigError("--workdir: expected a folder for this run. Received: workdir=None")
    run_dir = RunDir(config.workdir)
    run_dir.check(config)
    dataset = data.make_dataset(config)  # says what is missing before the slow parts
    trainer = build_trainer(config)
    manager = tf.train.CheckpointManager(
        trainer.checkpoint, str(run_dir.checkpoints), CHECKPOINTS_KEPT, checkpoint_name="update"
    )
    if config.resume:
        restore(trainer, manager)
    first_step = int(trainer.update_count)
    if first_step > config.train_steps:
        raise ConfigError(
            f"--train_steps: expected {first_step} or more, the updates that {run_dir.path} has done. "
            f"Received: train_steps={config.train_steps}"
        )
    if first_step:
        dataset = data.make_dataset(config, first_step)
    run_dir.prepare(config)
    _fit(trainer, dataset, run_dir, manager, config.train_steps - first_step)
    draft = run_dir.path / "draft.keras"
    trainer.energy.save(draft)
    draft.replace(run_dir.model)  # whole or not at all
    return trainer


def build_trainer(config: TrainConfig) -> Trainer:
    """A compiled trainer with new weights."""
    trainer = Trainer(config)
    trainer.compile()
    return trainer


def restore(trainer: Trainer, manager: tf.train.CheckpointManager) -> None:
    """Puts the newest checkpoint, if there is one, into the trainer. The learning rate stays that of the config."""
    if manager.latest_checkpoint is None:
        return
    manager.checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
    if trainer.config.learning_rate_schedule == "constant":
        trainer.optimizer.learning_rate = trainer.config.learning_rate


def _fit(trainer, dataset, run_dir, manager, num_updates) -> None:
    config = trainer.config
    writer = tf.summary.create_file_writer(str(run_dir.tensorboard))
    progress = callbacks.ProgressBar(config)
    figures = callbacks.FigureWriter(config, run_dir, writer)
    parts = [
        progress,
        callbacks.MetricsLogger(config, run_dir, writer),
        callbacks.DivergenceGuard(config, manager),
        callbacks.Checkpointer(config, manager),
        figures,
    ]
    try:
        if num_updates:
            trainer.fit(dataset, steps_per_epoch=num_updates, epochs=1, callbacks=parts, verbose=0)
        else:  # a run that had done all its updates: only what comes after them
            trainer.optimizer.finalize_variable_values(trainer.energy.trainable_variables)
            figures.set_model(trainer)
            figures.write(config.train_steps)
    finally:
        progress.close()
        writer.close()

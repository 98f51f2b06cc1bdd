"""One training run, from settings to model.keras."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Collection

import tensorflow as tf

from ebm_tf import build
from ebm_tf.data.base import Dataset
from ebm_tf.data.spectrum import noise_spectrum
from ebm_tf.defaults import data_id, preset_of, remember, saved_choice, with_preset
from ebm_tf.drafts import draft_of
from ebm_tf.energies import EnergyModel
from ebm_tf.energies.base import Origin
from ebm_tf.energies.files import copy_weights, load_energy
from ebm_tf.errors import ConfigError, check_kind
from ebm_tf.plots import watch
from ebm_tf.runs import leftovers, lock, signals
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.runs.signals import Stopped, StopRequest
from ebm_tf.settings.data import kind_of
from ebm_tf.settings.train import Stage, TrainConfig
from ebm_tf.training import board, callbacks, cluster, device, replicas
from ebm_tf.training.checkpoints import Checkpoints, Saved, mismatch_explained, newest_intact
from ebm_tf.training.cluster import WorkerLostError
from ebm_tf.training.failures import (
    TrainingError,
    disk_explained,
    fsync,
    memory_explained,
    out_of_memory,
    update_bytes,
)
from ebm_tf.training.guard import DivergenceError
from ebm_tf.training.trainer import Trainer

__all__ = [
    "DivergenceError",
    "Stopped",
    "TrainingError",
    "WorkerLostError",
    "build_trainer",
    "initial_energy",
    "restore",
    "train",
]

LOST = (  # what TensorFlow raises where another worker has gone
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


def train(config: TrainConfig, given: Collection[str] | None = None) -> Trainer:
    """Trains in config.workdir, or continues there with config.resume.

    Everything that can be refused is refused before anything is written, and what fails before the first update is
    done leaves no folder behind. A resumed run does the same updates, bit for bit, as one that never stopped, where
    TensorFlow's kernels are deterministic: on a CPU.

    Args:
      config: settings of the run.
      given: with data of one's own, names of the settings that stay; others fit the data. None: those not at defaults.

    Returns:
      The trainer, its energy as in RUN/model.keras: with ema_momentum > 0 the average of the weights.

    Raises:
      ConfigError: bad input; nothing was written.
      DivergenceError: the run diverged; the newest checkpoint before that is kept.
      Stopped: SIGTERM or SIGINT came, or config.stop_after is over; a checkpoint was written.
      TrainingError: the disk or the memory failed; what was written stays.
      WorkerLostError: another process of a multi_worker run has stopped.

    Source: Algorithm 1, for config.train_steps batches.
    """
    check_kind("config", config, TrainConfig, "an ebm_tf.TrainConfig(dataset=..., workdir=...)")
    deadline = time.monotonic() + config.stop_seconds
    if not config.workdir:
        raise ConfigError("--workdir: expected a folder for this run. Received: workdir=None")
    run_dir = RunDir(config.workdir)
    config = dataclasses.replace(config, strategy=cluster.without_others(config.strategy))
    given = config.given if given is None else given
    if kind_of(config.dataset) and config.resume:
        config = with_preset(config, given, saved_choice(run_dir))
    is_chief = replicas.is_chief(config.strategy)
    if is_chief or config.resume:  # the chief may have begun to fill the folder that its workers share
        run_dir.check(config)
    device.choose(config.device)
    free = device.free_memory()
    try:
        with contextlib.ExitStack() as locks:
            if is_chief and config.resume:
                locks.enter_context(lock.hold(run_dir))
            return _train(config, given, run_dir, is_chief, locks, deadline, free)
    except LOST as error:
        if config.strategy != "multi_worker":
            raise
        raise WorkerLostError(_lost(run_dir, str(error.message))) from error


def _lost(run_dir: RunDir, message: str) -> str:
    reason = (message.partition("aborted by: ")[2] or message).splitlines()[0][:200]
    return f"a worker of this run was lost. Start all workers again; {run_dir.what_is_left()} ({reason})"


def _train(config: TrainConfig, given, run_dir: RunDir, is_chief: bool, locks, deadline: float, free) -> Trainer:
    strategy = replicas.make_strategy(config)
    saved = newest_intact(run_dir) if config.resume else None
    first_step = saved.step if saved else 0
    if first_step > config.train_steps:
        raise ConfigError(
            f"--train_steps: expected {first_step} or more, the updates that {run_dir.path} has done. "
            f"Received: train_steps={config.train_steps}"
        )
    config = dataclasses.replace(config, rollbacks=saved.rollbacks if saved else 0)
    initial = None if saved else initial_energy(config.init_model)
    config, data = _with_data(config, given)
    of = config, data.event_shape
    locks.enter_context(memory_explained(out_of_memory(*of), update_bytes(*of), free))
    dataset = build.make_dataset(config, first_step, data)  # says what is missing before the slow parts
    trainer = build_trainer(config, strategy, config.stage_of(first_step), data)
    restore(trainer, saved, initial)
    about = device.describe(build.use_xla(config.jit_compile)) | {"data_id": data_id(data)}
    if saved and is_chief and (line := run_dir.unlike_before(about["xla"], about["data_id"])):
        print(line, file=sys.stderr)
    if first_step == config.train_steps and run_dir.has_model_of(first_step):
        return _as_saved(trainer, run_dir, config.longer)
    weights = trainer.energy.trainable_variables if initial else ()
    replicas.check_same_run(strategy, config, first_step, weights)
    files = _prepared(config, run_dir, trainer, locks) if is_chief else None
    with disk_explained(run_dir):
        if is_chief:
            run_dir.log_event("resume" if config.resume else "start", first_step, **about)
        trainer = _all_updates(config, trainer, dataset, saved, initial, files, deadline)
        if is_chief:
            _save_model(trainer, run_dir, config.train_steps)
            if config.watch:
                watch.plot(run_dir)  # says that the run is finished
    replicas.meet(strategy)  # no worker is done before the chief
    return trainer


def _as_saved(trainer: Trainer, run_dir: RunDir, longer: str) -> Trainer:
    """The trainer of a finished run as it was when model.keras was written. Says so, and writes nothing."""
    trainer.optimizer.finalize_variable_values(trainer.energy.trainable_variables)
    remember(trainer.energy, trainer.data)
    done = f"{run_dir.path}: finished after {int(trainer.update_count.numpy())} updates"
    print(f"{done}; nothing to do. For more: {longer}", file=sys.stderr)
    return trainer


def _prepared(config: TrainConfig, run_dir: RunDir, trainer: Trainer, locks) -> Checkpoints:
    """The folder, made and held; a new one is removed where no update comes to be done."""
    if not config.resume:
        start = locks.enter_context(leftovers.removed(run_dir))
        locks.enter_context(lock.hold(run_dir))
        run_dir.check(config)
        if config.strategy != "multi_worker":  # whose workers begin anew in the folder that they share
            start.unless(lambda: int(trainer.update_count.numpy()) > 0)
    elif line := run_dir.changes(config.to_dict()):
        print(line, file=sys.stderr)
    run_dir.prepare(config)
    return Checkpoints(run_dir, config.keep_checkpoints)


def _with_data(config: TrainConfig, given) -> tuple[TrainConfig, Dataset]:
    """config with what fits the data, and the data."""
    with memory_explained(f"out of memory while {config.dataset} was read"):
        data = build.dataset(config)
    if kind_of(config.dataset) and not config.resume:
        build.check_held_out(config, data)
        config = with_preset(config, given, preset_of(data, config.preset))
        if data.is_image and not build.use_xla("auto"):
            why = f"noise of {config.data_noise:.2g} on pixels in [-1, 1], which learns shapes, not photographs"
            print(f"{config.dataset}: images on a CPU: {why}; a GPU learns finer ones (docs/own_data.md)", flush=True)
    return config, data


def _all_updates(config, trainer, dataset, saved, initial, files, deadline) -> Trainer:
    """Does all updates that are left, stage after stage, with rollbacks where config allows them; returns the
    trainer of the last stage.
    """
    strategy, run_dir = trainer.strategy, RunDir(config.workdir)
    while True:
        error = _fit(config, trainer, replicas.split_batches(strategy, dataset), run_dir, files, deadline)
        if error is not None:
            config, saved = _rolled_back(config, run_dir, files, error, saved)
            trainer = build_trainer(config, strategy, config.stage_of(saved.step if saved else 0), trainer.data)
            restore(trainer, saved, None if saved else initial or initial_energy(config.init_model))
        elif trainer.stage.last_step == config.train_steps:
            return trainer
        else:
            trainer = _next_stage(config, trainer)
            if files is not None:
                run_dir.log_event("stage", trainer.stage.first_step, name=trainer.stage.name)
        dataset = build.make_dataset(config, int(trainer.update_count.numpy()), trainer.data)


def _rolled_back(
    config: TrainConfig, run_dir: RunDir, files: Checkpoints | None, error: DivergenceError, last: Saved | None
) -> tuple[TrainConfig, Saved | None]:
    """The settings with one rollback more, and the checkpoint to go on from: None is the start.

    A checkpoint from which a run that was rolled back to it has diverged before the next one was no good one: it goes,
    and the one before it is taken. A run killed in between comes, from what is left, to the same decisions.

    Args:
      last: where the updates began that diverged.

    Raises:
      DivergenceError: no more rollbacks are allowed. Says what is left.
    """
    if files is None or config.on_divergence == "stop" or config.rollbacks >= config.max_rollbacks:
        tried = f" after {config.rollbacks} rollbacks" if config.rollbacks else ""
        raise DivergenceError(error.what, error.step, f"{error.advice}; {run_dir.what_is_left()}{tried}") from error
    saved = newest_intact(run_dir)
    if saved and last and config.rollbacks > last.rollbacks and saved.step == last.step:
        files.remove(saved.step)
        saved = newest_intact(run_dir)
    step = saved.step if saved else 0
    config = dataclasses.replace(config, rollbacks=config.rollbacks + 1)
    changes = {"rollbacks": config.rollbacks, "learning_rate": config.first_learning_rate}
    run_dir.log_event("rollback", step, **changes, diverged_at=error.step, reason=error.what)
    run_dir.write_config(config)
    print(
        f"diverged: {error.what} at update {error.step}. Rollback {config.rollbacks} of {config.max_rollbacks} to "
        f"update {step}, with other noise and learning rate {config.first_learning_rate:g}",
        file=sys.stderr,
    )
    return config, saved


def _next_stage(config: TrainConfig, trainer: Trainer) -> Trainer:
    """The trainer of the stage after a finished one's: its weights, bank and count of updates, and a new optimizer. A
    bank of another size starts anew.
    """
    stage = config.stage_of(trainer.stage.last_step + 1)
    trainer_next = build_trainer(config, trainer.strategy, stage, trainer.data)
    for variable, value in zip(trainer_next.energy.weights, trainer.energy.weights, strict=True):
        variable.assign(value)
    trainer_next.update_count.assign(trainer.update_count)
    before, after = trainer.bank, trainer_next.bank
    if before and after and before.samples.shape == after.samples.shape:
        replicas.copy_bank(before, after)
    return trainer_next


def _save_model(trainer: Trainer, run_dir: RunDir, step: int) -> None:
    """Writes model.keras, whole and on the disk or not at all."""
    remember(trainer.energy, trainer.data)
    with draft_of(run_dir.model) as draft:
        trainer.energy.save(draft)
        fsync(draft)
    fsync(run_dir.path)
    run_dir.log_event("done", step)


def build_trainer(
    config: TrainConfig,
    strategy: tf.distribute.Strategy | None = None,
    stage: Stage | None = None,
    data: Dataset | None = None,
) -> Trainer:
    """A compiled trainer with new weights: on one device, of the first stage, unless others are given."""
    stage, strategy = stage or config.stages[0], strategy or tf.distribute.get_strategy()
    data = data or build.dataset(stage.config)
    with strategy.scope():
        energy = build.build_energy(stage.config, data.event_shape)
    if stage.config.workdir:
        energy.wall = build.wall_of(RunDir(stage.config.workdir).confinement, stage.config.data_noise)
    if energy.noise_spectrum:
        build.fit_gaussian(energy, *noise_spectrum(data, stage.config.data_noise))
    sampler = build.build_sampler(energy, stage.config)
    about = str(stage.config.scheme), stage.config.data_noise, stage.config.sample_num_steps
    energy.origin = Origin.of(data, sampler, *about)
    trainer = Trainer(energy, data, sampler=sampler, strategy=strategy, stage=stage)
    trainer.compile()
    return trainer


def initial_energy(init_model: str | None) -> EnergyModel | None:
    """The energy in the file that --init_model named, if any. Raises ConfigError when there is none in the file."""
    return load_energy(init_model, "init_model") if init_model else None


def restore(trainer: Trainer, saved: Saved | None, initial: EnergyModel | None = None) -> None:
    """Puts a checkpoint into the trainer, or, where there is none, the weights of an initial energy, if any. The
    learning rate stays that of the config.

    Raises:
      ConfigError: it is of another network, optimizer or bank.
    """
    if saved is None:
        if initial is not None:
            copy_weights(initial, trainer.energy, trainer.config.init_model)
        return
    with mismatch_explained(saved):
        trainer.checkpoint_like(saved.prefix).restore(saved.prefix).assert_existing_objects_matched()
    if isinstance(trainer.bank, replicas.BankShards):
        trainer.bank.share_out()
    if trainer.config.learning_rate_schedule == "constant":
        trainer.optimizer.learning_rate = trainer.config.first_learning_rate


def _fit(config, trainer, dataset, run_dir, files, deadline) -> DivergenceError | None:
    """Does the updates that are left of the trainer's stage, or those until `deadline` by time.monotonic(). Returns how
    they diverged, if they did.
    """
    last_step = trainer.stage.last_step
    num_updates = last_step - int(trainer.update_count.numpy())
    is_chief = files is not None
    writer = board.open_writer(run_dir.tensorboard) if is_chief else tf.summary.create_noop_writer()
    progress = callbacks.ProgressBar(config)
    figures = callbacks.FigureWriter(config, run_dir, writer)
    logger = callbacks.MetricsLogger(config, run_dir, writer)
    with contextlib.ExitStack() as stack:
        stack.callback(writer.close)
        stack.callback(progress.close)
        stop = StopRequest() if config.strategy == "multi_worker" else stack.enter_context(signals.listening())
        stop.end_at(deadline, f"--stop_after={config.stop_after}")
        if not num_updates:  # a run that had done all its updates: only what comes after them
            trainer.optimizer.finalize_variable_values(trainer.energy.trainable_variables)
            if is_chief:
                figures.set_model(trainer)
                figures.write(last_step)
            return None
        guard = callbacks.DivergenceGuard(config.log_every, logger if is_chief else None)
        checkpointer = callbacks.Checkpointer(config, files, stop)
        own = [progress, logger, guard, checkpointer, figures] if is_chief else [guard, checkpointer]
        if is_chief and config.watch:
            own.append(callbacks.Watcher(config.log_every, run_dir))
        try:
            trainer.fit(dataset, steps_per_epoch=num_updates, epochs=1, callbacks=own, verbose=0)
        except DivergenceError as error:
            return error
        except Stopped as stopped:
            run_dir.log_event("stop", int(trainer.update_count.numpy()), reason=str(stopped))
            raise
        finally:
            if files is not None:
                files.wait()
    return None

"""What happens beside training: progress, metrics, pictures, checkpoints, and stopping a run that diverges.

All count updates by trainer.update_count, so a resumed run goes on where it stopped. run.py lists them in the order
that matters: the guard before the checkpointer, so that no checkpoint holds a diverged run.

What TensorBoard gets are NumPy's numbers: of Python's TensorFlow keeps every one it has seen, 768 bytes each
(github.com/tensorflow/tensorflow/issues/68196).
"""

import gc
import json
import math
import sys
import time

import keras
import numpy as np
import tensorflow as tf
import tqdm

from ebm_tf.build import use_xla
from ebm_tf.plots import watch
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.runs.signals import StopRequest
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import board, device
from ebm_tf.training.checkpoints import Checkpoints
from ebm_tf.training.guard import DivergenceError, Guard, underflow
from ebm_tf.training.replicas import BankShards

__all__ = ["Checkpointer", "DivergenceGuard", "FigureWriter", "MetricsLogger", "ProgressBar", "Watcher"]


class UpdateCallback(keras.callbacks.Callback):
    """A callback that is told the number of the update just done.

    Attributes:
      last_step: number of the last update of the stage that is fitted.
    """

    def __init__(self):
        super().__init__()
        self.step = self.last_step = 0

    def on_train_begin(self, logs=None):
        self.step, self.last_step = int(self.model.update_count.numpy()), self.model.stage.last_step
        self.on_begin(self.step)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self.on_update(self.step, logs or {})

    def is_due(self, every: int) -> bool:
        """Whether this update is a multiple of `every` or the last one of its stage."""
        return self.step % every == 0 or self.step == self.last_step

    def on_begin(self, step: int) -> None:
        """Called with the number of updates done before the first one of this fit."""

    def on_update(self, step: int, logs: dict) -> None:
        """Called after every update."""


# Without tqdm's own time left, which takes all updates to be alike: chains may grow.
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]"


class ProgressBar(UpdateCallback):
    """A bar with rate and time left on a terminal; elsewhere a line about every ten seconds.

    Args:
      config: settings of the run.
      file: where to write, sys.stderr by default.
      every_seconds: pause between lines.
    """

    def __init__(self, config: TrainConfig, file=None, every_seconds: float = 10.0):
        super().__init__()
        self.log_every, self.train_steps, self.share_done = config.log_every, config.train_steps, config.share_done
        self.file = file or sys.stderr
        self.every_seconds = every_seconds
        self.bar: tqdm.tqdm | None = None
        self.first_step: int | None = None

    def on_begin(self, step):
        self.first_step, self.first_time, self.line_time = None, 0.0, -math.inf
        if self.file.isatty():
            how = dict(unit="update", file=self.file, dynamic_ncols=True, bar_format=BAR)
            self.bar = tqdm.tqdm(total=self.train_steps, initial=step, **how)

    def on_update(self, step, logs):
        now = time.monotonic()
        if self.first_step is None:  # the first update also compiles: the rate counts from its end
            self.first_step, self.first_time = step, now
        if self.bar is not None:
            if self.is_due(self.log_every):
                left = "" if step == self.first_step else f", {self._left(self.first_step, step, now)} left"
                self.bar.set_postfix_str(f"loss={float(logs['loss']):.4g}{left}", refresh=False)
            self.bar.update()
            return
        if now - self.line_time >= self.every_seconds or step == self.last_step:
            self.line_time = now
            print(self._line(step, now, float(logs["loss"])), file=self.file, flush=True)

    def _line(self, step: int, now: float, loss: float) -> str:
        line = f"update {step}/{self.train_steps}  loss {loss:.4g}"
        if self.first_step is None or step == self.first_step:
            return line
        rate = (step - self.first_step) / max(now - self.first_time, 1e-9)
        return f"{line}  {rate:.3g} updates/s  {self._left(self.first_step, step, now)} left"

    def _left(self, first_step: int, step: int, now: float) -> str:
        """Hours, minutes and seconds, by the Langevin steps that are left."""
        pace = (self.share_done(step) - self.share_done(first_step)) / max(now - self.first_time, 1e-9)
        return tqdm.tqdm.format_interval((1 - self.share_done(step)) / pace)

    def on_train_end(self, logs=None):
        self.close()

    def close(self) -> None:
        """Leaves the terminal clean, also after an error."""
        if self.bar is not None:
            self.bar.close()


class MetricsLogger(UpdateCallback):
    """train_step's scalars, updates_per_second, rollbacks so far and how often the update has been traced, every
    log_every updates, as a row of metrics.jsonl and TensorBoard scalars. Numbers that are not finite are null in
    metrics.jsonl. On resume the later rows are dropped. TensorBoard alone gets the run's card at every start, and every
    figure_every updates histograms of the energies of that update's data and chain ends.

    Args:
      config: settings of the run.
      run_dir: where metrics.jsonl lies.
      writer: TensorBoard's writer.
    """

    def __init__(self, config: TrainConfig, run_dir: RunDir, writer: tf.summary.SummaryWriter):
        super().__init__()
        self.log_every, self.figure_every, self.rollbacks = config.log_every, config.figure_every, config.rollbacks
        self.settings, self.is_compiled = config.to_dict(), use_xla(config.jit_compile)
        self.run_dir = run_dir
        self.writer = writer

    def on_begin(self, step):
        self.run_dir.truncate_metrics(step)
        self.logged_step, self.logged_time = step, time.monotonic()
        with self.writer.as_default(np.int64(step)):
            board.write("text", "run", board.card(self.settings, device.describe(self.is_compiled)))

    def on_update(self, step, logs):
        if self.is_due(self.log_every):
            self.write_row(step, logs)
        if self.is_due(self.figure_every):
            self._write_histograms(step)

    def write_row(self, step: int, logs: dict) -> None:
        """Writes a row, and when it was for the next one's rate."""
        row = {name: float(value) for name, value in logs.items()}
        now = time.monotonic()
        row["updates_per_second"] = (step - self.logged_step) / max(now - self.logged_time, 1e-9)
        row["rollbacks"] = float(self.rollbacks)
        row["traces"] = float(self.model.one_step_update.experimental_get_tracing_count())
        self.logged_step, self.logged_time = step, now
        with self.run_dir.metrics.open("a") as file:
            finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
            file.write(json.dumps({"step": step, **finite}) + "\n")
        with self.writer.as_default(np.int64(step)):
            for tag, value in board.scalars(row).items():
                board.write("scalar", tag, np.float32(value))
        self.writer.flush()

    def _write_histograms(self, step: int) -> None:
        with self.writer.as_default(np.int64(step)):
            for name, energies in self.model.last_energies.items():
                board.write("histogram", f"energies/{name}", energies)


class DivergenceGuard(UpdateCallback):
    """Looks at every update with a Guard. The row of the one that diverged goes to metrics.jsonl. That float16 loses a
    part of the gradient is told on stderr, once, at an update that is logged.

    Args:
      log_every: updates between rows of metrics.jsonl.
      logger: writes metrics.jsonl; None in a process that does not.

    Raises:
      DivergenceError: see Guard.
    """

    def __init__(self, log_every: int, logger: MetricsLogger | None = None):
        super().__init__()
        self.log_every, self.logger = log_every, logger
        self.has_warned = logger is None

    def on_begin(self, step):
        self.guard = Guard(self.model.config, self.model.energy, self.model.optimizer)

    def on_update(self, step, logs):
        try:
            self.guard.check(step, logs, self.model.num_not_finite)
        except DivergenceError:
            if self.logger and not self.is_due(self.log_every):
                self.logger.write_row(step, logs)
            raise
        if not self.has_warned and self.is_due(self.log_every) and (warning := underflow(logs)):
            print(f"warning: {warning} (update {step})", file=sys.stderr)
            self.has_warned = True


class Checkpointer(UpdateCallback):
    """Saves everything the next update depends on, every checkpoint_every updates and after the last.

    Args:
      config: settings of the run.
      files: writes the files; None in a process that does not. Every process of a run has this callback, to bring its
        part of the bank.
      stop: asks to save now, and to stop.

    Raises:
      Stopped: `stop` asked for it, and the checkpoint is whole.
      TrainingError: a checkpoint cannot be written.
    """

    def __init__(self, config: TrainConfig, files: Checkpoints | None, stop: StopRequest):
        super().__init__()
        self.every, self.rollbacks = config.checkpoint_every, config.rollbacks
        self.train_steps, self.run_dir = config.train_steps, RunDir(config.workdir or "")
        self.files, self.stop = files, stop

    def on_begin(self, step):
        self.checkpoint = self.model.checkpoint

    def on_update(self, step, logs):
        # Not in on_train_end: by then Keras has put the average of the weights in their place.
        is_stopping = bool(self.stop.reason)  # asked once: time may run out below
        if not self.is_due(self.every) and not is_stopping:
            return
        if isinstance(self.model.bank, BankShards):
            self.model.bank.collect()
        if self.files is not None:
            stage = self.model.stage
            finished = stage.name if step == stage.last_step else ""
            self.files.save(self.checkpoint, step, self.rollbacks, finished)
        if is_stopping and self.files is not None and step < self.train_steps:
            self.files.wait()
            self.stop.obey(f"after update {step}; to continue: {self.run_dir.resume_command()}")


class FigureWriter(UpdateCallback):
    """Ends of chains of num_steps steps from noise, every figure_every updates and at the end of each stage: a grid of
    images, or the rings' x and y, in figures/chains_<update>.png and TensorBoard. The chains start at the same noise
    every time, so that one picture can be compared with the next.

    Args:
      config: settings of the run.
      run_dir: where figures/ lies.
      writer: TensorBoard's writer.
    """

    NUM_IMAGES, NUM_POINTS = 64, 1000

    def __init__(self, config: TrainConfig, run_dir: RunDir, writer: tf.summary.SummaryWriter):
        super().__init__()
        self.every, self.seed = config.figure_every, config.seed
        self.run_dir = run_dir
        self.writer = writer

    def on_update(self, step, logs):
        if step % self.every == 0 and step != self.last_step:
            self.write(step)
            gc.collect()  # a figure is cycles that hold megabytes, but too few for Python to look for them soon

    def on_train_end(self, logs=None):
        self.write(self.step)  # of the weights that model.keras holds

    def write(self, step: int) -> None:
        """Runs the chains and draws them."""
        data = self.model.data
        num_samples = self.NUM_IMAGES if data.is_image else self.NUM_POINTS
        x_final = self.model.sample_chain(num_samples, self.model.config.num_steps, seed=self.seed).numpy()
        path = self.run_dir.figures / f"chains_{step:07d}.png"
        data.picture(x_final, path, f"{num_samples} chains from noise")
        with self.writer.as_default(np.int64(step)):
            board.write("image", "chains", tf.io.decode_png(path.read_bytes(), channels=3)[tf.newaxis])
        self.writer.flush()


class Watcher(UpdateCallback):
    """Keeps RUN/watch.png and RUN/watch.html up to date, in at most a hundredth of the time of training.

    Args:
      log_every: updates between rows of metrics.jsonl.
      run_dir: the run.
      every_seconds: least pause between drawings.
    """

    SHARE = 0.01

    def __init__(self, log_every: int, run_dir: RunDir, every_seconds: float = 10.0):
        super().__init__()
        self.log_every, self.run_dir, self.every_seconds = log_every, run_dir, every_seconds
        self.next_time = -math.inf

    def on_update(self, step, logs):
        if self.is_due(self.log_every) and time.monotonic() >= self.next_time:
            self.plot()

    def plot(self) -> None:
        """Draws what lies in the folder now."""
        start = time.monotonic()
        watch.plot(self.run_dir, self.every_seconds)
        gc.collect()  # as after every figure
        end = time.monotonic()
        self.next_time = end + max(self.every_seconds, (end - start) / self.SHARE)

"""Would this training work here? Looks at versions, device, XLA, data and disk, and trains for some seconds."""

import dataclasses
import os
import pathlib
import platform
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ebm_tf import build
from ebm_tf.build import use_xla
from ebm_tf.data.base import Dataset
from ebm_tf.defaults import preset_of, with_preset
from ebm_tf.errors import one_line
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.data import kind_of
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import device, replicas
from ebm_tf.training.failures import bank_bytes, memory_explained, num_weights, out_of_memory
from ebm_tf.training.guard import Guard, underflow
from ebm_tf.training.run import build_trainer, initial_energy, restore
from ebm_tf.training.trainer import Trainer

__all__ = ["Finding", "examine"]

TRIAL_SECONDS = 10.0
FLOAT_BYTES, GIB = 4, 2**30


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
      name: of it.
      is_good: whether it lets training go on.
      text: what was found, on one line.
    """

    name: str
    is_good: bool
    text: str


def examine(
    config: TrainConfig, trial_seconds: float = TRIAL_SECONDS, given: Collection[str] | None = None
) -> Iterator[Finding]:
    """Findings, as they are made. Writes nothing.

    Args:
      config: settings of the run that is to be.
      trial_seconds: how long to run chains, after the first update, which also compiles.
      given: see run.train.
    """

    data = None

    def look_at_data():
        nonlocal config, data
        opened = build.dataset(config)
        if kind_of(config.dataset):
            build.check_held_out(config, opened)
            config = with_preset(config, config.given if given is None else given, preset_of(opened, config.preset))
        found = _data(config, opened)
        data = opened
        return found

    def look_at_disk():
        if config.workdir:
            RunDir(config.workdir).check(config)
        return _disk(config.workdir, None if data is None else _run_bytes(config, data.event_shape))

    looks: dict[str, Callable[[], tuple[bool, str]]] = {
        "versions": _versions,
        "device": lambda: _device(config.device),
        "xla": lambda: _xla(config.jit_compile, use_xla(config.jit_compile)),
        "data": look_at_data,
        "disk": look_at_disk,
        "training": lambda: (
            (False, "not tried, for want of data") if data is None else _trial(config, data, trial_seconds)
        ),
    }
    for name, look in looks.items():
        try:
            yield Finding(name, *look())
        except Exception as error:  # whatever goes wrong here is what was looked for
            yield Finding(name, False, one_line(error))


def _versions() -> tuple[bool, str]:
    names = f"Python {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}"
    backend = keras.backend.backend()
    return backend == "tensorflow", f"{names} on {backend}, NumPy {np.__version__}"


def _device(asked: str) -> tuple[bool, str]:
    device.choose(asked)
    found = ", ".join(device.names())
    if tf.config.get_visible_devices("GPU"):
        return True, found
    return True, f"{found}; no GPU: {'not asked for' if asked == 'cpu' else device.why_no_gpu()}"


def _xla(asked: str, is_used: bool) -> tuple[bool, str]:
    try:
        tf.function(tf.square, jit_compile=True)(tf.ones([8]))
    except (tf.errors.OpError, ValueError) as error:
        return not is_used, f"does not work: {one_line(error)}"
    return True, f"works, {'in use' if is_used else 'not in use'} (--jit_compile={asked})"


def _data(config: TrainConfig, data: Dataset) -> tuple[bool, str]:
    x = next(iter(build.make_dataset(config, data=data))).numpy()
    known = "" if kind_of(config.dataset) else f", {data.note or config.data_dir or 'the folder of TFDS'}"
    return True, f"{config.dataset}{known}: a batch {list(x.shape)} in [{x.min():.3g}, {x.max():.3g}]"


def _disk(workdir: str | None, needed: int | None) -> tuple[bool, str]:
    path = pathlib.Path(workdir or ".").absolute()
    while not path.is_dir():
        path = path.parent
    free, may_write = shutil.disk_usage(path).free, os.access(path, os.W_OK)
    where = f"{free / GIB:.3g} GiB free in {path}{'' if may_write else ', which may not be written'}"
    if needed is None:
        return may_write, f"{where}; how much is needed depends on the data"
    return free > needed and may_write, f"{needed / GIB:.3g} GiB needed, {where}"


def _run_bytes(config: TrainConfig, event_shape: tuple[int, ...]) -> int:
    """Bytes of all that a run keeps at its fullest, and of its model."""
    model = FLOAT_BYTES * num_weights(config, event_shape)
    checkpoint = model * (4 if config.ema_momentum else 3)  # with Adam's moments
    checkpoint += bank_bytes(config, event_shape) if config.has_bank else 0
    return (config.keep_checkpoints + 1) * checkpoint + model  # one more while it is being written


def _trial(config: TrainConfig, data: Dataset, seconds: float) -> tuple[bool, str]:
    """One update with one Langevin step; then chains alone, of which an update's time is made."""
    if config.strategy == "multi_worker":
        return True, "not tried: --strategy=multi_worker needs all its processes"
    with memory_explained(out_of_memory(config, data.event_shape)):
        strategy = replicas.make_strategy(config)
        last = config.stages[-1].config  # with the most chains, if there is a bank
        trainer = build_trainer(dataclasses.replace(last, num_steps=1, num_steps_start=None), strategy, data=data)
        restore(trainer, None, initial_energy(config.init_model))
        begun = time.monotonic()
        batches = replicas.split_batches(strategy, build.make_dataset(config, data=data))
        history = trainer.fit(batches, steps_per_epoch=1, epochs=1, verbose=0)
        compiled = time.monotonic() - begun
        step_seconds = _seconds_per_step(trainer, last, strategy.num_replicas_in_sync, seconds)
    updates = config.train_steps
    mean_num_steps = sum(stage.config.train_steps * stage.config.mean_num_steps for stage in config.stages) / updates
    update = step_seconds * (mean_num_steps + 2)  # the gradient takes about two steps' time
    hours = update * updates / 3600
    logs = {name: values[-1] for name, values in history.history.items()}
    Guard(last, trainer.energy, trainer.optimizer).check(1, logs, trainer.num_not_finite)
    warning = underflow(logs)
    return not warning, (f"{warning}; " if warning else "") + (
        f"first update {compiled:.1f} s; {1000 * step_seconds:.3g} ms per Langevin step, about {update:.3g} s per "
        f"update and {hours:.3g} h for {updates} updates; {_memory()}"
    )


def _seconds_per_step(trainer: Trainer, config: TrainConfig, num_replicas: int, seconds: float) -> float:
    """Seconds of a step of all chains of an update, shared out evenly; those of one device are run."""
    chains = len(config.brackets) * config.batch_size // num_replicas
    x, seed = tf.random.stateless_normal([chains, *trainer.data.event_shape], [0, 0]), tf.constant([0, 0])
    num_steps, begun = 1, time.monotonic()
    while True:
        start = time.monotonic()
        trainer.sampler.run(trainer.energy, x, seed, num_steps)[0].numpy()
        took = time.monotonic() - start
        if num_steps > 1 and (num_steps >= config.num_steps or time.monotonic() - begun + 2 * took > seconds):
            return took / num_steps
        num_steps *= 2


def _memory() -> str:
    host = _host_memory()
    if not tf.config.get_visible_devices("GPU"):
        return f"memory {host}"
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] / GIB
    return f"memory {peak:.3g} GiB of the GPU, {host} of the host"


def _host_memory() -> str:
    """The most that this process has held."""
    try:
        import resource
    except ImportError:  # Windows
        return "not measured"
    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB:.3g} GiB"

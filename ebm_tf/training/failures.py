"""What stops a run at work, as one line: a full disk, a folder that is gone, a device out of memory, a damaged file."""

import contextlib
import math
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from ebm_tf.energies import devices
from ebm_tf.errors import is_disk_full, one_line
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import TrainConfig

__all__ = [
    "TrainingError",
    "bank_bytes",
    "disk_explained",
    "fsync",
    "memory_explained",
    "num_weights",
    "out_of_memory",
    "update_bytes",
]

FILE_ERRORS = (OSError, tf.errors.NotFoundError, tf.errors.PermissionDeniedError)
WEIGHT_COPIES = 4  # the weights, their gradient, and Adam's two moments
ACTIVATION_COPIES = 3  # an update holds a layer's output, its gradient, and what XLA or cuDNN works in


class TrainingError(RuntimeError):
    """Training cannot go on. One line: what happened, what is left, what to do."""


@contextlib.contextmanager
def memory_explained(advice: str, needed: float = 0.0, free: float | None = None) -> Iterator[None]:
    """Turns want of memory into TrainingError, with the advice of out_of_memory if an update takes it; others pass.
    Warns before where more bytes are needed than free, since TensorFlow searches for minutes before it gives up.
    """
    if free is not None and needed > free:
        words = advice.partition(": ")[2]
        print(f"warning: {free / 2**30:.3g} GiB are free on the GPU, and by estimate {words}", flush=True)
    with devices.memory_explained(advice, TrainingError):
        yield


@contextlib.contextmanager
def disk_explained(run_dir: RunDir) -> Iterator[None]:
    """Turns errors of the run's folder, and of data that are read while it trains, into TrainingError; others pass."""
    try:
        yield
    except (tf.errors.UnknownError, tf.errors.InvalidArgumentError) as error:
        found = re.search(r"--dataset: expected .* Received: .*", str(error))  # of a file, by the input's threads
        if not found:
            raise
        raise TrainingError(f"{one_line(found[0])}. Mend that; {run_dir.what_is_left()}") from error
    except tf.errors.ResourceExhaustedError as error:
        if not is_disk_full(error):
            raise
        raise TrainingError(_disk(run_dir, error)) from error
    except FILE_ERRORS as error:
        if devices.is_out_of_memory(error):
            raise
        raise TrainingError(_disk(run_dir, error)) from error


def _disk(run_dir: RunDir, error: BaseException) -> str:
    left = run_dir.what_is_left()
    if not run_dir.path.is_dir():
        return f"the folder {run_dir.path} is gone, and the run with it: {one_line(error)}"
    if is_disk_full(error):
        return f"the disk of {run_dir.path} is full: {one_line(error)}. Make room; {left}"
    return f"{run_dir.path} cannot be read or written: {one_line(error)}. Mend that; {left}"


def out_of_memory(config: TrainConfig, event_shape: tuple[int, ...]) -> str:
    """What needs the memory of training on data of event_shape, and what to try."""
    chains, needed = len(config.stages[-1].config.brackets) * config.batch_size, update_bytes(config, event_shape)
    parts = [
        f"out of memory: an update holds {chains} chains (--batch_size={config.batch_size}) at about "
        f"{needed / chains / 2**20:.3g} MiB each, {needed / 2**30:.3g} GiB"
    ]
    parts.append(f"weights and optimizer hold {WEIGHT_COPIES * 4 * num_weights(config, event_shape) / 2**30:.3g} GiB")
    if config.has_bank:
        bank = bank_bytes(config, event_shape) / 2**30
        parts.append(f"the bank holds {bank:.3g} GiB (--bank_size={config.bank_size})")
    tries = [f"--batch_size={max(config.batch_size // 2, 1)}"] if config.batch_size > 1 else []
    if config.dtype_policy == "float32":
        tries.append("--dtype_policy=mixed_bfloat16")
    if config.has_bank and config.bank_dtype == "float32":
        tries.append("--bank_dtype=float16")
    if config.num_filters > 1:
        tries.append(f"--num_filters={max(config.num_filters // 2, 1)}")
    return f"{'; '.join(parts)}. Try, in a new --workdir, {' or '.join(tries)}"


def num_weights(config: TrainConfig, event_shape: tuple[int, ...]) -> int:
    """From the shapes in energies/image_net.py, rings_net.py and vector_net.py, without biases."""
    width = config.num_filters
    if config.is_rings:
        return 10 * width + 2 * width**2 + 4 * width**2 + 2 * width
    if len(event_shape) == 1:
        return event_shape[0] * width + width**2 + width
    height, breadth, channels = event_shape
    attention = 40 * width**2 if config.attention else 0  # 2 C² at C = 2 n_f and at C = 4 n_f
    last = 8 * width * (height // 8) * (breadth // 8)
    return 9 * channels * width + 16 * (2 + 8 + 32) * width**2 + attention + last


def bank_bytes(config: TrainConfig, event_shape: tuple[int, ...]) -> int:
    """Size of the bank: states, and ages in float32."""
    bytes_each = 2 if config.bank_dtype == "float16" else 4
    return config.bank_size * (bytes_each * math.prod(event_shape) + 4)


def update_bytes(config: TrainConfig, event_shape: tuple[int, ...]) -> float:
    """What an update's chains hold."""
    return len(config.stages[-1].config.brackets) * config.batch_size * _bytes_per_chain(config, event_shape)


def _bytes_per_chain(config: TrainConfig, event_shape: tuple[int, ...]) -> float:
    """Bytes of the layers' outputs, by the shapes in energies/image_net.py, rings_net.py and vector_net.py."""
    width, bytes_each = config.num_filters, 4 if config.dtype_policy == "float32" else 2
    if len(event_shape) == 1:
        numbers = 2.0 * event_shape[0] + (5 if config.is_rings else 2) * width
    else:
        pixels = event_shape[0] * event_shape[1]
        numbers = 2 * pixels * width * (1 + 1 / 2 + 1 / 4 + 1 / 8)  # each convolution and its activation
        if config.attention:
            for positions in (pixels // 4, pixels // 16):
                numbers += 2 * positions**2 // 4  # logits and weights: positions times pooled positions
    return ACTIVATION_COPIES * numbers * bytes_each


def fsync(path: os.PathLike | str) -> None:
    """Waits until a file, or the names in a folder, are on the disk.

    Windows opens no folder, keeps its names by itself, and writes out only what is open for writing.
    """
    is_folder = os.path.isdir(path)
    if is_folder and not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A block of chains or energies on all devices of this host: each has the weights, and takes its part of the block. And
want of their memory as one line: what takes it, and which number to try.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ebm_tf.data import images
from ebm_tf.energies.base import EnergyModel
from ebm_tf.errors import UnusableError, is_disk_full, is_gpu_taken, one_line
from ebm_tf.mcmc import langevin
from ebm_tf.runs import progress, signals

__all__ = [
    "Replica",
    "at_once",
    "in_blocks",
    "in_pieces",
    "is_out_of_memory",
    "local_devices",
    "memory_explained",
    "replicate",
    "run_on_all",
]

LACK_TEXTS = (
    "resource_exhausted",
    "out of memory",
    "alloc_failed",
)  # in other errors, as where cuDNN tries ways
GPU_TAKEN = (
    "CUDA or cuDNN could not start on the GPU, as where another program holds its memory: nvidia-smi says which. End "
    "that program, or hide the GPU by CUDA_VISIBLE_DEVICES=-1"
)


LEAST_STEPS = 10  # of a piece of chains on a CPU; on a GPU langevin.BLOCK, so that XLA's loops are those of a whole one
SECONDS_A_PIECE = 2.0


class Replica(NamedTuple):
    """A function of an energy, on a device.

    Attributes:
      device: name of the device.
      fn: called with a part x [B, *event], and more.
    """

    device: str
    fn: Callable


def local_devices() -> list[str]:
    """Names of all GPUs of this host, or without GPUs of TensorFlow's logical CPU devices."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def replicate(
    energy: EnergyModel, make_fn: Callable[[EnergyModel], Callable], devices: Sequence[str] | None = None
) -> list[Replica]:
    """make_fn of the energy on the first device, and of copies of it on the others.

    Args:
      energy: with its weights on the first device.
      make_fn: energy -> function; called once per device.
      devices: their names. None: local_devices().
    """
    replicas: list[Replica] = []
    for device in local_devices() if devices is None else devices:
        with tf.device(device):
            replicas.append(Replica(device, make_fn(_copy(energy) if replicas else energy)))
    return replicas


def _copy(energy: EnergyModel) -> EnergyModel:
    copy = type(energy).from_config(energy.get_config())
    copy.set_weights(energy.get_weights())
    return copy


def run_on_all(
    replicas: Sequence[Replica], x: np.ndarray, args_of: Callable[[int], tuple] = lambda part: ()
) -> list[Any]:
    """fn(part of x, *args_of(i)) on every replica i at once.

    Law: parts are consecutive and as equal as can be. What is random in part i is so by args_of(i).
    Limits: one replica gets x whole; fewer rows than replicas leave the last replicas out.

    Args:
      replicas: what replicate returned.
      x: [B, *event], B of 1 or more.
      args_of: further arguments of part i, made on its device.

    Returns:
      The results, in the order of x.
    """
    parts = np.array_split(x, min(len(replicas), len(x)))

    def run(index):
        with tf.device(replicas[index].device):  # a device is a thread's own
            return replicas[index].fn(tf.constant(parts[index]), *args_of(index))

    if len(parts) == 1:
        return [run(0)]
    with futures.ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(run, range(len(parts))))


def in_pieces(
    replicas: Sequence[Replica], x_init: np.ndarray, num_steps: int, args_of: Callable[[int, int, int], tuple]
) -> list[Any]:
    """Chains on all replicas at once, fn(part of x, *args_of(part, steps, first_step)) piece after piece of about a
    second: between two of them signals are heeded, and what takes long says on stderr how far it is.

    Law: that of fn in one piece, bit for bit, where a chain that is cut and goes on is the same chain.
    Limits: num_steps = 0 calls fn once.

    Args:
      replicas: of a function whose results begin with x.
      x_init: float32 [B, *event].
      num_steps: in all.
      args_of: further arguments of part i for a piece.

    Returns:
      The results of the last piece, in the order of x.

    Raises:
      Stopped: SIGTERM or SIGINT came.
    """
    least = langevin.BLOCK if tf.config.get_visible_devices("GPU") else LEAST_STEPS
    x, done, piece = x_init, 0, least
    lines: progress.Lines | None = None
    while True:
        begun, steps = time.monotonic(), min(piece, num_steps - done)
        found = run_on_all(replicas, x, lambda part: args_of(part, steps, done))  # noqa: B023, used at once
        done += steps
        if done == num_steps:
            return found
        signals.heed(f"after {done} of {num_steps} steps of a block of chains, not kept; the same command goes on")
        if lines:
            lines.update(steps)
        else:  # without the first piece, which compiles
            lines = progress.Lines("chains at work", num_steps, "step", sys.stderr, initial=done)
            lines.line_time = lines.start_time
        x = np.concatenate([one[0] for one in found])
        piece *= 2 if time.monotonic() - begun < SECONDS_A_PIECE / 2 else 1


def in_blocks(replicas: Sequence[Replica], x: np.ndarray, batch_size: int) -> np.ndarray:
    """fn(x) [N, ...] of x [N, *event], N of 1 or more, batch_size at a time; uint8 images are scaled to [-1, 1]."""
    found = []
    for start in range(0, len(x), batch_size):
        part = x[start : start + batch_size]
        floats = images.to_unit_range(part).numpy() if x.dtype == np.uint8 else np.asarray(part, np.float32)
        found += run_on_all(replicas, floats)
    return np.concatenate(found)


@contextlib.contextmanager
def memory_explained(advice: str, raised: type[RuntimeError] = UnusableError) -> Iterator[None]:
    """Turns want of memory into one line of the class `raised`, with the advice if the work takes it; others pass."""
    try:
        yield
    except (tf.errors.OpError, MemoryError) as error:
        if isinstance(error, tf.errors.FailedPreconditionError | tf.errors.InternalError) and is_gpu_taken(error):
            raise raised(f"{GPU_TAKEN} ({one_line(error)})") from error
        if not is_out_of_memory(error):
            raise
        raise raised(f"{advice} ({one_line(error)})") from error


def at_once(what: str, settings: Any, fields: Collection[str] = ()) -> str:
    """The advice where `what` takes up to settings.batch_size inputs or chains at once.

    Args:
      what: the work, as "short_run" or "energy".
      settings: has batch_size.
      fields: more of its settings that the work reads; num_chains and num_samples say how many there are in all.
    """
    names = ["batch_size", *(name for name in ("num_chains", "num_samples") if name in fields)]
    counts = {name: getattr(settings, name) for name in names}
    number = min(counts.values())
    least = 2 if "num_chains" in counts else 1  # as the settings have it
    flags = [name for name in ("batch_size", "num_chains") if name in counts]
    given = ", ".join(f"--{name}={counts[name]}" for name in flags)
    tries = "Try " + " ".join(f"--{name}={max(number // 2, least)}" for name in flags)
    if number <= least:
        tries = "It cannot take fewer: another device or machine has to have more memory, or a model be smaller"
    return f"out of memory: {what} takes up to {number} at once ({given}). {tries}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or this machine, has not the memory."""
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return not is_disk_full(error)
    return isinstance(error, tf.errors.OpError) and any(text in str(error).lower() for text in LACK_TEXTS)

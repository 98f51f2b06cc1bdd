"""Want of memory as one line: what needs it, and which number to try."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from ebm_tf.errors import UnusableError, is_disk_full, is_gpu_taken, one_line

__all__ = ["at_once", "is_out_of_memory", "memory_explained"]

LACK_TEXTS = (
    "resource_exhausted",
    "out of memory",
    "alloc_failed",
)  # in other errors, as where cuDNN tries ways
GPU_TAKEN = (
    "CUDA or cuDNN could not start on the GPU, as where another program holds its memory: nvidia-smi says which. End "
    "that program, or hide the GPU by CUDA_VISIBLE_DEVICES=-1"
)


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


def at_once(what: str, batch_size: int, count: int | None = None, flag: str = "") -> str:
    """The advice where `what` takes up to batch_size of count inputs or chains at once.

    Args:
      what: the work, as "short_run" or "the energy".
      batch_size: --batch_size.
      count: how many there are in all. None: many.
      flag: that which gives count, where fewer would do.
    """
    number = batch_size if count is None else min(batch_size, count)
    less = max(number // 2, 1)
    given = f"--batch_size={batch_size}" + (f", --{flag}={count}" if flag else "")
    tries = f"--batch_size={less}" + (f" --{flag}={less}" if flag else "")
    return f"out of memory: {what} takes up to {number} at once ({given}). Try {tries}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or this machine, has not the memory."""
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return not is_disk_full(error)
    return isinstance(error, tf.errors.OpError) and any(text in str(error).lower() for text in LACK_TEXTS)

"""One training process per run folder."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator

from ebm_tf.errors import ConfigError, one_line
from ebm_tf.runs.run_dir import RunDir, make_folder

__all__ = ["hold"]

PATIENCE_SECONDS = 2.0  # a process that was killed may leave one behind that was just being started, for a moment


@contextlib.contextmanager
def hold(run_dir: RunDir) -> Iterator[None]:
    """Holds RUN/lock, made with its folder where missing. The system lets go of it when the process ends, however.

    Raises:
      ConfigError: another process holds it, or the folder cannot be written.
    """
    try:
        make_folder(run_dir.path)
        descriptor = os.open(run_dir.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except (OSError, ValueError) as error:
        line = one_line(error)
        raise ConfigError(f"--workdir: expected a folder that can be written. Received: {line}") from error
    try:
        _take(descriptor, run_dir)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, run_dir: RunDir) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _got(descriptor):
        if time.monotonic() > deadline:
            holder = " ".join(os.pread(descriptor, 200, 0).decode(errors="replace").split())
            raise ConfigError(
                f"--workdir: expected a run that no other process trains. Received: {run_dir.path}, held by {holder}"
            )
        time.sleep(0.05)
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _got(descriptor: int) -> bool:
    """Whether the lock is ours now; also on a file system that has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True

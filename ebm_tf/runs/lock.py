"""One training process per run folder, one process per table."""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator

from ebm_tf.errors import ConfigError, one_line
from ebm_tf.runs.run_dir import RunDir, make_folder

__all__ = ["got", "hold"]

PATIENCE_SECONDS = 2.0  # a process that was killed may leave one behind that was just being started, for a moment
FAR = 2**30  # where Windows locks a byte: it lets no other process read what is locked, and the holder is written at 0


@contextlib.contextmanager
def hold(run_dir: RunDir) -> Iterator[None]:
    """Holds RUN/lock, made with its folder where missing. The system lets go of it when the process ends, however.

    Raises:
      ConfigError: another process holds it, or the folder cannot be written.
    """
    try:
        make_folder(run_dir.path)
        descriptor = os.open(run_dir.lock, os.O_RDWR | os.O_CREAT, 0o644)  # which no child inherits
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
    while not got(descriptor):
        if time.monotonic() > deadline:
            os.lseek(descriptor, 0, os.SEEK_SET)
            holder = " ".join(os.read(descriptor, 200).decode(errors="replace").split())
            raise ConfigError(
                f"--workdir: expected a run that no other process trains. Received: {run_dir.path}, held by {holder}"
            )
        time.sleep(0.05)
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def got(descriptor: int) -> bool:
    """Whether the lock on an open file is ours now, until it is closed; also on a file system that has no locks."""
    try:
        import fcntl
    except ImportError:
        return _got_on_windows(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _got_on_windows(descriptor: int) -> bool:
    import msvcrt  # of Windows, where there is no fcntl

    os.lseek(descriptor, FAR, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EDEADLK)
    return True

"""Makes this interpreter lack what Windows lacks, as far as ebm_tf may notice. Imported before ebm_tf; no test itself.

`fcntl` and `resource` cannot be imported, `msvcrt` can: its lock on a byte is made of POSIX' lock on a range, which
goes with the process as well. Folders cannot be opened, and what is open for reading cannot be flushed.
"""

import errno
import fcntl
import os
import signal
import subprocess  # noqa: F401 - it takes msvcrt as a sign of Windows, so it comes first
import sys
import types


def _locking(descriptor, mode, length):
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, length, os.lseek(descriptor, 0, os.SEEK_CUR))
    except OSError as error:
        raise PermissionError(errno.EACCES, "Permission denied") from error


def _open(path, flags, *args, **kwargs):
    if sys._getframe(1).f_globals["__name__"].startswith("ebm_tf") and os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return _posix_open(path, flags, *args, **kwargs)


def _fsync(file):
    descriptor = file if isinstance(file, int) else file.fileno()
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    _posix_fsync(descriptor)


_posix_open, _posix_fsync = os.open, os.fsync
os.open, os.fsync = _open, _fsync
for _name in ("O_DIRECTORY", "posix_fallocate", "pread", "pwrite"):
    delattr(os, _name)
del signal.SIGKILL, signal.SIGHUP
sys.modules["fcntl"] = sys.modules["resource"] = None
sys.modules["msvcrt"] = types.ModuleType("msvcrt")
sys.modules["msvcrt"].LK_NBLCK, sys.modules["msvcrt"].locking = 2, _locking

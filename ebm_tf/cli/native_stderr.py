"""TensorFlow's lines that are no errors, kept from the user: these, and nothing else.

Its C++ writes to file descriptor 2 whatever the log level. From here on that descriptor leads to a small process, which
passes everything on but the lines named in HARMLESS. Python's own stderr (errors, tracebacks, progress) does not go
through it. A process, not a thread, since what C++ writes before it aborts must still be passed on.
"""

import atexit
import contextlib
import os
import re
import signal
import sys
import time

__all__ = ["HARMLESS", "is_harmless", "start"]

HARMLESS = (
    # On a CPU, of gradients in a loop: the graph is run without this optimization, with the same results.
    rb"meta_optimizer\.cc:\d+\] remapper failed: INVALID_ARGUMENT: Mutation::Apply error: fanout ",
    # A TensorFlow for GPUs where there is none.
    rb"cuda_platform\.cc:\d+\] failed call to cuInit: ",
    rb"cudart_stub\.cc:\d+\] Could not find cuda drivers on your machine",
    # float16 on a CPU that has no instructions for it: slower, the same results.
    rb"util\.cc:\d+\] oneDNN supports DT_(?:HALF|BFLOAT16) only on platforms with ",
    # Of tf.data's own rewriting of a pipeline, with TF_DETERMINISTIC_OPS.
    rb"node_def_util\.cc:\d+\] NodeDef mentions attribute use_unbounded_threadpool which is not in the op definition: ",
    # Of every compiled program that is read from a cache: it tries text first, then binary.
    rb"text_format\.cc:\d+\] Error parsing text-format tensorflow\.XlaSerializedCacheEntry: ",
    # oneDNN says that it is there.
    rb"port\.cc:\d+\] oneDNN custom operations are on\.",
    rb"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR",
)
_START = rb"(?:[EWI]\d{4} [\d:.]+ +\d+ |\d{4}-\d\d-\d\d [\d:.]+: [EWI] \S*?)?"
_LINE = re.compile(_START + rb"(?:" + rb"|".join(HARMLESS) + rb")")
_BEGINNING = re.compile(rb"[EWI]\d{0,4}(?: |$)|\d{1,4}(?:-|$)|WARN")  # such lines are waited for until they are whole
DRAINED_SECONDS = 2.0


def is_harmless(line: bytes) -> bool:
    """Whether a line of C++ is one of HARMLESS, from its first letter on."""
    return _LINE.match(line) is not None


def start() -> None:
    """Puts the process between descriptor 2 and where it led, once. To be called before TensorFlow is imported."""
    try:
        if sys.stderr.fileno() != 2 or not hasattr(os, "fork"):  # a test's, or one that was started already; or Windows
            return
    except (OSError, ValueError, AttributeError):
        return
    sys.stderr.flush()
    real = os.dup(2)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        _pass_on(reading, real)
    os.close(reading)
    os.dup2(writing, 2)
    os.close(writing)
    sys.stderr = os.fdopen(os.dup(real), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    atexit.register(_end, child, real)


def _end(child: int, real: int) -> None:
    """Gives descriptor 2 back, and waits until all lines are passed on; not for processes that hold it still."""
    os.dup2(real, 2)
    deadline = time.monotonic() + DRAINED_SECONDS
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(child, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.002)


def _pass_on(reading: int, writing: int) -> None:
    """The process: what comes is passed on at once, but for lines that begin as those of a log do. Never returns."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # it ends with the last who writes
    with contextlib.suppress(OSError):
        os.dup2(writing, 2)
        os.close(0)
        os.close(1)
        rest = b""
        while chunk := os.read(reading, 65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            kept = b"".join(line + b"\n" for line in lines if not is_harmless(line))
            if rest and not _BEGINNING.match(rest):
                kept, rest = kept + rest, b""
            while kept:
                kept = kept[os.write(writing, kept) :]
        os.write(writing, rest)
    os._exit(0)

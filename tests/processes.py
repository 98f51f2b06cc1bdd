"""Commands in processes of their own that need not import TensorFlow: each is forked from one that has.

The import takes 5 s of a processor, longer than what most of the commands here do. Whoever tests the import (that it is
not done, what it prints, what must be set before it) starts a fresh interpreter by `subprocess` instead.
"""

import atexit
import functools
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import traceback
from multiprocessing import forkserver

ROOT = pathlib.Path(__file__).resolve().parents[1]
IMPORTED = ["tensorflow", "keras", "tensorflow_probability", "matplotlib.pyplot", "scipy.stats"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(IMPORTED)


class Started:
    """`python ARGUMENTS` at work: a script and its flags, or -c, code and what it reads in sys.argv[1:].

    Args:
      arguments: what would stand after `python`.
      cwd: its folder; the repository's unless given.
      env: all environment variables; unless given those of here.
    """

    def __init__(self, arguments, cwd=ROOT, env=None):
        self._folder = tempfile.TemporaryDirectory()
        self._outputs = [os.path.join(self._folder.name, name) for name in ("stdout", "stderr")]
        settings = [str(argument) for argument in arguments], str(cwd), dict(os.environ if env is None else env)
        _start_server()
        self._process = _context.Process(target=_run, args=(*settings, *self._outputs))
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    def poll(self):
        """Its exit status, minus the signal where one ended it; None while it runs."""
        return self._process.exitcode

    def said(self):
        """Its stdout so far."""
        return _text(self._outputs[0])

    def send_signal(self, signum):
        os.kill(self.pid, signum)

    def kill(self):
        """Ends it, if it runs."""
        self._process.kill()

    def finish(self, timeout=300):
        """Waits for its end. Returns a subprocess.CompletedProcess, with text."""
        self._process.join(timeout)
        if self.poll() is None:
            self.kill()
            self._process.join()
            raise subprocess.TimeoutExpired("python", timeout, *map(_text, self._outputs))
        return subprocess.CompletedProcess("python", self.poll(), *map(_text, self._outputs))


def run(arguments, cwd=ROOT, env=None, timeout=300):
    """`python ARGUMENTS`, as Started, to its end. Returns a subprocess.CompletedProcess, with text."""
    return Started(arguments, cwd, env).finish(timeout)


@functools.cache
def _start_server():
    """Without the lines that TensorFlow prints while it is imported, whatever the log level."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        forkserver.ensure_running()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _text(path):
    return pathlib.Path(path).read_text() if os.path.exists(path) else ""


def _run(arguments, cwd, env, stdout, stderr):
    """In the process: as the interpreter would, with its own paths, environment and files."""
    for descriptor, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    first, *rest = arguments
    script = os.path.abspath(first)  # as the interpreter has it in __file__
    code = rest.pop(0) if first == "-c" else None
    own = [path for path in sys.path if path not in ("", str(ROOT))]
    sys.path[:] = [
        os.path.dirname(script) if code is None else "",
        *filter(None, env.get("PYTHONPATH", "").split(":")),
        *own,
    ]
    sys.argv[:] = [first, *rest]
    try:
        text = pathlib.Path(script).read_bytes() if code is None else code
        exec(compile(text, script, "exec"), {"__name__": "__main__", "__file__": script})
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()

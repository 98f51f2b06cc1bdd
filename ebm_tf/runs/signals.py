"""SIGTERM, Ctrl-C and a time that is up let the update, or the block of a task, finish and be written."""

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from typing import Any

__all__ = ["StopRequest", "Stopped", "heed", "listening"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_requests: list["StopRequest"] = []  # of the `listening` that are at work


class Stopped(Exception):
    """A signal, or time that was up, stopped the work where it can go on. One line: which, where, how to go on.

    Attributes:
      status: 128 + the signal, as shells report it; 0 where time was up.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class StopRequest:
    """Attributes: signum, of the first signal that came; None before."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._deadline, self._flag = math.inf, ""

    def end_at(self, deadline: float, flag: str) -> None:
        """Asks to stop from `deadline` on, a value of time.monotonic(); `flag` is the reason that is then given."""
        self._deadline, self._flag = deadline, flag

    @property
    def reason(self) -> str:
        """Why to stop now: a signal's name or the flag of end_at; "" where nothing asks for it."""
        if self.signum is not None:
            return signal.Signals(self.signum).name
        return self._flag if time.monotonic() >= self._deadline else ""

    def obey(self, message: str) -> None:
        """Raises Stopped if there is a reason: "stopped by SIGTERM " and the message."""
        if reason := self.reason:
            status = 0 if self.signum is None else 128 + self.signum
            raise Stopped(status, f"stopped by {reason} {message}")


@contextlib.contextmanager
def listening() -> Iterator[StopRequest]:
    """Within it a first SIGTERM or SIGINT is noted in the StopRequest; a second one acts as ever.

    In a thread that is not the main one signals are left alone. A terminal's Ctrl-C also ends ptxas, a process in which
    XLA compiles for a GPU: what XLA then raises becomes Stopped.
    """
    request = StopRequest()
    before: dict[signal.Signals, Any] = {}

    def note(signum, frame):
        request.signum = signum
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        for number in SIGNALS:
            before[number] = signal.signal(number, note)
    except ValueError:  # not in the main thread
        pass
    _requests.append(request)
    try:
        yield request
    except Exception as error:
        if "ptxas" in str(error):
            request.obey("while XLA compiled; give the command again, with --resume where its run has begun")
        raise
    finally:
        _requests.remove(request)
        for number, handler in before.items():
            signal.signal(number, handler)


def heed(message: str) -> None:
    """Raises Stopped, with the message, if a signal has come to the `listening` around it."""
    if _requests:
        _requests[-1].obey(message)

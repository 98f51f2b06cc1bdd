"""SIGTERM and Ctrl-C let the update, or the block of a task, finish and be written."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

__all__ = ["StopRequest", "Stopped", "listening"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """A signal stopped the work where it can go on. One line: which, where, how to go on.

    Attributes:
      status: 128 + the signal, as shells report it.
    """

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.status = 128 + signum


class StopRequest:
    """Attributes: signum, of the first signal that came; None before."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def obey(self, message: str) -> None:
        """Raises Stopped if a signal has come: "stopped by SIGTERM " and the message."""
        if self.signum is not None:
            raise Stopped(self.signum, f"stopped by {signal.Signals(self.signum).name} {message}")


@contextlib.contextmanager
def listening() -> Iterator[StopRequest]:
    """Within it a first SIGTERM or SIGINT is noted in the StopRequest; a second one acts as ever.

    In a thread that is not the main one signals are left alone.
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
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

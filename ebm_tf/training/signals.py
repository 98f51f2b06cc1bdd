"""SIGTERM and Ctrl-C let the update at work finish, and a checkpoint be written."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

__all__ = ["StopRequest", "Stopped", "listening"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """A signal stopped training between two updates. One line: which, where, how to go on.

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

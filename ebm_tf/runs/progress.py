"""Progress of a task: a bar on a terminal, plain lines elsewhere."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator

import tqdm

__all__ = ["Lines", "bar"]

SECONDS_BETWEEN_LINES = 10.0


class Lines:
    """Plain lines, at most one per SECONDS_BETWEEN_LINES, and one when all is done.

    Args:
      label: what is being done.
      total: how many units there are.
      unit: one of them, e.g. "chain".
      file: where to write.
      initial: units done before.
    """

    def __init__(self, label: str, total: int, unit: str, file, initial: int = 0):
        self.label, self.total, self.unit, self.file = label, total, unit, file
        self.initial = self.done = initial
        self.start_time, self.line_time = time.monotonic(), -math.inf

    def update(self, count: int = 1) -> None:
        """Says that `count` more units are done."""
        self.done += count
        now = time.monotonic()
        if now - self.line_time < SECONDS_BETWEEN_LINES and self.done < self.total:
            return
        self.line_time = now
        line = f"{self.label}: {self.done}/{self.total} {self.unit}s"
        if self.done > self.initial:
            rate = (self.done - self.initial) / max(now - self.start_time, 1e-9)
            left = tqdm.tqdm.format_interval((self.total - self.done) / rate)
            line += f"  {rate:.3g} {self.unit}s/s  {left} left"
        print(line, file=self.file, flush=True)


@contextlib.contextmanager
def bar(label: str, total: int, unit: str, initial: int = 0, file=None) -> Iterator[Lines | tqdm.tqdm]:
    """Gives an object whose update(n) says that n more units are done.

    Args:
      label: what is being done, e.g. "short_run".
      total: units in all.
      unit: the singular of what is counted.
      initial: units done before, which do not count for the rate.
      file: where to write; None: sys.stderr.
    """
    file = file or sys.stderr
    if not file.isatty():
        yield Lines(label, total, unit, file, initial)
        return
    with tqdm.tqdm(total=total, initial=initial, desc=label, unit=unit, file=file, dynamic_ncols=True) as on_terminal:
        yield on_terminal

"""Arrays of a task at work that survive a kill, filled block by block."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from ebm_tf.drafts import draft_of
from ebm_tf.runs import progress
from ebm_tf.runs.signals import StopRequest

__all__ = ["PartialArrays", "StateArray", "blocks"]

Name = TypeVar("Name")


class PartialArrays:
    """The arrays of a task at work, on disk: a task that was killed goes on after its last mark.

    A task opens its arrays, then for every block from blocks_done on fills its part of them and marks it. What was
    written after the last mark is written again, so a block must not read what it overwrites.

    Attributes:
      blocks_done: blocks marked so far.

    Args:
      folder: where the arrays lie.
      key: says what they are of (settings, model); a folder with another key is cleared.
      stop: asks to stop after a mark.
    """

    def __init__(self, folder: pathlib.Path, key: str, stop: StopRequest | None = None):
        self.folder, self.key, self.stop = pathlib.Path(folder), key, stop or StopRequest()
        self._state = self.folder / "state.json"
        self._arrays: dict[str, np.memmap] = {}
        self.blocks_done = 0
        try:
            state = json.loads(self._state.read_bytes())
            if state["key"] == key and type(state["blocks_done"]) is int and state["blocks_done"] >= 0:
                self.blocks_done = state["blocks_done"]
                return
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass  # none, or one that was damaged
        self.remove()
        self.folder.mkdir(parents=True)

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.memmap:
        """The array of this name on disk; zeros at first. One of another shape or type starts the task anew."""
        path, shape, dtype = self.folder / f"{name}.npy", tuple(shape), np.dtype(dtype)
        array = _open(path)
        if array is None or array.shape != shape or array.dtype != dtype:
            self._state.unlink(missing_ok=True)
            self.blocks_done = 0
            array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
            _reserve(path, array.offset)
        self._arrays[name] = array
        return array

    def state(self, name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> "StateArray":
        """An array that every block reads as the block before left it, and writes anew."""
        return StateArray(self, self.array(name, (2, *shape), dtype))

    def remaining(
        self, parts: Iterable[tuple[Name, slice]], label: str, unit: str, first_block: int = 0
    ) -> Iterator[tuple[Name, slice]]:
        """The blocks that are left, under a progress bar. Each is marked when the next one is asked for.

        Args:
          parts: (name, what it does) of every block, as `blocks` gives them.
          label: of the bar.
          unit: the singular of what the slices count.
          first_block: blocks of the task before these.

        Raises:
          Stopped: see mark.
        """
        parts = list(parts)
        sizes = [part.stop - part.start for _, part in parts]
        done = max(self.blocks_done - first_block, 0)
        with progress.bar(label, sum(sizes), unit, sum(sizes[:done])) as bar:
            for index in range(done, len(parts)):
                yield parts[index]
                self.mark(first_block + index + 1)
                bar.update(sizes[index])

    def mark(self, blocks_done: int) -> None:
        """Says that so many blocks are whole: flushes the arrays, then records the number, whole or not at all.

        Raises:
          Stopped: `stop` asked for it.
        """
        for array in self._arrays.values():
            array.flush()
        with draft_of(self._state) as draft:
            draft.write_text(json.dumps({"key": self.key, "blocks_done": blocks_done}))
        self.blocks_done = blocks_done
        self.stop.obey(f"in {self.folder.name}; the same command goes on from there")

    def remove(self) -> None:
        """Removes the folder, and partial/ around it when no other task is at work."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()


class StateArray:
    """An array of two slots on disk: a block reads one and writes the other, so that it can be done again."""

    def __init__(self, partial: PartialArrays, slots: np.ndarray):
        self._partial, self._slots = partial, slots

    @property
    def before(self) -> np.ndarray:
        """What the block before this one left; zeros before the first. Not to be written."""
        return self._slots[self._partial.blocks_done % 2, ...]

    @property
    def after(self) -> np.ndarray:
        """What the next block will read, to be written."""
        return self._slots[(self._partial.blocks_done + 1) % 2, ...]


def _open(path: pathlib.Path) -> np.memmap | None:
    """The array in a file, to be changed; None if there is none, or it was cut short."""
    try:
        np.lib.format.open_memmap(path, mode="r")  # which, unlike r+, does not lengthen a short file
        return np.lib.format.open_memmap(path, mode="r+")
    except (OSError, ValueError):
        return None


def _reserve(path: pathlib.Path, header: int) -> None:
    """Takes the room of a file of `header` bytes and zeros. A full disk is told now: later the system would kill the
    process.
    """
    size = path.stat().st_size
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        file.seek(header)  # macOS and Windows
        while left := size - file.tell():
            file.write(bytes(min(left, 2**24)))


def blocks(total: int, batch_size: int) -> Iterator[tuple[int, slice]]:
    """(i, slice) of the blocks of at most batch_size that make up total."""
    for block, start in enumerate(range(0, total, batch_size)):
        yield block, slice(start, min(start + batch_size, total))

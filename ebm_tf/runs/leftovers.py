"""A start that fails leaves nothing behind: the same command, mended, finds the folder as it was."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator

from ebm_tf.runs.run_dir import RunDir

__all__ = ["Start", "removed"]


class Start:
    """A start of a run in a folder that was new or empty."""

    def __init__(self) -> None:
        self.has_begun: Callable[[], bool] | None = None

    def unless(self, has_begun: Callable[[], bool]) -> None:
        """From now on the folder's files are this start's, and go if it fails and `has_begun` says that nothing was
        done.
        """
        self.has_begun = has_begun


@contextlib.contextmanager
def removed(run_dir: RunDir) -> Iterator[Start]:
    """Around a start, its lock included. An exception passes; before it does, the run's files go, and the folders that
    were not there, once Start.unless was called.
    """
    missing = [path for path in (run_dir.path, *run_dir.path.parents) if not os.path.lexists(path)]
    start = Start()
    try:
        yield start
    except BaseException:
        if start.has_begun is not None and not start.has_begun():
            _remove(run_dir)
            for path in missing:
                with contextlib.suppress(OSError):  # something else lies there now
                    path.rmdir()
        raise


def _remove(run_dir: RunDir) -> None:
    for folder in (run_dir.tensorboard, run_dir.checkpoints, run_dir.figures):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (run_dir.config, run_dir.metrics, run_dir.events, run_dir.lock):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)

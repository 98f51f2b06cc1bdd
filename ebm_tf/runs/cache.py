"""What is made or downloaded once for all runs."""

import os
import pathlib

import numpy as np

from ebm_tf.drafts import draft_of

__all__ = ["cache_dir", "read_array", "write_array"]


def cache_dir() -> pathlib.Path:
    """The user's folder of it: $XDG_CACHE_HOME/ebm_tf, or ~/.cache/ebm_tf. It need not exist."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ebm_tf"


def read_array(path: pathlib.Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The float32 array of this shape in a .npy file, a memmap. None: not there, cut short or another."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == np.float32 else None


def write_array(path: pathlib.Path, array: np.ndarray, warning: str) -> None:
    """Keeps an array for read_array. Where that cannot be, it prints the warning and why: all is right without it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(path, f"{os.getpid()}") as draft:
            np.save(draft, array)
    except OSError as error:
        print(f"{warning}: {error}", flush=True)

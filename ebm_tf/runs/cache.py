"""What is made or downloaded once for all runs."""

import os
import pathlib

__all__ = ["cache_dir"]


def cache_dir() -> pathlib.Path:
    """The user's folder of it: $XDG_CACHE_HOME/ebm_tf, or ~/.cache/ebm_tf. It need not exist."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ebm_tf"

"""Files that appear whole or not at all: what is written takes its name last."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

__all__ = ["draft_of", "replace_file"]


@contextlib.contextmanager
def draft_of(path: str | os.PathLike, own: str = "") -> Iterator[pathlib.Path]:
    """A file to write, of the same ending, which then takes path's place: whole or not at all.

    Args:
      path: where it goes.
      own: a part of its name, where other processes may write the same path at the same time.
    """
    path = pathlib.Path(path)
    draft = path.with_name(f"{path.stem}.tmp{own}{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):  # what went wrong before is what is told
            draft.unlink(missing_ok=True)


def replace_file(path: pathlib.Path, text: str) -> None:
    """Writes a file, whole and on the disk or not at all."""
    with draft_of(path) as draft, draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())

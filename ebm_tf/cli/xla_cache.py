"""Programs that XLA has compiled for a GPU, kept for the next start of a command.

TensorFlow can keep them, but finds an entry by the computation alone, whatever the card, the driver and XLA_FLAGS are,
and ends the run at an entry that is damaged. So each card, driver, TensorFlow and XLA_FLAGS has a folder of its own in
the user's cache, and every start removes the entries that differ from their checksum. The checksum is written when the
command that made the entry ends; after one that was killed, by the next start, if the entry reads as a message.

Called before TensorFlow is imported, so it knows nothing but the standard library. TF_XLA_FLAGS of the user win:
`--tf_xla_persistent_cache_directory=` there means none.
"""

import atexit
import contextlib
import hashlib
import importlib.metadata
import os
import pathlib

from ebm_tf.runs.cache import cache_dir
from ebm_tf.runs.manifest import sha256

__all__ = ["configure", "machine"]

FLAG = "--tf_xla_persistent_cache_directory"
MAX_BYTES = 2**30  # of one folder; the oldest go
NVIDIA = pathlib.Path("/proc/driver/nvidia")


def configure() -> None:
    """Lets TensorFlow keep what it compiles where there is one GPU and the user has not chosen."""
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if FLAG in flags or (name := machine()) is None:
        return
    folder = cache_dir() / "xla" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clean(folder)
    except OSError:  # a cache is no reason to stop
        return
    os.environ["TF_XLA_FLAGS"] = f"{flags} {FLAG}={folder} --tf_xla_persistent_cache_device_types=GPU".strip()
    atexit.register(_seal, folder)


def machine(nvidia: pathlib.Path = NVIDIA) -> str | None:
    """A name for all that compiled programs depend on beside the computation. None: not one GPU, or not known."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        cards = sorted(path.read_text(encoding="utf-8") for path in nvidia.glob("gpus/*/information"))
        driver = (nvidia / "version").read_text(encoding="utf-8")
        tensorflow = importlib.metadata.version("tensorflow")
    except (OSError, UnicodeDecodeError, importlib.metadata.PackageNotFoundError):
        return None
    models = sorted({line for card in cards for line in card.splitlines() if line.startswith("Model:")})
    if len(models) != 1 or (len(cards) if visible is None else len(visible.split(","))) != 1 or visible == "":
        return None
    known = "\n".join([*models, driver, tensorflow, os.environ.get("XLA_FLAGS", "")])
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def _clean(folder: pathlib.Path) -> None:
    """Removes damaged entries, and the oldest beyond MAX_BYTES: looking at an entry is no use of it."""
    entries = []
    for entry in folder.glob("*.pb"):
        seal, about = _seal_of(entry), entry.stat()
        if not seal.exists() and _is_message(entry.read_bytes()):
            _write_seal(entry)
        if seal.exists() and seal.read_text(encoding="ascii", errors="replace") == sha256(entry):
            entries.append((about.st_mtime, about.st_size, entry))
        else:
            entry.unlink(missing_ok=True)
            seal.unlink(missing_ok=True)
    total = 0
    for _, size, entry in sorted(entries, reverse=True):
        total += size
        if total > MAX_BYTES:
            entry.unlink(missing_ok=True)
            _seal_of(entry).unlink(missing_ok=True)


def _is_message(data: bytes) -> bool:
    """Whether the fields of a protocol buffer's message fill the bytes: not so if they were cut, or zeros."""
    place = 0
    while 0 <= place < len(data):
        tag, place = _varint(data, place)
        if tag >> 3 == 0 or tag & 7 not in (0, 2):  # of numbers and of strings, as the entry has
            return False
        length, place = _varint(data, place)
        place += length if tag & 7 == 2 else 0
    return place == len(data) > 0


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """(number, where it ends). A number that is cut ends beyond the data."""
    number, shift = 0, 0
    while place < len(data):
        number |= (data[place] & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if data[place - 1] < 0x80:
            return number, place
    return number, len(data) + 1


def _seal(folder: pathlib.Path) -> None:
    """Writes the checksums of new entries. TensorFlow renames an entry into place, so it is whole."""
    with contextlib.suppress(OSError):
        for entry in folder.glob("*.pb"):
            if not _seal_of(entry).exists():
                _write_seal(entry)


def _write_seal(entry: pathlib.Path) -> None:
    _seal_of(entry).write_text(sha256(entry), encoding="ascii")


def _seal_of(entry: pathlib.Path) -> pathlib.Path:
    return entry.with_name(f"{entry.name}.sha256")

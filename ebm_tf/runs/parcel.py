"""A checkpoint in small files, to carry a run from one machine to another: bin/checkpoint.py. Loads no TensorFlow.

The files of the run that the next update depends on are joined, in the order of parcel.json, and the whole is cut into
parts of one size. parcel.json:

    {"update": i, "size": bytes, "sha256": of the whole,
     "files": [{"name": "config.json", "size": bytes, "sha256": digest}, ...],
     "parts": [{"name": "update-i.part-000", "size": bytes, "sha256": digest}, ...]}

Nothing is compressed: of a trained network with Adam's moments and a bank in float16 zlib leaves 0.93, at 20 MiB/s.
Names of parts are letters, digits, ".", "_" and "-", in one folder. config.json is the last of the files, and
parcel.json is written last: without it a folder is no run, or no parcel, should the process be killed before.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator
from typing import NamedTuple

from ebm_tf.drafts import replace_file
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.runs import manifest
from ebm_tf.runs.manifest import BLOCK
from ebm_tf.runs.run_dir import RunDir, make_folder
from ebm_tf.settings.commands import PackConfig, UnpackConfig

__all__ = ["INDEX", "pack", "unpack"]

INDEX = "parcel.json"
MAX_INDEX_BYTES = 64 << 20
MIB = 1 << 20
DIGEST = re.compile(r"[0-9a-f]{64}")


class Entry(NamedTuple):
    """A file of the run, or a part, in parcel.json.

    Attributes:
      name: of a file relative to the run's folder, of a part relative to the parcel's.
      size: bytes.
      sha256: its digest, in hexadecimal.
    """

    name: str
    size: int
    sha256: str


class Parcel(NamedTuple):
    """What parcel.json says.

    Attributes:
      update: updates that the checkpoint has behind it.
      size: bytes of the whole.
      sha256: digest of the whole.
      files: in the order in which they are joined.
      parts: in the order in which they make the whole.
    """

    update: int
    size: int
    sha256: str
    files: list[Entry]
    parts: list[Entry]

    def __str__(self) -> str:
        return f"update {self.update}, {self.size / MIB:.4g} MiB in {len(self.parts)} part{'s' * (len(self.parts) > 1)}"


def pack(settings: PackConfig) -> Parcel:
    """Writes a parcel of one checkpoint of a run, which may be training meanwhile.

    Args:
      settings: the run, the folder for the parcel, which checkpoint, and the size of parts.

    Returns:
      What was written.

    Raises:
      ConfigError: there is no such run or intact checkpoint, or the folder is in use; nothing was written.
      OSError: a file cannot be read or written; what was written is removed.
    """
    run_dir = RunDir(settings.workdir)
    config = run_dir.load_config()
    update = _newest_intact(run_dir) if settings.update is None else _intact(run_dir, settings.update)
    digests = manifest.read(run_dir.checkpoints, update).get("sha256", {})
    is_finished = update >= config.train_steps and run_dir.has_model_of(update)
    names = _names_to_pack(run_dir, update, digests, is_finished)
    files: list[Entry] = []
    parts: list[Entry] = []
    with _new_folder(settings.output, "output") as folder:
        whole = hashlib.sha256()
        for content in _cut(_joined(run_dir, names, files), int(settings.part_mib * MIB)):
            whole.update(content)
            part = Entry(f"update-{update}.part-{len(parts):03d}", len(content), hashlib.sha256(content).hexdigest())
            with _named_error(folder / part.name), (folder / part.name).open("xb") as file:
                file.write(content)
            parts.append(part)
        parcel = Parcel(update, sum(file.size for file in files), whole.hexdigest(), files, parts)
        expected = {f"checkpoints/{name}": digest for name, digest in digests.items()}
        if changed := [file.name for file in files if expected.get(file.name, file.sha256) != file.sha256]:
            raise ConfigError(f"expected files that stay as they are. Received: {changed[0]}, changed meanwhile")
        if reason := _flaw(parcel):
            raise ConfigError(f"--workdir: expected a checkpoint as bin/train.py writes it. Received: {reason}")
        entries = {"files": [file._asdict() for file in files], "parts": [part._asdict() for part in parts]}
        with _named_error(folder / INDEX):
            replace_file(folder / INDEX, json.dumps({**parcel._asdict(), **entries}, indent=1) + "\n")
    return parcel


def unpack(settings: UnpackConfig) -> Parcel:
    """Makes the run of a parcel, after every part and the whole have been verified.

    Args:
      settings: the parcel's folder and the run's.

    Returns:
      What was unpacked.

    Raises:
      ConfigError: a part is missing, damaged or not of this parcel, or the run's folder is in use; nothing was written.
      OSError: a file cannot be read or written; what was written is removed.
    """
    source = pathlib.Path(settings.input)
    parcel = _read_index(source)
    _verify(source, parcel)
    with _new_folder(settings.workdir, "workdir") as folder:
        blocks = (block for part in parcel.parts for block in _blocks(source / part.name))
        rest = b""
        for entry in parcel.files:
            path, left, digest = folder / entry.name, entry.size, hashlib.sha256()
            path.parent.mkdir(exist_ok=True)
            with _named_error(path), path.open("xb") as file:
                while left:
                    rest = rest or next(blocks, b"")
                    if not rest:
                        raise _bad_input(source, "parts that became shorter meanwhile")
                    piece, rest = rest[:left], rest[left:]
                    file.write(piece)
                    digest.update(piece)
                    left -= len(piece)
            if digest.hexdigest() != entry.sha256:
                raise _bad_input(source, f"{entry.name} in it is not as {INDEX} says")
    return parcel


# What to pack.


def _newest_intact(run_dir: RunDir) -> int:
    """The newest checkpoint that is whole. Says which newer ones are not."""
    steps = run_dir.checkpoint_steps()
    for step in reversed(steps):
        if not (reason := manifest.damage(run_dir.checkpoints, step)):
            return step
        print(f"{run_dir.checkpoints}: skipped update-{step}: {reason}", file=sys.stderr)
    received = f"{one_line(run_dir.checkpoints)} with {'none that is intact' if steps else 'none yet'}"
    raise ConfigError(f"--workdir: expected a run with a checkpoint. Received: {received}")


def _intact(run_dir: RunDir, update: int) -> int:
    steps = run_dir.checkpoint_steps()
    if update not in steps:
        there = ", ".join(map(str, steps)) or "an update with a checkpoint; there is none yet"
        raise ConfigError(f"--update: expected one of {there}. Received: update={update}")
    if reason := manifest.damage(run_dir.checkpoints, update):
        raise ConfigError(f"--update: expected an intact checkpoint. Received: update={update}: {reason}")
    return update


def _names_to_pack(run_dir: RunDir, update: int, digests: dict[str, str], is_finished: bool) -> list[str]:
    """Files of the run, by their names in it. The index comes after the rest of the checkpoint, model.keras after both,
    by which it is known to be of this update, and config.json last, without which there is no run.
    """
    names = [path.name for path in (run_dir.metrics, run_dir.events) if path.is_file()]
    checkpoint = sorted(digests, key=lambda name: name.endswith(".index"))
    names += [f"checkpoints/{name}" for name in (f"update-{update}.json", *checkpoint)]
    return [*names, *([run_dir.model.name] if is_finished else []), run_dir.config.name]


def _joined(run_dir: RunDir, names: list[str], files: list[Entry]) -> Iterator[bytes]:
    """The files' bytes, one file after the other, each of which is then added to `files`.

    A file that a training process adds to is taken as long as it was when it was opened.
    """
    for name in names:
        digest, size = hashlib.sha256(), 0
        for block in _blocks(run_dir.path / name):
            digest.update(block)
            size += len(block)
            yield block
        files.append(Entry(name, size, digest.hexdigest()))


def _cut(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of `size`, the last one shorter."""
    buffer = bytearray()
    for block in blocks:
        buffer += block
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)


# What to unpack.


def _read_index(folder: pathlib.Path) -> Parcel:
    """parcel.json, with nothing in it that pack would not write."""
    path = folder / INDEX
    try:
        if not path.is_file():
            raise FileNotFoundError(f"no file {INDEX} in it")
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError(f"{INDEX} is too large")
        values = json.loads(path.read_bytes())
        files = [Entry(**entry) for entry in values.pop("files")]
        parts = [Entry(**entry) for entry in values.pop("parts")]
        parcel = Parcel(**values, files=files, parts=parts)
        reason = _flaw(parcel)
    except (OSError, ValueError) as error:
        raise _bad_input(folder, one_line(error)) from error
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise _bad_input(folder, f"{INDEX} is not as pack writes it") from error
    if reason:
        raise _bad_input(folder, f"{INDEX}: {reason}")
    return parcel


def _flaw(parcel: Parcel) -> str:
    """What is wrong in parcel.json; "" if nothing is."""
    entries = [*parcel.files, *parcel.parts]
    for size in (parcel.update, parcel.size, *(entry.size for entry in entries)):
        if type(size) is not int or size < 0:
            return f"a number in it is {one_line(size)}"
    for digest in (parcel.sha256, *(entry.sha256 for entry in entries)):
        if not DIGEST.fullmatch(digest):
            return f"a sha256 in it is {one_line(digest)}"
    checkpoint = rf"checkpoints/update-{parcel.update}\.(json|index|data-[0-9]{{5}}-of-[0-9]{{5}})"
    known = re.compile(rf"config\.json|metrics\.jsonl|events\.jsonl|model\.keras|{checkpoint}")
    if strange := [file.name for file in parcel.files if not known.fullmatch(file.name)]:
        return f"it names {one_line(strange[0])}"
    for number, part in enumerate(parcel.parts):
        if part.name != f"update-{parcel.update}.part-{number:03d}":
            return f"it names {one_line(part.name)}"
    names = [file.name for file in parcel.files]
    needed = {"config.json", *(f"checkpoints/update-{parcel.update}.{end}" for end in ("index", "json"))}
    if len(set(names)) < len(names) or not needed <= set(names):
        return "it lacks a file, or names one twice"
    if parcel.size != sum(file.size for file in parcel.files) or parcel.size != sum(part.size for part in parcel.parts):
        return "its sizes do not add up"
    return ""


def _verify(folder: pathlib.Path, parcel: Parcel) -> None:
    """Whether the parts, and nothing else, are there, and every byte is what was packed."""
    names = {part.name for part in parcel.parts}
    if strange := sorted({path.name for path in folder.iterdir()} - {INDEX, *names}):
        raise _bad_input(folder, f"{one_line(strange[0])}, which is not of this parcel")
    missing = [part.name for part in parcel.parts if not (folder / part.name).is_file()]
    if missing:
        raise _bad_input(folder, f"{', '.join(missing[:8])} missing, {len(missing)} of {len(names)} parts")
    whole = hashlib.sha256()
    for part in parcel.parts:
        path, digest = folder / part.name, hashlib.sha256()
        if (size := path.stat().st_size) != part.size:
            raise _bad_input(folder, f"{part.name} of {size} bytes, {part.size} were packed")
        for block in _blocks(path):
            digest.update(block)
            whole.update(block)
        if digest.hexdigest() != part.sha256:
            raise _bad_input(folder, f"{part.name} damaged, or of another parcel")
    if whole.hexdigest() != parcel.sha256:
        raise _bad_input(folder, f"{INDEX}: the parts do not make its whole")


def _bad_input(folder: pathlib.Path, reason: str) -> ConfigError:
    return ConfigError(f"--input: expected {INDEX} and its parts, as packed. Received: {one_line(folder)}: {reason}")


# Files.


def _blocks(path: pathlib.Path) -> Iterator[bytes]:
    """A file's bytes, as many as it had when it was opened.

    Raises:
      ConfigError: it went, or became shorter, meanwhile.
    """
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left:
                block = file.read(min(left, BLOCK))
                if not block:
                    raise FileNotFoundError
                left -= len(block)
                yield block
    except FileNotFoundError:
        raise ConfigError(f"expected files that stay as they are. Received: {one_line(path)}, gone meanwhile") from None


@contextlib.contextmanager
def _new_folder(name: str, flag: str) -> Iterator[pathlib.Path]:
    """A new or empty folder to fill. After an error it is as it was before.

    Raises:
      ConfigError: it holds files, or cannot be made. Names the flag.
    """
    folder = pathlib.Path(name)
    expected = f"--{flag}: expected a new or empty folder"
    try:
        missing = [part for part in (folder, *folder.parents) if not os.path.lexists(part)]
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{expected}. Received: the file {one_line(folder)}")
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"{expected}. Received: {one_line(folder)}, which holds files")
        make_folder(folder)
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(f"{expected}. Received: {one_line(error)}") from error
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            for part in missing:
                part.rmdir()
        raise


@contextlib.contextmanager
def _named_error(path: pathlib.Path) -> Iterator[None]:
    """Has an error that the system gives without a file's name say which file it was, as a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error

"""What is scored, as shards of records in a stable order: folders, arrays, tables, TFRecords, TFDS data sets.

A shard is a small description that another machine can read by itself, and knows how many records it has. A record that
cannot be read is a record with an error. Memory: one shard's file names, and one record at a time.
"""

import glob
import pathlib
import re
import sys
from collections.abc import Callable, Iterator

from ebm_tf.data import folder, images
from ebm_tf.errors import one_line
from ebm_tf.serving.info import ModelInfo
from ebm_tf.serving.sources import records
from ebm_tf.serving.sources.arrays import npy_shards, npz_shards, read_npy, read_npz
from ebm_tf.serving.sources.kinds import kind_of
from ebm_tf.serving.sources.records import Record, Shard, bad, decode, groups, parallel
from ebm_tf.serving.sources.tables import read_table, table_shards
from ebm_tf.serving.sources.tfrecords import read_tfrecord, tfrecord_shards

__all__ = ["find_shards", "read_shard"]

_EXPECTED = (
    "a folder of images, FILE.npy, FILE.npz, FILE.csv, TFRecords or tfds:NAME/SPLIT, or images by a name or a pattern"
)
_NAMES = {
    "": "none of these",
    "npy": "one array",
    "npz": "one array",
    "table": "one table",
    "image": "an image",
    "tfrecord": "TFRecords",
}
ALONE = {"npy": npy_shards, "npz": npz_shards, "table": table_shards}  # one file of them


def find_shards(source: str, info: ModelInfo, data_dir: str | None) -> Callable[[], Iterator[Shard]]:
    """Looks at a source and says how to list its shards, always in the same order.

    Args:
      source: --input.
      info: of the model that it is for.
      data_dir: --data_dir.

    Returns:
      A function that lists the shards, as often as it is called. Listing raises ConfigError at a folder that cannot be
      listed.

    Raises:
      ConfigError: there is no such source, it cannot be read, or it is not for this model. Nothing but headers has been
        read.
    """
    try:
        return _find(source, pathlib.Path(source).expanduser(), info, data_dir)
    except (OSError, RuntimeError) as error:  # closed to us, a name too long, ~ of nobody
        raise bad("a source that can be read", f"{source[:200]}: {one_line(error)}") from error


def _find(source: str, path: pathlib.Path, info: ModelInfo, data_dir: str | None) -> Callable[[], Iterator[Shard]]:
    if source.startswith("tfds:"):
        return _tfds_shards(source.removeprefix("tfds:"), info, data_dir)
    if path.is_dir():
        return _folder_shards(path, info)
    files = [str(path)] if path.exists() else sorted(glob.glob(str(path), recursive=True))
    if not files:
        raise bad(_EXPECTED, source)
    kinds = [kind_of(file) for file in files]
    for file, kind in zip(files, kinds):
        if kind != kinds[0] or not kind or (kind in ALONE and len(files) > 1):
            what = f"{_EXPECTED}; of a pattern, images alone or TFRecords alone"
            raise bad(what, f"{file}, which is {_NAMES[kind]}")
    if kinds[0] == "image":
        return _file_shards(files, info)
    if kinds[0] == "tfrecord":
        return tfrecord_shards(files)
    return ALONE[kinds[0]](pathlib.Path(files[0]), info)


def read_shard(shard: Shard, info: ModelInfo) -> Iterator[Record]:
    """The shard's records, exactly `size` of them, in order.

    Args:
      shard: one of find_shards.
      info: of the model that they are for.
    """
    yield from _READ[shard.kind](shard, info)


def _no_images(info: ModelInfo) -> str:
    return f"{'.csv, .parquet, ' if info.columns else ''}arrays or TFRecords of {info.dataset}, which are no images"


def _folder_shards(path: pathlib.Path, info: ModelInfo):
    if not info.is_image:
        raise bad(_no_images(info), path)
    left_out = folder.Skipped()
    if next(_walk(path, left_out), None) is None:
        raise bad("a folder of images, with at least one", f"{path}{(left_out.found and f'; {left_out}') or ''}")

    is_told = False

    def shards():
        nonlocal is_told
        skipped = folder.Skipped()
        for paths in groups(_walk(path, skipped), records.SHARD_SIZE):
            yield Shard("folder", str(path), len(paths), paths=tuple(paths))
        if skipped.found and not is_told:
            is_told = True
            print(f"{path}: {skipped}", file=sys.stderr)

    return shards


def _file_shards(files: list[str], info: ModelInfo):
    """Images by their paths as they were given."""
    if not info.is_image:
        raise bad(_no_images(info), files[0])
    parts = [files[i : i + records.SHARD_SIZE] for i in range(0, len(files), records.SHARD_SIZE)]
    return lambda: (Shard("folder", "", len(paths), paths=tuple(paths)) for paths in parts)


def _walk(path: pathlib.Path, skipped: folder.Skipped | None = None) -> Iterator[str]:
    try:
        yield from folder.walk(path, skipped)
    except OSError as error:
        raise bad("a folder that can be listed, with those in it", one_line(error)) from error


def _read_folder(shard: Shard, info: ModelInfo):
    yield from parallel(lambda path: decode(path, pathlib.Path(shard.source, path), info), shard.paths)


def _tfds_shards(source: str, info: ModelInfo, data_dir: str | None):
    match = re.fullmatch(r"(\w+)/([^/]+)", source)
    if not match or not info.is_image:
        raise bad("tfds:NAME/SPLIT, for a model of images", f"tfds:{source}, a model of {info.dataset}")
    total = images.count(match[1], match[2], data_dir, "input")
    starts = range(0, total, records.SHARD_SIZE)
    return lambda: (Shard("tfds", source, min(records.SHARD_SIZE, total - i), i, data_dir=data_dir) for i in starts)


def _read_tfds(shard: Shard, info: ModelInfo):
    name, split = shard.source.split("/", 1)
    files = images.encoded_images(name, split, shard.data_dir).skip(shard.start).take(shard.size)
    numbered = enumerate(files.as_numpy_iterator(), shard.start)
    yield from parallel(lambda item: decode(str(item[0]), item[1], info), numbered)


_READ = {
    "folder": _read_folder,
    "npy": read_npy,
    "npz": read_npz,
    "table": read_table,
    "tfrecord": read_tfrecord,
    "tfds": _read_tfds,
}

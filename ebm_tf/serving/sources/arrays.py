"""Arrays as sources: .npy, read where it lies on disk, and .npz, read from its start."""

import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from ebm_tf.errors import one_line
from ebm_tf.serving.info import ModelInfo
from ebm_tf.serving.sources import records
from ebm_tf.serving.sources.layout import Layout, find_layout
from ebm_tf.serving.sources.records import Record, Shard, bad, fit

__all__ = ["array_record", "npy_shards", "npz_shards", "read_npy", "read_npz"]


def _layout(shape, dtype, info: ModelInfo, source) -> Layout:
    """How to read the array. Says in one line what was taken for granted."""
    wanted = f"{', '.join(map(str, info.event_shape))}"
    is_uint8 = info.is_image and dtype == np.uint8
    expected = f"an array of floats [N, {wanted}]"
    if info.is_image:
        channels = info.event_shape[-1]
        expected += f" in [-1, 1], or of uint8 [N, any, any, {channels}], or one of grey images [N, H, W]"
    found = find_layout(shape, info.event_shape, is_uint8) if is_uint8 or np.issubdtype(dtype, np.floating) else None
    if found is None or not shape[0]:
        raise bad(expected, f"{source}, {dtype} {list(shape)}")
    return found


def _say(found: Layout, shape, source) -> None:
    if found.words:
        print(f"input: {source} {list(shape)} is read as {found.words}", flush=True)


def npy_shards(path: pathlib.Path, info: ModelInfo) -> Callable[[], Iterator[Shard]]:
    """See inputs.find_shards."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise bad("a .npy file that NumPy can read", f"{path}: {one_line(error)}") from None
    found = _layout(array.shape, array.dtype, info, path)
    _say(found, array.shape, path)
    total = found.shape(array.shape)[0]

    def shards():
        for start in range(0, total, records.SHARD_SIZE):
            yield Shard("npy", str(path), min(records.SHARD_SIZE, total - start), start)

    return shards


def read_npy(shard: Shard, info: ModelInfo) -> Iterator[Record]:
    """See inputs.read_shard."""
    array = np.load(shard.source, mmap_mode="r")
    found = _layout(array.shape, array.dtype, info, shard.source)
    array = array.reshape(found.shape(array.shape))
    for row in range(shard.start, shard.start + shard.size):
        yield array_record(str(row), found.row(np.array(array[row]), info.event_shape), info)


def array_record(name: str, x: np.ndarray, info: ModelInfo) -> Record:
    """One x of an array: a uint8 image of any size, or floats of the model's shape."""
    if x.dtype == np.uint8:
        return fit(name, x, info)
    with np.errstate(over="ignore"):  # beyond float32 is infinity, and an error of the row
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        return Record(name, None, "values that are not finite")
    return Record(name, x)


def _npz_member(path: str | pathlib.Path) -> tuple[str, tuple[int, ...], np.dtype, bool]:
    """Name, shape, dtype and order of the array that a .npz holds: the only one, or the one named x."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        if len(names) > 1:
            names = [name for name in names if name == "x.npy"]
        if len(names) != 1:
            raise ValueError(f"holds {', '.join(archive.namelist()) or 'nothing'}; need one array, or one named x")
        with archive.open(names[0]) as file:
            return (names[0], *_npy_header(file))


def _npy_header(file) -> tuple[tuple[int, ...], np.dtype, bool]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, is_fortran, dtype = read(file)
    return shape, dtype, is_fortran


def npz_shards(path: pathlib.Path, info: ModelInfo) -> Callable[[], Iterator[Shard]]:
    """See inputs.find_shards."""
    try:
        name, shape, dtype, is_fortran = _npz_member(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise bad("a .npz file with one array, or one named x", f"{path}: {one_line(error)}") from None
    found = _layout(shape, dtype, info, f"{path}:{name}")
    if is_fortran and len(shape) > 1:
        raise bad("an array in C order, which can be read row by row", f"{path}:{name}")
    _say(found, shape, f"{path}:{name}")
    total = found.shape(shape)[0]
    return lambda: iter([Shard("npz", str(path), total)])  # compressed: it can only be read from its start


def read_npz(shard: Shard, info: ModelInfo) -> Iterator[Record]:
    """See inputs.read_shard."""
    row = 0
    try:
        name, *_ = _npz_member(shard.source)
        with zipfile.ZipFile(shard.source) as archive, archive.open(name) as file:
            shape, dtype, _ = _npy_header(file)
            found = _layout(shape, dtype, info, shard.source)
            shape = found.shape(shape)
            size = int(np.prod(shape[1:])) * dtype.itemsize
            for row in range(shard.size):
                if len(content := file.read(size)) != size:
                    raise EOFError("the file is cut short")
                x = found.row(np.frombuffer(content, dtype).reshape(shape[1:]), info.event_shape)
                yield array_record(str(row), x, info)
        return
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        line = one_line(error)
    for rest in range(row, shard.size):
        yield Record(str(rest), None, line)

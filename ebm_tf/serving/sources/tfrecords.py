"""TFRecord files as sources, plain or by gzip: a tf.train.Example per record."""

import gzip
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from ebm_tf.errors import one_line
from ebm_tf.serving.info import ModelInfo
from ebm_tf.serving.sources.arrays import array_record
from ebm_tf.serving.sources.records import Record, Shard, bad, decode, parallel

__all__ = ["read_tfrecord", "tfrecord_shards"]


def tfrecord_shards(files: list[str]) -> Callable[[], Iterator[Shard]]:
    """See inputs.find_shards."""
    try:
        counts = [_count_tfrecords(file) for file in files]
    except (OSError, EOFError, zlib.error) as error:
        raise bad("TFRecord files, plain or by gzip", f"{files[0]} ...: {one_line(error)}") from None
    if not any(counts):
        raise bad("TFRecord files with at least one record", files[0])
    return lambda: (Shard("tfrecord", file, count) for file, count in zip(files, counts) if count)


def _is_gzip(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _count_tfrecords(path: str) -> int:
    """Records by their headers (uint64 length, uint32 checksum, data, uint32 checksum); one cut short counts."""
    count, size, is_gzip = 0, os.path.getsize(path), _is_gzip(path)
    with gzip.open(path) if is_gzip else open(path, "rb") as file:
        while header := file.read(12):
            count += 1
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else 2**63
            if length > 2**31 or (not is_gzip and file.tell() + length + 4 > size):
                break  # the rest of the file is one bad record
            file.seek(length + 4, io.SEEK_CUR)
    return count


def read_tfrecord(shard: Shard, info: ModelInfo) -> Iterator[Record]:
    """See inputs.read_shard."""
    compression = "GZIP" if _is_gzip(shard.source) else ""
    dataset = tf.data.TFRecordDataset(shard.source, compression_type=compression)
    name, line = os.path.basename(shard.source), "the file is cut short"

    def read(item):
        return _example(f"{name}:{item[0]}", item[1], info)

    def raw():
        nonlocal line
        try:
            yield from enumerate(dataset.as_numpy_iterator())
        except tf.errors.OpError as error:  # what comes after it in this file cannot be found
            line = one_line(error)

    done = 0
    for record in parallel(read, raw()):
        done += 1
        yield record
    for rest in range(done, shard.size):
        yield Record(f"{name}:{rest}", None, line)


def _example(name: str, content: bytes, info: ModelInfo) -> Record:
    """A tf.train.Example with an encoded image, or with the floats of one x."""
    try:
        features = tf.train.Example.FromString(content).features.feature
    except Exception as error:  # protobuf's own kind
        return Record(name, None, f"not a tf.train.Example: {one_line(error)}")
    for key in ("image", "image/encoded") if info.is_image else ():
        if features[key].bytes_list.value if key in features else ():
            return decode(name, features[key].bytes_list.value[0], info)
    if "x" in features:
        x = np.array(features["x"].float_list.value, np.float32)
        if x.size == np.prod(info.event_shape):
            return array_record(name, x.reshape(info.event_shape), info)
    image = "image or image/encoded, a PNG or JPEG file, or " if info.is_image else ""
    expected = f"the feature {image}x, {int(np.prod(info.event_shape))} floats"
    return Record(name, None, f"expected {expected}. Received: {', '.join(sorted(features)) or 'none'}")

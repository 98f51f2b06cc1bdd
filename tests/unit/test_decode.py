"""The decoder: the same pixels of a file from a folder, TFDS, TFRecords and scoring, by one table of formats."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from ebm_tf.data import decode, folder, images
from ebm_tf.serving.info import ModelInfo
from ebm_tf.serving.sources.inputs import find_shards, read_shard

RNG = np.random.default_rng(0)
SIZE = 32
COLOUR = RNG.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
GREY = COLOUR[..., 0]
DEEP = (GREY.astype(np.uint16) << 8) + 200  # its upper 8 bits are GREY
ALPHA = RNG.integers(0, 256, (SIZE, SIZE, 1), np.uint8)


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def deep_colour_png():
    """Of 16 bits a channel, which Pillow does not write."""
    rows = np.concatenate([np.zeros((SIZE, 1), np.uint8), deep_bytes().reshape(SIZE, -1)], axis=1)
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 16, 2, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")):
        file += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return file


def deep_bytes():
    return ((COLOUR.astype(np.uint16) << 8) + 77).astype(">u2").view(np.uint8)


def on_white(colour, alpha):
    share = alpha.astype(np.float64) / 255
    return colour * share + 255 * (1 - share)


GREY3 = np.repeat(GREY[..., None], 3, axis=-1)
RGB = Image.fromarray(COLOUR)
CMYK = RGB.convert("CMYK")
PALETTE = RGB.quantize(16)
PALETTE_ON_WHITE = np.where(np.asarray(PALETTE)[..., None] == 3, 255, np.asarray(PALETTE.convert("RGB")))
# name -> (file, colour pixels it stands for, how far off they may be)
FORMATS = {
    "PNG": (encode(RGB), COLOUR, 0),
    "BMP": (encode(RGB, "BMP"), COLOUR, 0),
    "JPEG": (encode(RGB, "JPEG", quality=100, subsampling=0), COLOUR, 6),
    "JPEG turned by a quarter": (
        encode(RGB, "JPEG", quality=100, subsampling=0, exif=turned(6)),
        np.rot90(COLOUR, -1),
        6,
    ),
    "PNG turned by a half": (encode(RGB, exif=turned(3)), np.rot90(COLOUR, 2), 0),
    "grey": (encode(Image.fromarray(GREY)), GREY3, 0),
    "grey, 16 bits": (encode(Image.fromarray(DEEP)), GREY3, 0),
    "colour, 16 bits": (deep_colour_png(), COLOUR, 0),
    "one bit": (encode(Image.fromarray(GREY > 127)), np.where(GREY3 > 127, 255, 0), 0),
    "palette": (encode(PALETTE), np.asarray(PALETTE.convert("RGB")), 0),
    "CMYK": (encode(CMYK, "JPEG", quality=100, subsampling=0), np.asarray(CMYK.convert("RGB")), 8),
    "alpha": (encode(Image.fromarray(np.concatenate([COLOUR, ALPHA], -1))), on_white(COLOUR, ALPHA), 1),
    "grey with alpha": (
        encode(Image.fromarray(np.concatenate([GREY[..., None], ALPHA], -1), "LA")),
        on_white(GREY3, ALPHA),
        1,
    ),
    "animation": (
        encode(PALETTE, "GIF", save_all=True, append_images=[Image.new("P", (SIZE, SIZE), 3)]),
        np.asarray(PALETTE.convert("RGB")),
        0,
    ),
    "PNG that moves": (encode(RGB, save_all=True, append_images=[Image.new("RGB", (SIZE, SIZE))]), COLOUR, 0),
    "palette with a transparent colour": (encode(PALETTE, transparency=3), PALETTE_ON_WHITE, 0),
    "WebP turned by a quarter": (encode(RGB, "WEBP", lossless=True, exif=turned(6)), np.rot90(COLOUR, -1), 0),
    "TIFF by LZW": (encode(RGB, "TIFF", compression="tiff_lzw"), COLOUR, 0),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The table's files as a folder, as TFRecords, and as a TFDS data set, each in the table's order."""
    base = tmp_path_factory.mktemp("sources")
    (base / "folder").mkdir()
    for index, (file, *_) in enumerate(FORMATS.values()):
        (base / "folder" / f"{index:02d}.png").write_bytes(file)  # the ending says nothing
    with tf.io.TFRecordWriter(str(base / "x.tfrecord")) as writer:
        for file, *_ in FORMATS.values():
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[file]))
            writer.write(tf.train.Example(features=tf.train.Features(feature={"image": feature})).SerializeToString())

    class Formats(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "id": tf.int64})
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"test": self._generate_examples()}

        def _generate_examples(self):
            for index, (file, *_) in enumerate(FORMATS.values()):
                yield index, {"image": io.BytesIO(file), "id": index}

    Formats.name = "formats"
    Formats(data_dir=base / "tfds").download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
    return base


@pytest.mark.parametrize("channels", [1, 3])
def test_all_sources_give_the_same_pixels(sources, channels):
    """The decoder's, for every format of the table."""
    expected = np.stack([decode.decode(file, channels) for file, *_ in FORMATS.values()])
    info = ModelInfo("x", (SIZE, SIZE, channels), 1.0, 1.0, 1.0, 1, (), "", "", "")

    def scored(source):
        shards = find_shards(str(source), info, str(sources / "tfds"))
        records = [record for shard in shards() for record in read_shard(shard, info)]
        assert not [record.error for record in records if record.error]
        return np.stack([record.x for record in records])

    found = {
        "folder": images.load_any(str(sources / "folder"), None, SIZE, "x", channels),
        "tfds": images.load("formats", "test", str(sources / "tfds"), SIZE, "x", channels),
        "scored folder": scored(sources / "folder"),
        "scored TFRecords": scored(sources / "x.tfrecord"),
        "scored TFDS": scored("tfds:formats/test"),
    }
    for name, pixels in found.items():
        np.testing.assert_array_equal(pixels, expected, err_msg=name)


@pytest.mark.parametrize("name", FORMATS)
def test_pixels_are_what_the_file_stands_for(name):
    file, expected, off = FORMATS[name]
    assert np.abs(decode.decode(file, 3) - np.asarray(expected, np.float64)).max() <= off
    assert decode.header(file)[:2] == decode.decode(file, 3).shape[:2]


def test_grey_stays_one_channel_and_alpha_a_fourth():
    for name in ("grey", "grey, 16 bits", "one bit", "grey with alpha"):
        file = FORMATS[name][0]
        assert decode.decode(file, None).shape == (SIZE, SIZE, 1)
        assert decode.header(file) == (SIZE, SIZE, 1)
    np.testing.assert_array_equal(decode.decode(FORMATS["grey, 16 bits"][0], 1)[..., 0], GREY)
    np.testing.assert_array_equal(decode.decode(FORMATS["alpha"][0], 4), np.concatenate([COLOUR, ALPHA], -1))
    assert decode.decode(FORMATS["PNG"][0], None).shape == (SIZE, SIZE, 3)


def test_orientation_changes_height_and_width():
    file = encode(Image.new("RGB", (5, 9)), "JPEG", exif=turned(6))
    assert decode.header(file) == (5, 9, 3) and decode.decode(file).shape == (5, 9, 3)


def test_a_large_jpeg_is_decoded_at_a_smaller_scale(monkeypatch):
    rows, columns = np.mgrid[:600, :800]
    whole = np.uint8(np.stack([rows / 3, columns / 4, rows / 5], -1))
    file = encode(Image.fromarray(whole), "JPEG", quality=95)
    assert decode.decode(file, 3, (64, 64)).shape == (600, 800, 3)  # few enough pixels to decode them all
    monkeypatch.setattr(decode, "DRAFT_PIXELS", 100_000)
    small = decode.decode(file, 3, (64, 64))
    assert small.shape == (150, 200, 3)  # at least twice 64 is left: a quarter
    assert np.abs(small.astype(int) - whole[2::4, 2::4]).max() <= 4
    assert decode.decode(file, 3).shape == (600, 800, 3)  # nothing says how small


def test_a_photograph_of_108_million_pixels_is_read_and_a_bomb_is_not(monkeypatch):
    assert decode.MAX_PIXELS > 12_000 * 9_000
    file = encode(Image.new("RGB", (64, 48)), "JPEG")
    monkeypatch.setattr(decode, "MAX_PIXELS", 1_000)
    monkeypatch.setattr(decode, "DRAFT_PIXELS", 1_000)
    with pytest.raises(ValueError, match="more than 1,000: a decompression bomb"):
        decode.decode(file)
    assert decode.decode(file, 3, (8, 8)).shape == (24, 32, 3)  # by a draft


def test_a_walk_follows_links_and_says_what_it_leaves_out(tmp_path, capsys):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for path in (inside / "b", outside):
        path.mkdir(parents=True)
    for path in (inside / "a.png", inside / "b/c.png", outside / "d.png", inside / ".hidden.png"):
        path.write_bytes(encode(RGB))
    (inside / "z").symlink_to(outside)
    (inside / "b/up").symlink_to("..")
    (inside / "dead.png").symlink_to("nowhere.png")
    (inside / "again.png").symlink_to("again.png")
    (inside / "e.png").symlink_to("a.png")
    (inside / ".ipynb_checkpoints").mkdir()
    (inside / ".ipynb_checkpoints" / "a-checkpoint.png").write_bytes(encode(RGB))
    for name in ("noending", "notes.txt"):
        (inside / name).write_bytes(encode(RGB))
    skipped = folder.Skipped()
    assert list(folder.walk(inside, skipped)) == ["a.png", "b/c.png", "e.png", "z/d.png"]
    assert str(skipped) == (
        "left out: 2 dead links ('again.png'), 2 hidden ('.hidden.png'), 1 links in a circle ('b/up'), "
        "2 without the ending of an image ('noending')"
    )
    assert len(images.load_any(str(inside), None, SIZE)) == 4
    assert f"{inside}: {skipped}" in capsys.readouterr().out

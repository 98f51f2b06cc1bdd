"""Dataset: the order of batches, what is held out, how sizes are fitted, and what is refused of a user's own data."""

import resource
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ebm_tf import build
from ebm_tf.data import arrays, crop, pictures, rings, stores, tables
from ebm_tf.data.base import Dataset, RingsDataset
from ebm_tf.data.spectrum import noise_spectrum
from ebm_tf.errors import ConfigError
from ebm_tf.settings.train import TrainConfig
from tests import processes

RNG = np.random.default_rng(1)
VECTORS = RNG.normal([3.0, -2.0, 100.0], [1.0, 0.1, 20.0], (200, 3))
PHOTOS = RNG.integers(0, 256, (60, 32, 32, 3), np.uint8)


def save_folder(path, pixels, kind="png"):
    path.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(pixels):
        Image.fromarray(image.squeeze()).save(path / f"{index:05d}.{kind}")
    return path


def rows(x):
    """Rows as a set, to compare without order."""
    return {one.tobytes() for one in np.asarray(x)}


def first(data, count, **settings):
    settings = {"batch_size": 8, "seed": 3, **settings}
    return [x.numpy() for x in data.batches(**settings).take(count)]


def refused(match, function, *args, **kwargs):
    with pytest.raises(ConfigError, match=match) as error:
        function(*args, **kwargs)
    assert "\n" not in str(error.value) and "Received: " in str(error.value)


# Batches.


def sources(tmp_path):
    np.save(tmp_path / "x.npy", VECTORS)
    np.savez(tmp_path / "x.npz", VECTORS.astype(np.float32))
    header = "a,b,c\n"
    (tmp_path / "x.csv").write_text(header + "\n".join(",".join(map(str, row)) for row in VECTORS))
    np.save(tmp_path / "u8.npy", PHOTOS)
    save_folder(tmp_path / "photos", PHOTOS)
    kinds = ("array:x.npy", "array:x.npz", "array:u8.npy", "table:x.csv", "folder:photos")
    return ["rings", *(kind.replace(":", f":{tmp_path}/") for kind in kinds)]


def test_every_source_by_its_name(tmp_path):
    """Batches are functions of (seed, i); what is held out does not train; stored and back is the same."""
    for name in sources(tmp_path):
        config = TrainConfig(dataset=name, batch_size=8, **({} if name == "rings" else {"held_out": 0.25}))
        data = build.dataset(config)
        whole = first(data, 20)
        assert whole[0].shape == (8, *data.event_shape) and whole[0].dtype == np.float32, name
        np.testing.assert_array_equal(first(data, 1, start_step=13)[0], whole[13], err_msg=name)
        assert not np.array_equal(first(data, 1, seed=4)[0], whole[0])
        kept = data.held_out()
        assert kept.dtype == np.float32 and not rows(kept) & rows(np.concatenate(whole)), name
        np.testing.assert_array_equal(data.held_out(5), kept[:5])
        np.testing.assert_allclose(data.from_stored(data.to_stored(kept)), kept, rtol=1e-5, atol=1e-5)
        if data.log_prob is None:
            together = np.concatenate([*data.examples(), kept])
            assert len(kept) == len(together) // 4 and len(rows(together)) == len(together)


def test_an_epoch_holds_every_example_that_trains_once():
    data = Dataset.from_array(PHOTOS, held_out=0.2)
    epoch = np.concatenate(first(data, 6))
    assert rows(epoch) == rows(np.concatenate(list(data.examples())))
    assert rows(data.to_stored(epoch)) | rows(data.to_stored(data.held_out())) == rows(PHOTOS)


def test_what_is_held_out_is_a_function_of_share_and_seed():
    parts = stores.split_indices(1000, 0.1, 0, "data")
    np.testing.assert_array_equal(parts["held_out"], stores.split_indices(1000, 0.1, 0, "data")["held_out"])
    assert len(parts["held_out"]) == 100 and len(parts["train"]) == 900
    other = stores.split_indices(1000, 0.1, 1, "data")["held_out"]
    assert 0 < len(np.intersect1d(parts["held_out"], other)) < 40  # 10 expected, 3 standard deviations are 9
    assert parts["held_out"][0] != 0 or parts["held_out"][-1] != 99  # not the first hundred
    assert len(stores.split_indices(5, 0.01, 0, "data")["held_out"]) == 1
    refused("^expected examples that are held out", Dataset.from_array(PHOTOS, held_out=0.0).held_out)


def test_noise_is_added_by_the_number_of_the_batch():
    data = Dataset.from_array(VECTORS)
    clean, noisy = first(data, 12), list(build.with_noise(data.batches(8, 3), 0.1, 3).take(12))
    later = next(iter(build.with_noise(data.batches(8, 3, 11), 0.1, 3, 11)))
    np.testing.assert_array_equal(later, noisy[11])
    noise = np.concatenate(noisy) - np.concatenate(clean)
    assert noise.std() == pytest.approx(0.1, abs=0.021)  # 288 draws: five standard deviations, false alarm rate 6e-7
    np.testing.assert_array_equal(next(iter(build.with_noise(data.batches(8, 3), 0.0, 3))), clean[0])


def test_rings():
    data = RingsDataset()
    for gaussian, wide in (("none", 1), ("steps", 36)):
        config = TrainConfig(dataset="rings", gaussian=gaussian, step_size=0.5)
        np.testing.assert_array_equal(build.step_sizes(config), [0.5 * wide] * 3 + [0.5] * 7)
    x = data.held_out(10)
    np.testing.assert_array_equal(data.log_prob(x), rings.log_prob(x))
    assert not data.is_image and data.mean is None and Dataset.from_array(VECTORS).log_prob is None
    assert [len(x) for x in data.examples(1500)] == [1024, 476]


def test_vectors_are_standardised_by_the_examples_that_train():
    data = Dataset.from_array(VECTORS, held_out=0.5)
    x = np.concatenate(list(data.examples()))
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-5)
    assert data.mean.dtype == data.scale.dtype == np.float32
    everything = np.concatenate([data.to_stored(x), data.to_stored(data.held_out())])
    np.testing.assert_allclose(np.sort(everything, axis=0), np.sort(VECTORS, axis=0), rtol=1e-5)


def test_what_does_not_fit_into_memory_is_read_as_it_is_needed(tmp_path, monkeypatch):
    """The same examples in the same order, whatever the limit."""
    names = [name for name in sources(tmp_path) if name != "rings"]

    def seen(name):
        data = build.dataset(TrainConfig(dataset=name, batch_size=8))
        return data.note, [*first(data, 9), *data.examples(), data.held_out()]

    whole = {name: seen(name) for name in names}
    for module in ("ebm_tf.data.arrays", "ebm_tf.data.folder"):
        monkeypatch.setattr(f"{module}.MOST_BYTES", 100)
    for name in names:
        note, streamed = seen(name)
        assert note.endswith("read as they are needed") and whole[name][0].endswith("in memory")
        for one, other in zip(streamed, whole[name][1], strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


STREAM = """
import sys, resource, numpy as np
from ebm_tf.data import folder
folder.MOST_BYTES = 0
from ebm_tf.data.base import Dataset
data = Dataset.from_folder(sys.argv[1], image_size=128)
peaks = []
for step, x in enumerate(data.batches(12, 0).take(80)):
    if step in (30, 79): peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(*peaks)
"""


def test_memory_stays_flat_over_a_folder_that_streams(tmp_path):
    """500 JPEGs, two epochs. All of them decoded take 25 MB, 960 47 MB; after the first batches at most 12 MB."""
    photo = Image.fromarray(PHOTOS[0]).resize((70, 90))
    (tmp_path / "a").mkdir()
    for index in range(500):
        photo.putpixel((index % 70, index // 70), (255, 0, 0))
        photo.save(tmp_path / f"a/{index:05d}.jpg")
    done = processes.run(["-c", STREAM, tmp_path])
    early, late = map(int, done.stdout.split())
    assert late - early < 12_000, (early, late)  # KiB


# Images.


def test_images_without_a_size_are_padded_to_multiples_of_16():
    grey = Dataset.from_array(PHOTOS[:, :28, :20, 0])
    assert grey.event_shape == (32, 32, 1) and "28 x 20, padded to 32 x 32" in grey.note
    x = grey.stored("train")
    assert (x[:, :2] == 0).all() and (x[:, 30:] == 0).all() and (x[:, :, :6] == 0).all() and (x[:, :, 26:] == 0).all()
    assert rows(x[:, 2:30, 6:26, 0]) <= rows(np.ascontiguousarray(PHOTOS[:, :28, :20, 0]))
    assert Dataset.from_array(np.zeros((9, 40, 64, 4), np.uint8)).event_shape == (48, 64, 4)
    assert Dataset.from_array(PHOTOS).note.endswith("images of 32 x 32 as they are; in memory")


def test_float_images_are_padded_with_black():
    floats = (PHOTOS[:, :28, :28] / 127.5 - 1).astype(np.float32)
    x = np.concatenate(list(Dataset.from_array(floats, held_out=0).examples()))
    np.testing.assert_allclose(x[:, 2:30, 2:30], floats, atol=1e-6)
    assert (x[:, :2] == -1).all()


@pytest.mark.parametrize("how", crop.FITS)
def test_fit_against_pillow(how):
    """Within a level of Pillow's resize, which rounds twice."""
    image = np.asarray(Image.fromarray(PHOTOS[0]).resize((80, 50), Image.Resampling.BICUBIC))
    found = crop.fit(image, (32, 48), how).numpy().astype(int)
    bilinear = Image.Resampling.BILINEAR
    if how == "stretch":
        expected = np.asarray(Image.fromarray(image).resize((48, 32), bilinear))
    elif how == "crop":  # by 0.64 to 51 x 32, and 1.6 columns cut on each side
        expected = np.asarray(Image.fromarray(image).resize((48, 32), bilinear, (2.5, 0, 77.5, 50)))
    else:  # by 0.6 to 48 x 30
        expected = np.zeros((32, 48, 3), np.uint8)
        expected[1:31] = np.asarray(Image.fromarray(image).resize((48, 30), bilinear))
    assert np.abs(found - expected).max() <= 1
    others = [crop.fit(image, (32, 48), other).numpy().astype(int) for other in crop.FITS if other != how]
    assert all(np.abs(found - other).max() > 5 for other in others)


def test_pad_leaves_pixels_as_they_are():
    np.testing.assert_array_equal(crop.fit(PHOTOS[0], (48, 37), "pad")[8:40, 2:34], PHOTOS[0])


def test_a_folder_of_many_sizes(tmp_path):
    save_folder(tmp_path / "a", [PHOTOS[0], PHOTOS[1][:20]])
    refused("^image_size: expected a size where images differ.*20 x 32 to 32 x 32$", Dataset.from_folder, tmp_path)
    data = Dataset.from_folder(tmp_path, image_size=48, fit="pad", held_out=0)
    assert data.event_shape == (48, 48, 3) and "32 x 32 and 1 other sizes, padded to 48 x 48 (--fit=pad)" in data.note
    assert Dataset.from_folder(tmp_path, image_size=(32, 64), held_out=0).event_shape == (32, 64, 3)


def test_which_images_had_another_size_is_known(tmp_path):
    """Of each part, in the order of `stored`."""
    pixels = [image[: 32 - 8 * (number % 3 == 0)] for number, image in enumerate(PHOTOS)]
    data = Dataset.from_folder(save_folder(tmp_path, pixels), image_size=32, held_out=0.5)
    whole = rows([image for image in pixels if image.shape[0] == 32])
    for part in ("train", "held_out"):
        expected = [image.tobytes() not in whole for image in data.stored(part)]
        assert data.resized(part).tolist() == expected and 0 < sum(expected) < 30
        assert data.resized(part, 7).tolist() == expected[:7]
    for size in (32, 48):
        assert Dataset.from_array(PHOTOS, image_size=size).resized("held_out").tolist() == [size == 48] * 6
    assert Dataset.from_array(VECTORS).resized("held_out").tolist() == [False] * 20


def test_a_grey_folder_stays_grey(tmp_path):
    save_folder(tmp_path / "grey", PHOTOS[:4, ..., :1])
    assert Dataset.from_folder(tmp_path).event_shape == (32, 32, 1)
    assert Dataset.from_folder(tmp_path, channels=3).event_shape == (32, 32, 3)
    save_folder(tmp_path / "colour", PHOTOS[:1])
    assert Dataset.from_folder(tmp_path).event_shape == (32, 32, 3)


def test_an_unreadable_file_is_named_before_training(tmp_path):
    save_folder(tmp_path, PHOTOS[:3])
    whole = (tmp_path / "00001.png").read_bytes()
    for content in (b"no image", whole[:-1500]):
        (tmp_path / "00001.png").write_bytes(content)
        match = r"^path: expected images that Pillow can read.*00001\.png"
        refused(match, Dataset.from_folder, tmp_path, held_out=0)
        (tmp_path / "00002.png").write_bytes(content)
        match = r"Received: 2 of 3 that it cannot: .*00001\.png: .*; .*00002\.png: "
        refused(match, Dataset.from_folder, tmp_path, held_out=0)
        (tmp_path / "00002.png").write_bytes(whole)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_spectrum_of_any_number_of_channels(channels):
    pixels = RNG.integers(0, 256, (40, 32, 48, channels), np.uint8)
    mean, factor = noise_spectrum(Dataset.from_array(pixels, held_out=0))
    assert mean.shape == (32, 48, channels) and factor.shape == (32, 48, channels, channels)
    np.testing.assert_allclose(mean, pixels.mean(axis=0) / 127.5 - 1, atol=1e-5)
    power = np.einsum("klij,klij->", factor, factor)  # Parseval
    x = pixels / 127.5 - 1
    assert power == pytest.approx(40 * x.var(axis=0).sum() / 40, rel=1e-3)


def test_pictures(tmp_path):
    for data, size in ((Dataset.from_array(PHOTOS), None), (Dataset.from_array(PHOTOS[..., :1]), None)):
        data.picture(data.held_out(), tmp_path / "images.png")
        assert Image.open(tmp_path / "images.png").width == 2 * (8 * 33 - 1), size
    for x in (VECTORS, VECTORS[:, :1]):
        data = Dataset.from_array(x)
        data.picture(data.held_out(), tmp_path / "points.png", "20 chains")
        assert Image.open(tmp_path / "points.png").width == 600


def test_a_table_is_drawn_in_its_units(tmp_path, monkeypatch):
    drawn = []

    def savefig(figure, path):
        drawn.append(figure.axes[0])
        path.touch()

    monkeypatch.setattr(pictures.Figure, "savefig", savefig)
    data = Dataset.from_table({"height": 170 + 10 * VECTORS[:, 0], "weight": 0.01 * VECTORS[:, 1]})
    data.picture(data.held_out(), tmp_path / "points.png")
    (axes,) = drawn
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("height", "weight")
    np.testing.assert_allclose(axes.collections[0].get_offsets(), data.to_stored(data.held_out()), rtol=1e-5)
    assert axes.get_ylim() == pytest.approx((data.mean[1] - 4 * data.scale[1], data.mean[1] + 4 * data.scale[1]))


# What is refused.

BAD_ARRAYS = {
    "integers": (np.ones((5, 3), np.int64), r"int64 \[5, 3\]; x\.astype\(np\.float32\) makes floats of it$"),
    "truths": (np.ones((5, 3), bool), "bool"),
    "objects": (np.array([[1, None]], object), "object"),
    "texts": (np.array([["a", "b"]]), "<U1"),
    "one axis": (np.ones(5), r"float64 \[5\]"),
    "five axes": (np.ones((1, 2, 3, 4, 5)), "float64"),
    "none": (np.ones((0, 3)), r"at least one example.*\[0, 3\]"),
    "one row": (VECTORS[:1], "at least 2 examples beside those held out.* array with 1, 1 of them held out$"),
    "two rows": (VECTORS[:2], "at least 2 examples .* array with 2, 1 of them held out$"),
    "one image": (PHOTOS[:1], "at least 2 examples .* array with 1, 1 of them held out$"),
    "two channels": (np.zeros((5, 32, 32, 2)), "1, 3 or 4 channels"),
    "channels first": (np.zeros((5, 3, 32, 32), np.uint8), r"x\.transpose\(0, 2, 3, 1\)"),
    "bytes as vectors": (np.zeros((5, 3), np.uint8), "vectors as floats"),
    "NaN": (np.where(np.eye(5)[:, :3] > 0, np.nan, 1.0) * 1.0, r"nan in row 0, column 0 \(from 0\)$"),
    "infinity": (np.float32([[1, 2], [3, np.inf]]), r"inf in row 1, column 1"),
    "NaN image": (np.full((2, 32, 32, 1), np.nan), r"nan in row 0, column 0, 0, 0"),
    "[0, 1]": (PHOTOS / 255, r"\[-1, 1\]\. Received: array in \[0, 1\]; if that is \[0, 1\], 2 \* x - 1"),
    "[0, 255]": (PHOTOS * 1.0, r"\[-1, 1\].*\[0, 255\], np\.rint\(x\)\.astype\(np\.uint8\)"),
    "standardised images": (PHOTOS / 60.0 - 2, r"float images in \[-1, 1\]\. Received"),
    "more than float32 holds": (VECTORS * 1e300, r"finite numbers, as float32 holds them.*e\+\d+ in row 0, column 0"),
    "a masked array": (np.ma.masked_less(VECTORS, 0), "a MaskedArray$"),
    "a constant column": (np.stack([VECTORS[:, 0], np.ones(200)], 1), "columns that vary.*constant in column 1;"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_arrays_that_are_refused(name):
    x, match = BAD_ARRAYS[name]
    refused(f"^x: expected .*{match}", Dataset.from_array, x)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("x", [VECTORS, PHOTOS])
def test_a_share_that_leaves_nothing_to_train_is_refused(x, count):
    text = f"^x: expected at least 2 examples beside those held out. Received: array with {count}, "
    refused(text, Dataset.from_array, x[:count], held_out=0.9)


@pytest.mark.parametrize("image_size", [0, -5, 32.0, "32", (32, 32, 3), (32, 0), [32, "a"]])
def test_sizes_that_are_refused(image_size):
    refused("^image_size: expected a side, or height and width", Dataset.from_array, PHOTOS, image_size=image_size)
    assert Dataset.from_array(PHOTOS, image_size=np.int64(48)).event_shape[:2] == (48, 48)


def test_too_few_images_of_a_folder_are_refused(tmp_path):
    folder = save_folder(tmp_path / "photos", PHOTOS[:1])
    refused("^path: expected at least 2 examples .*photos with 1, 1 of", Dataset.from_folder, folder)
    assert Dataset.from_array(VECTORS[:2], held_out=0).num_examples == 2


def test_files_of_arrays_that_are_refused(tmp_path):
    np.savez(tmp_path / "two.npz", a=VECTORS, b=VECTORS)
    np.save(tmp_path / "object.npy", np.array([1, None], object))
    (tmp_path / "text.npy").write_text("x")
    (tmp_path / "text.npz").write_text("x")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name, match in {
        "gone.npy": "which does not exist$",
        "two.npz": "two.npz with a, b$",
        "object.npy": "an object array, ",
        "text.npy": "text.npy: ",
        "text.npz": "text.npz: ",
        "empty.npy": "empty.npy: ",
    }.items():
        refused(f"^--dataset: expected a .npy file, or a .npz.*{match}", arrays.read, str(tmp_path / name))


TABLES = {
    "a,b\n1,2\n3,\n": r"a missing value in row 2 \(from 1\), column b$",
    "a,b\n1,NA\n3,4\n": r"a missing value in row 1 \(from 1\), column b$",
    "a,b\n1,inf\n3,4\n": r"inf in row 1 \(from 1\), column b$",
    "a,b\n1,1e300\n3,4\n": r"1e\+300 in row 1 \(from 1\), column b$",
    "a,city\n1,Rome\n2,Oslo\n": r"text in city \('Rome' in city\); columns=a leaves them out$",
    "1,2\n3,4\n": "first line with different names",
    "a,a\n3,4\n": "first line with different names",
    "a,b\n3\n": "2 columns in every row.* with 1 in row 1$",
    "": "which is empty$",
    "a,b\n": "with none$",
    "a,b\n1,2\n": "at least 2 examples .* with 1, 1 of them held out$",
    "a,b\n1,5\n2,5\n3,5\n4,5\n": "constant in column b; leave it out by columns$",
}


@pytest.mark.parametrize("text", TABLES)
def test_tables_that_are_refused(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    refused(f"^(table|columns): expected .*{TABLES[text]}", Dataset.from_table, tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"a": [1, 2, 3], "b": [1, 2]}, r"columns of one length, \[N\] each.*a of \[3\], b of \[2\]$"),
        ({"a": np.ones((3, 2)), "b": np.ones((3, 2))}, r"\[N\] each.*a of \[3, 2\]"),
        ({}, "with none$"),
        ({"a": np.ma.masked_equal([1.0, 2.0, 3.0], 2), "b": [1, 5, 2]}, r"a missing value in row 2 .*, column a$"),
    ],
)
def test_mappings_that_are_refused(table, match):
    refused(f"^table: expected .*{match}", Dataset.from_table, table)


def test_the_ending_of_a_table_may_be_in_capitals(tmp_path):
    (tmp_path / "X.CSV").write_text("a,b\n1,2\n3,5\n4,4\n")
    assert Dataset.from_table(tmp_path / "X.CSV").columns == ["a", "b"]


def test_columns_are_chosen(tmp_path):
    (tmp_path / "x.csv").write_text("a;b;name\n1;2,5;u\n3;4;v\n5;0;w\n".replace("2,5", "2.5"))
    x, names = tables.read(tmp_path / "x.csv", ["b", "a"])
    np.testing.assert_array_equal(x, [[2.5, 1], [4, 3], [0, 5]])
    data = Dataset.from_table(tmp_path / "x.csv", ["b", "a"])
    assert data.columns == names == ["b", "a"] and data.event_shape == (2,)
    refused("^--columns: expected columns of table: a, b, name. Received: c$", tables.read, tmp_path / "x.csv", ["c"])
    refused("^--dataset: expected a table. Received.*not exist", tables.read, tmp_path / "gone.csv")
    refused("^--dataset: expected a .csv, .tsv or .parquet", tables.read, tmp_path / "x.xls")
    same = Dataset.from_table({"a": VECTORS[:, 0], "b": VECTORS[:, 1]})
    assert same.columns == ["a", "b"]


def test_parquet(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"a": [1.0, 2.0, 3.0], "b": [1, 5, 2], "t": ["x", "y", "z"], "n": [1.0, None, 2.0]})
    parquet.write_table(table, tmp_path / "x.parquet")
    x, _ = tables.read(tmp_path / "x.parquet", ["b", "a"])
    np.testing.assert_array_equal(x, [[1, 1], [5, 2], [2, 3]])
    refused("^--columns: expected columns of numbers.*text in t", tables.read, tmp_path / "x.parquet", ["a", "t"])
    refused(r"^--dataset: .*missing value in row 2 \(from 1\), column n$", tables.read, tmp_path / "x.parquet", ["n"])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    refused("^--dataset: expected a table", tables.read, tmp_path / "bad.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused("^--dataset: expected the package pyarrow.*no such package$", tables.read, tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"dataset": "mnist"}, "^--dataset: expected one of rings, cifar10, .*tfds:NAME, folder:PATH"),
        ({"dataset": "/my/photos"}, "^--dataset: expected one of"),
        ({"dataset": "folder:"}, "^--dataset: expected one of"),
        ({"dataset": "array:x.npy", "columns": "a"}, "^--columns: expected None"),
        ({"dataset": "array:x.npy", "train_split": "all"}, "^--train_split: expected train"),
        ({"dataset": "array:x.npy", "image_size": 28}, "^--image_size: expected a multiple of 16"),
        ({"dataset": "array:x.npy", "fit": "tile"}, "^--fit: expected one of crop, pad, stretch"),
        ({"dataset": "cifar10", "fit": "pad"}, "^--fit: expected None"),
        ({"held_out": 1.0}, "^--held_out: expected a share"),
    ],
)
def test_settings_that_are_refused(settings, match):
    refused(match, TrainConfig, **settings)


def test_settings_for_images_are_refused_for_vectors(tmp_path):
    np.save(tmp_path / "x.npy", VECTORS)
    for settings in ({"attention": False}, {"image_size": 32}, {"fit": "pad"}):
        (name,) = settings
        config = TrainConfig(dataset=f"array:{tmp_path}/x.npy", **settings)
        refused(f"^--{name}: expected .* no images", build.dataset, config)
    refused("^fit: expected None .* no images", Dataset.from_array, VECTORS, fit="pad")


def test_fewer_examples_than_a_batch():
    refused(r"^--batch_size: expected at most 180\. Received", Dataset.from_array(VECTORS).batches, 181, 0)


def test_old_settings_mean_what_they_meant():
    assert TrainConfig().image_size == 32
    assert TrainConfig().event_shape == (32, 32, 3)
    old = {name: value for name, value in TrainConfig().to_dict().items() if name not in ("fit", "columns", "held_out")}
    assert TrainConfig.from_dict(old) == TrainConfig()


def test_the_tensor_in_memory_is_kept_once():
    memory = stores.Memory(PHOTOS)
    assert np.shares_memory(memory._x, np.asarray(memoryview(memory.tensor)))
    assert isinstance(memory.tensor, tf.Tensor) and resource.getpagesize() > 0

"""Where images come from: data sets prepared for TFDS by the tests, SVHN's one split, and folders of images."""

import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
from PIL import Image, ImageOps

from ebm_tf import build
from ebm_tf.data import images, svhn
from ebm_tf.data.base import Dataset
from ebm_tf.data.crop import fit
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.finished import FinishedRun
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import TrainConfig


def noise_image(height, width, seed=0, channels=3):
    shape = (height, width, 3)[: 2 + (channels == 3)]
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def smooth_image(height, width):
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / 9) + np.cos(columns / 7), np.sin(columns / 23), np.cos(rows / 5)]
    return np.uint8(np.stack(waves, -1) * 60 + 128)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def prepare(folder, name, splits, feature=None, version="1.0.0", texts=()):
    """Prepares a data set for TFDS in folder: splits maps a split's name to its images (arrays or encoded files).

    TFDS reads a data set it knows by its own list of features: texts names the texts on it.
    """

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)

        def _info(self):
            features = {"image": feature or tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=10)}
            features |= {text: tfds.features.Text() for text in texts}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(values) for split, values in splits.items()}

        def _generate_examples(self, values):
            for i, value in enumerate(values):
                image = io.BytesIO(value) if isinstance(value, bytes) else value
                yield i, {"image": image, "label": 3, **{text: str(i) for text in texts}}

    Tiny.name = name
    Tiny(data_dir=folder).download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))


def sorted_images(pixels):
    """TFDS shuffles a split once, when it prepares it."""
    return pixels[np.lexsort(pixels.reshape(len(pixels), -1).T)]


# The crop.


@pytest.mark.parametrize("make", [noise_image, smooth_image])
@pytest.mark.parametrize(("height", "width"), [(90, 61), (61, 90), (500, 667), (20, 45), (33, 32), (1, 3)])
@pytest.mark.parametrize("image_size", [32, 48])
def test_crop_is_pillows_antialiased_centre_crop(make, height, width, image_size):
    pixels = make(height, width)
    reference = ImageOps.fit(Image.fromarray(pixels), (image_size, image_size), Image.Resampling.BILINEAR)
    ours = fit(pixels, (image_size, image_size)).numpy()
    assert np.abs(ours.astype(int) - np.asarray(reference)).max() <= 1  # Pillow rounds twice, once per axis


def test_a_square_is_only_resized():
    pixels = noise_image(77, 77)
    reference = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(fit(pixels, (32, 32)).numpy().astype(int) - np.asarray(reference)).max() <= 1


def test_an_image_that_fits_stays_as_it_is():
    pixels = noise_image(32, 32)
    np.testing.assert_array_equal(fit(pixels, (32, 32)), pixels)


def test_crop_sees_what_a_stretch_or_a_corner_would_get_wrong():
    """The comparison with Pillow must reject what it is there to reject."""
    pixels = Image.fromarray(smooth_image(61, 90))
    ours = fit(np.asarray(pixels), (32, 32)).numpy().astype(int)
    stretched = pixels.resize((32, 32), Image.Resampling.BILINEAR)
    corner = pixels.crop((0, 0, 61, 61)).resize((32, 32), Image.Resampling.BILINEAR)
    aliased = ImageOps.fit(pixels, (32, 32), Image.Resampling.NEAREST)
    for wrong in (stretched, corner, aliased):
        assert np.abs(ours - np.asarray(wrong)).max() > 5


def test_crop_does_not_favour_a_side():
    pixels = noise_image(40, 71)
    flipped = fit(pixels[:, ::-1], (32, 32)).numpy()[:, ::-1]
    assert np.abs(flipped.astype(int) - fit(pixels, (32, 32)).numpy()).max() <= 1


def test_a_very_long_image_costs_no_memory():
    pixels = np.full((1, 200_000, 3), 7, np.uint8)  # 32 x 6,400,000 if it were resized whole
    assert (fit(pixels, (32, 32)).numpy() == 7).all()


# Data sets of TFDS.


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    squares = [noise_image(32, 32, seed) for seed in range(5)]
    oblongs = [noise_image(40 + 9 * seed, 61, seed) for seed in range(6)]
    flowers = {"train": oblongs[:2], "validation": oblongs[2:3], "test": oblongs[3:]}
    prepare(folder, "oxford_flowers102", flowers, version="2.1.1", texts=["file_name"])
    prepare(folder, "squares", {"train": squares[:3], "test": squares[3:]}, tfds.features.Image(shape=(32, 32, 3)))
    grey = [noise_image(32, 32, seed, channels=1)[..., None] for seed in range(4)]
    prepare(folder, "grey", {"test": grey}, tfds.features.Image(shape=(32, 32, 1)))
    prepare(folder, "vectors", {"test": [np.zeros(5, np.float32)]}, tfds.features.Tensor(shape=(5,), dtype=np.float32))
    prepare(folder, "corrupt", {"test": [png(squares[0]), b"no picture"]})
    prepare(folder, "cut_short", {"test": [png(squares[0]), png(squares[1])[:-1500]]})
    return folder


def test_splits_can_be_joined(prepared):
    splits = ("train", "validation", "train+validation")
    one, two, both = (images.load("oxford_flowers102", split, str(prepared), 32) for split in splits)
    assert [len(one), len(two), len(both)] == [2, 1, 3]
    assert both.dtype == np.uint8
    np.testing.assert_array_equal(both, np.concatenate([one, two]))


@pytest.mark.parametrize("train_split", ["train+validation", "test", "test[1:]+train"])
def test_train_split_trains_and_nothing_else(prepared, train_split):
    pixels = images.load("oxford_flowers102", train_split, str(prepared), 32)
    config = TrainConfig(
        dataset="oxford_flowers102", train_split=train_split, data_dir=str(prepared), batch_size=len(pixels)
    )
    for batch in build.make_dataset(config).take(3).as_numpy_iterator():
        np.testing.assert_array_equal(sorted_images(images.to_uint8(batch)), sorted_images(pixels))


def test_part_of_a_split(prepared):
    whole = images.load("squares", "train", str(prepared), 32)
    np.testing.assert_array_equal(images.load("squares", "train[1:]", str(prepared), 32), whole[1:])


def test_what_lies_in_tfdss_own_folder_is_not_downloaded(prepared, monkeypatch):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(prepared))
    there = images.load("oxford_flowers102", "train", str(prepared), 32)
    np.testing.assert_array_equal(images.load("oxford_flowers102", "train", None, 32), there)


def test_images_of_the_right_size_are_the_files(prepared):
    expected = np.stack([noise_image(32, 32, seed) for seed in (3, 4)])
    pixels = images.load("squares", "test", str(prepared), 32)
    np.testing.assert_array_equal(sorted_images(pixels), sorted_images(expected))


def test_images_of_many_sizes_are_cropped(prepared):
    expected = np.stack([fit(noise_image(40 + 9 * seed, 61, seed), (48, 48)) for seed in (3, 4, 5)])
    pixels = images.load("oxford_flowers102", "test", str(prepared), 48)
    np.testing.assert_array_equal(sorted_images(pixels), sorted_images(expected))


def test_grey_images_have_three_equal_channels(prepared):
    pixels = images.load_any("grey", str(prepared), 32)
    expected = np.stack([np.repeat(noise_image(32, 32, seed, channels=1)[..., None], 3, -1) for seed in range(4)])
    np.testing.assert_array_equal(sorted_images(pixels), sorted_images(expected))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("squares/validation", r"^--ood_data: expected squares/validation prepared for TFDS\. Received: .*validation"),
        ("squares/train[", r"^--ood_data: expected squares/train\[ prepared"),
        ("vectors", r"^--ood_data: expected vectors/test prepared for TFDS\. Received: vectors has no images"),
        ("corrupt", r"^--ood_data: expected corrupt/test prepared for TFDS\. Received: cannot identify image file$"),
        ("cut_short", r"^--ood_data: expected cut_short/test prepared for TFDS\. Received: .*truncated"),
        ("mnist", r"^--data_dir: expected a folder with TFDS data sets, among them mnist\. Received"),
        ("a/b/c", r"^--ood_data: expected NAME or NAME/SPLIT of TFDS, or a folder\. Received: ood_data=a/b/c$"),
        ("/no/such", r"^--ood_data: expected NAME or NAME/SPLIT of TFDS, or a folder\. Received: ood_data=/no/such$"),
        ("", r"^--ood_data: expected NAME or NAME/SPLIT of TFDS, or a folder\. Received: ood_data=$"),
        ("svhn_cropped/train", r"^--data_dir: expected a folder"),
    ],
)
def test_a_bad_source_is_one_line(prepared, source, message):
    with pytest.raises(ConfigError, match=message) as error:
        images.load_any(source, str(prepared), 32)
    assert "\n" not in str(error.value)


def test_a_truncated_record_file_is_one_line(tmp_path):
    prepare(tmp_path, "short", {"test": [noise_image(32, 32, seed) for seed in range(4)]})
    (file,) = tmp_path.rglob("*.tfrecord*")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"^--data_dir: expected short/test prepared for TFDS\. Received: ") as error:
        images.load("short", "test", str(tmp_path), 32)
    assert "\n" not in str(error.value)


def test_a_share_is_refused_where_a_split_is_held_out(prepared):
    settings = dict(data_dir=str(prepared), batch_size=3, held_out=0.2)
    config = TrainConfig(dataset="tfds:squares", **settings)
    with pytest.raises(ConfigError, match=r"^--held_out: expected 0.1 for tfds:squares, whose test is held out"):
        build.check_held_out(config, build.dataset(config))


def test_any_data_set_of_tfds_trains(prepared):
    """Its own split test is held out, and a share where there is none; grey images stay grey."""
    squares = build.dataset(TrainConfig(dataset="tfds:squares", data_dir=str(prepared), batch_size=3))
    batch = next(iter(squares.batches(3, 0))).numpy()
    np.testing.assert_array_equal(
        sorted_images(images.to_uint8(batch)), sorted_images(np.stack([noise_image(32, 32, i) for i in range(3)]))
    )
    test = images.load("squares", "test", str(prepared), 32)
    np.testing.assert_array_equal(squares.to_stored(squares.held_out()), test)
    np.testing.assert_array_equal(squares.stored("test"), test)
    assert (squares.train_name, squares.held_out_name) == ("train", "test")
    everything = Dataset.from_tfds("squares", "all", str(prepared), held_out=0.4)  # all is TFDS's name of every split
    assert len(everything.stored("train")) == 3 and len(everything.held_out()) == 2
    for data in (squares, everything):  # of 32 x 32
        assert data.resized("held_out").tolist() == data.resized("train")[:2].tolist() == [False] * 2
    small = Dataset.from_tfds("squares", "train", str(prepared), 16)
    assert small.resized("held_out").tolist() == [True] * 2 and small.resized("train", 1).tolist() == [True]
    assert Dataset.known("squares", "train", "test", str(prepared), 48).resized("test").all()
    grey = Dataset.from_tfds("grey", "test", str(prepared), held_out=0.5)
    assert grey.event_shape == (32, 32, 1) and len(grey.stored("train")) == len(grey.held_out()) == 2
    both = np.concatenate([grey.stored("train"), grey.to_stored(grey.held_out())])[..., 0]
    np.testing.assert_array_equal(
        sorted_images(both), sorted_images(np.stack([noise_image(32, 32, i, channels=1) for i in range(4)]))
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "tfds:oxford_flowers102"}, "^--image_size: expected a size where images differ"),
        ({"dataset": "tfds:mnist"}, "^--data_dir: expected a folder with TFDS data sets, among them mnist"),
        ({"dataset": "tfds:vectors", "train_split": "test"}, "^--train_split: expected .*has no images"),
        ({"dataset": "tfds:squares", "train_split": "valid"}, "^--train_split: expected squares/valid prepared"),
        ({"dataset": "tfds:cut_short", "train_split": "test"}, "^--train_split: expected cut_short/test prepared"),
    ],
)
def test_data_sets_of_tfds_that_cannot_train(prepared, settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        build.make_dataset(TrainConfig(data_dir=str(prepared), batch_size=1, **settings))
    assert "\n" not in str(error.value)


# SVHN.


@pytest.fixture
def svhn_site(tmp_path, monkeypatch):
    """A folder as SVHN's site, with a test file of four images alone, and an empty folder as TFDS's own."""
    pixels = np.stack([noise_image(32, 32, seed) for seed in range(4)])
    site = tmp_path / "site"
    site.mkdir()
    scipy.io.savemat(site / "test_32x32.mat", {"X": np.moveaxis(pixels, 0, -1), "y": np.uint8([[1], [9], [10], [3]])})
    monkeypatch.setattr(svhn, "URL", f"file://{site}/test_32x32.mat")
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
    return pixels


def test_only_svhns_test_file_is_downloaded(svhn_site, tmp_path):
    pixels = images.load_any("svhn_cropped", None, 32)
    np.testing.assert_array_equal(sorted_images(pixels), sorted_images(svhn_site))
    files = [path.name for path in (tmp_path / "tfds").rglob("*.mat") if path.is_file()]
    assert len(files) == 1
    assert "extra" not in files[0]
    assert not (tmp_path / "tfds" / "svhn_cropped").exists()  # TFDS would take it for the whole


def test_svhn_is_downloaded_once(svhn_site, tmp_path):
    first = images.load("svhn_cropped", "test", None, 32)
    (tmp_path / "site" / "test_32x32.mat").unlink()
    np.testing.assert_array_equal(images.load("svhn_cropped", "test", None, 32), first)


def test_a_whole_svhn_that_is_there_is_read(svhn_site, tmp_path):
    prepare(tmp_path / "tfds", "svhn_cropped", {"test": [noise_image(32, 32, 9)]}, version="3.1.0", texts=["id"])
    pixels = images.load("svhn_cropped", "test", None, 32)
    np.testing.assert_array_equal(pixels, noise_image(32, 32, 9)[None])
    assert not list((tmp_path / "tfds").rglob("*.mat"))


def test_svhn_is_checked_by_tfdss_sum(svhn_site, monkeypatch):
    real = svhn.SvhnCroppedTest.url_infos["http://ufldl.stanford.edu/housenumbers/test_32x32.mat"]
    assert int(real.size) == 64_275_384
    monkeypatch.setattr(svhn.SvhnCroppedTest, "url_infos", {svhn.URL: real})
    with pytest.raises(ConfigError, match=r"^--data_dir: expected svhn_cropped/test prepared for TFDS") as error:
        images.load("svhn_cropped", "test", None, 32)
    assert "checksum" in str(error.value.__cause__)


@pytest.mark.parametrize("split", ["train", "extra", "train+test"])
def test_other_splits_of_svhn_are_refused(svhn_site, split, tmp_path):
    with pytest.raises(ConfigError, match=r"^--ood_data: expected svhn_cropped/test, the only split that is read"):
        images.load_any(f"svhn_cropped/{split}", None, 32)
    assert not (tmp_path / "tfds").exists()


# Folders.


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path):
    pixels = {name: noise_image(32, 32, seed) for seed, name in enumerate(("a.png", "b/c.bmp", "b/d.tiff", "e.PNG"))}
    for name in reversed(pixels):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels[name]).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._a.png").write_bytes(b"what some systems leave behind")
    np.testing.assert_array_equal(images.load_any(str(tmp_path), None, 32), np.stack(list(pixels.values())))


def test_a_folder_is_cropped_as_a_data_set_is(tmp_path):
    pixels = noise_image(50, 83)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(images.load_any(str(tmp_path), None, 48), fit(pixels, (48, 48))[None])


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    image = Image.fromarray(noise_image(32, 32)).convert(mode)
    image.save(tmp_path / ("a.tiff" if mode == "CMYK" else "a.png"))
    np.testing.assert_array_equal(images.load_any(str(tmp_path), None, 32)[0], np.asarray(image.convert("RGB")))


def test_a_cameras_rotation_is_applied(tmp_path):
    pixels = noise_image(32, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter, clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(images.load_any(str(tmp_path), None, 32)[0], np.rot90(pixels, -1))


def bomb():
    """A PNG whose header claims 30,000 x 30,000 pixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(10))), (b"IEND", b"")]
    file = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        file += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return file


def thirty_two_bits():
    file = io.BytesIO()
    Image.fromarray(np.full((32, 32), 40_000, np.int32)).save(file, "TIFF")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no picture", "cannot identify image file"),
        (b"", "cannot identify image file"),
        (png(noise_image(32, 32))[:-1500], "truncated"),
        (bomb(), "decompression bomb"),
        (thirty_two_bits(), "more than 16 bits per channel"),
    ],
    ids=["text", "empty", "truncated", "bomb", "thirty_two_bits"],
)
def test_an_unreadable_image_is_named(tmp_path, content, reason):
    Image.fromarray(noise_image(32, 32)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(content)
    message = rf"^--input: expected images that Pillow can read\. Received: {tmp_path}/b\.png: .*{reason}"
    with pytest.raises(ConfigError, match=message) as error:
        images.load_any(str(tmp_path), None, 32, flag="input")
    assert "\n" not in str(error.value)


def test_unreadable_images_are_named_at_once(tmp_path):
    """How many, and the first three."""
    for name in "abcdef":
        Image.fromarray(noise_image(32, 32)).save(tmp_path / f"{name}.png")
    for name in "bdef":
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
        found = [f"{tmp_path}/{bad}.png: " for bad in "bdef" if bad <= name]
        with pytest.raises(ConfigError) as error:
            images.load_any(str(tmp_path), None, 32)
        received = str(error.value).partition("Received: ")[2]
        assert [part in received for part in found] == [True, True, True, False][: len(found)]
        assert received.startswith(f"{len(found)} of 6 that it cannot: " if len(found) > 1 else found[0])
        listed = received.removesuffix("; remove what is damaged")
        assert listed != received and listed.endswith("; ...") == (len(found) > 3) and "\n" not in received


def test_an_empty_folder_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    message = rf"^--ood_data: expected a folder of images\. Received: {tmp_path}, which holds none$"
    with pytest.raises(ConfigError, match=message):
        images.load_any(str(tmp_path), None, 32)


def test_data_of_a_run_that_are_gone_are_named_by_a_flag_that_the_command_has(tmp_path):
    run = FinishedRun(RunDir(tmp_path), TrainConfig(dataset=f"array:{tmp_path}/x.npy"), RunDir(tmp_path).model)
    with pytest.raises(ConfigError, match=r"^--workdir: expected its data, array:.*x\.npy: a \.npy file.*not exist"):
        run.data(None)

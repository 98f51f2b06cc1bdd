"""Settings of the data that train."""

import dataclasses
import os
import pathlib

from ebm_tf.errors import ConfigError
from ebm_tf.settings.fields import COUNT, NOT_NEGATIVE, SHARE, Role, Settings, bad_setting, setting
from ebm_tf.settings.presets import PRESETS

__all__ = [
    "IMAGE_SPLITS",
    "RINGS",
    "SOURCES",
    "DataConfig",
    "check_data_dir",
    "is_tfds",
    "kind_of",
    "path_of",
    "set_names",
]

RINGS = "rings"
# The image data sets that train by their names, with their splits.
IMAGE_SPLITS = {"cifar10": ("train", "test"), "oxford_flowers102": ("train", "validation", "test")}
# Other data, KIND:SOURCE, which ebm_tf/data/sources/KIND.py opens.
SOURCES = {
    "tfds": "tfds:NAME",
    "folder": "folder:PATH",
    "array": "array:FILE",
    "table": "table:FILE",
}
IMAGE_SIZE = 32  # of those
FITS = ("crop", "pad", "stretch")


def kind_of(dataset: str) -> str:
    """KIND of KIND:SOURCE; "" of a data set that is known by its name."""
    kind, colon, _ = dataset.partition(":")
    return kind if colon else ""


def is_tfds(dataset: str) -> bool:
    """Whether a data set that trains is one of TFDS's, which --data_dir says where to find."""
    return dataset in IMAGE_SPLITS or kind_of(dataset) == "tfds"


def check_data_dir(data_dir: str | None, dataset: str, ood_data: str | None = None) -> None:
    """Raises ConfigError where neither a run's data nor one of the sets of --ood_data are TFDS's.

    Where they are, a command takes the folder also when it has nothing to read there: where data lie is a fact of the
    machine, which one flag file may say to all commands on a run.
    """
    sets = set_names(ood_data).values() if ood_data else ()
    names = [f"tfds:{one}" for one in sets if not kind_of(one) and not os.path.isdir(path_of(one))]
    if data_dir is not None and not any(map(is_tfds, (dataset, *sets, *names))):
        raise bad_setting("data_dir", f"None, since data of {dataset} are not TFDS's", data_dir, "")


def path_of(source: str) -> pathlib.Path:
    """Where a source lies: FILE of array:FILE and table:FILE, else the source as a path."""
    return pathlib.Path(os.path.expanduser(source.partition(":")[2] if kind_of(source) in SOURCES else source))


def _as_source(path: str) -> str:
    """KIND:SOURCE of a path, by its ending, or where it is a folder; "" where that tells nothing."""
    endings = {".csv": "table", ".tsv": "table", ".parquet": "table", ".npy": "array", ".npz": "array"}
    kind = endings.get(pathlib.PurePath(path).suffix.lower()) or ("folder" if os.path.isdir(path) else "")
    return f"{kind}:{path}" if kind else ""


def set_names(ood_data: str) -> dict[str, str]:
    """name -> source of each of the sets of --ood_data: the last part of a folder, the name of a file without its
    ending, NAME, or NAME_SPLIT unless the split is test.

    Raises:
      ConfigError: none, or two of one name.
    """
    sources = [part.strip() for part in ood_data.split(",") if part.strip()]
    names = {}
    for source in sources:
        folder = pathlib.Path(os.path.expanduser(source))
        name = folder.resolve().name if os.path.isdir(folder) else source.removesuffix("/test").replace("/", "_")
        if kind_of(source) in ("array", "table"):
            name = path_of(source).stem
        names[name] = source
    if not sources or len(names) < len(sources) or set(names) & {"test", "train", "long_run", "in"}:
        expected = "sets separated by commas, of different names, none of them test, train, long_run or in"
        raise ConfigError(f"--ood_data: expected {expected}. Received: ood_data={ood_data}")
    return names


@dataclasses.dataclass(frozen=True)
class DataConfig(Settings):
    """What trains, and in which batches."""

    dataset: str = setting(
        "cifar10",
        f"Data to learn: {RINGS}, {', '.join(IMAGE_SPLITS)}, {', '.join(SOURCES.values())}; see docs/own_data.md.",
        "Sec. 3, A.1",
        role=Role.MODEL,
    )
    data_dir: str | None = setting(
        None, "Folder of prepared TFDS data sets. None: TFDS's own folder, and download.", role=Role.OPERATION
    )
    image_size: int | None = setting(
        None,
        "Height and width of images, a multiple of 16, 32 or more. None: 32 for cifar10 and the flowers; other images "
        "as they are, if they are alike, padded to multiples of 16.",
        unit="pixels",
        role=Role.MODEL,
    )
    fit: str | None = setting(
        None,
        "How images come to another size: crop scales the short side and cuts the long one, pad adds black around, "
        "stretch scales each side. None: crop, and pad without an image_size.",
        choices=FITS,
        role=Role.MODEL,
    )
    columns: str | None = setting(None, "Columns of a table to learn, separated by commas. None: all.", role=Role.MODEL)
    held_out: float = setting(
        0.1,
        "Share of the examples that does not train, to evaluate on; of data without a split for it.",
        role=Role.MODEL,
        range=SHARE,
    )
    train_split: str = setting(
        "train",
        "Splits of images that train, in TFDS's syntax, e.g. train+validation or train[:90%]. One is left out to test.",
        "Sec. 3",
        role=Role.MODEL,
    )
    data_noise: float = setting(
        0.0,
        "Standard deviation of Gaussian noise added to every data batch.",
        unit="pixels in [-1, 1], or standardised columns",
        role=Role.RESULT,
        range=NOT_NEGATIVE,
    )
    preset: str = setting(
        "density",
        "What the settings that no flag gives are made for, on data of one's own: a sharp density, or a smooth "
        "detector (docs/own_data.md). rings, cifar10 and the flowers have flag files instead.",
        choices=tuple(PRESETS),
        role=Role.MODEL,
    )
    batch_size: int = setting(
        100,
        "N: data per update, and chains per group. The hybrid runs 2N chains.",
        "Alg. 1",
        role=Role.MODEL,
        range=COUNT,
    )

    def _check(self) -> None:
        kind, source = kind_of(self.dataset), self.dataset.partition(":")[2]
        is_known = self.is_rings or self.dataset in IMAGE_SPLITS
        expected = f"one of {RINGS}, {', '.join(IMAGE_SPLITS)}, {', '.join(SOURCES.values())}"
        expected += f", here {meant}" if not kind and (meant := _as_source(self.dataset)) else ""
        self._require("dataset", is_known or (kind in SOURCES and bool(source)), expected)
        if self.is_rings:
            if self.image_size == IMAGE_SIZE:  # what every run had once
                object.__setattr__(self, "image_size", None)
            return
        if is_known and self.image_size is None:
            object.__setattr__(self, "image_size", IMAGE_SIZE)
        if self.image_size is not None:
            self._require(
                "image_size",
                self.image_size >= 32 and self.image_size % 16 == 0,
                "a multiple of 16, 32 or more (the net halves it three times, then reads 4x4 patches)",
            )
        if is_known:
            splits = IMAGE_SPLITS[self.dataset]
            known = set(self._split_names()) <= set(splits)
            self._require("train_split", known, f"splits of {self.dataset} joined by +: " + ", ".join(splits))
            self._require("train_split", bool(self.test_split), f"to leave out one of {', '.join(splits)} to test")

    @property
    def is_rings(self) -> bool:
        """Whether the data are the rings of Sec. 3, and so no images."""
        return self.dataset == RINGS

    @property
    def image_fit(self) -> str:
        """How images come to another size: crop, pad or stretch."""
        return self.fit or ("pad" if self.image_size is None else "crop")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one x of the rings, CIFAR-10 and the flowers; of other data the Dataset and the energy have it.

        Raises:
          ConfigError: data of which settings do not tell.
        """
        if self.is_rings:
            return (10,)
        if self.dataset not in IMAGE_SPLITS or self.image_size is None:
            raise ConfigError(f"expected data whose shape is known. Received: dataset={self.dataset}")
        return (self.image_size, self.image_size, 3)

    @property
    def test_split(self) -> str:
        """Held-out images: the split test or, where that trains, all splits that train_split does not name."""
        rest = [name for name in IMAGE_SPLITS.get(self.dataset, ()) if name not in self._split_names()]
        return "test" if "test" in rest else "+".join(rest)

    def _split_names(self) -> list[str]:
        return [part.partition("[")[0].strip() for part in self.train_split.split("+")]

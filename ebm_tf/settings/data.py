"""Settings of the data that train."""

import dataclasses

from ebm_tf.settings.fields import COUNT, NOT_NEGATIVE, Role, Settings, setting

__all__ = ["DataConfig"]

RINGS = "rings"
# The image data sets that train, with their splits.
IMAGE_SPLITS = {"cifar10": ("train", "test"), "oxford_flowers102": ("train", "validation", "test")}


@dataclasses.dataclass(frozen=True)
class DataConfig(Settings):
    """What trains, and in which batches."""

    dataset: str = setting("cifar10", "Data to learn.", "Sec. 3, A.1", choices=(RINGS, *IMAGE_SPLITS), role=Role.MODEL)
    data_dir: str | None = setting(
        None, "Folder of prepared TFDS data sets. None: TFDS's own folder, and download.", role=Role.OPERATION
    )
    image_size: int = setting(32, "Height and width of images, a multiple of 16.", unit="pixels", role=Role.MODEL)
    train_split: str = setting(
        "train",
        "Splits of images that train, in TFDS's syntax, e.g. train+validation or train[:90%]. One is left out to test.",
        "Sec. 3",
        role=Role.MODEL,
    )
    data_noise: float = setting(
        0.0,
        "Standard deviation of Gaussian noise added to every data batch.",
        unit="pixel",
        role=Role.RESULT,
        range=NOT_NEGATIVE,
    )
    batch_size: int = setting(
        100,
        "N: data per update, and chains per group. The hybrid runs 2N chains.",
        "Alg. 1",
        role=Role.MODEL,
        range=COUNT,
    )

    def _check(self) -> None:
        if self.is_rings:
            return
        self._require(
            "image_size",
            self.image_size >= 32 and self.image_size % 16 == 0,
            "a multiple of 16, 32 or more (the net halves it three times, then reads 4x4 patches)",
        )
        splits = IMAGE_SPLITS[self.dataset]
        known = set(self._split_names()) <= set(splits)
        self._require("train_split", known, f"splits of {self.dataset} joined by +: " + ", ".join(splits))
        self._require("train_split", bool(self.test_split), f"to leave out one of {', '.join(splits)} to test")

    @property
    def is_rings(self) -> bool:
        """Whether the data are the rings of Sec. 3, and so no images."""
        return self.dataset == RINGS

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one x."""
        return (10,) if self.is_rings else (self.image_size, self.image_size, 3)

    @property
    def test_split(self) -> str:
        """Held-out images: the split test or, where that trains, all splits that train_split does not name."""
        rest = [name for name in IMAGE_SPLITS.get(self.dataset, ()) if name not in self._split_names()]
        return "test" if "test" in rest else "+".join(rest)

    def _split_names(self) -> list[str]:
        return [part.partition("[")[0].strip() for part in self.train_split.split("+")]

"""Every setting once: default, unit, section of the paper, and the check that a value must pass.

The dataclasses are frozen and know nothing but the standard library. `ebm_tf.flags` makes the command line from
their fields; configs/*.flags hold the paper's values. A bad value raises ConfigError, whose text says what was
expected, what was received, which flag to change, and where the paper speaks of it.
"""

import dataclasses
import enum
import math
from typing import Any

__all__ = [
    "ConfigError",
    "EvaluateConfig",
    "ReproduceConfig",
    "SampleConfig",
    "Scheme",
    "TrainConfig",
    "field_help",
]


class ConfigError(ValueError):
    """A setting that cannot be used. One line: expected, received, flag, section."""


class Scheme(str, enum.Enum):
    """Where the chains of training start (Sec. 3)."""

    DATA = "data"  # chain n starts at x^(n) of this batch: contrastive divergence
    NOISE = "noise"  # N(0, I): short-run MCMC
    PERSISTENT = "persistent"  # a batch of the bank, written back
    PERSISTENT_REFRESH = "persistent_refresh"  # the same, with 5 % restarted from noise
    HYBRID = "hybrid"  # noise and data together, Eq. 6

    def __str__(self) -> str:
        return self.value

    @property
    def has_bank(self) -> bool:
        return self in (Scheme.PERSISTENT, Scheme.PERSISTENT_REFRESH)


def _setting(default: Any, help: str, section: str = "", choices: tuple[str, ...] = (), unit: str = "") -> Any:
    metadata = {"help": help, "section": section, "choices": choices, "unit": unit}
    return dataclasses.field(default=default, metadata=metadata)


def field_help(field: dataclasses.Field) -> str:
    """The help text of one setting: what it is, its unit, where the paper speaks of it."""
    text = field.metadata["help"]
    if field.metadata["unit"]:
        text += f" Unit: {field.metadata['unit']}."
    if field.metadata["section"]:
        text += f" Paper: {field.metadata['section']}."
    return text


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run. Defaults are the paper's hybrid on CIFAR-10 where the paper names a value.

    Raises:
      ConfigError: on the first setting that cannot be used.
    """

    # Data.
    dataset: str = _setting("cifar10", "Data to learn.", "Sec. 3, A.1", choices=("rings", "cifar10"))
    data_dir: str | None = _setting(None, "Folder of prepared TFDS data sets. None: TFDS's own folder, and download.")
    image_size: int = _setting(32, "Height and width of images, a multiple of 16.", unit="pixels")
    data_noise: float = _setting(0.0, "Standard deviation of Gaussian noise added to every data batch.", unit="pixel")
    batch_size: int = _setting(100, "N: data per update, and chains per group. The hybrid runs 2N chains.", "Alg. 1")

    # Energy.
    num_filters: int = _setting(128, "n_f: width of the first layer.", "Sec. 3")
    attention: bool = _setting(True, "Non-local blocks at 16x16 and 8x8 (images only).", "Sec. 3")
    energy_scale: float = _setting(
        1.0, "The energy is energy_scale times the network's output. At energy_scale = T the network gives E/T.", "A.4"
    )
    dtype_policy: str = _setting(
        "float32",
        "Keras dtype policy of the network. Chains and energies stay float32.",
        choices=("float32", "mixed_bfloat16"),
    )

    # Chains.
    scheme: Scheme = _setting(Scheme.HYBRID, "Where chains start.", "Sec. 3", choices=tuple(s.value for s in Scheme))
    cd_weight: float | None = _setting(None, "lambda of Eq. 6, hybrid only. None: 25.", "Eq. 6, Sec. 3")
    num_steps: int = _setting(500, "L: Langevin steps per update.", "Sec. 3")
    step_size: float = _setting(1.0, "epsilon; the largest step under the adaptive rule.", "Eq. 9", unit="x^2/energy")
    step_ratio: float = _setting(
        1.0, "Steps of the rings' three wide coordinates over those of the seven narrow ones. 1: Eq. 9 as printed."
    )
    temperature: float = _setting(5e-5, "T. 0 is gradient descent.", "Eq. 9, Sec. 3", unit="energy")
    step_size_rule: str = _setting(
        "constant",
        "constant, or adaptive: min(step_size, 0.0005 / standard deviation of E over the data batch).",
        "Sec. 3",
        choices=("constant", "adaptive"),
    )
    bank_size: int = _setting(60_000, "Chains kept by the persistent schemes.", "Sec. 3")
    refresh_prob: float = _setting(0.05, "Share restarted from noise, persistent_refresh only.", "Sec. 3")
    refresh_unit: str = _setting(
        "batch",
        "What refresh_prob counts: whole batches (Methods) or single chains (Results).",
        "Sec. 3, Sec. 4.1",
        choices=("batch", "chain"),
    )

    # Optimisation.
    train_steps: int = _setting(50_000, "Parameter updates.", "Sec. 3")
    optimizer: str = _setting("adam", "Optimizer.", choices=("adam", "sgd"))
    learning_rate: float = _setting(1e-4, "eta: learning rate at the start.", "Alg. 1")
    learning_rate_schedule: str = _setting(
        "constant", "constant, or cosine: half a cosine down to 0 at train_steps.", choices=("constant", "cosine")
    )
    ema_momentum: float = _setting(0.0, "Momentum of the weight average that is saved in the end. 0: no average.")
    seed: int = _setting(0, "Seed of weights, data order and chains.")

    # The run.
    workdir: str | None = _setting(None, "Folder of this run, new or empty.")
    resume: bool = _setting(False, "Continue the run in workdir from its newest checkpoint.")
    log_every: int = _setting(50, "Updates between rows of metrics.jsonl and TensorBoard.")
    figure_every: int = _setting(1_000, "Updates between pictures of chain ends.")
    checkpoint_every: int = _setting(1_000, "Updates between checkpoints.")
    jit_compile: str = _setting(
        "auto", "Compile chains and gradient with XLA. auto: on a GPU.", choices=("auto", "true", "false")
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            choices = field.metadata["choices"]
            value = getattr(self, field.name)
            if choices and str(value) not in choices:
                raise _bad(field.name, "one of " + ", ".join(choices), value, field.metadata["section"])
        object.__setattr__(self, "scheme", Scheme(self.scheme))
        for name in ("batch_size", "num_filters", "num_steps", "bank_size", "train_steps", "log_every"):
            self._require(name, getattr(self, name) >= 1, "a whole number, 1 or more")
        for name in ("figure_every", "checkpoint_every"):
            self._require(name, getattr(self, name) >= 1, "a whole number, 1 or more")
        for name in ("step_size", "step_ratio", "learning_rate", "energy_scale"):
            self._require(name, 0 < getattr(self, name) < math.inf, "a finite number above 0")
        for name in ("temperature", "data_noise"):
            self._require(name, 0 <= getattr(self, name) < math.inf, "a finite number, 0 or more")
        self._require("seed", 0 <= self.seed < 2**31, "a whole number in [0, 2^31)")
        self._require("refresh_prob", 0 <= self.refresh_prob <= 1, "a probability in [0, 1]")
        self._require("ema_momentum", 0 <= self.ema_momentum < 1, "a number in [0, 1)")
        if self.cd_weight is not None:
            self._require("cd_weight", self.scheme is Scheme.HYBRID, f"None, since scheme {self.scheme} has no lambda")
            self._require("cd_weight", 0 <= self.cd_weight < math.inf, "a finite number, 0 or more")
        if self.scheme.has_bank:
            self._require("batch_size", self.batch_size <= self.bank_size, f"at most bank_size = {self.bank_size}")
        if self.dataset != "rings":
            self._require(
                "image_size",
                self.image_size >= 32 and self.image_size % 16 == 0,
                "a multiple of 16, 32 or more (the net halves it three times, then reads 4x4 patches)",
            )

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise _bad(name, expected, getattr(self, name), _sections()[name])

    @property
    def hybrid_cd_weight(self) -> float:
        """lambda of Eq. 6: 25 (Sec. 3) unless cd_weight says otherwise."""
        return 25.0 if self.cd_weight is None else self.cd_weight

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one x."""
        return (10,) if self.dataset == "rings" else (self.image_size, self.image_size, 3)

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return {**dataclasses.asdict(self), "scheme": self.scheme.value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """The inverse of to_dict. Raises ConfigError on an unknown or missing setting."""
        names = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - names):
            raise ConfigError(f"expected settings of TrainConfig. Received: unknown {', '.join(unknown)}")
        return cls(**values)


def _sections() -> dict[str, str]:
    return {field.name: field.metadata["section"] for field in dataclasses.fields(TrainConfig)}


def _bad(name: str, expected: str, value: Any, section: str) -> ConfigError:
    where = f" ({section})" if section else ""
    return ConfigError(f"--{name}: expected {expected}{where}. Received: {name}={value}")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Settings of bin/evaluate.py."""

    workdir: str = _setting("", "Folder of a finished run.")
    tasks: str = _setting("density,short_run", "Comma-separated: density (rings), short_run.")
    num_samples: int = _setting(5_000, "Chains of short_run.")
    seed: int = _setting(0, "Seed of the chains.")

    def __post_init__(self) -> None:
        if not self.workdir:
            raise ConfigError("--workdir: expected the folder of a finished run. Received: workdir=None")
        if self.num_samples < 1:
            raise _bad("num_samples", "a whole number, 1 or more", self.num_samples, "")
        for task in self.task_names:
            if task not in ("density", "short_run"):
                raise _bad("tasks", "density, short_run or both, separated by commas", self.tasks, "")

    @property
    def task_names(self) -> list[str]:
        return [task.strip() for task in self.tasks.split(",")]


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """Settings of bin/sample.py."""

    workdir: str = _setting("", "Folder of a finished run.")
    output: str = _setting("", "Folder for samples.npz and samples.png.")
    num_samples: int = _setting(64, "Chains.")
    num_steps: int | None = _setting(None, "L_test: Langevin steps. None: as in training.", "Sec. 3")
    step_size: float | None = _setting(None, "epsilon. None: as in training.", "Sec. 3", unit="x^2/energy")
    init: str = _setting("noise", "Where chains start.", "Sec. 3", choices=("noise", "data"))
    data_dir: str | None = _setting(None, "Folder of prepared TFDS data sets, for init=data. None: the run's.")
    seed: int = _setting(0, "Seed of the chains.")

    def __post_init__(self) -> None:
        for name in ("workdir", "output"):
            if not getattr(self, name):
                raise _bad(name, "a folder", None, "")
        if self.init not in ("noise", "data"):
            raise _bad("init", "noise or data", self.init, "Sec. 3")
        if self.num_samples < 1:
            raise _bad("num_samples", "a whole number, 1 or more", self.num_samples, "")
        if self.num_steps is not None and self.num_steps < 0:
            raise _bad("num_steps", "a whole number, 0 or more", self.num_steps, "Sec. 3")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise _bad("step_size", "a finite number above 0", self.step_size, "Eq. 9")


@dataclasses.dataclass(frozen=True)
class ReproduceConfig:
    """Settings of bin/reproduce.py."""

    artifact: str = _setting("fig2", "What to make.", "Fig. 2", choices=("fig2",))
    runs: str = _setting("", "Folder whose folders are finished runs of the five schemes.")
    output: str = _setting("", "Folder for the picture and its numbers.")

    def __post_init__(self) -> None:
        if self.artifact != "fig2":
            raise _bad("artifact", "fig2", self.artifact, "")
        for name in ("runs", "output"):
            if not getattr(self, name):
                raise _bad(name, "a folder", None, "")

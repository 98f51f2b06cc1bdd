"""Settings of a training run.

The dataclass is frozen and knows nothing but the standard library. `ebm_tf.cli.flags` makes the command line from its
fields; configs/*.flags hold the paper's values. A bad value raises ConfigError, whose text says what was expected, what
was received, which flag to change, and where the paper speaks of it.
"""

import dataclasses
import enum
import functools
import math
import re
import types
import typing
from typing import Any, NamedTuple

from ebm_tf.errors import ConfigError
from ebm_tf.settings.fields import bad_setting, setting, shortened
from ebm_tf.settings.presets import PRESETS

__all__ = ["Scheme", "Stage", "TrainConfig"]

# The image data sets that train, with their splits.
IMAGE_SPLITS = {"cifar10": ("train", "test"), "oxford_flowers102": ("train", "validation", "test")}


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


# What a stage of a run may set for itself.
STAGE_SETTINGS = (
    "train_steps",
    "optimizer",
    "learning_rate",
    "learning_rate_schedule",
    "learning_rate_end",
    "ema_momentum",
    "num_steps",
    "num_steps_start",
    "cd_weight",
    "bank_weight",
    "bank_size",
    "bank_start",
    "bank_burn_in",
    "bank_restart_data",
    "bank_restart_noise",
)


class Stage(NamedTuple):
    """A part of a run that has one optimizer.

    Attributes:
      name: in its checkpoint's manifest; "" where the whole run is one stage.
      first_step: updates of the run before it.
      config: its settings; train_steps is its own number of updates.
      changes: the settings that it sets for itself.
    """

    name: str
    first_step: int
    config: "TrainConfig"
    changes: dict[str, Any]

    @property
    def last_step(self) -> int:
        """Updates of the run when it has ended."""
        return self.first_step + self.config.train_steps


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run. Defaults are the paper's hybrid on CIFAR-10 where the paper names a value.

    Raises:
      ConfigError: on the first setting that cannot be used.
    """

    # Data.
    dataset: str = setting("cifar10", "Data to learn.", "Sec. 3, A.1", choices=("rings", *IMAGE_SPLITS))
    data_dir: str | None = setting(None, "Folder of prepared TFDS data sets. None: TFDS's own folder, and download.")
    image_size: int = setting(32, "Height and width of images, a multiple of 16.", unit="pixels")
    train_split: str = setting(
        "train",
        "Splits of images that train, in TFDS's syntax, e.g. train+validation or train[:90%]. One is left out to test.",
        "Sec. 3",
    )
    data_noise: float = setting(0.0, "Standard deviation of Gaussian noise added to every data batch.", unit="pixel")
    batch_size: int = setting(100, "N: data per update, and chains per group. The hybrid runs 2N chains.", "Alg. 1")

    preset: str = setting(
        "density",
        "What the settings are for that no flag gives, on data of one's own: density, sharp; or detector, smooth "
        "(docs/own_data.md). The named data sets have flag files instead.",
        choices=tuple(PRESETS),
    )

    # Energy.
    num_filters: int = setting(128, "n_f: width of the first layer.", "Sec. 3")
    attention: bool = setting(True, "Non-local blocks at 16x16 and 8x8 (images only).", "Sec. 3")
    energy_scale: float = setting(
        1.0, "The energy is energy_scale times the network's output. At energy_scale = T the network gives E/T.", "A.4"
    )
    confinement: float = setting(
        0.0,
        "c: the energy has c times the sum of max(|x| - b, 0)^2 added, a soft wall at b = 1 + 3 data_noise, beyond the "
        "pixels' range (images only). 0: none, as in the paper.",
        unit="energy/x^2",
    )
    dtype_policy: str = setting(
        "float32",
        "Keras dtype policy of the network. Chains and energies stay float32. mixed_float16 is for images alone.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )

    # Chains.
    scheme: Scheme = setting(Scheme.HYBRID, "Where chains start.", "Sec. 3", choices=tuple(s.value for s in Scheme))
    cd_weight: float | None = setting(None, "lambda of Eq. 6, hybrid only. None: 25.", "Eq. 6, Sec. 3")
    num_steps: int = setting(500, "L: Langevin steps per update.", "Sec. 3")
    num_steps_start: int | None = setting(
        None,
        "L of the first update; from there 1/L falls in equal parts to 1/num_steps at the last, so that every doubling "
        "of L takes as many steps in all. None: num_steps throughout, as in the paper.",
    )
    step_size: float = setting(1.0, "epsilon; the largest step under the adaptive rule.", "Eq. 9", unit="x^2/energy")
    step_ratio: float = setting(
        1.0, "Steps of the rings' three wide coordinates over those of the seven narrow ones. 1: Eq. 9 as printed."
    )
    temperature: float = setting(5e-5, "T. 0 is gradient descent.", "Eq. 9, Sec. 3", unit="energy")
    step_size_rule: str = setting(
        "constant",
        "constant, or adaptive: min(step_size, 0.0005 / standard deviation of E over the data batch).",
        "Sec. 3",
        choices=("constant", "adaptive"),
    )
    noise_spectrum: str = setting(
        "white",
        "Noise that chains start from: white, N(0, I), as in the paper; or data, Gaussian with the training images' "
        "mean, and at every frequency of the cosine transform their variance (images only).",
        choices=("white", "data"),
    )
    preconditioner: str = setting(
        "none",
        "P of Langevin steps: none, as in the paper; or spectrum, steps longer where images vary more, by the fit of "
        "--noise_spectrum=data.",
        choices=("none", "spectrum"),
    )
    reference: str = setting(
        "none",
        "What the network's output is added to: none, as in the paper; or gaussian, the energy of the fit of "
        "--noise_spectrum=data, which the network then tilts.",
        choices=("none", "gaussian"),
    )
    bank_size: int = setting(
        60_000, "Chains kept between updates, by the persistent schemes and with bank_weight.", "Sec. 3"
    )
    bank_weight: float = setting(
        0.0,
        "mu: weight of one more bracket of Eq. 6, whose chains are of a bank and so are old (schemes data, noise and "
        "hybrid). 0: none, as in the paper.",
    )
    bank_start: str = setting(
        "noise",
        "Where the chains of the bank start: noise, as in the paper; or data, the training images with their noise.",
        "Sec. 3",
        choices=("noise", "data"),
    )
    bank_burn_in: int = setting(
        0, "Langevin steps that a chain of the bank runs before it counts in its bracket (with bank_weight)."
    )
    bank_restart_data: float = setting(
        0.0, "Probability that a chain drawn from the bank starts anew at this batch's data (with bank_weight)."
    )
    bank_restart_noise: float = setting(
        0.0, "Probability that a chain drawn from the bank starts anew at noise (with bank_weight)."
    )
    refresh_prob: float = setting(0.05, "Share restarted from noise, persistent_refresh only.", "Sec. 3")
    refresh_unit: str = setting(
        "batch",
        "What refresh_prob counts: whole batches (Methods) or single chains (Results).",
        "Sec. 3, Sec. 4.1",
        choices=("batch", "chain"),
    )

    # Optimisation.
    train_steps: int = setting(50_000, "Parameter updates; with stages the sum of theirs.", "Sec. 3")
    stage: tuple[str, ...] = setting(
        (),
        "A stage of the run, as 'NAME train_steps=N SETTING=VALUE ...'; give it once per stage, in order. A stage goes "
        "on with the weights (their average, if the stage before kept one) and the bank, and with a new optimizer. It "
        f"may set {', '.join(STAGE_SETTINGS)}; the rest is the run's. None: the whole run is one.",
    )
    optimizer: str = setting("adam", "Optimizer.", choices=("adam", "sgd"))
    learning_rate: float = setting(1e-4, "eta: learning rate at the start.", "Alg. 1")
    learning_rate_schedule: str = setting(
        "constant",
        "constant, or cosine: half a cosine down to learning_rate_end at train_steps.",
        choices=("constant", "cosine"),
    )
    learning_rate_end: float = setting(0.0, "Learning rate that half a cosine ends at, at train_steps.")
    ema_momentum: float = setting(0.0, "Momentum of the weight average that is saved in the end. 0: no average.")
    seed: int = setting(0, "Seed of weights, data order and chains.")

    # The run.
    workdir: str | None = setting(None, "Folder of this run, new or empty.")
    init_model: str | None = setting(
        None,
        "A .keras file of an energy with the same network and energy_scale, e.g. RUN/model.keras, whose weights the "
        "run starts from; with reference=gaussian also the same temperature and data_noise, and its Gaussian is kept. "
        "Optimizer, data order and chains start anew. None: new weights.",
    )
    resume: bool = setting(False, "Continue the run in workdir from its newest checkpoint.")
    stop_after: str | None = setting(
        None,
        "Time, e.g. 90s, 25m or 1.5h, after which the run finishes the update at work, writes a checkpoint, says how "
        "to go on, and exits 0. It counts from the start of train(), when TensorFlow is loaded; compilation is in it. "
        "bin/checkpoint.py brings the checkpoint to another machine. None: no end.",
    )
    log_every: int = setting(50, "Updates between rows of metrics.jsonl and TensorBoard.")
    figure_every: int = setting(1_000, "Updates between pictures of chain ends, and TensorBoard's histograms.")
    watch: bool = setting(False, "Keep watch.png and watch.html in workdir up to date, as bin/watch.py does.")
    checkpoint_every: int = setting(1_000, "Updates between checkpoints.")
    keep_checkpoints: int = setting(3, "Newest checkpoints that are kept.")
    best_metric: str = setting(
        "none",
        "Keep also the checkpoint where the size of this metric, averaged since the checkpoint before, is smallest.",
        choices=("none", "loss", "total/std", "total/snr", "energy/data", "energy_grad_norm", "max_abs"),
    )
    bank_dtype: str = setting(
        "float32", "Type in which the bank is kept, in training and in checkpoints.", choices=("float32", "float16")
    )
    on_divergence: str = setting(
        "stop",
        "What to do when training diverges: stop, or rollback to the newest checkpoint with other noise and a smaller "
        "learning rate.",
        choices=("stop", "rollback"),
    )
    max_rollbacks: int = setting(3, "Rollbacks before the run stops after all.")
    rollback_rate: float = setting(0.5, "Factor on the learning rate at every rollback.")
    rollbacks: int = setting(0, "Rollbacks so far, written by training into config.json: leave it alone.")
    max_energy: float = setting(1e4, "Divergence: largest size of a mean energy.", unit="energy_scale")
    max_energy_difference: float = setting(
        1e3, "Divergence: largest size of a component's energy difference.", "Eq. 7", unit="energy_scale"
    )
    max_energy_grad_norm: float = setting(
        1e5, "Divergence: largest norm of dE/dx, averaged over a chain.", unit="energy_scale per x"
    )
    max_abs_x: float = setting(1e3, "Divergence: largest |x| at the end of a chain.")
    device: str = setting(
        "auto", "auto: a GPU if there is one; gpu: refuse to train without; cpu.", choices=("auto", "cpu", "gpu")
    )
    strategy: str = setting(
        "one_device",
        "Where the batch is trained: one_device, mirrored (all GPUs of this host) or multi_worker (one process a host, "
        "named by TF_CONFIG; docs/performance.md).",
        choices=("one_device", "mirrored", "multi_worker"),
    )
    jit_compile: str = setting(
        "auto", "Compile chains and gradient with XLA. auto: on a GPU.", choices=("auto", "true", "false")
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            choices = field.metadata["choices"]
            value = getattr(self, field.name)
            if choices and str(value) not in choices:
                raise bad_setting(field.name, "one of " + ", ".join(choices), value, field.metadata["section"])
        object.__setattr__(self, "scheme", Scheme(self.scheme))
        object.__setattr__(self, "stage", tuple(self.stage or ()))
        for name in ("batch_size", "num_filters", "num_steps", "bank_size", "train_steps", "log_every"):
            self._require(name, getattr(self, name) >= 1, "a whole number, 1 or more")
        for name in ("figure_every", "checkpoint_every", "keep_checkpoints"):
            self._require(name, getattr(self, name) >= 1, "a whole number, 1 or more")
        for name in ("max_rollbacks", "rollbacks"):
            self._require(name, getattr(self, name) >= 0, "a whole number, 0 or more")
        for name in ("step_size", "step_ratio", "learning_rate", "energy_scale"):
            self._require(name, 0 < getattr(self, name) < math.inf, "a finite number above 0")
        for name in ("max_energy", "max_energy_difference", "max_energy_grad_norm", "max_abs_x"):
            self._require(name, getattr(self, name) > 0, "a number above 0; inf for no bound")
        self._require("rollback_rate", 0 < self.rollback_rate <= 1, "a number in (0, 1]")
        can_roll_back = self.on_divergence == "stop" or self.strategy != "multi_worker"
        self._require("on_divergence", can_roll_back, "stop with --strategy=multi_worker")
        is_time = self.stop_after is None or re.fullmatch(_TIME, str(self.stop_after))
        self._require("stop_after", bool(is_time), "a number and its unit, s, m or h, e.g. 90s, 25m or 1.5h")
        can_stop = self.stop_after is None or self.strategy != "multi_worker"
        self._require("stop_after", can_stop, "None with --strategy=multi_worker, whose hosts have clocks of their own")
        for name in ("temperature", "data_noise", "confinement"):
            self._require(name, 0 <= getattr(self, name) < math.inf, "a finite number, 0 or more")
        self._require("seed", 0 <= self.seed < 2**31, "a whole number in [0, 2^31)")
        self._require("refresh_prob", 0 <= self.refresh_prob <= 1, "a probability in [0, 1]")
        self._require("ema_momentum", 0 <= self.ema_momentum < 1, "a number in [0, 1)")
        if self.num_steps_start is not None:
            expected = f"a whole number from 1 to num_steps = {self.num_steps}"
            self._require("num_steps_start", 1 <= self.num_steps_start <= self.num_steps, expected)
        can_end = self.learning_rate_schedule == "cosine" or self.learning_rate_end == 0
        self._require("learning_rate_end", can_end, "0 without --learning_rate_schedule=cosine")
        expected = f"a number from 0 to learning_rate = {self.learning_rate:g}"
        self._require("learning_rate_end", 0 <= self.learning_rate_end <= self.learning_rate, expected)
        if self.cd_weight is not None:
            self._require("cd_weight", self.scheme is Scheme.HYBRID, f"None, since scheme {self.scheme} has no lambda")
            self._require("cd_weight", 0 <= self.cd_weight < math.inf, "a finite number, 0 or more")
        self._check_bank()
        if self.preconditioner != "none":
            self._require("preconditioner", self.noise_spectrum == "data", "none without --noise_spectrum=data")
            self._require("confinement", self.confinement == 0, "0 with a preconditioner, whose steps overshoot a wall")
        if self.reference != "none":
            self._require("reference", self.noise_spectrum == "data", "none without --noise_spectrum=data")
            self._require("reference", self.temperature > 0, "none with temperature=0")
            self._require("confinement", self.confinement == 0, "0 with a reference, which confines already")
        if self.dataset == "rings":
            self._require("confinement", self.confinement == 0, "0, since the rings have no pixels")
            self._require("noise_spectrum", self.noise_spectrum == "white", "white, since the rings are no images")
            is_wide = self.dtype_policy != "mixed_float16"  # whose small gradients image_energy.py alone keeps
            self._require("dtype_policy", is_wide, "float32 or mixed_bfloat16, since the rings are no images")
        else:
            # A step turns back a distance d beyond the wall by 2 step_size c d, which must not be more than d.
            stiffest = 0.5 / self.step_size
            self._require("confinement", self.confinement <= stiffest, f"at most {stiffest:g}, 0.5 / step_size")
            self._require(
                "image_size",
                self.image_size >= 32 and self.image_size % 16 == 0,
                "a multiple of 16, 32 or more (the net halves it three times, then reads 4x4 patches)",
            )
            splits = IMAGE_SPLITS[self.dataset]
            known = set(self._split_names()) <= set(splits)
            self._require("train_split", known, f"splits of {self.dataset} joined by +: " + ", ".join(splits))
            self._require("train_split", bool(self.test_split), f"to leave out one of {', '.join(splits)} to test")
        if self.stage:
            total = self.stages[-1].last_step
            expected = f"{total}, the sum of the stages', or none"
            self._require("train_steps", self.train_steps in (total, TrainConfig.train_steps), expected)
            object.__setattr__(self, "train_steps", total)

    def _check_bank(self) -> None:
        self._require("bank_weight", 0 <= self.bank_weight < math.inf, "a finite number, 0 or more")
        if self.scheme.has_bank:
            only = f"0, since all chains of scheme {self.scheme} are of the bank"
            self._require("bank_weight", self.bank_weight == 0, only)
        if self.scheme.has_bank or self.bank_weight:
            self._require("batch_size", self.batch_size <= self.bank_size, f"at most bank_size = {self.bank_size}")
        else:
            self._require("bank_start", self.bank_start == "noise", "noise without a bank (--bank_weight above 0)")
        self._require("bank_burn_in", self.bank_burn_in >= 0, "a whole number, 0 or more")
        for name in ("bank_restart_data", "bank_restart_noise"):
            self._require(name, 0 <= getattr(self, name) <= 1, "a probability in [0, 1]")
        rest, noise = 1 - self.bank_restart_data, self.bank_restart_noise
        self._require("bank_restart_noise", noise <= rest, f"at most 1 - bank_restart_data = {rest:g}")
        for name in ("bank_burn_in", "bank_restart_data", "bank_restart_noise"):
            self._require(name, self.bank_weight > 0 or not getattr(self, name), "0 without --bank_weight above 0")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise bad_setting(name, expected, getattr(self, name), _sections()[name])

    @property
    def stop_seconds(self) -> float:
        """stop_after in seconds; inf where it is None."""
        if self.stop_after is None:
            return math.inf
        return float(self.stop_after[:-1]) * _SECONDS[self.stop_after[-1]]

    @property
    def first_learning_rate(self) -> float:
        """The learning rate at the start, made smaller by rollbacks."""
        return self.learning_rate * self.rollback_rate**self.rollbacks

    @functools.cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the run, in order: at least one.

        Raises:
          ConfigError: a stage is not written as expected, or its settings cannot be used.
        """
        if not self.stage:
            return (Stage("", 0, self, {}),)
        stages: list[Stage] = []
        for text in self.stage:
            name, changes = _read_stage(text)
            if name in [stage.name for stage in stages]:
                raise bad_setting("stage", "another name for every stage", text, "")
            try:
                config = dataclasses.replace(self, stage=(), **changes)
            except ConfigError as error:
                raise ConfigError(f"--stage: {name}: {error}") from None
            stages.append(Stage(name, stages[-1].last_step if stages else 0, config, changes))
        return tuple(stages)

    def stage_of(self, step: int) -> Stage:
        """The stage that does update `step`, the first update being 1; for 0 the first."""
        return next(stage for stage in self.stages if step <= stage.last_step)

    @property
    def at_end(self) -> "TrainConfig":
        """The settings of the last stage, for the whole run: those that its energy is sampled and judged by."""
        return dataclasses.replace(self.stages[-1].config, train_steps=self.train_steps)

    @property
    def mean_num_steps(self) -> float:
        """L averaged over all updates of a stage."""
        first, last = self.num_steps_start or self.num_steps, self.num_steps
        return math.log(last / first) / (1 / first - 1 / last) if first < last else last

    @property
    def num_chain_steps(self) -> float:
        """Langevin steps of all chains of the run."""
        if self.stage:
            return sum(stage.config.num_chain_steps for stage in self.stages)
        return self.train_steps * self.mean_num_steps * len(self.brackets) * self.batch_size

    def share_done(self, step: int) -> float:
        """Share of all Langevin steps that the first updates take, up to `step`."""
        if self.stage:
            reached = self.stage_of(step)
            before = sum(stage.config.num_chain_steps for stage in self.stages if stage.last_step <= reached.first_step)
            inside = reached.config.share_done(step - reached.first_step) * reached.config.num_chain_steps
            return (before + inside) / self.num_chain_steps
        first, last, done = self.num_steps_start or self.num_steps, self.num_steps, step / self.train_steps
        if first == last:
            return done
        return -math.log1p(done * (first / last - 1)) / math.log(last / first)

    @property
    def chain_seed(self) -> tuple[int, int]:
        """Seed of the chains of training; another after every rollback."""
        return self.seed, 1_000 + self.rollbacks if self.rollbacks else 0

    @property
    def hybrid_cd_weight(self) -> float:
        """lambda of Eq. 6: 25 (Sec. 3) unless cd_weight says otherwise."""
        return 25.0 if self.cd_weight is None else self.cd_weight

    @property
    def has_bank(self) -> bool:
        """Whether chains are kept between updates, at the end of the run."""
        return self.scheme.has_bank or self.stages[-1].config.bank_weight > 0

    @property
    def brackets(self) -> dict[str, float]:
        """The brackets of Eq. 6: where the chains of each start, and its weight."""
        brackets = {
            Scheme.DATA: {"data_init": 1.0},
            Scheme.NOISE: {"noise_init": 1.0},
            Scheme.PERSISTENT: {"persistent_init": 1.0},
            Scheme.PERSISTENT_REFRESH: {"persistent_init": 1.0},
            Scheme.HYBRID: {"noise_init": 1.0, "data_init": self.hybrid_cd_weight},
        }[self.scheme]
        return {**brackets, "persistent_init": self.bank_weight} if self.bank_weight else brackets

    def _split_names(self) -> list[str]:
        return [part.partition("[")[0].strip() for part in self.train_split.split("+")]

    @property
    def test_split(self) -> str:
        """Held-out images: the split test or, where that trains, all splits that train_split does not name."""
        rest = [name for name in IMAGE_SPLITS.get(self.dataset, ()) if name not in self._split_names()]
        return "test" if "test" in rest else "+".join(rest)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one x."""
        return (10,) if self.dataset == "rings" else (self.image_size, self.image_size, 3)

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return {**dataclasses.asdict(self), "scheme": self.scheme.value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """The inverse of to_dict; a setting that is missing has its default. Raises ConfigError on an unknown one."""
        if not isinstance(values, dict):
            raise ConfigError(f"expected settings by name. Received: a {type(values).__name__}")
        types = {field.name: field.type for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - set(types)):
            raise ConfigError(f"expected settings of TrainConfig. Received: unknown {shortened(', '.join(unknown))}")
        for name, value in values.items():
            kind = types[name]
            if type(value) not in _JSON_TYPES.get(kind, (str,)):
                raise bad_setting(name, getattr(kind, "__name__", str(kind)), value, "")
        return cls(**values)


_TIME = r"[0-9]{1,9}(\.[0-9]{1,9})?[smh]"
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}

# What a setting of this type may be in JSON.
_JSON_TYPES: dict[Any, tuple[type, ...]] = {
    str | None: (str, type(None)),
    bool: (bool,),
    int: (int,),
    int | None: (int, type(None)),
    float: (int, float),
    float | None: (int, float, type(None)),
    tuple[str, ...]: (list, tuple),
}


def _read_stage(text: str) -> tuple[str, dict[str, Any]]:
    """Name and settings of a stage, from 'NAME train_steps=N SETTING=VALUE ...'."""
    expected = "NAME train_steps=N SETTING=VALUE ..., a name of letters, digits, - and _"
    name, *words = text.split() or [""]
    if not re.fullmatch(r"[\w-]+", name, re.ASCII) or not all("=" in word for word in words):
        raise bad_setting("stage", expected, text, "")
    values = dict(word.split("=", 1) for word in words)
    if unknown := sorted(set(values) - set(STAGE_SETTINGS)):
        raise bad_setting("stage", f"settings of {', '.join(STAGE_SETTINGS)}", f"{name} {unknown[0]}", "")
    if "train_steps" not in values or len(values) < len(words):
        raise bad_setting("stage", f"{expected}, each setting once", text, "")
    return name, {setting: _read_value(name, setting, value) for setting, value in values.items()}


def _read_value(stage: str, name: str, text: str) -> Any:
    """A setting's value from its text."""
    kind = next(field.type for field in dataclasses.fields(TrainConfig) if field.name == name)
    if isinstance(kind, types.UnionType):
        kind = next(one for one in typing.get_args(kind) if one is not type(None))
    try:
        return typing.cast(Any, kind)(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise ConfigError(f"--stage: {stage}: expected {expected}. Received: {name}={shortened(text)}") from None


def _sections() -> dict[str, str]:
    return {field.name: field.metadata["section"] for field in dataclasses.fields(TrainConfig)}

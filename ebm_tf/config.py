"""Every setting once: default, unit, section of the paper, and the check that a value must pass.

The dataclasses are frozen and know nothing but the standard library. `ebm_tf.flags` makes the command line from
their fields; configs/*.flags hold the paper's values. A bad value raises ConfigError, whose text says what was
expected, what was received, which flag to change, and where the paper speaks of it.
"""

import dataclasses
import enum
import functools
import math
import re
import types
import typing
from typing import Any, NamedTuple

__all__ = [
    "ARTIFACTS",
    "TASKS",
    "CalibrateConfig",
    "ConfigError",
    "EvaluateConfig",
    "ExportConfig",
    "PackConfig",
    "ReproduceConfig",
    "SampleConfig",
    "Scheme",
    "ScoreConfig",
    "Stage",
    "SweepConfig",
    "TrainConfig",
    "UnpackConfig",
    "WatchConfig",
    "field_help",
    "one_line",
]

# The image data sets that train, with their splits.
IMAGE_SPLITS = {"cifar10": ("train", "test"), "oxford_flowers102": ("train", "validation", "test")}


class ConfigError(ValueError):
    """A setting that cannot be used. One line: expected, received, flag, section."""


def one_line(value: object) -> str:
    """At most 400 letters of what an error or another value says, without TensorFlow's names of graph nodes."""
    text = re.sub(r"\[\[\{\{.*|\{\{.*?\}\}|\[Op:\w+\].*", "", str(value))
    return " ".join(text.split())[:400] or type(value).__name__


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
    dataset: str = _setting("cifar10", "Data to learn.", "Sec. 3, A.1", choices=("rings", *IMAGE_SPLITS))
    data_dir: str | None = _setting(None, "Folder of prepared TFDS data sets. None: TFDS's own folder, and download.")
    image_size: int = _setting(32, "Height and width of images, a multiple of 16.", unit="pixels")
    train_split: str = _setting(
        "train",
        "Splits of images that train, in TFDS's syntax, e.g. train+validation or train[:90%]. One is left out to test.",
        "Sec. 3",
    )
    data_noise: float = _setting(0.0, "Standard deviation of Gaussian noise added to every data batch.", unit="pixel")
    batch_size: int = _setting(100, "N: data per update, and chains per group. The hybrid runs 2N chains.", "Alg. 1")

    # Energy.
    num_filters: int = _setting(128, "n_f: width of the first layer.", "Sec. 3")
    attention: bool = _setting(True, "Non-local blocks at 16x16 and 8x8 (images only).", "Sec. 3")
    energy_scale: float = _setting(
        1.0, "The energy is energy_scale times the network's output. At energy_scale = T the network gives E/T.", "A.4"
    )
    confinement: float = _setting(
        0.0,
        "c: the energy has c times the sum of max(|x| - b, 0)^2 added, a soft wall at b = 1 + 3 data_noise, beyond the "
        "pixels' range (images only). 0: none, as in the paper.",
        unit="energy/x^2",
    )
    dtype_policy: str = _setting(
        "float32",
        "Keras dtype policy of the network. Chains and energies stay float32. mixed_float16 is for images alone.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )

    # Chains.
    scheme: Scheme = _setting(Scheme.HYBRID, "Where chains start.", "Sec. 3", choices=tuple(s.value for s in Scheme))
    cd_weight: float | None = _setting(None, "lambda of Eq. 6, hybrid only. None: 25.", "Eq. 6, Sec. 3")
    num_steps: int = _setting(500, "L: Langevin steps per update.", "Sec. 3")
    num_steps_start: int | None = _setting(
        None,
        "L of the first update; from there 1/L falls in equal parts to 1/num_steps at the last, so that every doubling "
        "of L takes as many steps in all. None: num_steps throughout, as in the paper.",
    )
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
    noise_spectrum: str = _setting(
        "white",
        "Noise that chains start from: white, N(0, I), as in the paper; or data, Gaussian with the training images' "
        "mean, and at every frequency of the cosine transform their variance (images only).",
        choices=("white", "data"),
    )
    preconditioner: str = _setting(
        "none",
        "P of Langevin steps: none, as in the paper; or spectrum, steps longer where images vary more, by the fit of "
        "--noise_spectrum=data.",
        choices=("none", "spectrum"),
    )
    reference: str = _setting(
        "none",
        "What the network's output is added to: none, as in the paper; or gaussian, the energy of the fit of "
        "--noise_spectrum=data, which the network then tilts.",
        choices=("none", "gaussian"),
    )
    bank_size: int = _setting(
        60_000, "Chains kept between updates, by the persistent schemes and with bank_weight.", "Sec. 3"
    )
    bank_weight: float = _setting(
        0.0,
        "mu: weight of one more bracket of Eq. 6, whose chains are of a bank and so are old (schemes data, noise and "
        "hybrid). 0: none, as in the paper.",
    )
    bank_start: str = _setting(
        "noise",
        "Where the chains of the bank start: noise, as in the paper; or data, the training images with their noise.",
        "Sec. 3",
        choices=("noise", "data"),
    )
    bank_burn_in: int = _setting(
        0, "Langevin steps that a chain of the bank runs before it counts in its bracket (with bank_weight)."
    )
    bank_restart_data: float = _setting(
        0.0, "Probability that a chain drawn from the bank starts anew at this batch's data (with bank_weight)."
    )
    bank_restart_noise: float = _setting(
        0.0, "Probability that a chain drawn from the bank starts anew at noise (with bank_weight)."
    )
    refresh_prob: float = _setting(0.05, "Share restarted from noise, persistent_refresh only.", "Sec. 3")
    refresh_unit: str = _setting(
        "batch",
        "What refresh_prob counts: whole batches (Methods) or single chains (Results).",
        "Sec. 3, Sec. 4.1",
        choices=("batch", "chain"),
    )

    # Optimisation.
    train_steps: int = _setting(50_000, "Parameter updates; with stages the sum of theirs.", "Sec. 3")
    stage: tuple[str, ...] = _setting(
        (),
        "A stage of the run, as 'NAME train_steps=N SETTING=VALUE ...'; give it once per stage, in order. A stage goes "
        "on with the weights (their average, if the stage before kept one) and the bank, and with a new optimizer. It "
        f"may set {', '.join(STAGE_SETTINGS)}; the rest is the run's. None: the whole run is one.",
    )
    optimizer: str = _setting("adam", "Optimizer.", choices=("adam", "sgd"))
    learning_rate: float = _setting(1e-4, "eta: learning rate at the start.", "Alg. 1")
    learning_rate_schedule: str = _setting(
        "constant",
        "constant, or cosine: half a cosine down to learning_rate_end at train_steps.",
        choices=("constant", "cosine"),
    )
    learning_rate_end: float = _setting(0.0, "Learning rate that half a cosine ends at, at train_steps.")
    ema_momentum: float = _setting(0.0, "Momentum of the weight average that is saved in the end. 0: no average.")
    seed: int = _setting(0, "Seed of weights, data order and chains.")

    # The run.
    workdir: str | None = _setting(None, "Folder of this run, new or empty.")
    init_model: str | None = _setting(
        None,
        "A .keras file of an energy with the same network and energy_scale, e.g. RUN/model.keras, whose weights the "
        "run starts from; with reference=gaussian also the same temperature and data_noise, and its Gaussian is kept. "
        "Optimizer, data order and chains start anew. None: new weights.",
    )
    resume: bool = _setting(False, "Continue the run in workdir from its newest checkpoint.")
    stop_after: str | None = _setting(
        None,
        "Time, e.g. 90s, 25m or 1.5h, after which the run finishes the update at work, writes a checkpoint, says how "
        "to go on, and exits 0. It counts from the start of train(), when TensorFlow is loaded; compilation is in it. "
        "bin/checkpoint.py brings the checkpoint to another machine. None: no end.",
    )
    log_every: int = _setting(50, "Updates between rows of metrics.jsonl and TensorBoard.")
    figure_every: int = _setting(1_000, "Updates between pictures of chain ends, and TensorBoard's histograms.")
    watch: bool = _setting(False, "Keep watch.png and watch.html in workdir up to date, as bin/watch.py does.")
    checkpoint_every: int = _setting(1_000, "Updates between checkpoints.")
    keep_checkpoints: int = _setting(3, "Newest checkpoints that are kept.")
    best_metric: str = _setting(
        "none",
        "Keep also the checkpoint where the size of this metric, averaged since the checkpoint before, is smallest.",
        choices=("none", "loss", "total/std", "total/snr", "energy/data", "energy_grad_norm", "max_abs"),
    )
    bank_dtype: str = _setting(
        "float32", "Type in which the bank is kept, in training and in checkpoints.", choices=("float32", "float16")
    )
    on_divergence: str = _setting(
        "stop",
        "What to do when training diverges: stop, or rollback to the newest checkpoint with other noise and a smaller "
        "learning rate.",
        choices=("stop", "rollback"),
    )
    max_rollbacks: int = _setting(3, "Rollbacks before the run stops after all.")
    rollback_rate: float = _setting(0.5, "Factor on the learning rate at every rollback.")
    rollbacks: int = _setting(0, "Rollbacks so far, written by training into config.json: leave it alone.")
    max_energy: float = _setting(1e4, "Divergence: largest size of a mean energy.", unit="energy_scale")
    max_energy_difference: float = _setting(
        1e3, "Divergence: largest size of a component's energy difference.", "Eq. 7", unit="energy_scale"
    )
    max_energy_grad_norm: float = _setting(
        1e5, "Divergence: largest norm of dE/dx, averaged over a chain.", unit="energy_scale per x"
    )
    max_abs_x: float = _setting(1e3, "Divergence: largest |x| at the end of a chain.")
    device: str = _setting(
        "auto", "auto: a GPU if there is one; gpu: refuse to train without; cpu.", choices=("auto", "cpu", "gpu")
    )
    strategy: str = _setting(
        "one_device",
        "Where the batch is trained: one_device, mirrored (all GPUs of this host) or multi_worker (one process a host, "
        "named by TF_CONFIG; docs/performance.md).",
        choices=("one_device", "mirrored", "multi_worker"),
    )
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
            raise _bad(name, expected, getattr(self, name), _sections()[name])

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
                raise _bad("stage", "another name for every stage", text, "")
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
            raise ConfigError(f"expected settings of TrainConfig. Received: unknown {_short(', '.join(unknown))}")
        for name, value in values.items():
            kind = types[name]
            if type(value) not in _JSON_TYPES.get(kind, (str,)):
                raise _bad(name, getattr(kind, "__name__", str(kind)), value, "")
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
        raise _bad("stage", expected, text, "")
    values = dict(word.split("=", 1) for word in words)
    if unknown := sorted(set(values) - set(STAGE_SETTINGS)):
        raise _bad("stage", f"settings of {', '.join(STAGE_SETTINGS)}", f"{name} {unknown[0]}", "")
    if "train_steps" not in values or len(values) < len(words):
        raise _bad("stage", f"{expected}, each setting once", text, "")
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
        raise ConfigError(f"--stage: {stage}: expected {expected}. Received: {name}={_short(text)}") from None


def _short(value: Any) -> str:
    """At most 200 letters of a value, on one line."""
    return " ".join(str(value).split())[:200]


def _sections() -> dict[str, str]:
    return {field.name: field.metadata["section"] for field in dataclasses.fields(TrainConfig)}


def _bad(name: str, expected: str, value: Any, section: str) -> ConfigError:
    where = f" ({section})" if section else ""
    return ConfigError(f"--{name}: expected {expected}{where}. Received: {name}={_short(value)}")


_CHAIN_TASKS = ("short_run", "long_run", "data_init", "bank", "mala", "diagnostics", "likelihood")
TASKS = ("density", *_CHAIN_TASKS, "energies", "ood", "ood_curve", "neighbours", "fid")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Settings of bin/evaluate.py."""

    workdir: str | None = _setting(None, "Folder of a finished run.")
    model: str | None = _setting(
        None,
        "A .keras file of an image energy, in place of workdir: tasks short_run, long_run, data_init, energies, ood, "
        "neighbours and fid. Its data are taken to be CIFAR-10's, its T that of its Gaussian reference, else 5e-5.",
    )
    output: str | None = _setting(None, "Folder for the results of model.")
    tasks: str = _setting("short_run", f"Comma-separated, of {', '.join(TASKS)}.", "Sec. 4")
    data_dir: str | None = _setting(None, "Folder of prepared TFDS data sets. None: the run's.")
    seed: int = _setting(0, "Seed of the chains.")
    num_samples: int | None = _setting(
        None,
        "Chains of short_run and bank, and at most so many images a set in energies, ood, ood_curve, likelihood and "
        "fid. None: 5,000 for rings, 50,000 for images.",
    )
    num_chains: int = _setting(100, "Chains of long_run, data_init, mala, diagnostics and likelihood.")
    batch_size: int = _setting(1_000, "Chains or images at once; chains' random numbers depend on it.")
    num_steps: int | None = _setting(
        None,
        "L_test: steps of short_run and bank. None: as in training, but 1,000 for the hybrid on images; 500 with "
        "--model.",
        "Sec. 3",
    )
    step_size: float | None = _setting(
        None,
        "epsilon of short_run, long_run, data_init and bank. None: as in training, but 2 for the hybrid on images; "
        "1 with --model, where ood's MALA moves have it too.",
        "Sec. 3",
        unit="x^2/energy",
    )
    long_run_steps: int = _setting(100_000, "Langevin steps of long_run and diagnostics.", "Sec. 3")
    data_init_steps: int = _setting(10_000, "Langevin steps of data_init.", "Sec. 3")
    ood_data: str = _setting(
        "svhn_cropped", "Comma-separated sets for energies and ood: NAME or NAME/SPLIT of TFDS, or folders.", "Sec. 3"
    )
    fid_features: str = _setting("inception", "inception, or a .keras file or SavedModel folder.", "Table 1")
    inception_graph: str | None = _setting(None, "The 2015 Inception graph's file. None: downloaded once, and kept.")
    fid_samples: str = _setting(
        "short_run", "Comma-separated sets for fid: short_run, bank, long_run, data_init, mala.", "Table 1"
    )
    reference_split: str | None = _setting(
        None, "Split that fid and neighbours compare with. None: what the run trained on.", "Fig. 7"
    )
    neighbour_samples: int = _setting(10, "Samples that neighbours looks at.", "Fig. 7")
    num_neighbours: int = _setting(3, "Nearest images of each.", "Fig. 7")
    mala_steps: int = _setting(50_000, "Sampling steps of mala.", "Sec. 4.2.5")
    mala_warmup_steps: int = _setting(2_000, "Steps before them that adapt the step size.", "Sec. 4.2.5")
    mala_target: float = _setting(0.67, "Acceptance rate to adapt to.", "Sec. 4.2.5")
    mala_step_sizes: str = _setting(
        "global", "One step size for all chains, or one each.", "Sec. 4.2.5", choices=("global", "per_chain")
    )
    mala_count: str = _setting(
        "accepted", "What counts towards mala_steps: accepted moves, or all.", "Fig. 8", choices=("accepted", "all")
    )
    ais_steps: int = _setting(10_000, "Stages of annealed importance sampling in likelihood, each one move.")

    def __post_init__(self) -> None:
        _check_source(self)
        if not self.task_names or set(self.task_names) - set(TASKS):
            raise _bad("tasks", "some of " + ", ".join(TASKS) + ", separated by commas", self.tasks, "")
        _check_choices(self)
        for name in _WHOLE_NUMBERS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise _bad(name, "a whole number, 1 or more", value, _section(self, name))
        if self.num_chains < 2:
            raise _bad("num_chains", "a whole number, 2 or more: one chain has no spread", self.num_chains, "")
        if not 0 <= self.seed < 2**31:
            raise _bad("seed", "a whole number in [0, 2^31)", self.seed, "")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise _bad("step_size", "a finite number above 0", self.step_size, "Eq. 9")
        if not 0 < self.mala_target < 1:
            raise _bad("mala_target", "a number in (0, 1)", self.mala_target, "Sec. 4.2.5")

    @property
    def task_names(self) -> list[str]:
        """The tasks asked for, each once, in the order in which they run: what one reads comes before it."""
        asked = {task.strip() for task in self.tasks.split(",")} - {""}
        return [task for task in TASKS if task in asked] + sorted(asked - set(TASKS))


_WHOLE_NUMBERS = (
    "num_samples",
    "batch_size",
    "num_steps",
    "long_run_steps",
    "data_init_steps",
    "neighbour_samples",
    "num_neighbours",
    "mala_steps",
    "mala_warmup_steps",
    "ais_steps",
)


def _section(config: Any, name: str) -> str:
    return next(field.metadata["section"] for field in dataclasses.fields(config) if field.name == name)


def _check_choices(config: Any) -> None:
    for field in dataclasses.fields(config):
        choices, value = field.metadata["choices"], getattr(config, field.name)
        if choices and str(value) not in choices:
            raise _bad(field.name, "one of " + ", ".join(choices), value, field.metadata["section"])


def _check_source(config: Any) -> None:
    """Of workdir and model there must be one."""
    if bool(config.workdir) == bool(config.model):
        received = f"workdir={_short(config.workdir or None)}, model={_short(config.model or None)}"
        raise ConfigError(f"--workdir: expected a finished run's folder, or --model in its place. Received: {received}")
    if config.model and not config.output:
        raise _bad("output", "a folder for what is made from --model", None, "")
    if isinstance(config, EvaluateConfig) and config.workdir and config.output:
        raise _bad("output", "None with --workdir, whose folder takes the results", config.output, "")


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """Settings of bin/sample.py."""

    workdir: str | None = _setting(None, "Folder of a finished run.")
    model: str | None = _setting(None, "A .keras file of an energy, in place of workdir.")
    output: str = _setting("", "Folder for samples.npz and samples.png.")
    num_samples: int = _setting(64, "Chains.")
    num_steps: int | None = _setting(
        None,
        "L_test: Langevin steps. None: as in training, but 1,000 for the hybrid on images; 500 with --model.",
        "Sec. 3",
    )
    step_size: float | None = _setting(
        None,
        "epsilon. None: as in training, but 2 for the hybrid on images; 1 with --model.",
        "Sec. 3",
        unit="x^2/energy",
    )
    temperature: float | None = _setting(
        None,
        "T. None: as in training; with --model that of its Gaussian reference, else 5e-5.",
        "Sec. 3",
        unit="energy",
    )
    init: str = _setting("noise", "Where chains start.", "Sec. 3", choices=("noise", "data"))
    data_dir: str | None = _setting(None, "Folder of prepared TFDS data sets, for init=data. None: the run's.")
    batch_size: int = _setting(1_000, "Chains at once; their random numbers depend on it.")
    seed: int = _setting(0, "Seed of the chains.")

    def __post_init__(self) -> None:
        if not self.output:
            raise _bad("output", "a folder", None, "")
        _check_source(self)
        _check_choices(self)
        for name in ("num_samples", "batch_size"):
            if getattr(self, name) < 1:
                raise _bad(name, "a whole number, 1 or more", getattr(self, name), "")
        if self.num_steps is not None and self.num_steps < 0:
            raise _bad("num_steps", "a whole number, 0 or more", self.num_steps, "Sec. 3")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise _bad("step_size", "a finite number above 0", self.step_size, "Eq. 9")
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise _bad("temperature", "a finite number, 0 or more", self.temperature, "Eq. 9")
        if not 0 <= self.seed < 2**31:
            raise _bad("seed", "a whole number in [0, 2^31)", self.seed, "")


ARTIFACTS = ("fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8", "fig9", "fig10", "table1", "table2")


@dataclasses.dataclass(frozen=True)
class ReproduceConfig:
    """Settings of bin/reproduce.py."""

    artifact: str = _setting("all", f"Comma-separated, of {', '.join(ARTIFACTS)}; or all, with a page that shows them.")
    runs: str = _setting("", "Folder whose folders are finished runs.")
    output: str = _setting("", "Folder for pictures, tables and the page.")

    def __post_init__(self) -> None:
        if not self.artifact_names or set(self.artifact_names) - set(ARTIFACTS):
            raise _bad("artifact", "all, or some of " + ", ".join(ARTIFACTS), self.artifact, "")
        for name in ("runs", "output"):
            if not getattr(self, name):
                raise _bad(name, "a folder", None, "")

    @property
    def is_all(self) -> bool:
        """Whether everything that can be made is asked for."""
        return self.artifact.strip() == "all"

    @property
    def artifact_names(self) -> list[str]:
        """The artifacts asked for, each once, in the paper's order; unknown names last."""
        if self.is_all:
            return list(ARTIFACTS)
        asked = {name.strip() for name in self.artifact.split(",")} - {""}
        return [name for name in ARTIFACTS if name in asked] + sorted(asked - set(ARTIFACTS))


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Settings of bin/export.py."""

    workdir: str = _setting("", "Folder of a finished run.")
    output: str = _setting("", "Folder for the SavedModel, new or empty.")
    data_dir: str | None = _setting(None, "Folder of prepared TFDS data sets, for label names. None: the run's.")
    onnx: bool = _setting(False, "Also write the energy as model.onnx; needs the extra onnx.")

    def __post_init__(self) -> None:
        _check_given(self, workdir="a finished run's folder", output="a folder for the SavedModel")


_INPUT_HELP = "Folder of images, FILE.npy, FILE.npz, FILE.tfrecord (or a pattern of such), or tfds:NAME/SPLIT."


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """Settings of bin/score.py and bin/score_beam.py."""

    model: str = _setting("", "Folder that bin/export.py wrote.")
    input: str = _setting("", _INPUT_HELP)
    output: str = _setting("", "New table, FILE.csv or FILE.parquet; of bin/score_beam.py the start of its file names.")
    reference: str | None = _setting(
        None,
        "Energies of in-distribution data for percentile and flag: a table of bin/score.py, or the calibration.npz of "
        "bin/calibrate.py. None: the model's own calibration, if there is one.",
    )
    false_positive_rate: float | None = _setting(
        None, "Share of in-distribution inputs that may be flagged out. None: the calibration's, else 0.05."
    )
    batch_size: int = _setting(256, "Inputs at once.")
    data_dir: str | None = _setting(None, "Folder of prepared TFDS data sets. None: TFDS's own, and download.")
    skip_bad: bool = _setting(False, "Exit 0 also where inputs could not be read; their rows tell why.")
    resume: bool = _setting(False, "Continue a table that was broken off.")

    def __post_init__(self) -> None:
        _check_given(self, model="a folder of bin/export.py", input=_INPUT_HELP.lower(), output="a file for the table")
        _check_rate(self, "false_positive_rate")
        if self.batch_size < 1:
            raise _bad("batch_size", "a whole number, 1 or more", self.batch_size, "")


@dataclasses.dataclass(frozen=True)
class CalibrateConfig:
    """Settings of bin/calibrate.py."""

    model: str = _setting("", "Folder that bin/export.py wrote.")
    input: str = _setting("", f"In-distribution data that did not train. {_INPUT_HELP}")
    false_positive_rate: float = _setting(0.05, "Share of in-distribution inputs that may be flagged out.")
    confidence: float = _setting(0.95, "Coverage of the interval for the false-positive rate.")
    batch_size: int = _setting(256, "Inputs at once.")
    data_dir: str | None = _setting(None, "Folder of prepared TFDS data sets. None: TFDS's own, and download.")
    skip_bad: bool = _setting(False, "Leave out inputs that cannot be read, and say how many.")

    def __post_init__(self) -> None:
        _check_given(self, model="a folder of bin/export.py", input=_INPUT_HELP.lower())
        _check_rate(self, "false_positive_rate")
        _check_rate(self, "confidence")
        if self.batch_size < 1:
            raise _bad("batch_size", "a whole number, 1 or more", self.batch_size, "")


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Settings of bin/sweep.py."""

    runs: str = _setting("", "Folder for the runs, one folder each.")
    grid: str = _setting("", "Values to combine, e.g. 'scheme=data,hybrid cd_weight=10,25 seed=0,1'.")

    def __post_init__(self) -> None:
        _check_given(self, runs="a folder for the runs", grid="flags of bin/train.py with values, NAME=VALUE,VALUE ...")


@dataclasses.dataclass(frozen=True)
class WatchConfig:
    """Settings of bin/watch.py."""

    workdir: str = _setting("", "Folder of a run, finished or not.")
    every_seconds: float = _setting(10.0, "Pause between looks.", unit="seconds")
    once: bool = _setting(False, "Draw once and stop.")

    def __post_init__(self) -> None:
        _check_given(self, workdir="a run's folder")
        if not 0 < self.every_seconds < math.inf:
            raise _bad("every_seconds", "a finite number above 0", self.every_seconds, "")


@dataclasses.dataclass(frozen=True)
class PackConfig:
    """Settings of bin/checkpoint.py pack."""

    workdir: str = _setting("", "Folder of a run that has a checkpoint; half the size with bank_dtype=float16.")
    output: str = _setting("", "Folder for parcel.json and the parts, new or empty.")
    update: int | None = _setting(None, "Update whose checkpoint is packed. None: the newest.")
    part_mib: float = _setting(14.0, "Largest size of a part.", unit="MiB")

    def __post_init__(self) -> None:
        _check_given(self, workdir="the folder of a run", output="a folder for the parts")
        if not 0.001 <= self.part_mib <= 4096:
            raise _bad("part_mib", "a number from 0.001 to 4096", self.part_mib, "")


@dataclasses.dataclass(frozen=True)
class UnpackConfig:
    """Settings of bin/checkpoint.py unpack."""

    input: str = _setting("", "Folder that holds parcel.json and all its parts, and nothing else.")
    workdir: str = _setting("", "Folder for the run, new or empty.")

    def __post_init__(self) -> None:
        _check_given(self, input="a folder of bin/checkpoint.py pack", workdir="a folder for the run")


def _check_given(config: Any, **expected: str) -> None:
    for name, text in expected.items():
        if not getattr(config, name):
            raise _bad(name, text, None, "")


def _check_rate(config: Any, name: str) -> None:
    value = getattr(config, name)
    if value is not None and not 0 < value < 1:
        raise _bad(name, "a number in (0, 1)", value, "")

"""Settings of a training run.

The dataclass is frozen and knows nothing but the standard library. `ebm_tf.cli.flags` makes the command line from its
fields; configs/*.flags hold the paper's values. A bad value raises ConfigError, whose text says what was expected, what
was received, which flag to change, and where the paper speaks of it.

It is eight groups in one. What needs the settings of one group takes that group, e.g. `bounds: GuardConfig`, of which a
TrainConfig is one.
"""

import dataclasses
import functools
import math
import re
import types
from typing import Any, NamedTuple

from ebm_tf.errors import ConfigError
from ebm_tf.settings import applies, earlier
from ebm_tf.settings.chains import BankConfig, ChainConfig, Scheme
from ebm_tf.settings.data import RINGS, DataConfig, is_tfds, kind_of
from ebm_tf.settings.energy import EnergyConfig
from ebm_tf.settings.fields import Role, bad_setting, checked, names_of, setting, shortened, value_type
from ebm_tf.settings.optimizer import OptimizerConfig
from ebm_tf.settings.presets import PRESET_SETTINGS, possible
from ebm_tf.settings.running import DeviceConfig, GuardConfig, RunConfig

__all__ = ["STAGE_SETTINGS", "Scheme", "Stage", "TrainConfig", "without_use"]

# What a stage of a run may set for itself.
STAGE_SETTINGS = tuple(
    name for group in (OptimizerConfig, ChainConfig, BankConfig) for name in names_of(group, per_stage=True)
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
class TrainConfig(  # dataclasses takes the fields of the last base first
    DeviceConfig, GuardConfig, RunConfig, OptimizerConfig, BankConfig, ChainConfig, EnergyConfig, DataConfig
):
    """Settings of a training run, which may have stages. Defaults are the paper's hybrid on CIFAR-10, where the paper
    names a value.

    Raises:
      ConfigError: on the first setting that cannot be used.
    """

    RETIRED = earlier.RETIRED
    FITTED = PRESET_SETTINGS

    stage: tuple[str, ...] = setting(
        (),
        "A stage of the run, as 'NAME train_steps=N SETTING=VALUE ...'; give it once per stage, in order. A stage goes "
        "on with the weights (their average, if the stage before kept one) and the bank, and with a new optimizer. It "
        f"may set {', '.join(STAGE_SETTINGS)}; the rest is the run's. None: the whole run is one.",
        role=Role.RESULT,
    )

    def _check(self) -> None:
        self._check_applies()
        self._check_energy()
        if self.strategy == "multi_worker":
            self._require("on_divergence", self.on_divergence == "stop", "stop with --strategy=multi_worker")
            expected = "None with --strategy=multi_worker, whose hosts have clocks of their own"
            self._require("stop_after", self.stop_after is None, expected)
        if self.scheme.has_bank or self.bank_weight:
            self._require("batch_size", self.batch_size <= self.bank_size, f"at most bank_size = {self.bank_size}")
        if self.stage:
            total = self.stages[-1].last_step
            expected = f"{total}, the sum of the stages', or none"
            self._require("train_steps", self.train_steps in (total, TrainConfig.train_steps), expected)
            object.__setattr__(self, "train_steps", total)

    def _check_applies(self) -> None:
        """A setting that is ignored throughout is refused; on data of one's own, under any preset."""
        for name in sorted(self.set_by_stages - {"train_steps"}):
            expected = f"{_defaults()[name]}, since every stage sets its own"
            self._require(name, getattr(self, name) == _defaults()[name], expected)
        self.refuse_idle(may_be_filled=True)

    def refuse_idle(self, may_be_filled: bool = False) -> None:
        """Raises ConfigError for a setting without use, see without_use."""
        data = "the rings" if self.is_rings else f"data of {self.dataset}"
        for name, rule in without_use(self.to_dict(), may_be_filled).items():
            default = _defaults()[name]
            words = f"{default:g}" if isinstance(default, float) else str(default)
            expected = words + rule.why.format(scheme=self.scheme, data=data)
            self._require(name, getattr(self, name) == default, expected)

    def _check_energy(self) -> None:
        """What energy, data and chains allow each other."""
        if "reference" in self.gaussian:
            self._require("gaussian", self.temperature > 0, "one without reference where temperature=0")
        if self.is_rings:
            is_known = self.gaussian in ("none", "steps")
            self._require("gaussian", is_known, "none or steps, since the rings' widths are known")
            is_wide = self.dtype_policy != "mixed_float16"  # whose small gradients image_energy.py alone keeps
            self._require("dtype_policy", is_wide, "float32 or mixed_bfloat16, since the rings are no images")
        else:
            self._require("gaussian", self.gaussian != "steps", "start+steps, where the data are not the rings")

    @property
    def given(self) -> set[str]:
        """Names of the settings that are not at their defaults."""
        return {name for name, value in self.to_dict().items() if value != _defaults()[name]}

    @property
    def set_by_stages(self) -> set[str]:
        """Names of the settings that every stage sets for itself."""
        return _set_by_stages(self.stage)

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
                config = self._changed(changes)
            except ConfigError as error:
                raise ConfigError(f"--stage: {name}: {error}") from None
            stages.append(Stage(name, stages[-1].last_step if stages else 0, config, changes))
        return tuple(stages)

    def _changed(self, changes: dict[str, Any]) -> "TrainConfig":
        """The settings of a stage: the run's, but for its own and for those of the run that it has no use for."""
        whole = types.SimpleNamespace(**self.to_dict() | changes)
        found = applies.idle(whole, _defaults(), applies.RULES)
        unused = {name: _defaults()[name] for name, _ in found}
        return dataclasses.replace(self, stage=(), **unused | changes)

    def stage_of(self, step: int) -> Stage:
        """The stage that does update `step`, the first update being 1; for 0 the first."""
        return next(stage for stage in self.stages if step <= stage.last_step)

    @property
    def at_end(self) -> "TrainConfig":
        """The settings of the last stage, for the whole run: those that its energy is sampled and judged by."""
        return dataclasses.replace(self.stages[-1].config, train_steps=self.train_steps)

    @property
    def longer(self) -> str:
        """What to give for more updates than these."""
        return "a longer last --stage, or one more" if self.stage else "a larger --train_steps"

    def with_data_dir(self, data_dir: str | None) -> "TrainConfig":
        """With another folder of TFDS's data sets, where the data are one of these."""
        known = data_dir is not None and is_tfds(self.dataset)
        return dataclasses.replace(self, data_dir=data_dir) if known else self

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
    def sample_num_steps(self) -> int:
        """L of chains that draw samples: as many steps as the bank's chains do from noise on average, where they start
        there anew; else those of training.
        """
        return round(self.num_steps / self.bank_restart_noise) if self.bank_restart_noise else self.num_steps

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

    def with_given(self, given: dict[str, Any]) -> "TrainConfig":
        """The settings of a run that goes on: those that are given now, and for the rest its own, but for those that
        have no use beside them.

        Raises:
          ConfigError: what is given cannot be used, or does not go with the rest.
        """
        fields = {field.name: field for field in dataclasses.fields(self)}
        values = self.to_dict() | {name: checked(fields[name], value) for name, value in given.items()}
        if "stage" in given:  # each says how long it is
            own = {"train_steps", *_set_by_stages(values["stage"])} - {*given}
            values |= {name: _defaults()[name] for name in own}
        while unused := {
            name
            for name in without_use(values, may_be_filled=False).keys() - {*given}
            if values[name] != _defaults()[name]
        }:
            values |= {name: _defaults()[name] for name in unused}
        return dataclasses.replace(self, **values)

    @classmethod
    def read_retired(cls, old: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
        return earlier.read(old, rest)

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return {**dataclasses.asdict(self), "scheme": self.scheme.value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """The inverse of to_dict; a setting that is missing has its default, and so has one that does not apply, which
        earlier versions ignored; retired ones are read as what they are today. Raises ConfigError on an unknown one.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"expected settings by name. Received: a {type(values).__name__}")
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values = _of_today(values)
        if unknown := sorted(set(values) - set(fields)):
            raise ConfigError(f"expected settings of TrainConfig. Received: unknown {shortened(', '.join(unknown))}")
        values = {name: checked(fields[name], value) for name, value in values.items()}
        unused = {*without_use(_defaults() | values, may_be_filled=False, rules=applies.ONCE_IGNORED)}
        unused |= _set_by_stages(values.get("stage", ())) - {"train_steps"}
        return cls(**{name: value for name, value in values.items() if name not in unused})


def without_use(
    values: dict[str, Any], may_be_filled: bool = True, rules: tuple[applies.Rule, ...] = applies.RULES
) -> dict[str, applies.Rule]:
    """The settings of a run that have no use in any of its stages, each with the rule that says so.

    Args:
      values: of all settings.
      may_be_filled: whether on data of one's own a use counts that some preset would give by what it makes of the
        settings that are at their defaults.
      rules: those that are asked.

    Raises:
      ConfigError: a value by itself cannot be used.
    """
    values = {field.name: checked(field, values[field.name]) for field in dataclasses.fields(TrainConfig)}
    fills: list[dict[str, Any]] = [{}]
    if may_be_filled and kind_of(values["dataset"]):
        rest = {name for name, default in _defaults().items() if values[name] == default}
        fills += [{name: one[name] for name in one.keys() & rest} for one in possible()]
    wholes = [whole for fill in fills for whole in _stages_whole(values | fill)]
    found: dict[str, applies.Rule] = {}
    for rule in rules:
        if not any(rule.applies(whole) for whole in wholes):
            found = dict.fromkeys(rule.names, rule) | found
    return found


def _of_today(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of a config.json, those of earlier versions as what they are today."""
    old = {name: values[name] for name in earlier.RETIRED if name in values}
    rest = {name: value for name, value in values.items() if name not in old}
    if rest.get("dataset") != RINGS:  # where earlier versions ignored it
        old.pop("step_ratio", None)
    return rest | earlier.read(old, rest)


@functools.cache
def _defaults() -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(TrainConfig)}


def _set_by_stages(stages: tuple[str, ...]) -> set[str]:
    return set.intersection(*(set(_read_stage(text)[1]) for text in stages)) if stages else set()


def _stages_whole(values: dict[str, Any]) -> list[types.SimpleNamespace]:
    """By stage all settings of a run that has these; where it has no stages, these."""
    stages = [_read_stage(text)[1] for text in values["stage"]] or [{}]
    return [types.SimpleNamespace(**values | changes) for changes in stages]


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
    kind, _ = value_type(next(field for field in dataclasses.fields(TrainConfig) if field.name == name))
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise ConfigError(f"--stage: {stage}: expected {expected}. Received: {name}={shortened(text)}") from None

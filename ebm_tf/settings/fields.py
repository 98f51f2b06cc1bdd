"""One setting as a dataclass field: default, help, what it changes, range, choices, unit; and the checks of them all.

A class of settings is a frozen dataclass that inherits Settings. What is wrong with one value by itself its field says;
what is wrong with several together a method `_check` of their class says.
"""

import dataclasses
import enum
import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

from ebm_tf.errors import ConfigError

__all__ = [
    "BOUND",
    "COUNT",
    "FRACTION",
    "NATURAL",
    "NOT_NEGATIVE",
    "POSITIVE",
    "PROBABILITY",
    "SEED",
    "SHARE",
    "Range",
    "Role",
    "Settings",
    "bad_setting",
    "checked",
    "field_help",
    "group_of",
    "names_of",
    "setting",
    "shortened",
    "value_type",
]


class Role(str, enum.Enum):
    """What a setting of training changes. The lists of settings in other rooms are derived from it."""

    MODEL = "model"  # the energy as a function, a checkpoint's arrays, or the order of the data: --resume keeps it
    RESULT = "result"  # what training comes to, but a run may go on with another value
    OPERATION = "operation"  # neither: where files lie, what is written and when, what it runs on


class Range(NamedTuple):
    """The values that a number may have: a test, and its words."""

    holds: Callable[[Any], bool]
    text: str


COUNT = Range(lambda value: value >= 1, "a whole number, 1 or more")
NATURAL = Range(lambda value: value >= 0, "a whole number, 0 or more")
SEED = Range(lambda value: 0 <= value < 2**31, "a whole number in [0, 2^31)")
POSITIVE = Range(lambda value: 0 < value < math.inf, "a finite number above 0")
NOT_NEGATIVE = Range(lambda value: 0 <= value < math.inf, "a finite number, 0 or more")
BOUND = Range(lambda value: value > 0, "a number above 0; inf for no bound")
PROBABILITY = Range(lambda value: 0 <= value <= 1, "a probability in [0, 1]")
SHARE = Range(lambda value: 0 <= value < 1, "a share in [0, 1)")
FRACTION = Range(lambda value: 0 < value < 1, "a number in (0, 1)")


def setting(
    default: Any,
    help: str,
    section: str = "",
    choices: tuple[str, ...] = (),
    unit: str = "",
    *,
    role: Role | None = None,
    range: Range | None = None,
    given: str = "",
    per_stage: bool = False,
) -> Any:
    """A field of a dataclass of settings, of which field_help and the flags tell.

    Args:
      default: its value where none is given.
      help: what it is.
      section: where the paper speaks of it.
      choices: the texts that it may be.
      unit: its unit.
      role: what it changes; every setting of TrainConfig has one.
      range: the values that a number may have.
      given: what is expected, where it may not be empty.
      per_stage: whether a stage of a run may set it for itself.
    """
    metadata: dict[str, Any] = {"help": help, "section": section, "choices": choices, "unit": unit}
    metadata |= {"role": role, "range": range, "given": given, "per_stage": per_stage}
    return dataclasses.field(default=default, metadata=metadata)


class Settings:
    """What a dataclass of settings inherits: the checks of every field, then `_check` of every class of it.

    Raises:
      ConfigError: on the first setting that cannot be used.
    """

    RETIRED: typing.ClassVar[dict[str, str]] = {}  # settings of earlier versions, and the one that is in their place
    FITTED: typing.ClassVar[tuple[str, ...]] = ()  # settings that fit data of one's own, where no flag gives them

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every class that inherits this is one
            object.__setattr__(self, field.name, checked(field, getattr(self, field.name)))
        for cls in reversed(type(self).__mro__):
            if "_check" in vars(cls):
                cls._check(self)  # type: ignore[attr-defined]

    @classmethod
    def read_retired(cls, old: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
        """What retired settings are today. Raises ConfigError where there is nothing that they are.

        Args:
          old: the retired ones that are given.
          rest: all others that are given.
        """
        return {}

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            fields = {field.name: field for field in dataclasses.fields(self)}  # type: ignore[arg-type]
            raise bad_setting(name, expected, getattr(self, name), fields[name].metadata["section"])


def names_of(config_cls: type, **marks: Any) -> tuple[str, ...]:
    """The settings whose metadata have these values, in order."""
    fields = dataclasses.fields(config_cls)
    return tuple(one.name for one in fields if all(one.metadata[mark] == value for mark, value in marks.items()))


def value_type(field: dataclasses.Field) -> tuple[Any, bool]:
    """The type of a setting's values, tuple for one that may be given several times; and whether it may be None."""
    kind, may_be_none = field.type, False
    if isinstance(kind, types.UnionType):
        (kind,) = (one for one in typing.get_args(kind) if one is not type(None))
        may_be_none = True
    return typing.get_origin(kind) or kind, may_be_none


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", tuple: "a list of texts"}


def _typed(field: dataclasses.Field, value: Any) -> Any:
    """value as the type of its field: a whole number for a number is one, and NumPy's numbers are Python's.

    Raises:
      ConfigError: it is of another type.
    """
    kind, may_be_none = value_type(field)
    if value is None and may_be_none:
        return None
    if kind is tuple:
        value = () if value is None else value
        is_right = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    elif kind is bool:
        is_right = isinstance(value, bool)
    elif kind in (int, float):
        abstract = numbers.Integral if kind is int else numbers.Real
        is_right = isinstance(value, abstract) and not isinstance(value, bool)
    else:
        is_right = isinstance(value, str)
    words = f"one of {', '.join(field.metadata['choices'])}" if field.metadata["choices"] else _WORDS.get(kind, "text")
    if not is_right:
        raise bad_setting(field.name, words, repr(value), field.metadata["section"])
    if kind is str:  # a shell leaves the ~ of --workdir=~/run as it is
        return os.path.expanduser(value)
    if issubclass(kind, enum.Enum):
        return value
    try:
        return kind(value)
    except OverflowError:  # a whole number that no float holds
        raise bad_setting(field.name, words, value, field.metadata["section"]) from None


def checked(field: dataclasses.Field, value: Any) -> Any:
    """value as the type of its field. Raises ConfigError unless it is one of its choices and in its range."""
    value, marks = _typed(field, value), field.metadata
    if marks["given"] and not value:
        raise bad_setting(field.name, marks["given"], None, marks["section"])
    if value is not None and marks["choices"] and str(value) not in marks["choices"]:
        raise bad_setting(field.name, "one of " + ", ".join(marks["choices"]), value, marks["section"])
    if value is not None and marks["range"] and not marks["range"].holds(value):
        raise bad_setting(field.name, marks["range"].text, value, marks["section"])
    kind, _ = value_type(field)
    return kind(value) if issubclass(kind, enum.Enum) else value


def field_help(field: dataclasses.Field) -> str:
    """The help text of one setting: whether it must be given, what it is, its unit, where the paper speaks of it."""
    text = f"Required. {field.metadata['help']}" if field.metadata["given"] else field.metadata["help"]
    if field.metadata["unit"]:
        text += f" Unit: {field.metadata['unit']}."
    if field.metadata["section"]:
        text += f" Paper: {field.metadata['section']}."
    return text


def group_of(config_cls: type, name: str) -> str:
    """What the settings are about among which one stands: the first sentence on the class that has the field."""
    owner = next(cls for cls in config_cls.__mro__ if name in vars(cls).get("__annotations__", {}))
    return (inspect.getdoc(owner) or "").splitlines()[0].partition(". ")[0].rstrip(".")


def shortened(value: Any) -> str:
    """At most 200 letters of a value, on one line."""
    return " ".join(str(value).split())[:200]


def bad_setting(name: str, expected: str, value: Any, section: str) -> ConfigError:
    """The error of a value that cannot be used."""
    where = f" ({section})" if section else ""
    return ConfigError(f"--{name}: expected {expected}{where}. Received: {name}={shortened(value)}")

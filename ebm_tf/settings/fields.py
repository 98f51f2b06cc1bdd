"""One setting as a dataclass field: default, help, section of the paper, choices, unit; and its checks."""

import dataclasses
from typing import Any

from ebm_tf.errors import ConfigError

__all__ = [
    "bad_setting",
    "check_choices",
    "check_given",
    "check_rate",
    "field_help",
    "section_of",
    "setting",
    "shortened",
]


def setting(default: Any, help: str, section: str = "", choices: tuple[str, ...] = (), unit: str = "") -> Any:
    """A field of a dataclass of settings, of which field_help and the flags tell."""
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


def shortened(value: Any) -> str:
    """At most 200 letters of a value, on one line."""
    return " ".join(str(value).split())[:200]


def bad_setting(name: str, expected: str, value: Any, section: str) -> ConfigError:
    """The error of a value that cannot be used."""
    where = f" ({section})" if section else ""
    return ConfigError(f"--{name}: expected {expected}{where}. Received: {name}={shortened(value)}")


def section_of(config: Any, name: str) -> str:
    """Where the paper speaks of a setting."""
    return next(field.metadata["section"] for field in dataclasses.fields(config) if field.name == name)


def check_choices(config: Any) -> None:
    """Raises ConfigError on the first setting that is none of its choices."""
    for field in dataclasses.fields(config):
        choices, value = field.metadata["choices"], getattr(config, field.name)
        if choices and str(value) not in choices:
            raise bad_setting(field.name, "one of " + ", ".join(choices), value, field.metadata["section"])


def check_given(config: Any, **expected: str) -> None:
    """Raises ConfigError on the first setting that is empty. expected: what each is."""
    for name, text in expected.items():
        if not getattr(config, name):
            raise bad_setting(name, text, None, "")


def check_rate(config: Any, name: str) -> None:
    """Raises ConfigError unless the setting is None or in (0, 1)."""
    value = getattr(config, name)
    if value is not None and not 0 < value < 1:
        raise bad_setting(name, "a number in (0, 1)", value, "")

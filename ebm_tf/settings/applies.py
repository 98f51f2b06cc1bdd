"""Which settings apply: one that would be ignored is refused where it is not at its default.

A default says the same as nothing, so it is taken anywhere: config.json holds every setting, and a flag file may. Of a
run with stages a setting applies if it applies in one of them; a stage that has no use for it takes its default.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from ebm_tf.settings.chains import Scheme
from ebm_tf.settings.data import IMAGE_SPLITS, RINGS, SOURCES, is_tfds, kind_of
from ebm_tf.settings.fields import Settings, bad_setting

__all__ = ["ONCE_IGNORED", "RULES", "Rule", "check_read", "idle"]


class Rule(NamedTuple):
    """When some settings apply.

    Attributes:
      names: of the settings.
      applies: tells it of an object that has all settings as attributes.
      why: what the error says after the default; may name {scheme} and {data}.
    """

    names: tuple[str, ...]
    applies: Callable[[Any], bool]
    why: str


def _is_image(one: Any) -> bool:
    """An array may be of images: only reading it tells, see build.dataset."""
    return one.dataset != RINGS and kind_of(one.dataset) != "table"


def _has_bank(one: Any) -> bool:
    return Scheme(one.scheme).has_bank or one.bank_weight > 0


_EVER_REFUSED = (
    Rule(("preset",), lambda one: kind_of(one.dataset) in SOURCES, ", since {data} have flag files"),
    Rule(("fit",), _is_image, ", since {data} are no images"),
    Rule(("fit",), lambda one: one.dataset not in IMAGE_SPLITS, ", since {data} are cut as in the paper"),
    Rule(("columns",), lambda one: kind_of(one.dataset) == "table", ", since only tables have columns"),
    Rule(("held_out",), lambda one: kind_of(one.dataset) in SOURCES, ", since {data} have a part to test"),
    Rule(("cd_weight",), lambda one: one.scheme == Scheme.HYBRID, ", since scheme {scheme} has no lambda"),
    Rule(
        ("bank_weight",),
        lambda one: not Scheme(one.scheme).has_bank,
        ", since all chains of scheme {scheme} are of the bank",
    ),
    Rule(("bank_start",), _has_bank, " without a bank (--bank_weight above 0)"),
    Rule(
        ("bank_burn_in", "bank_restart_data", "bank_restart_noise"),
        lambda one: one.bank_weight > 0,
        " without --bank_weight above 0",
    ),
    Rule(
        ("bank_jump",),
        lambda one: _has_bank(one) and one.data_noise > 0 and one.temperature > 0,
        " without a bank (--bank_weight above 0 or a persistent scheme), --data_noise and --temperature above 0",
    ),
    Rule(
        ("learning_rate_end",),
        lambda one: one.learning_rate_schedule == "cosine",
        " without --learning_rate_schedule=cosine",
    ),
)

# A config.json of an earlier version may hold these at other values, without effect: it is read as if it did not.
ONCE_IGNORED = (
    Rule(("image_size", "attention"), _is_image, ", since {data} are no images"),
    Rule(("train_split",), lambda one: is_tfds(one.dataset), ", since {data} have no splits"),
    Rule(("data_dir",), lambda one: is_tfds(one.dataset), ", since {data} are not TFDS's"),
    Rule(
        ("refresh_prob", "refresh_unit"),
        lambda one: one.scheme == Scheme.PERSISTENT_REFRESH,
        " without --scheme=persistent_refresh",
    ),
    Rule(("bank_size", "bank_dtype"), _has_bank, " without a bank (--bank_weight above 0 or a persistent scheme)"),
    Rule(
        ("max_rollbacks", "rollback_rate"),
        lambda one: one.on_divergence == "rollback" or one.rollbacks > 0,
        " without --on_divergence=rollback",
    ),
)
RULES = _EVER_REFUSED + ONCE_IGNORED


def idle(config: Any, defaults: dict[str, Any], rules: tuple[Rule, ...]) -> Iterator[tuple[str, Rule]]:
    """The settings that are not at their defaults and do not apply, each with the rule that says so."""
    for rule in rules:
        if not rule.applies(config):
            yield from ((name, rule) for name in rule.names if getattr(config, name) != defaults[name])


def check_read(settings: Settings, readers: dict[str, set[str]], asked: Collection[str], flag: str) -> None:
    """Raises ConfigError for a setting that is not at its default and that nothing asked for reads.

    Args:
      settings: of a command that does several things.
      readers: by the name of each thing the settings that it reads; what none of them reads is of the command itself.
      asked: names of those asked for.
      flag: what asks for them.
    """
    used = set().union(*(readers[name] for name in asked))
    for name in sorted(set().union(*readers.values()) - used):
        value, default = getattr(settings, name), getattr(type(settings), name)
        if value != default:
            who = ", ".join(reader for reader, read in readers.items() if name in read)
            raise bad_setting(name, f"{default} where {flag} has none that reads it: {who}", value, "")

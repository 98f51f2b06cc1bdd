"""Settings of earlier versions, in flag files and in config.json, and what they are today.

    --noise_spectrum=data       --gaussian=start
    --preconditioner=spectrum   --gaussian=start+steps
    --reference=gaussian        --gaussian=start+reference, or start+steps+reference
    --step_ratio=36             --gaussian=steps, of the rings
    --confinement=c             ebm_tf.Wall, in Python
    --best_metric               nothing
"""

from typing import Any

from ebm_tf.errors import ConfigError
from ebm_tf.settings.data import RINGS, SOURCES, DataConfig, kind_of
from ebm_tf.settings.fields import bad_setting, shortened

__all__ = ["RETIRED", "read"]

# By name the setting that is in its place, if one is.
RETIRED = {
    "noise_spectrum": "gaussian",
    "preconditioner": "gaussian",
    "reference": "gaussian",
    "step_ratio": "gaussian",
    "confinement": "",
    "best_metric": "",
}
# What each could be: as in the paper, or otherwise; and what that is of `gaussian`.
CHOICES = {
    "noise_spectrum": ("white", "data", "start"),
    "preconditioner": ("none", "spectrum", "steps"),
    "reference": ("none", "gaussian", "reference"),
    "step_ratio": ("1", "36", "steps"),
}


def read(old: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """What retired settings are today: `gaussian`, or nothing.

    Args:
      old: the retired ones that are given.
      rest: all others that are given.

    Raises:
      ConfigError: there is nothing that they are.
    """
    texts, dataset = {name: _text(value) for name, value in old.items()}, rest.get("dataset", DataConfig.dataset)
    if texts.get("confinement", "0") != "0":
        expected = "0, or to be left out: a wall is EnergyModel.from_network(net, wall=ebm_tf.Wall(...)) in Python now"
        raise bad_setting("confinement", expected, texts["confinement"], "")
    texts = {name: texts[name] for name in CHOICES if name in texts}
    if texts and "gaussian" in rest:
        raise ConfigError(f"--{next(iter(texts))}: expected --gaussian alone, which is in its place. Received: both")
    if texts and kind_of(dataset) in SOURCES:
        texts = _with_preset(texts, dataset)
    for name, text in texts.items():
        plain, other, _ = CHOICES[name]
        if text not in (plain, other):
            raise bad_setting(name, f"{plain} or {other}", text, "")
        if text != plain and (name == "step_ratio") != (dataset == RINGS):
            raise bad_setting(name, f"{plain} for {dataset}", text, "")
    used = [name for name, text in texts.items() if text != CHOICES[name][0]]
    if used and used[0] in ("preconditioner", "reference"):
        raise bad_setting(used[0], "none without --noise_spectrum=data; --gaussian says all in one", texts[used[0]], "")
    return {"gaussian": "+".join(CHOICES[name][2] for name in used) or "none"} if texts else {}


def _with_preset(texts: dict[str, str], dataset: str) -> dict[str, str]:
    """What is not given fits the data: start and reference of any, steps of images alone, which reading them tells."""
    if texts.get("noise_spectrum") == "white":
        return texts
    if "preconditioner" not in texts:
        name, text = next(iter(texts.items()))
        raise bad_setting(name, f"--gaussian, which is in its place, for {shortened(dataset)}", text, "")
    told = {"noise_spectrum": "data", "reference": "gaussian"} | texts
    return {name: told[name] for name in CHOICES if name in told}


def _text(value: Any) -> str:
    """A value as a flag says it, numbers alike from flags and from JSON."""
    try:
        return f"{float(value):g}"
    except (TypeError, ValueError):
        return str(value)

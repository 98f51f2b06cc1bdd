"""What TensorBoard shows of a run: which group a number stands in, and the card that says what the run is.

metrics.jsonl names a number by what it belongs to (data_init/snr); TensorBoard draws one group beside another, so there
it is named by what it is compared with (snr/data_init). docs/healthy.md says how to read the groups.
"""

import functools
import html
import importlib
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

__all__ = ["card", "open_writer", "scalars", "write"]

COMPONENTS = {"energy_difference": "loss", "std": "std", "snr": "snr"}
GROUPS = {
    "chain": ("energy_grad_norm", "max_abs", "num_steps", "step_size"),
    "optimizer": ("learning_rate", "gradient_norm", "zero_gradient_share"),
    "run": ("updates_per_second", "rollbacks", "traces"),
}


def open_writer(folder: pathlib.Path) -> tf.summary.SummaryWriter:
    """A writer of event files in `folder`; without TensorBoard, after one line that says so, one that writes none."""
    if _is_there():
        return tf.summary.create_file_writer(str(folder))
    _warn()
    return tf.summary.create_noop_writer()


def write(kind: str, tag: str, value: Any) -> None:
    """tf.summary's function of that name (scalar, text, image, histogram); nothing where there is no TensorBoard."""
    if _is_there():
        getattr(tf.summary, kind)(tag, value)


@functools.cache
def _is_there() -> bool:
    """Whether the package tensorboard can be imported, from which TensorFlow takes these functions, if need be late."""
    try:
        importlib.import_module("tensorboard.summary.v2")
    except Exception:  # where it is broken, anything
        return False
    return True


@functools.cache  # once a process: a run opens a writer for every stage and rollback
def _warn() -> None:
    print("warning: the package tensorboard cannot be imported; nothing is written to tensorboard/", file=sys.stderr)


def scalars(row: Mapping[str, float]) -> dict[str, float]:
    """A row of metrics.jsonl by TensorBoard's names, GROUP/NAME.

    The loss is the total's energy difference, and stands there once, as loss/total.
    """
    return {_tag(name): value for name, value in row.items() if name != "loss"}


def _tag(name: str) -> str:
    component, _, kind = name.rpartition("/")
    if kind in COMPONENTS:
        return f"{COMPONENTS[kind]}/{component}"
    return next((f"{group}/{name}" for group, names in GROUPS.items() if name in names), name)


def card(settings: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """A table in Markdown: what a run depends on beside its settings (device.describe), then every setting."""
    rows = (f"| {name} | {_text(value)} |" for name, value in {**about, **settings}.items())
    return "\n".join(["| run | value |", "| --- | --- |", *rows])


def _text(value: Any) -> str:
    """Text of one table cell: on one line, and no mark-up."""
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return f"<code>{html.escape(' '.join(text.split())).replace('|', '&#124;')}</code>"

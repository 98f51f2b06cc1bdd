"""The folder of a run that was given none: runs/NAME, after its flag file, or the next that is free."""

import dataclasses
import glob
import itertools
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Iterator

from ebm_tf.errors import ConfigError
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import TrainConfig

__all__ = ["with_workdir"]

RUNS = pathlib.Path("runs")


def with_workdir(config: TrainConfig, command: list[str]) -> TrainConfig:
    """The settings with a folder. Where none was given it is chosen, and said on stderr; nothing is written.

    Two processes that choose at the same time choose the same folder; the lock in it then refuses the second.

    Args:
      config: settings of the run.
      command: sys.argv of bin/train.py, or "ebm-tf train" and its flags. Its last --flagfile gives the name; flag
        files named in flag files do not.

    Raises:
      ConfigError: there is no flag file either; or it is not for this function to choose: which run to resume, or the
        one folder that several workers share.
    """
    if config.workdir is not None:
        return config
    flag_file = _last_flag_file(command[1:])
    if flag_file is None:
        expected = "--workdir: expected a folder for this run, or a --flagfile, which names one"
        raise ConfigError(f"{expected}. Received: neither")
    first = RUNS / pathlib.Path(flag_file).stem
    runs = _runs(first)
    to_continue = _resumed(command, runs[-1]) if runs else ""
    if config.resume:
        found = f"There is {', '.join(map(str, runs))}. To continue {runs[-1]}: {to_continue}" if runs else ""
        expected = "--workdir: expected the folder of a run, to continue it with --resume"
        raise ConfigError(f"{expected}. Received: none. {found or f'Nor does a run lie in {first}'}")
    if config.strategy == "multi_worker":
        raise ConfigError("--workdir: expected one folder for all workers of --strategy=multi_worker. Received: none")
    path = next(path for path in _names(first) if _is_free(path))
    print(f"this run goes to {path}" + (f". To continue {runs[-1]}: {to_continue}" if runs else ""), file=sys.stderr)
    return dataclasses.replace(config, workdir=str(path))


def _last_flag_file(arguments: list[str]) -> str | None:
    """As absl reads them: --flagfile=X, --flagfile X, with one dash or two."""
    found = None
    for argument, following in itertools.zip_longest(arguments, arguments[1:]):
        if argument == "--":
            break
        if match := re.fullmatch(r"--?flagfile(?:=(.*))?", argument, re.DOTALL):
            found = following if match[1] is None else match[1]
    return found or None


def _names(first: pathlib.Path) -> Iterator[pathlib.Path]:
    yield first
    for number in itertools.count(2):
        yield first.with_name(f"{first.name}-{number}")


def _runs(first: pathlib.Path) -> list[pathlib.Path]:
    """The runs in runs/NAME, runs/NAME-2 and so on, by number."""
    numbers = {}
    for path in first.parent.glob(f"{glob.escape(first.name)}*"):
        match = re.fullmatch(r"(?:-([1-9]\d{0,8}))?", path.name[len(first.name) :])
        if match and os.path.exists(RunDir(path).config):
            numbers[path] = int(match[1] or 1)
    return sorted(numbers, key=numbers.__getitem__)


def _is_free(path: pathlib.Path) -> bool:
    """Whether a run can start there. A name that cannot be looked at is free: the run then says why it is none."""
    if os.path.lexists(path):
        try:
            RunDir(path).check_unused()
        except ConfigError:
            return False
    return True


def _resumed(command: list[str], path: pathlib.Path) -> str:
    same = [argument for argument in command if argument not in ("--resume", "-resume")]
    program = same[0].split() if same[0].startswith("ebm-tf ") else ["python", same[0]]
    return shlex.join([*program, *same[1:], f"--workdir={path}", "--resume"])

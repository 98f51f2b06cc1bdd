"""Commands of Markdown pages, found and parsed as the commands themselves would, without running them.

A command is a line of a block, or a code span, that begins with a program: `python bin/x.py --flag=1`, `bin/x.py`,
`make x`. Words in capitals stand for what the reader has: RUN, DIR/x, FILE.keras. What stands in [ ] may be left out.
"""

import argparse
import ast
import contextlib
import dataclasses
import functools
import importlib
import itertools
import pathlib
import re
import shlex
from typing import NamedTuple

from ebm_tf.cli import flags, main, sweep
from ebm_tf.errors import ConfigError
from ebm_tf.settings.data import SOURCES, kind_of
from ebm_tf.settings.fields import checked
from ebm_tf.settings.train import TrainConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]
# docs/log is history: its commands are those of their day.
NAMES = ["README.md", "CONTRIBUTING.md", "pretrained/README.md"]
NAMES += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^|(?<=\n\n))((?:    [^\n]*\n|\n(?=    ))+)")
SPAN = re.compile(r"(?<!`)`((?:[^`\n]|\n(?!\n))+)`(?!`)")
FOLDERS = "bin|benchmarks|configs|docs|ebm_tf|examples|pretrained|results|studies|tests|tools"
A_FILE = re.compile(rf"(?:{FOLDERS})/[\w./*-]+|[a-z_/]+/\w+\.py")
FOREIGN = {"docker", "nice", "jupyter", "curl", "printf"}  # programs whose arguments nobody here knows
COMMON = {"flagfile", "help"}
FREE = re.compile(r"\.{3}|\$\w+|[A-Z][A-Z_]*\b.*|/.*")  # the reader's: RUN, $tables, /shared/x
# A reader's own files, as pages name them.
OWN = {"photos", "x.npy", "x.csv", "machines.csv", "held_out.csv", "today.csv"}
READS = {"workdir", "model", "init_model", "runs", "input", "reference", "fid_features", "inception_graph"}
WRITES = {"output", "report", "workdir", "runs"}
# What a word in capitals may be; and the data set that CONTRIBUTING.md adds.
STANDS = {"FLAGS": "configs/cifar_hybrid_bank.flags", "N": "1", "moons:0.1": "rings"}


class Fault(Exception):
    """What is wrong with a command, in one line."""


class Page(NamedTuple):
    """A page's commands in their order, its spans that name flags of a command or of any, its files, its Python."""

    commands: list[str]
    flags: list[str]
    files: list[str]
    python: list[str]


def read(text):
    """Page from Markdown."""
    commands, alone, files, python = [], [], [], []
    for kind, block in blocks(text):
        if kind == "python":
            python.append(block)
            continue
        for part in re.sub(r"\\\n\s*", "", block).split("\n\n"):
            commands += _commands(part.splitlines())
    for span in SPAN.findall(FENCE.sub("", text)):
        span = span.replace("\\|", "|").replace("\n", " ")
        if span.startswith(("--", "bin/")) and span != "--":
            alone.append(span)
        elif is_command(span):
            commands.append(span)
        files += [span] if A_FILE.fullmatch(span) else []
    return Page(commands, alone, files, python)


def _commands(lines):
    """Commands among the lines of a block. Raises Fault where there is one, and a line that is none."""
    is_shell = any(map(is_command, lines))
    found = []
    for line in lines:
        if line.startswith("--"):  # of a flag file
            found.append(f"bin/train.py {shlex.quote(line)}")
        elif is_command(line):
            found.append(line)
        elif re.search(r"(^|\s)(python|--\w+)", line) or (is_shell and not re.fullmatch(r"\w+=\S+|", line)):
            raise Fault(f"expected a command that begins with its program: {line}")
    return found


def blocks(text):
    """(language, lines) of every block of a page, fenced or indented, in its order."""
    found = [(match.start(), match[1], match[2]) for match in FENCE.finditer(text)]
    plain = FENCE.sub(lambda match: "x" * len(match[0]), text)
    found += [(m.start(), "", re.sub(r"^    ", "", m[1], flags=re.MULTILINE)) for m in INDENTED.finditer(plain)]
    return [block for _, *block in sorted(found)]


def is_command(line):
    try:
        words = _program(shlex.split(line, comments=True))
    except ValueError:  # a quote that has no end
        return False
    return bool(words) and (
        words[0] in FOREIGN | set(PROGRAMS) or bool(re.fullmatch(r"\S+/\w+\.py|\.ci/run", words[0]))
    )


def faults(name, text):
    """What is wrong with the commands, flags and files of a page, a line each."""
    found, written = [], set()
    try:
        page = read(text)
    except Fault as fault:
        return [f"{name}: {fault}"]
    for command in page.commands:
        for one in command.split(" && "):
            try:
                check(one, written)
            except (Fault, ConfigError) as fault:
                found.append(f"{name}: {one}: {fault}")
    for span in page.flags:
        try:
            check_flags(span, page.commands)
        except (Fault, ConfigError) as fault:
            found.append(f"{name}: {span}: {fault}")
    return found + [f"{name}: no file {path}" for path in page.files if not _stands(path)]


def check(command, written):
    """Raises Fault or ConfigError where a command would refuse its line.

    Args:
      command: the line.
      written: the paths that earlier commands of the page write; those of this one are added.
    """
    try:
        words = _program(shlex.split(re.sub(r"(?<=\s)\[|\](?=\s|$)", "", command), comments=True))
    except ValueError as error:
        raise Fault(str(error)) from None
    program, *arguments = [word for word in words if word != "..."]
    if program.endswith((".py", "/run")):
        if re.fullmatch(r"bin/\w+\.py", program):
            program, arguments = "ebm-tf", [pathlib.Path(program).stem, *arguments]
        else:
            return _check_script(program, arguments)
    if program in FOREIGN or not arguments:
        return None
    return PROGRAMS[program](arguments, written)


def check_flags(span, commands):
    """Raises Fault or ConfigError unless the command of a span, or any, has its flags, and their values may be."""
    words = shlex.split(re.sub(r"(?<=\s)\[|\](?=\s|$)", "", span))
    words = words[: words.index("--")] if "--" in words else words
    parts = [word[2:].partition("=") for word in words if word.startswith("--")]
    given = {name: value if equals else None for name, equals, value in parts}
    command = pathlib.Path(words[0]).stem if words[0].endswith(".py") else None
    if command and not _stands(words[0]):
        raise Fault(f"no file {words[0]}")
    if given.get("flagfile") and not FREE.fullmatch(given["flagfile"]):
        flags.expand_flag_files([f"--flagfile={given['flagfile']}"])
    for config in configs(command):
        fields = {field.name: field for field in dataclasses.fields(config)}
        if set(given) <= set(fields) | COMMON:
            for name, value in given.items():
                if name in fields and value is not None and not FREE.fullmatch(value):
                    _check_value(fields[name], value)
            return
    scripts = [word for command in commands for word in _program(command.split())[:1] if _stands(word)]
    if not any(set(given) <= set(_parser(script).flags) for script in scripts if not script.startswith("bin/")):
        raise Fault(f"no command has the flags {', '.join('--' + name for name in given)}")


def _check_value(field, value):
    """Raises ConfigError, as the command would."""
    values = flags.absl_flags.FlagValues()
    flags.define_flags(dataclasses.make_dataclass("One", [(field.name, field.type, field)]), values)
    try:
        values(["", f"--{field.name}={value}"])
    except flags.absl_flags.Error as error:
        raise ConfigError(str(error)) from None
    checked(field, values[field.name].value)


@functools.cache
def configs(command=None):
    """The settings of a command, by its actions; of all where none is named."""
    found = []
    for name in main.COMMANDS if command in (None, "NAME") else (command,):
        start = importlib.import_module(f"ebm_tf.cli.commands.{name}").start
        actions = start.args[0].values() if isinstance(start.args[0], dict) else [start.args]
        found += [config for _, config in actions]
    return found


def _check_ebm_tf(arguments, written):
    name, *arguments = arguments
    if FREE.fullmatch(name):
        return
    if name not in main.COMMANDS:
        raise Fault(f"no command {name}")
    start = importlib.import_module(f"ebm_tf.cli.commands.{name}").start
    config = start.args[1] if not isinstance(start.args[0], dict) else None
    if config is None and arguments:
        if arguments[0] not in start.args[0]:
            raise Fault(f"no action {arguments[0]}")
        config = start.args[0][arguments.pop(0)][1]
    if not set(arguments) - {"--help"}:
        return
    own, rest = arguments, []
    if "--" in arguments:
        own, rest = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    settings = flags.config_from_flags(config, [_filled(argument) for argument in own])
    if name == "sweep":
        sweep.plan(settings, flags.expand_flag_files(rest), functools.partial(flags.read_values, TrainConfig))
    _check_paths(name, settings, written, own)


def _filled(argument):
    flag, equals, value = argument.partition("=")
    return f"{flag}={STANDS.get(value, value)}" if equals else argument


def _check_paths(name, settings, written, arguments):
    """What is read must be there, be the reader's, or be written by an earlier command."""
    is_run_new = name in ("train", "checkpoint", "sweep", "doctor") and not getattr(settings, "resume", False)
    not_read = {"workdir", "runs"} if is_run_new else set()
    not_read |= {"reference"} if isinstance(settings, TrainConfig) else set()  # no file there
    for flag in READS & set(vars(settings)) - not_read:
        value = getattr(settings, flag)
        if value and not (flag == "fid_features" and value == "inception"):
            _check_read(flag, value, written)
    if isinstance(settings, TrainConfig) and kind_of(settings.dataset) in set(SOURCES) - {"tfds"}:
        _check_read("dataset", settings.dataset.partition(":")[2], written)
    written |= {str(getattr(settings, flag)) for flag in WRITES & set(vars(settings)) if getattr(settings, flag)}
    if name == "train" and settings.workdir is None:
        flag_files = [argument.partition("=")[2] for argument in arguments if argument.startswith("--flagfile=")]
        written |= {f"runs/{pathlib.Path(flag_files[-1]).stem}"} if flag_files else set()


def _check_read(flag, value, written):
    path = value.rstrip("/")
    if FREE.fullmatch(path) or path in OWN or path.startswith("tfds:") or (ROOT / path).exists():
        return
    if not any(path == one or one.startswith(f"{path}/") for one in written):
        raise Fault(f"--{flag}: no file {value}, and no command above writes it")


def _check_python(arguments, written):
    if arguments[0] != "-m":
        return check(" ".join(map(shlex.quote, arguments)), written)
    if arguments[1] == "pytest":
        for path in arguments[2:]:
            if "/" in path and not _stands(path):
                raise Fault(f"no file {path}")
    elif arguments[1] not in ("venv", "pip"):
        raise Fault(f"no module {arguments[1]}")
    return None


def _check_pip(arguments, written):
    for flag, value in itertools.pairwise(arguments):
        if flag == "-r" and not (ROOT / value).is_file():
            raise Fault(f"no file {value}")
    section = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    extras = re.findall(r"^(\w+) = ", section.partition("\n[")[0], re.MULTILINE)
    for extra in re.findall(r"\.\[([\w,]+)\]", " ".join(arguments)):
        if unknown := set(extra.split(",")) - set(extras):
            raise Fault(f"no extra {', '.join(unknown)}")


def _check_make(arguments, written):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    if arguments[0] not in targets:
        raise Fault(f"no target {arguments[0]}")


def _check_tensorboard(arguments, written):
    for argument in arguments:
        if not re.fullmatch(r"--(logdir|port)(=\S+)?", argument):
            raise Fault(f"unknown flag {argument}")


def _check_activate(arguments, written):
    if arguments != [".venv/bin/activate"]:
        raise Fault("expected .venv/bin/activate")


PROGRAMS = {
    "python": _check_python,
    "python3": _check_python,
    "pip": _check_pip,
    "make": _check_make,
    "tensorboard": _check_tensorboard,
    "ebm-tf": _check_ebm_tf,
    ".": _check_activate,
}


def _program(words):
    """Without NAME=VALUE and `nice` before the program, and the folder of an environment."""
    while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] == "nice"):
        words = words[1:]
    return [words[0].removeprefix(".venv-bench/bin/"), *words[1:]] if words else []


def _stands(path):
    is_free = any(re.fullmatch(r"[A-Z_]{2,}|[A-Z]", part) for part in re.split(r"[/.]", path))
    return is_free or any(any(root.glob(path.rstrip("/"))) for root in (ROOT, ROOT / "ebm_tf"))


class _Parser(argparse.ArgumentParser):
    @property
    def flags(self):
        return [name[2:] for action in self._actions for name in action.option_strings if name.startswith("--")]

    def error(self, message):
        raise Fault(message)


def _check_script(path, arguments):
    if FREE.fullmatch(pathlib.Path(path).stem):
        return
    if not _stands(path):
        raise Fault(f"no file {path}")
    if arguments:
        _parser(path).parse_args(arguments)


@functools.cache
def _parser(path):
    """The parser of a script by its add_argument calls, without importing it."""
    parser = _Parser(path)
    kinds = {"int": int, "float": float}
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            options = {}
            for keyword in node.keywords:
                if keyword.arg == "type" and getattr(keyword.value, "id", "") in kinds:
                    options["type"] = kinds[keyword.value.id]
                elif keyword.arg in ("action", "nargs", "choices", "required"):
                    with contextlib.suppress(ValueError):  # not literal
                        options[keyword.arg] = ast.literal_eval(keyword.value)
            parser.add_argument(*map(ast.literal_eval, node.args), **options)
    return parser

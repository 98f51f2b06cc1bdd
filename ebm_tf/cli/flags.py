"""The command line: one absl flag per field of a config dataclass, and one line on stderr for bad input.

Only the commands import this module; the library itself takes configs and never sees a flag. A command reads

    def main(settings):
        from ebm_tf.training import run  # not above: TensorFlow is imported after the flags are parsed
        ...

    start = functools.partial(flags.run_main, main, TrainConfig)

so that a mistyped flag is answered at once, without waiting for TensorFlow to load.
"""

import dataclasses
import difflib
import inspect
import os
import pathlib
import re
import signal
import sys
import tempfile
import typing
from collections.abc import Callable
from typing import Any, NoReturn

from absl import flags as absl_flags

from ebm_tf.cli import native_stderr, xla, xla_cache
from ebm_tf.errors import MOST_NAMES, ConfigError, UnusableError
from ebm_tf.runs.run_dir import DISK_ERRORS, RunDir
from ebm_tf.runs.signals import Stopped
from ebm_tf.settings.fields import field_help, group_of, value_type

__all__ = [
    "as_called",
    "config_from_flags",
    "define_flags",
    "expand_flag_files",
    "given",
    "load_tensorflow",
    "read_values",
    "run_action",
    "run_main",
    "share_package",
]

FLAGS = absl_flags.FLAGS
EXIT_BAD_INPUT = 2
EXIT_FAILED = 1
NEAR = 0.6  # similarity of two flags' names, by difflib, from which on one may be meant for the other
EARLIER = "Of earlier versions"  # begins the help of a flag that is read and no longer told of
FLAG_FILE = "\nFlags may stand in a file, one a line: --flagfile=FILE. A flag after it overrides the file's."
BOM = "\ufeff"  # Windows' editors begin a file of flags with it
EXIT_SIGNAL = 128  # plus the signal, as shells report it

absl_flags.disclaim_key_flags()  # flags belong to the script that asks for them, and so stand in its --help


class _Terminated(KeyboardInterrupt):
    """SIGTERM came. Ends what Ctrl-C would end."""


class _NumberParser(absl_flags.ArgumentParser):
    """Reads an int or a float, and says which one it expected."""

    def __init__(self, number_type: type, section: str) -> None:
        self._number_type = number_type
        self._expected = "a whole number" if number_type is int else "a number"
        self._section = f" ({section})" if section else ""

    def parse(self, argument: Any) -> Any:
        try:
            return self._number_type(argument)
        except (TypeError, ValueError):
            raise ValueError(f"expected {self._expected}{self._section}") from None

    def flag_type(self) -> str:
        return self._number_type.__name__


def define_flags(config_cls: type, flag_values: absl_flags.FlagValues = FLAGS) -> None:
    """Defines an absl flag for every field of a config dataclass: its name, default, and help.

    The help carries the choices, the unit and the section of the paper. Choices are checked by the config itself, so
    that the command line and Python give the same message. Flags that exist already are left as they are.

    Args:
      config_cls: A dataclass whose fields were made by `ebm_tf.settings`, for example TrainConfig.
      flag_values: Where to; the command line's unless given.
    """
    for field in dataclasses.fields(config_cls):
        if field.name in flag_values:
            continue
        help_text = field_help(field).replace("None: ", "Not given: ")
        if field.metadata["choices"]:
            help_text = f"<{'|'.join(field.metadata['choices'])}>: {help_text}"
        kind, default = value_type(field)[0], typing.cast(Any, field.default)
        if kind is tuple:
            absl_flags.DEFINE_multi_string(field.name, None, help_text, flag_values)
        elif kind is bool:
            absl_flags.DEFINE_boolean(field.name, default, help_text, flag_values)
        elif kind in (int, float):
            parser = _NumberParser(kind, field.metadata["section"])
            absl_flags.DEFINE(parser, field.name, default, help_text, flag_values)
        else:
            absl_flags.DEFINE_string(field.name, None if default is None else str(default), help_text, flag_values)
        if field.metadata["given"]:
            flag_values[field.name].default_as_str = None  # --help shows none where one must be given
        elif field.name in getattr(config_cls, "FITTED", ()):
            flag = flag_values[field.name]
            flag.default_as_str = f"{flag.default_as_str or 'none'}; on your own data what fits them"
        flag_values.register_flag_by_module(group_of(config_cls, field.name), flag_values[field.name])
    for name, now in _retired(config_cls).items():  # flag files of earlier versions may have it
        if name not in flag_values:
            help_text = f"{EARLIER}; now --{now}." if now else f"{EARLIER}."
            absl_flags.DEFINE_string(name, None, help_text, flag_values)


def _retired(config_cls: type) -> dict[str, str]:
    return getattr(config_cls, "RETIRED", {})


def config_from_flags(config_cls: type, arguments: list[str] | None = None) -> Any:
    """Builds the config from the parsed flags.

    Args:
      config_cls: The dataclass given to `define_flags`.
      arguments: In place of this command's line another's, what stands after its name. None: this one's.

    Raises:
      ConfigError: A value cannot be used. The text says what was expected, what was received, the flag and the section.
    """
    values, rest = _values_of(config_cls, FLAGS if arguments is None else _parsed(config_cls, arguments))
    run_dir = RunDir.to_resume(rest)
    return run_dir.resumed(rest) if run_dir else config_cls(**values)


def _values_of(config_cls: Any, flag_values: absl_flags.FlagValues) -> tuple[dict[str, Any], dict[str, Any]]:
    """All settings, and those that are given, earlier ones as what they are today."""
    values = {field.name: flag_values[field.name].value for field in dataclasses.fields(config_cls)}
    rest = {name: value for name, value in values.items() if flag_values[name].present}
    old = {name: flag_values[name].value for name in _retired(config_cls) if flag_values[name].present}
    if old:
        run_dir = RunDir.to_resume(rest)
        own = {"dataset": run_dir.load_config().dataset} if run_dir else {}
        now = config_cls.read_retired(old, own | rest)
        words = " ".join(f"--{name}={value}" for name, value in now.items()) or "nothing, and may go"
        print(f"earlier flags: {' '.join(f'--{name}={old[name]}' for name in old)} is now {words}", file=sys.stderr)
        values, rest = values | now, rest | now
    return values, rest


def given(config_cls: type) -> set[str]:
    """Names of the settings that the command line or a flag file gives."""
    names = {field.name: field.name for field in dataclasses.fields(config_cls)} | _retired(config_cls)
    return {now for name, now in names.items() if now and FLAGS[name].present}


def read_values(config_cls: type, arguments: list[str]) -> dict[str, Any]:
    """All settings of another command's line, before its config has checked them. Raises ConfigError."""
    return _values_of(config_cls, _parsed(config_cls, arguments))[0]


def _parsed(config_cls: type, arguments: list[str]) -> absl_flags.FlagValues:
    values = absl_flags.FlagValues()
    define_flags(config_cls, values)
    try:
        positional = values(["", *arguments])[1:]
    except absl_flags.Error as error:
        raise ConfigError(_one_line(error)) from None
    if positional:
        raise ConfigError(f"expected only flags, --name=value. Received: {' '.join(positional)}")
    return values


def expand_flag_files(arguments: list[str]) -> list[str]:
    """The arguments with the flags of each --flagfile in its place. Raises ConfigError where one cannot be read."""
    try:
        return absl_flags.FlagValues().read_flags_from_files(arguments, force_gnu=False)
    except (absl_flags.Error, UnicodeDecodeError) as error:
        raise ConfigError(_one_line(error)) from None


def share_package() -> None:
    """Lets Python processes that are started from here import this ebm_tf, installed or not."""
    root = str(pathlib.Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])


def run_main(
    main_fn: Callable[..., int | None], config_cls: type, needs_tensorflow: bool = True, takes_rest: bool = False
) -> NoReturn:
    """Parses sys.argv, runs main_fn, and exits: 0 done, 2 bad input, 1 a disk that is full or closed or nothing
    usable came out, 130 by Ctrl-C, 143 by SIGTERM.

    All but 0 with one line on stderr. Any other exception of main_fn passes through: Python prints its traceback and
    exits 1.

    Args:
      main_fn: Called with the config. Its return value, if an int, is the exit status. What needs TensorFlow is
        imported inside it: flags are parsed before TensorFlow is loaded. --help begins with its module's docstring.
      config_cls: The dataclass whose fields are the flags.
      needs_tensorflow: Whether to load TensorFlow before main_fn; else main_fn may call load_tensorflow.
      takes_rest: Whether main_fn is also called with the list of what stands after a bare `--`, which is meant for
        another command.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        rest = [_split_arguments()] if takes_rest else []
        define_flags(config_cls)
        _parse(sys.argv, inspect.getdoc(sys.modules[main_fn.__module__]), config_cls)
        config = config_from_flags(config_cls)
        if needs_tensorflow:
            load_tensorflow()
        status = main_fn(config, *rest)
    except (ConfigError, absl_flags.Error) as error:
        print(f"{_name()}: {as_called(_one_line(error))}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        print(f"{_name()}: {_one_line(error)}", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    except UnusableError as error:
        print(f"{_name()}: {_one_line(error)}", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    except Stopped as stopped:
        print(as_called(str(stopped)), file=sys.stderr)
        sys.exit(stopped.status)
    except KeyboardInterrupt as error:
        signum = signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT
        print(f"interrupted by {signum.name}", file=sys.stderr)
        sys.exit(EXIT_SIGNAL + signum)
    sys.exit(status or 0)


def _split_arguments() -> list[str]:
    """Cuts sys.argv at a bare `--` and returns what came after it."""
    place = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    rest = sys.argv[place + 1 :]
    del sys.argv[place:]
    return rest


def _name() -> str:
    return os.path.basename(sys.argv[0])


def as_called(text: str) -> str:
    """Names commands as this one was called: bin/train.py in a clone, ebm-tf train where the package is installed."""
    return re.sub(r"\b(?:python )?bin/(\w+)\.py", r"ebm-tf \1", text) if sys.argv[0].startswith("ebm-tf ") else text


def run_action(actions: dict[str, tuple[Callable[[Any], int | None], type]]) -> NoReturn:
    """As run_main, for a command without TensorFlow whose first argument says which of its actions to run.

    Args:
      actions: for each such word, the function to call and the dataclass whose fields are its flags.
    """
    word = sys.argv[1] if len(sys.argv) > 1 else "nothing"
    if word in actions:
        del sys.argv[1]
        run_main(*actions[word], needs_tensorflow=False)
    name, words = _name(), " or ".join(actions)
    if word in ("--help", "-help", "-h"):
        module = sys.modules[next(iter(actions.values()))[0].__module__]
        print(f"{as_called(inspect.getdoc(module) or '')}\n\nThe flags: {name} {words.replace(' or ', '|')} --help")
        sys.exit(0)
    print(f"{name}: expected {words}, and then flags. Received: {_one_line(word)}", file=sys.stderr)
    sys.exit(EXIT_BAD_INPUT)


def _terminate(signum: int, frame: Any) -> NoReturn:
    signal.signal(signum, signal.SIG_DFL)  # a second one does not wait
    raise _Terminated


def load_tensorflow() -> None:
    """Imports TensorFlow and looks for devices, without the lines that its start prints whatever the log level.

    They are shown when the import fails. Later lines of its C++ that are no errors are dropped, see native_stderr.
    """
    xla.configure()
    xla_cache.configure()
    native_stderr.start()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as chatter:
        stderr = os.dup(2)
        os.dup2(chatter.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except Exception:
            chatter.seek(0)
            os.write(stderr, chatter.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _parse(argv: list[str], about: str | None, config_cls: type) -> None:
    """Parses flags and flag files. `--help` prints `about` and the flags of the command by groups, and exits 0."""
    if "help" not in FLAGS:
        absl_flags.DEFINE_boolean("help", False, "Show the flags and stop.")
    try:
        argv = ["--help" if one == "-h" else one for one in argv]
        arguments = FLAGS.read_flags_from_files(argv, force_gnu=False)
        positional = FLAGS([one.removeprefix(BOM) for one in arguments])[1:]
    except absl_flags.UnrecognizedFlagError as error:
        raise ConfigError(_unknown_flag(error.flagname)) from None
    except UnicodeDecodeError:
        raise ConfigError("--flagfile: expected a file of flags, one per line. Received: one that is no text") from None
    except absl_flags.CantOpenFlagFileError as error:
        reason = str(error).removeprefix("ERROR:: Unable to open flagfile: ")
        raise ConfigError(f"--flagfile: expected a file of flags, one per line. Received: {reason}") from None
    if FLAGS["help"].value:
        groups = dict.fromkeys(group_of(config_cls, field.name) for field in dataclasses.fields(config_cls))
        _show(as_called("\n".join([about or argv[0], FLAG_FILE, *map(FLAGS.module_help, groups)])))
        sys.exit(0)
    if positional:
        raise ConfigError(f"expected only flags, --name=value. Received: {' '.join(positional)}")


def _show(text: str) -> None:
    """Prints; that the reader has seen enough (`| head`) is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed at the exit


def _unknown_flag(name: str) -> str:
    """One line that names the flags that look alike."""
    own = FLAGS.get_key_flags_for_module(sys.argv[0])
    known = [flag.name for flag in own if not flag.help.startswith(EARLIER)] + ["flagfile"]
    if near := difflib.get_close_matches(name, known, n=3, cutoff=NEAR):
        return f"unknown flag --{name}. Nearest: {', '.join('--' + flag for flag in near)}"
    names = sorted({*known} - {"help"})
    if len(names) > MOST_NAMES:
        return f"unknown flag --{name}. --help lists this command's"
    return f"unknown flag --{name}. This command has {', '.join('--' + flag for flag in names)}"


def _one_line(error: Exception | str) -> str:
    text = re.sub(r"\('Non-boolean argument.*\)$", "expected true or false", str(error))
    return " ".join(text.split())

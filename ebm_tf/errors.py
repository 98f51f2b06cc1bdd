"""What every room may raise, one line for the user: ConfigError, and UnusableError where work had no result."""

import contextlib
import difflib
import errno
import re
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = [
    "DISK_FULL",
    "MOST_NAMES",
    "ConfigError",
    "UnusableError",
    "check_kind",
    "is_disk_full",
    "is_gpu_taken",
    "naming_arguments",
    "one_line",
    "some_of",
]

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_TEXTS = ("no space left", "disk quota", "file too large")  # TensorFlow keeps the words, not the number
TAKEN_TEXTS = ("DNN library initialization failed", "cudaSetDevice() on GPU", "CUDA_ERROR_OUT_OF_MEMORY")

MOST_NAMES = 10  # that an error lists
_FLAGS = re.compile(r"(bin/\w+\.py(?: --\S+)*)|(?<![\w-])--(\w+)")  # a command with its flags, or a flag by itself

_WHERE = re.compile(  # in a graph TensorFlow met an error, and what it advises
    r"^Graph execution error:\n|^Detected at node .*\n|^ *File \".*\", line \d+, in .*\n|^<stack traces unavailable>\n"
    r"|\[\[\{\{.*|\{\{.*?\}\}|\[Op:\w+\].*|^Hint: If you want to see .*|\[tf-allocator.*",
    re.MULTILINE,
)


class ConfigError(ValueError):
    """A setting that cannot be used. One line: expected, received, flag, section."""


class UnusableError(RuntimeError):
    """Nothing usable came out of the work, or the memory was not enough for it. One line; what was written stays."""


def check_kind(name: str, value: object, kinds: Any, expected: str) -> None:
    """Raises ConfigError unless a function's argument is of one of these classes. Says what was expected."""
    if not isinstance(value, kinds):
        raise ConfigError(f"expected {name}, {expected}. Received: {name}={type(value).__name__}")


@contextlib.contextmanager
def naming_arguments(**names: str) -> Iterator[None]:
    """Errors name the arguments of a function that Python calls, where a command has flags: --fit is fit, and --dataset
    what `names` says. The flags of a command that an error tells to run stay.
    """
    try:
        yield
    except ConfigError as error:
        text = _FLAGS.sub(lambda found: found[1] or names.get(found[2], found[2]), str(error))
        raise ConfigError(text) from error


def some_of(names: Iterable[str], wanted: str) -> str:
    """The names in a line; of more than ten the nearest to what was wanted."""
    names = [*names]
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    near = difflib.get_close_matches(wanted, names, 3) or names[:3]
    return f"{', '.join(near)} or another of {len(names)}"


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, of TensorFlow's too, says that a disk takes no more."""
    return getattr(error, "errno", None) in DISK_FULL or any(text in str(error).lower() for text in FULL_TEXTS)


def is_gpu_taken(error: BaseException) -> bool:
    """Whether CUDA or cuDNN could not start on a GPU, as where another program holds its memory."""
    return any(text in str(error) for text in TAKEN_TEXTS)


def one_line(value: object) -> str:
    """At most 400 letters of what an error or another value says, without where in a graph TensorFlow met it."""
    return " ".join(_WHERE.sub("", str(value)).split())[:400] or type(value).__name__

"""`ebm-tf COMMAND flags`: what `pip install` puts on the path. bin/COMMAND.py does the same in a clone."""

import difflib
import importlib
import sys

from absl import flags as absl_flags

__all__ = ["COMMANDS", "main", "run"]

COMMANDS = (  # in the order of a run's life
    "doctor",
    "train",
    "watch",
    "sweep",
    "checkpoint",
    "evaluate",
    "sample",
    "reproduce",
    "export",
    "calibrate",
    "score",
    "score_beam",
)
HELP = ("help", "--help", "-help", "-h")
EXIT_BAD_INPUT = 2

if __name__ != "__main__":
    absl_flags.disclaim_key_flags()  # see ebm_tf.cli.flags


def main() -> None:
    """Runs the command that sys.argv names, or lists the commands; exits as the command does, 2 where there is none."""
    word = sys.argv[1] if len(sys.argv) > 1 else "nothing"
    if word in HELP:
        print(overview())
        sys.exit(0)
    if word not in COMMANDS:
        near = difflib.get_close_matches(word, COMMANDS, 1, 0.6)
        hint = f"Nearest: {near[0]}" if near else f"Commands: {', '.join(COMMANDS)}"
        received = " ".join(word.split())
        print(f"ebm-tf: expected a command, and then flags. Received: {received}. {hint}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    sys.argv[:2] = [f"ebm-tf {word}"]
    run(word)


def run(name: str) -> None:
    """Runs one of COMMANDS with the flags in sys.argv[1:]; sys.argv[0] is what it calls itself. Exits."""
    _module(name).start()


def overview() -> str:
    """The commands, each with the first line of its help."""
    lines = [f"  {name:<10}  {(_module(name).__doc__ or '').splitlines()[0]}" for name in COMMANDS]
    return "\n".join(["ebm-tf COMMAND flags. The flags of a command: ebm-tf COMMAND --help", "", *lines])


def _module(name: str):
    return importlib.import_module(f"ebm_tf.cli.commands.{name}")


if __name__ == "__main__":
    main()

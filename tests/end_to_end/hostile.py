"""Ways to damage files, and calling a command in this process: for test_hostile_inputs.py and the fuzzer."""

import contextlib
import hashlib
import io
import os
import pathlib
import stat
import sys

from ebm_tf.cli import flags
from ebm_tf.settings.commands import EvaluateConfig, ReproduceConfig, SampleConfig
from ebm_tf.settings.train import TrainConfig

CONFIGS = {"train": TrainConfig, "evaluate": EvaluateConfig, "sample": SampleConfig, "reproduce": ReproduceConfig}


def main_of(command):
    """What bin/<command>.py runs."""
    if command == "train":
        from ebm_tf.training import run

        return lambda config: run.train(config) and None
    if command == "evaluate":
        from ebm_tf.evaluation import tasks

        return lambda config: tasks.evaluate(config) and None
    if command == "sample":
        from ebm_tf.evaluation import sampling

        return lambda config: sampling.sample(config) and None
    from ebm_tf.paper import reproduce

    return lambda config: reproduce.reproduce(config) and None


def call(command, *arguments):
    """(exit status, lines on stderr) of bin/<command>.py with these arguments. Its exceptions pass."""
    config_cls, main = CONFIGS[command], main_of(command)
    for name in list(flags.FLAGS):
        if any(name in cls.__dataclass_fields__ for cls in CONFIGS.values()) or name == "help":
            delattr(flags.FLAGS, name)  # each command has defaults of its own
    flags.FLAGS.unparse_flags()
    argv, sys.argv = sys.argv, [f"{command}.py", *map(str, arguments)]
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
            flags.run_main(main, config_cls, needs_tensorflow=False)
    except SystemExit as end:
        return end.code, stderr.getvalue().splitlines()
    finally:
        sys.argv = argv


def tree(folder):
    """path -> what lies there, of all below a folder but for locks."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found[path] = os.readlink(path)
        elif stat.S_ISREG(mode) and path.name != "lock":
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest() if os.access(path, os.R_OK) else "closed"
        elif stat.S_ISDIR(mode):
            found[path] = "folder"
    return found


# Each takes a file that is there.


def truncate(share):
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


def flip(share, bit=3):
    """Turns one bit round, at this share of the file."""

    def damage(path):
        content = bytearray(path.read_bytes())
        content[min(int(len(content) * share), len(content) - 1)] ^= 1 << bit
        path.write_bytes(content)

    return damage


def write(content):
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def folder_instead(path):
    path.unlink()
    path.mkdir()


def loop_instead(path):
    path.unlink()
    path.symlink_to(path.name)


def pipe_end_instead(path):
    """A link to nothing."""
    path.unlink()
    path.symlink_to("nothing-there")


def device_instead(path):
    """A file without an end would hang a reader; this one is empty, and not a plain file."""
    path.unlink()
    path.symlink_to("/dev/null")


ANY_FILE = {
    "empty": write(b""),
    "one byte": write(b"\x00"),
    "zeros": write(bytes(4096)),
    "text": write("not what you think\n"),
    "not utf-8": write(b"\xff\xfe\x80\x81" * 100),
    "a folder": folder_instead,
    "a symlink loop": loop_instead,
    "a dangling link": pipe_end_instead,
    "/dev/null": device_instead,
}

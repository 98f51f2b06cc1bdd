"""Bad input to a command: exit status 2, one line on stderr, nothing written. Without loading TensorFlow."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from ebm_tf.settings.train import TrainConfig
from tests import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOKE = f"--flagfile={ROOT / 'configs' / 'smoke.flags'}"


def train(*arguments):
    command = [sys.executable, str(ROOT / "bin" / "train.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


BAD_INPUT = [
    (["--batchsize=3"], "unknown flag --batchsize. Nearest: --batch_size"),
    (["--sceme=data"], "unknown flag --sceme. Nearest: --scheme"),
    (["--lambda=25"], "unknown flag --lambda. --help lists this command's"),
    (["--batch_size=many"], "flag --batch_size=many: expected a whole number (Alg. 1)"),
    (["--batch_size=1.5"], "flag --batch_size=1.5: expected a whole number (Alg. 1)"),
    (["--step_size=big"], "flag --step_size=big: expected a number (Eq. 9)"),
    (["--resume=maybe"], "flag --resume=maybe: expected true or false"),
    (["--scheme=pcd"], "--scheme: expected one of data, noise, persistent, persistent_refresh, hybrid (Sec. 3)"),
    (["--temperature=-1"], "--temperature: expected a finite number, 0 or more (Eq. 9, Sec. 3). Received"),
    (["--scheme=noise"], "--cd_weight: expected None, since scheme noise has no lambda"),
    (["--flagfile=missing.flags"], "--flagfile: expected a file of flags, one per line. Received: "),
    (["rings"], "expected only flags, --name=value. Received: rings"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=[" ".join(a) for a, _ in BAD_INPUT])
def test_bad_input_is_one_line_and_exit_2(arguments, message, tmp_path):
    workdir = tmp_path / "run"
    done = train(SMOKE, f"--workdir={workdir}", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"train.py: {message}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not workdir.exists()


def test_missing_value(tmp_path):
    done = train(SMOKE, "--workdir")
    assert (done.returncode, done.stderr) == (2, "train.py: Missing value for flag --workdir\n")


def test_without_a_folder_and_a_flag_file_both_ways_are_named():
    done = train("--dataset=rings")
    expected = "--workdir: expected a folder for this run, or a --flagfile, which names one. Received: neither"
    assert (done.returncode, done.stderr) == (2, f"train.py: {expected}\n")


def test_help_lists_settings_with_unit_and_section():
    done = train("--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    assert "--temperature: T of the density exp(-E/T). 0 is gradient descent. Unit: energy. Paper: Eq. 9," in text
    assert "<data|noise|persistent|persistent_refresh|hybrid>" in text
    in_groups = "What trains, and in which batches:", "--dataset:", "The network and", "--num_filters:"
    and_last = "Where training", "--strategy:", "which may have stages:", "--stage:"
    places = [text.index(part) for part in (*in_groups, *and_last)]
    assert places == sorted(places)
    assert sorted(re.findall(r"^  --(?:\[no\])?(\w+):", done.stdout, re.MULTILINE)) == sorted(vars(TrainConfig()))


def test_help_marks_what_is_required_and_may_be_read_in_part():
    define = 'import sys\nsys.argv = ["bin/export.py", "-h"]\nfrom ebm_tf.cli import main\nmain.run("export")\n'
    command = [sys.executable, "-c", define]
    whole = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "--output: Required. Folder" in whole.stdout and "None: " not in whole.stdout
    reader, writer = os.pipe()
    os.close(reader)  # as `| head` does, when it has enough
    part = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (part.returncode, part.stderr) == (0, "")


RUN_MAIN = """
import os, sys
from ebm_tf.cli import flags
from ebm_tf.errors import ConfigError
from ebm_tf.settings.train import TrainConfig

def main(config):
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == {level!r}
    {body}

flags.run_main(main, TrainConfig)
"""


@pytest.mark.parametrize(
    ("body", "status", "stderr"),
    [
        ("return None", 0, ""),
        ("return 1", 1, ""),
        ("raise ConfigError('first\\n  second')", 2, "first second\n"),
        ("raise KeyboardInterrupt", 130, "interrupted by SIGINT\n"),
        ("os.kill(os.getpid(), 15)", 143, "interrupted by SIGTERM\n"),
        ("raise OSError('disk full')", 1, "OSError: disk full\n"),
    ],
)
def test_exit_status(body, status, stderr, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    done = processes.run(["-c", RUN_MAIN.format(body=body, level="2")])
    assert done.returncode == status
    assert done.stderr.endswith(stderr)
    assert ("Traceback" in done.stderr) == ("OSError" in body)


@pytest.mark.parametrize("content", [b"--seed=7\r\n--num_steps=3\r\n", b"\xef\xbb\xbf--seed=7\n--num_steps=3\n"])
def test_a_file_of_flags_of_windows(content, tmp_path):
    """Its ends of lines, and the mark that its editors begin a file with."""
    (tmp_path / "x.flags").write_bytes(content)
    code = RUN_MAIN.format(body="assert (config.seed, config.num_steps) == (7, 3)", level="2")
    done = processes.run(["-c", code, f"--flagfile={tmp_path}/x.flags"])
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mistyped_flag_does_not_wait_for_tensorflow(monkeypatch):
    """TensorFlow's start prints lines of its own at every log level: bad input found by main is the only one too."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    code = "import atexit, sys\natexit.register(lambda: print('tensorflow' in sys.modules))\n"
    code += RUN_MAIN.format(body="raise ConfigError('what came')", level="2")
    command = [sys.executable, "-c", code]
    cases = (["--batchsize=3"], "False\n", "-c: unknown flag --batchsize"), ([], "True\n", "-c: what came\n")
    for flags, loaded, said in cases:
        done = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, loaded, 1)
        assert done.stderr.startswith(said)


def test_log_level_of_the_user_stays(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    done = processes.run(["-c", RUN_MAIN.format(body="return None", level="0")])
    assert done.returncode == 0, done.stderr

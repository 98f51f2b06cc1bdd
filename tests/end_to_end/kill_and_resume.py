"""Kills training with SIGKILL at random moments, resumes it, and compares with a run that was never killed.

  .venv/bin/python tests/end_to_end/kill_and_resume.py --schemes=all --kills=20 --seed=1

Each life of a run is a process of its own, forked before TensorFlow has begun to compute, since importing it takes
longer than the run. Compared bit for bit: weights in model.keras; weights, optimizer and bank in the last checkpoint;
every row of metrics.jsonl but for updates_per_second. Prints a line per scheme and exits 1 on a difference.
"""

import argparse
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import keras
import numpy as np
import tensorflow as tf

from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import Scheme, TrainConfig
from ebm_tf.training import run
from tests import asked

UPDATES_PER_LIFE = 8
EARLY = 0.25  # share of kills before the first update of a life
LIFE_SECONDS = 300


def config_of(scheme, workdir, train_steps, **changes):
    settings = dict(
        dataset="rings",
        scheme=scheme,
        num_filters=8,
        batch_size=4,
        num_steps=3,
        step_size=0.005,
        temperature=0.005,
        energy_scale=0.005,
        bank_size=64,
        learning_rate=1e-3,
        train_steps=train_steps,
        log_every=1,
        figure_every=1_000_000,
        checkpoint_every=3,
        workdir=str(workdir),
        jit_compile="false",
    )
    return asked.config_of(settings, **changes)


def start(config, log):
    """A process that trains. Returns its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        with open(log, "ab", 0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        run.train(config)
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def finish(child, log):
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"training failed:\n{pathlib.Path(log).read_text()[-3000:]}")


def wait_until(holds, child):
    """Returns whether `holds` came true before the process ended."""
    deadline = time.monotonic() + LIFE_SECONDS
    while not holds():
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        if time.monotonic() > deadline:
            sys.exit("training hangs")
        time.sleep(0.002)
    return True


def size(path):
    return path.stat().st_size if path.exists() else 0


def live_and_die(config, log, rng, start_seconds, is_last):
    """One life. Returns (what it was doing when it was killed or None if it ended first, seconds to its first row)."""
    run_dir = RunDir(config.workdir)
    before = size(run_dir.metrics)
    begun = time.monotonic()
    child = start(dataclasses_resume(config, run_dir), log)
    if rng.random() < EARLY and not is_last:
        time.sleep(rng.uniform(0, start_seconds))
        moment = "starting"
    else:
        # A resumed run first drops the rows after its checkpoint, then adds to them.
        seen = [before]

        def has_grown():
            now = size(run_dir.metrics)
            grown, seen[0] = now > seen[0] > 0 or now > before, now
            return grown

        wait_until(has_grown, child)
        start_seconds = time.monotonic() - begun
        if is_last:
            wait_until(lambda: f'"step": {config.train_steps},' in run_dir.metrics.read_text()[-2000:], child)
        time.sleep(rng.uniform(0, 0.15 if is_last else 0.5))
        moment = "saving the model" if is_last else "training"
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        sys.exit(f"training failed:\n{pathlib.Path(log).read_text()[-3000:]}")
    if status == 0:
        return None, start_seconds
    if any(run_dir.checkpoints.glob("draft*")):
        moment = "writing a checkpoint"
    return moment, start_seconds


def dataclasses_resume(config, run_dir):
    """The config, to resume where there is something to resume. A folder without config.json was killed too early."""
    settings = {**config.to_dict(), "resume": run_dir.config.exists()}
    if not run_dir.config.exists() and run_dir.path.exists():
        for path in sorted(run_dir.path.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    return TrainConfig.from_dict(settings)


def state(config):
    """All that is compared, bytes by name."""
    run_dir = RunDir(config.workdir)
    reader = tf.train.load_checkpoint(str(run_dir.checkpoints / f"update-{config.train_steps}"))
    names = sorted(name for name in reader.get_variable_to_shape_map() if not name.startswith("_CHECKPOINTABLE"))
    values = {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}
    weights = keras.models.load_model(run_dir.model).get_weights()
    values |= {f"model.keras {i}": weight.tobytes() for i, weight in enumerate(weights)}
    rows = run_dir.read_metrics()
    for row in rows:
        del row["updates_per_second"]
    return values | {"metrics.jsonl": repr(rows)}


def compare(scheme, kills, rng, folder, **changes):
    """Returns (moments of the kills, names of what differs)."""
    train_steps = max(kills, 2) * UPDATES_PER_LIFE
    straight = config_of(scheme, folder / "straight", train_steps, **changes)
    finish(start(straight, folder / "straight.log"), folder / "straight.log")
    killed = config_of(scheme, folder / "killed", train_steps, **changes)
    log, moments, start_seconds = folder / "killed.log", [], 3.0
    while len(moments) < kills:
        is_last = len(moments) == kills - 1
        moment, start_seconds = live_and_die(killed, log, rng, start_seconds, is_last)
        if moment is None:  # ended first: its last checkpoint goes, and with it the end of the run
            run_dir = RunDir(killed.workdir)
            step = run_dir.checkpoint_steps()[-1]
            for path in run_dir.checkpoints.glob(f"update-{step}.*"):
                path.unlink()
            run_dir.model.unlink(missing_ok=True)
            continue
        moments.append(moment)
    finish(start(dataclasses_resume(killed, RunDir(killed.workdir)), log), log)
    child = os.fork()  # TensorFlow must not compute in this process: the next scheme's lives are forked from it
    if not child:
        ours, theirs = state(killed), state(straight)
        differ = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        print(f"differ: {differ}" if differ else f"{len(ours)} values equal", end=" ", flush=True)
        os._exit(1 if differ or len(ours) < 10 else 0)
    return moments, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schemes", default="all")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--folder", type=pathlib.Path)
    args = parser.parse_args()
    schemes = [str(scheme) for scheme in Scheme] if args.schemes == "all" else args.schemes.split(",")
    failed = False
    for scheme in schemes:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            changes = {"ema_momentum": 0.9} if scheme == "hybrid" else {}
            begun, rng = time.monotonic(), random.Random(f"{args.seed} {scheme}")
            moments, status = compare(scheme, args.kills, rng, pathlib.Path(folder), **changes)
        counts = ", ".join(f"{moments.count(moment)} {moment}" for moment in sorted(set(moments)))
        verdict = "FAILED" if status else "bit for bit the same"
        print(f"{scheme}: {len(moments)} kills (seed {args.seed}; {counts}): {verdict}, ", end="")
        print(f"{time.monotonic() - begun:.0f} s", flush=True)
        failed |= bool(status)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

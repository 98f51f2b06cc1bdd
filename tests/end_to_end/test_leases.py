"""A run over many leases: --stop_after, and bin/checkpoint.py, which carries a checkpoint to a bare machine."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from ebm_tf.errors import ConfigError
from ebm_tf.runs import parcel
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.runs.signals import StopRequest
from ebm_tf.settings.commands import PackConfig, UnpackConfig
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import run
from ebm_tf.training.checkpoints import newest_intact
from tests import processes

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("plain_figures")


@pytest.fixture
def _forget_models():
    yield
    keras.utils.clear_session(free_memory=False)


def tiny(workdir, **changes):
    settings = dict(
        dataset="rings",
        scheme="persistent_refresh",
        refresh_unit="chain",
        refresh_prob=0.5,
        num_filters=8,
        batch_size=4,
        num_steps=3,
        step_size=0.005,
        temperature=0.005,
        energy_scale=0.005,
        bank_size=16,
        bank_dtype="float16",
        ema_momentum=0.9,
        train_steps=6,
        log_every=2,
        figure_every=1000,
        checkpoint_every=3,
        workdir=str(workdir),
        jit_compile="false",
    )
    return TrainConfig(**{**settings, **changes})


def outcome(trainer, workdir):
    """All that two runs are compared by."""
    variables = [*trainer.energy.weights, *trainer.optimizer.variables, trainer.bank.samples]
    rows = RunDir(workdir).read_metrics()
    for row in rows:
        del row["updates_per_second"]
    return [np.asarray(variable).tobytes() for variable in variables], rows


def events(workdir):
    return [json.loads(line) for line in RunDir(workdir).events.read_text().splitlines()]


# --stop_after.


@pytest.mark.usefixtures("_forget_models")
def test_five_stops_and_five_machines_are_bit_for_bit_a_straight_run(tmp_path, monkeypatch):
    """Every lease trains an update, is packed, and goes on in a new folder from the parts alone. Stops come at a row of
    the log and between two, at a checkpoint that was due and at none.
    """
    straight = outcome(run.train(tiny(tmp_path / "straight")), tmp_path / "straight")
    for lease in range(5):
        here, parts = tmp_path / f"lease{lease}", tmp_path / f"parts{lease}"
        with pytest.raises(run.Stopped, match=rf"^stopped by --stop_after=0s after update {lease + 1}; ") as stopped:
            run.train(tiny(here, stop_after="0s", resume=lease > 0))
        assert stopped.value.status == 0
        assert str(stopped.value).endswith(f"to continue: python bin/train.py --workdir={here} --resume")
        assert events(here)[-1] == {"event": "stop", "step": lease + 1, "reason": str(stopped.value)}
        packed = parcel.pack(PackConfig(workdir=str(here), output=str(parts), part_mib=0.005))
        assert len(packed.parts) > 2 and packed.update == lease + 1
        here.rename(tmp_path / f"gone{lease}")
        there = tmp_path / f"lease{lease + 1}"
        parcel.unpack(UnpackConfig(input=str(parts), workdir=str(there)))
    assert outcome(run.train(tiny(there, stop_after="1h", resume=True)), there) == straight
    assert [event["event"] for event in events(there)].count("stop") == 5
    assert events(there)[-1] == {"event": "done", "step": 6}
    # The comparison can fail: noise that is another after one of the resumes is seen.
    with monkeypatch.context() as patch:
        patch.setattr(TrainConfig, "chain_seed", property(lambda self: (self.seed, 99)))
        other = outcome(run.train(tiny(tmp_path / "gone4", resume=True)), tmp_path / "gone4")
    assert other[0] != straight[0] and other[1] != straight[1]


@pytest.mark.usefixtures("_forget_models")
def test_the_last_update_ends_the_run(tmp_path):
    """Time that is up at the last update changes nothing; nor does it where there is nothing left to do."""
    run.train(tiny(tmp_path, train_steps=1, stop_after="0s"))
    assert (tmp_path / "model.keras").is_file() and (tmp_path / "figures" / "chains_0000001.png").is_file()
    run.train(tiny(tmp_path, train_steps=1, stop_after="0s", resume=True))
    assert [event["event"] for event in events(tmp_path)] == ["start", "done"]


def test_a_request_has_a_reason_from_its_deadline_on(monkeypatch):
    stop, now = StopRequest(), 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stop.obey("unheard")
    stop.end_at(101.0, "--stop_after=1s")
    assert stop.reason == ""
    now = 101.0
    assert stop.reason == "--stop_after=1s"


def test_the_command_stops_and_exits_0(tmp_path):
    """And draws no figure: what is left of a lease is for the next update."""
    config = tiny(tmp_path / "run", figure_every=1, stop_after="0s")
    settings = [f"--{name}={value}" for name, value in config.to_dict().items() if value not in (None, ())]
    done = processes.run(["bin/train.py", *settings])
    assert done.returncode == 0, done.stderr
    how = f"python bin/train.py --workdir={config.workdir} --resume"
    assert done.stderr.splitlines()[-1] == f"stopped by --stop_after=0s after update 1; to continue: {how}"
    assert RunDir(config.workdir).checkpoint_steps() == [1]
    assert not list((tmp_path / "run" / "figures").iterdir()) and not (tmp_path / "run" / "model.keras").exists()


# bin/checkpoint.py.


@pytest.fixture
def made(tmp_path):
    """A run's folder with two checkpoints, of bytes that nobody reads, by a pattern of 3,000 that does not repeat."""
    run_dir = RunDir(tmp_path / "run")
    run_dir.prepare(tiny(run_dir.path, train_steps=12))
    run_dir.metrics.write_text('{"step": 5, "loss": 1.0}\n')
    run_dir.log_event("start", 0)
    run_dir.model.write_bytes(b"of an earlier end")
    for step in (5, 10):
        write_checkpoint(run_dir, step)
    return run_dir


def write_checkpoint(run_dir, step):
    content = np.random.default_rng(step).bytes(3000)
    files = {f"update-{step}.data-00000-of-00001": content, f"update-{step}.index": b"index"}
    for name, data in files.items():
        (run_dir.checkpoints / name).write_bytes(data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    text = json.dumps({"step": step, "rollbacks": 0, "sha256": digests})
    (run_dir.checkpoints / f"update-{step}.json").write_text(text)


@pytest.fixture
def parts(made, tmp_path):
    """Its parcel, with parts of 1,048 bytes."""
    parcel.pack(PackConfig(workdir=str(made.path), output=str(tmp_path / "parts"), part_mib=0.001))
    return tmp_path / "parts"


def call(*arguments):
    """(exit status, stdout, stderr) of bin/checkpoint.py."""
    command = [sys.executable, ROOT / "bin" / "checkpoint.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_a_parcel_is_small_flat_and_whole(made, parts, tmp_path):
    names = sorted(path.name for path in parts.iterdir())
    assert names[0] == "parcel.json" and names[1:] == [f"update-10.part-{i:03d}" for i in range(len(names) - 1)]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names)
    assert max((parts / name).stat().st_size for name in names[1:]) == 1048
    whole = b"".join((parts / name).read_bytes() for name in names[1:])
    assert hashlib.sha256(whole).hexdigest() == json.loads((parts / "parcel.json").read_text())["sha256"]
    parcel.unpack(UnpackConfig(input=str(parts), workdir=str(tmp_path / "new")))
    copied = {str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*") if path.is_file()}
    checkpoint = {f"checkpoints/update-10.{end}" for end in ("index", "json", "data-00000-of-00001")}
    assert copied == {"config.json", "metrics.jsonl", "events.jsonl", *checkpoint}
    assert all((tmp_path / "new" / name).read_bytes() == (made.path / name).read_bytes() for name in copied)
    assert newest_intact(RunDir(tmp_path / "new")).step == 10


def test_unpack_says_the_command_that_goes_on(made, tmp_path):
    packed = parcel.pack(PackConfig(workdir=str(made.path), output=str(tmp_path / "parts")))
    status, out, _ = call("unpack", f"--input={tmp_path / 'parts'}", f"--workdir={tmp_path / 'new'}")
    assert status == 0 and str(packed).endswith(" in 1 part")
    assert out.endswith(f"in 1 part; to continue: python bin/train.py --workdir={tmp_path / 'new'} --resume\n")


def test_the_default_part_is_below_15_mib():
    assert PackConfig(workdir="run", output="parts").part_mib < 15


def test_of_a_finished_run_the_model_comes_too(made, tmp_path):
    write_checkpoint(made, 12)
    os.utime(made.model, (0, 0))  # as where a run that had been made longer was killed before its own
    packed = parcel.pack(PackConfig(workdir=str(made.path), output=str(tmp_path / "without")))
    assert packed.update == 12 and "model.keras" not in [file.name for file in packed.files]
    made.model.touch()
    packed = parcel.pack(PackConfig(workdir=str(made.path), output=str(tmp_path / "parts")))
    assert packed.update == 12 and "model.keras" in [file.name for file in packed.files]
    parcel.unpack(UnpackConfig(input=str(tmp_path / "parts"), workdir=str(tmp_path / "new")))
    assert RunDir(tmp_path / "new").has_model_of(12)
    older = parcel.pack(PackConfig(workdir=str(made.path), output=str(tmp_path / "older"), update=5))
    assert older.update == 5 and "model.keras" not in [file.name for file in older.files]


def test_a_damaged_checkpoint_is_skipped_or_refused(made, tmp_path, capsys):
    flip(made.checkpoints / "update-10.data-00000-of-00001")
    output = tmp_path / "parts"
    with pytest.raises(ConfigError, match=r"--update: expected an intact checkpoint.*update=10: .*has changed since"):
        parcel.pack(PackConfig(workdir=str(made.path), output=str(output), update=10))
    assert not output.exists()
    assert parcel.pack(PackConfig(workdir=str(made.path), output=str(output))).update == 5
    assert "skipped update-10: update-10.data-00000-of-00001 has changed" in capsys.readouterr().err


def test_a_checkpoint_that_changes_or_goes_meanwhile_is_no_parcel(made, tmp_path, monkeypatch):
    joined, data = parcel._joined, made.checkpoints / "update-10.data-00000-of-00001"
    for change in (lambda: flip(data), data.unlink):

        def joined_late(*args, change=change):
            change()
            return joined(*args)

        with monkeypatch.context() as patch:
            patch.setattr(parcel, "_joined", joined_late)
            with pytest.raises(ConfigError, match="expected files that stay as they are"):
                parcel.pack(PackConfig(workdir=str(made.path), output=str(tmp_path / "parts"), update=10))
        assert not (tmp_path / "parts").exists()
        write_checkpoint(made, 10)


def flip(path, place=100):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def edit(index, change):
    values = json.loads(index.read_text())
    change(values)
    index.write_text(json.dumps(values))


def swap(parts):
    first, second = (parts / f"update-10.part-00{i}" for i in (0, 1))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def rename_file(name):
    return lambda parts: edit(parts / "parcel.json", lambda values: values["files"][0].update(name=name))


def rename_part(name):
    return lambda parts: edit(parts / "parcel.json", lambda values: values["parts"][0].update(name=name))


def move_boundary(values):
    values["files"][0]["size"] += 1
    values["files"][1]["size"] -= 1


DAMAGE = {
    "a flipped byte": (lambda parts: flip(parts / "update-10.part-001"), "update-10.part-001 damaged, or of another"),
    "a missing part": (lambda parts: (parts / "update-10.part-002").unlink(), "update-10.part-002 missing, 1 of"),
    "a part cut short": (
        lambda parts: os.truncate(parts / "update-10.part-000", 1000),
        "update-10.part-000 of 1000 bytes, 1048 were packed",
    ),
    "parts in each other's place": (swap, "update-10.part-000 damaged, or of another"),
    "a part of another parcel": (lambda parts: (parts / "update-5.part-000").touch(), "update-5.part-000, which is"),
    "a file that is no part": (lambda parts: (parts / "notes.txt").write_text("x"), "notes.txt, which is not of this"),
    "no parcel.json": (lambda parts: (parts / "parcel.json").unlink(), "no file parcel.json in it"),
    "parcel.json cut short": (lambda parts: os.truncate(parts / "parcel.json", 300), ""),
    "parcel.json of a list": (lambda parts: (parts / "parcel.json").write_text("[]"), "is not as pack writes it"),
    "a path upward": (rename_file("../x"), "parcel.json: it names ../x"),
    "an absolute path": (rename_file("/tmp/x"), "parcel.json: it names /tmp/x"),
    "a file of another kind": (rename_file("tensorboard/x"), "parcel.json: it names tensorboard/x"),
    "another update's checkpoint": (rename_file("checkpoints/update-5.index"), "it names checkpoints/update-5.index"),
    "a part elsewhere": (rename_part("../run/config.json"), "parcel.json: it names ../run/config.json"),
    "a name twice": (rename_file("config.json"), "lacks a file, or names one twice"),
    "sizes that do not add up": (
        lambda parts: edit(parts / "parcel.json", lambda values: values["files"][0].update(size=1)),
        "its sizes do not add up",
    ),
    "a size below 0": (
        lambda parts: edit(parts / "parcel.json", lambda values: values["files"][0].update(size=-1)),
        "a number in it is -1",
    ),
    "another digest of the whole": (
        lambda parts: edit(parts / "parcel.json", lambda values: values.update(sha256="0" * 64)),
        "the parts do not make its whole",
    ),
    "another boundary between files": (
        lambda parts: edit(parts / "parcel.json", move_boundary),
        "metrics.jsonl in it is not as parcel.json says",
    ),
}


@pytest.mark.parametrize(("damage", "text"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_not_as_packed_is_refused(damage, text, parts, tmp_path):
    damage(parts)
    status, out, err = call("unpack", f"--input={parts}", f"--workdir={tmp_path / 'new'}")
    assert status == 2 and out == "" and err.count("\n") == 1
    assert err.startswith(f"checkpoint.py: --input: expected parcel.json and its parts, as packed. Received: {parts}: ")
    assert text in err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda part: flip(part, 0), "config.json in it is not as parcel.json says"),
        (lambda part: os.truncate(part, 0), "parts that became shorter meanwhile"),
        (pathlib.Path.unlink, r"update-10\.part-00., gone meanwhile"),
    ],
    ids=["a byte", "shorter", "gone"],
)
def test_a_part_that_changes_after_it_was_verified_leaves_nothing(damage, text, parts, tmp_path, monkeypatch):
    verify = parcel._verify

    def verify_and_damage(*args):
        verify(*args)
        damage(max(parts.glob("update-10.part-*")))

    monkeypatch.setattr(parcel, "_verify", verify_and_damage)
    with pytest.raises(ConfigError, match=text):
        parcel.unpack(UnpackConfig(input=str(parts), workdir=str(tmp_path / "new" / "run")))
    assert not (tmp_path / "new").exists()


def test_another_run_is_not_overwritten(made, parts, tmp_path):
    before = sorted((str(path), path.stat().st_mtime_ns) for path in made.path.rglob("*"))
    for command in (["unpack", f"--input={parts}", f"--workdir={made.path}"], ["pack", f"--workdir={made.path}"]):
        output = [f"--output={parts}"] if command[0] == "pack" else []
        status, _, err = call(*command, *output)
        assert status == 2 and "expected a new or empty folder" in err and err.count("\n") == 1
    assert sorted((str(path), path.stat().st_mtime_ns) for path in made.path.rglob("*")) == before


def test_a_full_disk_leaves_nothing(made, parts, tmp_path, limited_file_size):
    new = tmp_path / "new"
    pack = ["pack", f"--workdir={made.path}", f"--output={new}", "--part_mib=0.001"]
    unpack = ["unpack", f"--input={parts}", f"--workdir={new}"]
    for command, name in ((pack, "new/parcel.json"), (unpack, "new/checkpoints/update-10.data-00000-of-00001")):
        with limited_file_size((parts / "parcel.json").stat().st_size - 1):  # more than a part has
            status, out, err = call(*command)
        assert status == 1 and out == "" and err.count("\n") == 1
        assert "File too large" in err and name in err
        assert not new.exists()
        assert call(*command)[0] == 0
        shutil.rmtree(new)


def test_words_and_flags(made, tmp_path):
    assert call() == (2, "", "checkpoint.py: expected pack or unpack, and then flags. Received: nothing\n")
    assert call("repack", "--workdir=x")[2].endswith("Received: repack\n")
    status, _, err = call("pack", f"--workdir={made.path}")
    assert (status, err) == (2, "checkpoint.py: --output: expected a folder for the parts. Received: output=None\n")
    status, _, err = call("pack", f"--workdir={made.path}", f"--output={tmp_path / 'new'}", "--update=7")
    assert (status, err) == (2, "checkpoint.py: --update: expected one of 5, 10. Received: update=7\n")
    status, _, err = call("pack", f"--workdir={tmp_path / 'none'}", f"--output={tmp_path / 'new'}")
    assert status == 2 and "--workdir: expected the folder of a run, with config.json" in err
    assert "unknown flag --update" in call("unpack", "--update=7")[2]
    assert not (tmp_path / "new").exists()
    for word, flag in (("pack", "--part_mib: "), ("unpack", "--input: ")):
        status, out, _ = call(word, "--help")
        assert status == 0 and flag in out
    assert "bin/checkpoint.py unpack --input=FOLDER" in call("--help")[1]


def test_tensorflow_is_not_loaded():
    code = "import sys, ebm_tf.cli.flags, ebm_tf.runs.parcel; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

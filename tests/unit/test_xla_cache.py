"""The cache of compiled programs: which machine a folder is of, and that no damaged entry reaches TensorFlow."""

import os

import pytest

from ebm_tf.cli import xla_cache
from tests import processes

# Where TensorFlow keeps programs of a CPU too, a start reads what a start before it wrote.
COMPILE = """
import os, sys, pathlib
from ebm_tf.cli import xla_cache
xla_cache.machine = lambda: "here"
xla_cache.configure()
os.environ["TF_XLA_FLAGS"] = os.environ["TF_XLA_FLAGS"].replace("types=GPU", "types=")
import tensorflow as tf
print(float(tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(1.0))))
"""


@pytest.fixture
def nvidia(tmp_path, monkeypatch):
    """What the driver shows of one card."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    folder = tmp_path / "nvidia"
    (folder / "gpus/0").mkdir(parents=True)
    (folder / "gpus/0/information").write_text("Model: \t\t NVIDIA H200\nGPU UUID: a\n")
    (folder / "version").write_text("NVRM version: 580.1\n")
    return folder


def test_a_name_changes_with_card_driver_and_flags(nvidia, monkeypatch):
    names = {xla_cache.machine(nvidia)}
    (nvidia / "gpus/0/information").write_text("Model: \t\t NVIDIA H200\nGPU UUID: b\n")
    assert xla_cache.machine(nvidia) in names
    (nvidia / "gpus/0/information").write_text("Model: \t\t NVIDIA A100\nGPU UUID: b\n")
    names.add(xla_cache.machine(nvidia))
    (nvidia / "version").write_text("NVRM version: 590.1\n")
    names.add(xla_cache.machine(nvidia))
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_autotune_level=0")
    names.add(xla_cache.machine(nvidia))
    assert len(names) == 4 and None not in names


@pytest.mark.parametrize(("cards", "visible", "is_kept"), [(2, None, False), (2, "1", True), (1, "", False)])
def test_only_one_card_that_is_seen(nvidia, monkeypatch, cards, visible, is_kept):
    for number in range(1, cards):
        (nvidia / f"gpus/{number}").mkdir()
        (nvidia / f"gpus/{number}/information").write_text("Model: \t\t NVIDIA H200\n")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert (xla_cache.machine(nvidia) is not None) == is_kept


def test_without_a_card_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    assert xla_cache.machine(tmp_path) is None
    monkeypatch.setattr(xla_cache, "machine", lambda: None)
    xla_cache.configure()
    assert "TF_XLA_FLAGS" not in os.environ


def test_the_users_choice_wins(monkeypatch):
    monkeypatch.setattr(xla_cache, "machine", lambda: "here")
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=")
    xla_cache.configure()
    assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_persistent_cache_directory="


def test_damaged_entries_are_removed(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(xla_cache, "machine", lambda: "here")
    monkeypatch.setattr(xla_cache.atexit, "register", lambda *_: None)
    whole = b"\x0a\x03abc\x10\x96\x01"
    folder = tmp_path / "ebm_tf/xla/here"
    folder.mkdir(parents=True)
    for name, data in {"whole": whole, "cut": whole[:4], "half": whole[:-1], "empty": b"", "zeros": bytes(9)}.items():
        (folder / f"{name}.pb").write_bytes(data)
    (folder / "changed.pb").write_bytes(whole)
    (folder / "changed.pb.sha256").write_text("another")
    xla_cache.configure()
    assert sorted(path.name for path in folder.iterdir()) == ["whole.pb", "whole.pb.sha256"]
    (folder / "whole.pb").write_bytes(whole[:3] + b"x" + whole[4:])
    monkeypatch.delenv("TF_XLA_FLAGS")
    xla_cache.configure()
    assert not list(folder.iterdir())


def test_the_oldest_go(tmp_path, monkeypatch):
    for age, name in enumerate("cab"):
        (tmp_path / f"{name}.pb").write_bytes(b"\x0a\x03abc\x10\x96\x01")
        os.utime(tmp_path / f"{name}.pb", (0, 1_000 - age))
        (tmp_path / f"{name}.pb").read_bytes()
    monkeypatch.setattr(xla_cache, "MAX_BYTES", 16)
    xla_cache._clean(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pb", "a.pb.sha256", "c.pb", "c.pb.sha256"]


def test_a_second_start_survives_damage(tmp_path):
    def start():
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "TF_XLA_FLAGS": ""}
        done = processes.run(["-c", COMPILE], env=environment)
        assert done.stdout.strip() == "2.0", done.stderr[-2000:]
        (entry,) = (tmp_path / "ebm_tf/xla/here").glob("*.pb")
        return entry

    entry = start()
    entry.write_bytes(entry.read_bytes()[:100])
    assert start().stat().st_size > 100

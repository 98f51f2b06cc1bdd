"""update-<step>.json, by which it is known whether a checkpoint is whole (checkpoints.py). Loads no TensorFlow."""

import hashlib
import json
import pathlib
from typing import Any

from ebm_tf.errors import one_line

__all__ = ["BLOCK", "damage", "data_digest", "read", "sha256"]

BLOCK = 1 << 20  # bytes read at once


def read(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """update-<step>.json; {} where there is none. Raises ValueError on one that is none."""
    try:
        manifest = json.loads((folder / f"update-{step}.json").read_text())
    except FileNotFoundError:
        return {}
    if not isinstance(manifest, dict) or manifest.get("step") != step or not manifest.get("sha256"):
        raise ValueError(f"update-{step}.json is no manifest of it")
    rollbacks = manifest.get("rollbacks", 0)
    if type(rollbacks) is not int or rollbacks < 0:
        raise ValueError(f"update-{step}.json has rollbacks={rollbacks}")
    return manifest


def data_digest(folder: pathlib.Path, step: int) -> str:
    """The sha256 of a checkpoint's arrays; of its index where they have no manifest."""
    digests = read(folder, step).get("sha256", {})
    name = next((name for name in digests if ".data-" in name), f"update-{step}.index")
    return digests.get(name) or sha256(folder / name)


def damage(folder: pathlib.Path, step: int) -> str:
    """What is wrong with a checkpoint, by its manifest; "" if nothing is."""
    try:
        manifest = read(folder, step)
        if not manifest:
            return f"it has no update-{step}.json, the manifest"
        for name, digest in manifest["sha256"].items():
            if pathlib.PurePath(name).name != name:
                return f"its manifest names {name}"
            if sha256(folder / name) != digest:
                return f"{name} has changed since it was written"
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        return one_line(error)
    return ""


def sha256(path: pathlib.Path) -> str:
    """The digest of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()

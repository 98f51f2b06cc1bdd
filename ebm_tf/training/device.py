"""The device that was asked for, and what a run ran on."""

import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ebm_tf.errors import ConfigError
from ebm_tf.version import __version__

__all__ = ["choose", "describe", "free_memory", "names", "why_no_gpu"]

ROOT = pathlib.Path(__file__).parents[2]


def choose(device: str) -> None:
    """Sees to it that training runs on `device`: auto, gpu or cpu. Call it before TensorFlow computes anything.

    Raises:
      ConfigError: there is no GPU, or TensorFlow has begun to use it.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise ConfigError(f"--device: expected a GPU that TensorFlow can use. Received: none, {why_no_gpu()}")
    if device == "cpu" and gpus:
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError as error:
            raise ConfigError(f"--device: expected cpu before TensorFlow's first use. Received: {error}") from error


def why_no_gpu() -> str:
    """The first thing that is missing, in words."""
    if not tf.test.is_built_with_cuda():
        return "TensorFlow was built without CUDA"
    if not list(pathlib.Path("/dev").glob("nvidia[0-9]*")):
        return "the system shows no NVIDIA device"
    return (
        "TensorFlow finds a device but not its libraries: pip install -r requirements-cuda.txt, "
        "and see TF_CPP_MIN_LOG_LEVEL=0"
    )


def free_memory() -> float | None:
    """Bytes that are free on the visible GPUs together, by nvidia-smi; None where it does not say. Ask before
    TensorFlow computes anything: then it takes all.
    """
    if not tf.config.get_visible_devices("GPU"):
        return None
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command + ([f"--id={chosen}"] if chosen else []), capture_output=True, text=True, timeout=10
        )
        return 2**20 * sum(map(float, answer.stdout.split())) or None
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def describe(is_compiled: bool) -> dict[str, Any]:
    """What a result depends on beside the settings, and whether XLA compiles it: JSON values."""
    return {
        "command": sys.argv,
        "ebm_tf": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "system": platform.platform(),
        "devices": names(),
        "threads": tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count(),
        "xla": is_compiled,
        "random_numbers": f"Philox of {'XLA' if is_compiled else 'TensorFlow'}",
    }


def names() -> list[str]:
    """Those that TensorFlow computes on."""
    devices = tf.config.get_visible_devices("GPU") or tf.config.get_visible_devices("CPU")
    return [_device_name(device) for device in devices]


def _device_name(device: Any) -> str:
    if device.device_type != "GPU":
        return device.device_type
    return tf.config.experimental.get_device_details(device).get("device_name", "GPU")


def _git_commit() -> str | None:
    """Commit of the folder that this package lies in; + where files differ. None outside git."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None

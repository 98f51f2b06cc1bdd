"""A block of chains or energies on all devices of this host: each has the weights, and takes its part of the block."""

from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ebm_tf.energies.base import EnergyModel

__all__ = ["Replica", "local_devices", "replicate", "run_on_all"]


class Replica(NamedTuple):
    """A function of an energy, on a device.

    Attributes:
      device: name of the device.
      fn: called with a part x [B, *event], and more.
    """

    device: str
    fn: Callable


def local_devices() -> list[str]:
    """Names of all GPUs of this host, or without GPUs of TensorFlow's logical CPU devices."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def replicate(
    energy: EnergyModel, make_fn: Callable[[EnergyModel], Callable], devices: Sequence[str] | None = None
) -> list[Replica]:
    """make_fn of the energy on the first device, and of copies of it on the others.

    Args:
      energy: with its weights on the first device.
      make_fn: energy -> function; called once per device.
      devices: their names. None: local_devices().
    """
    replicas: list[Replica] = []
    for device in local_devices() if devices is None else devices:
        with tf.device(device):
            replicas.append(Replica(device, make_fn(_copy(energy) if replicas else energy)))
    return replicas


def _copy(energy: EnergyModel) -> EnergyModel:
    copy = type(energy).from_config(energy.get_config())
    copy.set_weights(energy.get_weights())
    return copy


def run_on_all(
    replicas: Sequence[Replica], x: np.ndarray, args_of: Callable[[int], tuple] = lambda part: ()
) -> list[Any]:
    """fn(part of x, *args_of(i)) on every replica i at once.

    Law: parts are consecutive and as equal as can be. What is random in part i is so by args_of(i).
    Limits: one replica gets x whole; fewer rows than replicas leave the last replicas out.

    Args:
      replicas: what replicate returned.
      x: [B, *event], B of 1 or more.
      args_of: further arguments of part i, made on its device.

    Returns:
      The results, in the order of x.
    """
    parts = np.array_split(x, min(len(replicas), len(x)))

    def run(index):
        with tf.device(replicas[index].device):  # a device is a thread's own
            return replicas[index].fn(tf.constant(parts[index]), *args_of(index))

    if len(parts) == 1:
        return [run(0)]
    with futures.ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(run, range(len(parts))))

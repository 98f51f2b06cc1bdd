"""What chains refuse, in one line. Of tensors within a graph only shapes are looked at."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["at_least", "energies", "seed_of", "shape_of", "start_of_chains"]


def start_of_chains(energy_fn: Callable, x: Any) -> tf.Tensor:
    """x as float32 [B, *event]. Raises ValueError unless it can be that, and energy_fn give energies."""
    if not callable(energy_fn) and not hasattr(energy_fn, "prepare"):
        expected = "expected energy_fn, an EnergyModel or a function of TensorFlow, [B, *event] -> [B]"
        raise ValueError(f"{expected}. Received: {type(energy_fn).__name__}")
    try:
        states = tf.cast(x, tf.float32)
    except (TypeError, ValueError, tf.errors.OpError):
        raise ValueError(f"expected states of chains, floats [B, *event]. Received: {type(x).__name__}") from None
    if states.shape.rank is not None and states.shape.rank < 2:
        raise ValueError(f"expected states of chains, floats [B, *event]. Received: shape={states.shape}")
    return states


def seed_of(seed: Any) -> Any:
    """The seed. Raises ValueError unless it has two numbers."""
    shape = tf.TensorShape(seed.shape if hasattr(seed, "shape") else np.shape(seed))
    if not shape.is_compatible_with([2]):
        raise ValueError(f"expected seed, two whole numbers, as [0, 1]. Received: seed={seed}")
    return seed


def energies(energy: tf.Tensor) -> tf.Tensor:
    """What an energy_fn gave. Raises ValueError unless that is one number for each x."""
    rank = getattr(energy.shape, "rank", None)  # of NumPy's arrays the missing gradient is told
    if rank not in (None, 1):
        hint = "; EnergyModel.from_network takes [B, 1]" if rank == 2 else ""
        raise ValueError(f"expected energy_fn to give [B], a number for each x. Received: shape={energy.shape}{hint}")
    return energy


def at_least(name: str, value: Any, least: float, kind: type = float, *, is_open: bool = False) -> None:
    """Raises ValueError unless a number is finite and `least` or more; is_open: above it. kind: float, int, or list for
    one number or several.
    """
    known = tf.get_static_value(value) if tf.is_tensor(value) else value
    if known is None and tf.is_tensor(value):
        return
    numbers = np.asarray(known)
    is_right = np.issubdtype(numbers.dtype, np.integer) or (
        kind is not int and np.issubdtype(numbers.dtype, np.floating)
    )
    is_right &= kind is list or numbers.ndim == 0
    if is_right and np.all(np.isfinite(numbers)) and np.all(numbers > least if is_open else numbers >= least):
        return
    number = "a whole number" if kind is int else "a finite number"
    expected = f"expected {name}, {number}, {f'above {least}' if is_open else f'{least} or more'}"
    raise ValueError(f"{expected}. Received: {name}={' '.join(repr(value).split())[:100]}")


def shape_of(name: str, value: Any, shape: tuple[int, ...] | None, words: str) -> tuple[int, ...]:
    """The shape of an array. Raises ValueError unless it is `shape`, where that is known; words: what is expected."""
    found = tuple(getattr(value, "shape", ()))
    if found and (shape is None or found == tuple(shape)):
        return found
    received = f"shape={found}" if found else type(value).__name__
    raise ValueError(f"expected {name}, {words}{'' if shape is None else f', {list(shape)}'}. Received: {received}")

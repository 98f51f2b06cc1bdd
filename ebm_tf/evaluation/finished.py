"""Finished runs with their trained energy, and what the tasks of bin/evaluate.py share: results, chains in blocks."""

import dataclasses
import functools
import os
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ebm_tf import build
from ebm_tf.build import build_sampler, use_xla
from ebm_tf.data import images, rings
from ebm_tf.data.base import Dataset
from ebm_tf.energies import EnergyModel, devices
from ebm_tf.energies.files import load_energy
from ebm_tf.energies.precision import compile_energy
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.mcmc.langevin import denoise
from ebm_tf.mcmc.sampler import Sampler
from ebm_tf.runs.results import RunResults
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.data import IMAGE_SPLITS
from ebm_tf.stats import usable
from ebm_tf.streams import Stream, block_seed

__all__ = [
    "FinishedRun",
    "TaskResult",
    "energies",
    "load_run",
    "noise_starts",
    "range_bound",
    "run_chains",
    "to_stored",
    "usable_numbers",
]


class TaskResult(NamedTuple):
    """What a task hands back.

    Attributes:
      numbers: JSON values, for results.json.
      arrays: for RUN/<task>.npz, which is not written when there are none. A np.memmap is streamed.
    """

    numbers: dict[str, Any]
    arrays: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class FinishedRun(RunResults):
    """A run with its trained energy, which is read when it is first asked for.

    Attributes:
      loaded: the energy, where it has been read already.
      temperature: T of its chains. None: that of training.
      See RunResults for the others.
    """

    loaded: EnergyModel | None = None
    temperature: float | None = None

    @functools.cached_property
    def energy(self) -> EnergyModel:
        """The trained energy. Raises ConfigError when the file holds none."""
        return self.loaded or load_energy(self.model, self._model_flag)

    @functools.cached_property
    def energy_fns(self) -> list[devices.Replica]:
        """Per device, the energy as a compiled function, float32 [B, *event] -> [B]."""
        return self._on_devices()

    def _on_devices(self, fn=None):
        is_xla = use_xla(self.config.jit_compile)
        return devices.replicate(self.energy, lambda energy: compile_energy(energy, is_xla, fn))

    @functools.cached_property
    def chain_fns(self) -> list[devices.Replica]:
        """Per device, the sampler's chains of the energy, compiled."""
        return devices.replicate(self.energy, lambda energy: build_sampler(energy, self.config).compile(energy))

    @functools.cached_property
    def denoise_fns(self) -> list[devices.Replica]:
        """Per device, denoise of the energy, compiled. Raises ConfigError where training added no noise."""
        noise_std, temperature = self.config.data_noise, self.config.temperature
        if not noise_std * temperature:
            received = f"data_noise={noise_std:g}, temperature={temperature:g}"
            raise ConfigError(f"--denoise: expected false, or a run that has both above 0. Received: {received}")
        fn = functools.partial(denoise, noise_std=noise_std, temperature=temperature)
        return self._on_devices(fn)

    @property
    def sampler(self) -> Sampler:
        """The chains of its training; where a file alone tells of them, with the step of each coordinate as it does."""
        sampler, origin = build_sampler(self.energy, self.config), self.energy.origin
        temperature = sampler.temperature if self.temperature is None else self.temperature
        relative = np.asarray(origin.step_size) / np.min(origin.step_size) if self.is_bare and origin else 1
        step_size = np.float32(sampler.step_size * relative)
        return dataclasses.replace(sampler, temperature=temperature, step_size=step_size)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one x."""
        return self.energy.event_shape

    @property
    def is_image(self) -> bool:
        """Whether an x is an image."""
        return len(self.event_shape) == 3

    def to_data(self, x: np.ndarray) -> np.ndarray:
        """x in the data's units: vectors were standardised for training; images stay as they are."""
        origin = self.energy.origin
        return x * np.float32(origin.scale) + np.float32(origin.mean) if origin and origin.mean else x

    def from_data(self, x: np.ndarray) -> np.ndarray:
        """The inverse of to_data."""
        origin = self.energy.origin
        return (x - np.float32(origin.mean)) / np.float32(origin.scale) if origin and origin.mean else x

    @property
    def has_density(self) -> bool:
        """Whether the data have an exact density: the rings of App. A.1."""
        return self.config.dataset == rings.NAME

    @functools.cached_property
    def _datasets(self) -> dict[str | None, Dataset]:
        return {}

    def data(self, data_dir: str | None) -> Dataset:
        """The run's data, opened once. Raises ConfigError when they are not there, or have another shape now."""
        if data_dir not in self._datasets:
            with build.data_explained(self._model_flag, self.config.dataset):
                data = build.dataset(self.config.with_data_dir(data_dir))
            is_known = self.config.dataset in (rings.NAME, *IMAGE_SPLITS) and not self.is_bare
            if not is_known and data.event_shape != self.event_shape:
                expected = f"--{self._model_flag}: expected data of the model's shape, {list(self.event_shape)}"
                raise ConfigError(f"{expected}. Received: {data.name} of {list(data.event_shape)}")
            trained_on = getattr(self.energy.origin, "mean", ()) if self.is_bare else ()
            if trained_on and not np.array_equal(data.mean, trained_on):
                expected = f"--model: expected {data.name} with the rows that trained, as by bin/train.py on this file"
                raise ConfigError(f"{expected}. Received: rows of another mean, or another share held out")
            self._datasets[data_dir] = data
        return self._datasets[data_dir]


def load_run(workdir: str | os.PathLike, output: str | os.PathLike | None = None, flag: str = "workdir") -> FinishedRun:
    """The run in a folder.

    Args:
      workdir: the folder.
      output: where results go. None: to workdir.
      flag: that named the folder.

    Raises:
      ConfigError: no run, or not finished; the line says what would finish it.
    """
    run_dir = RunDir(workdir)
    config = run_dir.load_config(flag=flag)
    run_dir.check_finished(config.train_steps, flag)
    try:
        is_own = output is not None and os.path.realpath(output) == os.path.realpath(workdir)
    except ValueError as error:  # a byte of 0
        raise ConfigError(f"--output: expected a folder. Received: {one_line(str(output))}: {error}") from error
    if is_own or output is None:
        return FinishedRun(run_dir, config.at_end, run_dir.model, named_by=flag)
    return FinishedRun(RunDir(output), config.at_end, run_dir.model, source=run_dir)


def noise_starts(run: FinishedRun, num_chains: int, seed: int, block: int) -> np.ndarray:
    """Starts from noise of one block of chains, float32 [num_chains, *event]."""
    return run.sampler.starts(num_chains, block_seed(seed, Stream.NOISE_STARTS, block)).numpy()


def run_chains(
    run: FinishedRun, x_init: np.ndarray, num_steps: int, step_size: float, seed: tf.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """One block of chains, split over the devices of this host.

    Law: langevin_chain's, with the T of run.sampler and, on the rings, their steps. The numbers of part i are a
      function of (seed, i): on another number of devices chains differ.
    Limits: num_steps = 0 returns x_init.

    Args:
      run: gives energy and temperature.
      x_init: float32 [B, *event].
      num_steps: L.
      step_size: epsilon.
      seed: int32 [2].

    Returns:
      (x_final float32 [B, *event], energy at it float32 [B]; NaN where x_final is not finite, so that who keeps
      states as uint8 knows which were).
    """
    sizes = (step_size / run.config.step_size) * tf.constant(run.sampler.step_size)

    def args_of(part, steps, first_step):
        part_seed = tf.random.experimental.stateless_fold_in(seed, part) if part else seed
        steps, _, temperature, _ = run.sampler.arguments(part_seed, steps)
        return steps, sizes, temperature, part_seed, tf.constant(first_step)  # sizes may overflow: then x does

    parts = devices.in_pieces(run.chain_fns, x_init, num_steps, args_of)
    x_final, energy = np.concatenate([x for x, _ in parts]), np.concatenate([info.energy_final for _, info in parts])
    return x_final, np.where(usable.finite_rows(x_final), energy, np.float32(np.nan))


def energies(run: FinishedRun, x: np.ndarray, batch_size: int) -> np.ndarray:
    """Energies float32 [N] of x [N, *event], see devices.in_blocks."""
    return devices.in_blocks(run.energy_fns, x, batch_size)


def to_stored(run: FinishedRun, x: np.ndarray) -> np.ndarray:
    """States as the .npz files keep them: images uint8, whose NaN becomes 0; vectors float32 in the data's units."""
    return images.to_uint8(x) if run.is_image else run.to_data(x)


def usable_numbers(run: FinishedRun, x: np.ndarray) -> dict[str, Any]:
    """What stats.usable says of states float32 [N, *event]: numbers for results.json."""
    return usable.summary(usable.measure(x, range_bound(run)), range_bound(run))


def range_bound(run: FinishedRun) -> float | None:
    """|x| above which a value is out of range, see stats.usable; None for vectors of unknown units."""
    if run.is_image:
        return usable.bound_of(run.config.data_noise)
    is_standardised = run.has_density or bool(run.energy.origin and run.energy.origin.mean)
    return usable.VECTOR_BOUND if is_standardised else None

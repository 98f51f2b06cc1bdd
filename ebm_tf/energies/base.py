"""The energy model: E(x, θ), with p(x) ∝ exp(−E(x, θ) / T)."""

import dataclasses
import numbers
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ebm_tf.energies.checks import check_network, check_readable, with_dtype
from ebm_tf.energies.terms import GaussianReference, Wall
from ebm_tf.errors import ConfigError, check_kind, is_disk_full, one_line
from ebm_tf.mcmc.langevin import energy_and_grad
from ebm_tf.mcmc.sampler import Sampler

__all__ = ["EnergyModel", "Origin"]


@dataclasses.dataclass(frozen=True)
class Origin:
    """What an energy's file says of its training, so that it can be sampled by itself.

    Attributes:
      dataset: name of the data.
      step_size: ε of its chains, a number or one per coordinate.
      temperature: T.
      num_steps: L.
      scheme: where its chains started.
      mean, scale: of vectors, per column: the energy sees (data - mean) / scale. () where it sees the data.
      data_noise: standard deviation of the noise on the data.
      data_range: least and greatest value of images as the energy sees them. () of vectors.
      fit: how images were brought to their size: crop, pad or stretch.
      sample_num_steps: L of chains that draw samples. None: num_steps.
      columns: names of the columns of a table. () where they have none.
      num_examples: how many trained; 0 where it is not known.
      fingerprint: hashes of some of them, see stats/fingerprint.py; "" where there are none.
    """

    dataset: str
    step_size: float | tuple
    temperature: float
    num_steps: int
    scheme: str
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    data_noise: float = 0.0
    data_range: tuple[float, ...] = ()
    fit: str = "crop"
    sample_num_steps: int | None = None
    columns: tuple[str, ...] = ()
    num_examples: int = 0
    fingerprint: str = ""

    @classmethod
    def of(
        cls, data: Any, sampler: Sampler, scheme: str, data_noise: float, sample_num_steps: int | None = None
    ) -> "Origin":
        """That of an energy trained on a Dataset."""
        sizes = np.asarray(sampler.step_size, np.float32)
        step_size = float(sizes.flat[0]) if np.all(sizes == sizes.flat[0]) else tuple(sizes.tolist())
        mean, scale = (() if one is None else tuple(one.astype(float).tolist()) for one in (data.mean, data.scale))
        data_range = (-1.0, 1.0) if data.is_image else ()
        chains = step_size, float(sampler.temperature), int(sampler.num_steps), scheme
        columns = tuple(data.columns or ())
        return cls(data.name, *chains, mean, scale, data_noise, data_range, data.fit, sample_num_steps, columns=columns)


@keras.saving.register_keras_serializable(package="ebm_tf")
class EnergyModel(keras.Model):
    """A network that gives one energy per x, and the terms beside it.

    `from_network` makes one of any Keras model. Subclasses build `network`, [B, *event] -> [B] or [B, 1], in __init__
    and end it with `_hold`.

    Attributes:
      event_shape: shape of one x.
      noise_spectrum: of the noise that chains start from, see chain_init.coloured; weights that do not train, N(0, I)
        until they are assigned. None: N(0, I). The reference is the same Gaussian.
      preconditioner: P^{1/2} of its chains' Langevin steps, see mcmc/preconditioner.py; likewise. None: I.
      origin: of a trained energy, how it was trained.

    Args:
      network: as from_network has checked it.
      energy_scale: the energy is energy_scale times the network's output, and the terms. With energy_scale = T the
        network gives E/T, the log density's own unit (App. A.4).
      wall: a soft wall around the data.
      reference: the Gaussian that the network tilts.
      has_noise_spectrum: whether weights hold `noise_spectrum`.
      has_preconditioner: whether one holds `preconditioner`.
      origin: see above.

    Returns (call):
      energy, float32 [B] whatever the dtype policy.

    Raises:
      ValueError: x is not [B, *event].
    """

    event_shape: tuple[int, ...]
    network: keras.Model
    noise_spectrum: tuple[tf.Variable, tf.Variable] | None = None
    preconditioner: tf.Variable | None = None

    def __init__(
        self,
        network: keras.Model | None = None,
        energy_scale: float = 1.0,
        *,
        wall: Wall | dict | None = None,
        reference: GaussianReference | dict | None = None,
        has_noise_spectrum: bool = False,
        has_preconditioner: bool = False,
        event_shape: tuple[int, ...] | None = None,
        origin: Origin | dict | None = None,
        **kwargs,
    ):
        if network is not None or type(self) is EnergyModel:
            check_kind("network", network, keras.Model, "a keras.Model: EnergyModel.from_network(net)")
        if network is not None:
            kwargs.setdefault("dtype", network.dtype_policy)
        super().__init__(**kwargs)
        self.energy_scale = energy_scale
        self.wall = Wall(**wall) if isinstance(wall, dict) else wall
        self.reference = GaussianReference(**reference) if isinstance(reference, dict) else reference
        self.origin = Origin(**_with_tuples(origin)) if isinstance(origin, dict) else origin
        self.has_noise_spectrum, self.has_preconditioner = has_noise_spectrum, has_preconditioner
        self.autocast = False  # the network rounds x to its own dtype; from_output takes it as it is
        if network is not None:
            self._hold(network, event_shape)

    @classmethod
    def from_network(
        cls,
        net: keras.Model,
        *,
        energy_scale: float = 1.0,
        reference: GaussianReference | None = None,
        wall: Wall | None = None,
        event_shape: tuple[int, ...] | None = None,
    ) -> "EnergyModel":
        """The energy of any Keras model: Sequential, functional or subclassed.

        A new network may be flat: an output of zeros has a gradient of zeros, and trains. A network that x does not
        reach has none, and is refused.

        Args:
          net: [B, *event] -> [B] or [B, 1]. It is not copied.
          energy_scale: factor on the network's output. Chains at temperature T see energy_scale / T times it.
          reference: a Gaussian that the network tilts.
          wall: a soft wall around the data.
          event_shape: shape of one x, where a subclassed model has not been built and so cannot say it.

        Returns:
          The energy. Its file needs no custom_objects: Keras finds its own layers, and classes that
          keras.saving.register_keras_serializable names once their module is imported.

        Raises:
          ConfigError: another shape, no gradient in x, numbers that are not finite, or a layer that behaves otherwise
            in training (BatchNormalization, Dropout, noise): Langevin chains need one energy, not one per call.
        """
        if isinstance(net, EnergyModel):
            raise ConfigError(f"expected a network. Received: {net.name}, which is an EnergyModel already")
        shape = check_network(net, event_shape)
        for name, value, kind in (("reference", reference, GaussianReference), ("wall", wall, Wall)):
            check_kind(name, value, kind | None, f"an ebm_tf.{kind.__name__}(...) or None")
        check_kind("energy_scale", energy_scale, numbers.Real, "a number")
        if not 0 < energy_scale < float("inf"):
            raise ConfigError(f"expected energy_scale above 0, and finite. Received: energy_scale={energy_scale}")
        terms: dict[str, Any] = {"reference": reference, "wall": wall, "event_shape": shape}
        energy = EnergyModel(net, energy_scale, has_noise_spectrum=True, has_preconditioner=True, **terms)
        if reference is not None and reference.mean is not None:
            energy.assign_gaussian(reference.mean, reference.factor)
        return energy

    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Keras' save. Makes the folder of the file where there is none.

        Raises:
          ConfigError: another ending than .keras, a file that cannot be written, or a class of the network that could
            not be read from it: not registered, or not made again by its get_config.
        """
        if not str(filepath).endswith(".keras"):
            raise ConfigError(f"expected filepath, a file that ends in .keras. Received: {filepath}")
        check_readable(self.network, self.event_shape)
        try:
            pathlib.Path(filepath).parent.mkdir(parents=True, exist_ok=True)
            super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)
        except OSError as error:
            if is_disk_full(error):  # what lies there stays: whoever saves says so
                raise
            raise ConfigError(f"expected filepath, a file that can be written. Received: {one_line(error)}") from error

    def _hold(self, network: keras.Model, event_shape: tuple[int, ...] | None = None) -> None:
        """Takes the network, and makes the weights that do not train."""
        self.network = network
        self.event_shape = tuple(event_shape or network.input_shape[1:])
        if len(self.event_shape) not in (1, 3):
            raise ConfigError(f"expected one x as [D] or [H, W, C]. Received: event_shape={self.event_shape}")
        settings = {"dtype": "float32", "trainable": False, "autocast": False}
        matrices = {"shape": (*self.event_shape, self.event_shape[-1]), "initializer": _identities, **settings}
        if self.has_noise_spectrum:
            mean = self.add_weight(shape=self.event_shape, initializer="zeros", name="noise_mean", **settings)
            self.noise_spectrum = mean, self.add_weight(name="noise_factor", **matrices)
        if self.has_preconditioner:
            self.preconditioner = self.add_weight(name="preconditioner", **matrices)
        self.built = True  # the network is, from its Input

    def assign_gaussian(self, mean: Any, factor: Any) -> None:
        """Puts the mean and the factor of a Gaussian into noise_spectrum, for starts and for the reference.

        Raises:
          ConfigError: their shapes are not those of x.
        """
        assert self.noise_spectrum
        for name, weight, value in zip(("mean", "factor"), self.noise_spectrum, (mean, factor), strict=True):
            if tuple(weight.shape) != np.shape(value):
                expected = f"expected {name} of shape {list(weight.shape)}"
                raise ConfigError(f"{expected}. Received: {list(np.shape(value))}")
            weight.assign(value)

    @property
    def compute_dtype(self):
        """Dtype around the network, whose own is dtype_policy.compute_dtype: Keras rounds no weight in a call."""
        return self.variable_dtype

    def call(self, x, training=False):
        """The energy, float32 [B], of x [B, *event]; the same in training."""
        if tuple(x.shape[1:]) != self.event_shape:
            raise ValueError(f"expected x of shape [B, {', '.join(map(str, self.event_shape))}]. Received: {x.shape}")
        return self.prepare()(x)

    def prepare(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """The energy at the weights of now, x [B, *event] -> float32 [B].

        What does not depend on x is done here, once: call it outside the loop over a chain's steps. Nothing in the
        network depends on Keras' training flag.
        """
        return self.by_layers

    def by_layers(self, x: tf.Tensor) -> tf.Tensor:
        """The energy, float32 [B], of x [B, *event] by the layers themselves, wherever it runs: what exports hold.

        Raises:
          ValueError: the policy is float16's. Between layers nothing keeps small gradients from becoming 0.
        """
        if self.dtype_policy.compute_dtype == "float16":
            raise ValueError(f"expected the policy float32 or mixed_bfloat16. Received: {self.dtype_policy.name}")
        return self.from_output(tf.cast(self.output_at(x), tf.float32), x)

    def output_at(self, x: tf.Tensor) -> tf.Tensor:
        """The network's output [B] at x [B, *event], in its own dtype."""
        output = self.network(self.to_input(x), training=False)
        return tf.squeeze(output, axis=-1) if len(output.shape) == 2 else output

    def to_input(self, x: tf.Tensor) -> tf.Tensor:
        """What the network sees of x [B, *event]."""
        if self.reference is None or self.reference.bound is None:
            return x
        return tf.clip_by_value(x, -self.reference.bound, self.reference.bound)

    def from_output(self, output: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """The energy [B] from the network's output [B] at x [B, *event], in their dtype."""
        energy = self.energy_scale * output
        if self.reference and self.noise_spectrum:
            energy += self.reference(x, self.noise_spectrum)
        return energy + self.wall(x) if self.wall else energy

    def energy_and_grad(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (energy [B], energy_grad dE/dx [B, *event]) at x [B, *event]."""
        return energy_and_grad(lambda x: self(x, training=False), tf.convert_to_tensor(x))

    def get_config(self):
        config = {**super().get_config(), "energy_scale": self.energy_scale}
        if self.wall:
            config["wall"] = dataclasses.asdict(self.wall)
        if self.reference:  # its mean and factor are weights
            config["reference"] = {"temperature": self.reference.temperature, "bound": self.reference.bound}
        if self.origin:
            config["origin"] = dataclasses.asdict(self.origin)
        names = "has_noise_spectrum", "has_preconditioner"
        config |= {name: True for name in names if getattr(self, name)}
        if type(self) is EnergyModel:
            network = keras.saving.serialize_keras_object(self.network)
            config |= {"network": network, "event_shape": self.event_shape}
        return config

    @classmethod
    def from_config(cls, values):
        """The energy of get_config's values, with new weights."""
        if "network" not in values:
            return cls(**values)
        network, shape = values["network"], tuple(values["event_shape"])
        network = keras.saving.deserialize_keras_object(with_dtype(network, values["dtype"]))
        if not network.built:
            network(tf.zeros([1, *shape]), training=False)
        return cls(**{**values, "network": network, "event_shape": shape})


def _with_tuples(values: dict) -> dict:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _identities(shape, dtype=None):
    return tf.eye(shape[-1], batch_shape=shape[:-2], dtype=dtype)

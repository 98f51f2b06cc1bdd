"""The only place where settings become batches of data, an energy, chains and an optimizer."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ebm_tf.data import rings
from ebm_tf.data.base import Dataset, RingsDataset
from ebm_tf.data.sources import Asked, open_dataset
from ebm_tf.data.stores import HELD_OUT
from ebm_tf.energies.base import EnergyModel
from ebm_tf.energies.image_net import ImageNet
from ebm_tf.energies.rings_net import RingsNet
from ebm_tf.energies.terms import GaussianReference, Wall
from ebm_tf.energies.vector_net import vector_net
from ebm_tf.errors import ConfigError
from ebm_tf.mcmc.preconditioner import root_of_spectrum
from ebm_tf.mcmc.sampler import Sampler
from ebm_tf.settings.fields import bad_setting
from ebm_tf.settings.presets import DEPTHS
from ebm_tf.settings.train import TrainConfig
from ebm_tf.streams import Stream, stream

__all__ = [
    "build_energy",
    "build_optimizer",
    "build_sampler",
    "check_held_out",
    "data_explained",
    "dataset",
    "first_examples",
    "fit_gaussian",
    "make_dataset",
    "step_sizes",
    "use_xla",
    "wall_of",
    "with_noise",
]


def dataset(config: TrainConfig) -> Dataset:
    """config's data. CIFAR-10, the flowers and the rings are not read before they are needed; others are looked through
    now, and what was done to them is said in one line.

    Raises:
      ConfigError: the data are not there, or are not what can be learned.
    """
    kind, _, source = config.dataset.partition(":")
    if config.dataset == "rings":
        return RingsDataset()
    if not source:
        side = config.image_size or 0  # TrainConfig has filled it in
        return Dataset.known(config.dataset, config.train_split, config.test_split, config.data_dir, side)
    sizes = config.held_out, config.image_size, config.fit
    data = open_dataset(kind, source, Asked(*sizes, config.columns, config.train_split, config.data_dir))
    _check_vectors(config, data)
    print(f"{config.dataset}: {data.note}", flush=True)
    return data


@contextlib.contextmanager
def data_explained(flag: str, name: str) -> Iterator[None]:
    """What `dataset` refuses inside, as a command says it that has no flags of a data set: by `flag`, which names the
    run to it, and the name of its data.
    """
    try:
        yield
    except ConfigError as error:
        its = f"--{flag}: expected its data, {name}: "
        text = re.sub(r"^--(?!data_dir:)\w+: expected ", its, str(error))
        raise ConfigError(re.sub(r"(?<=[; ])(by )?--columns", r"\1bin/train.py --columns", text)) from error


def _check_vectors(config, data):
    """What is for images alone, where settings alone do not tell which the data are."""
    if data.is_image:
        return
    if config.dtype_policy == "mixed_float16":  # whose small gradients image_energy.py alone keeps
        expected = f"float32 or mixed_bfloat16 for {config.dataset}, which are no images"
        raise bad_setting("dtype_policy", expected, config.dtype_policy, "")
    if not config.attention:
        raise bad_setting("attention", f"True for {config.dataset}, which are no images", config.attention, "")


def check_held_out(config: TrainConfig, data: Dataset) -> None:
    """Raises ConfigError where held_out has no use: the data have a part to test, which only opening them tells."""
    default = TrainConfig.held_out
    if data.held_out_name != HELD_OUT and config.held_out != default:
        expected = f"{default} for {config.dataset}, whose {data.held_out_name} is held out"
        raise bad_setting("held_out", expected, config.held_out, "")


def make_dataset(config: TrainConfig, start_step: int = 0, data: Dataset | None = None) -> tf.data.Dataset:
    """Endless batches of config's training data with the noise of data_noise, from update start_step on.

    Law: Dataset.batches', with_noise.
    Limits: data_noise = 0 gives the data as they are.

    Args:
      config: settings of the run.
      start_step: updates done before.
      data: config's, where they have been opened.

    Returns:
      tf.data.Dataset of float32 [batch_size, *event]; images in [-1, 1].

    Raises:
      ConfigError: the data are not there, or fewer than a batch.
    """
    batches = (data or dataset(config)).batches(config.batch_size, config.seed, start_step)
    return with_noise(batches, config.data_noise, config.seed, start_step)


def with_noise(batches: tf.data.Dataset, noise_std: float, seed: int, start_step: int = 0) -> tf.data.Dataset:
    """Batches with Gaussian noise, and fetched ahead.

    Law: N(0, noise_std²) is added to every number, a function of (seed, number of the batch).
    Limits: noise_std = 0 gives the batches as they are.

    Args:
      batches: of float32, of a Dataset's `batches` with the same seed and start_step.
      noise_std: standard deviation.
      seed, start_step: see Dataset.batches.
    """

    def add(step, x):
        own = stream(seed, Stream.DATA_NOISE, step)
        return x + noise_std * tf.random.stateless_normal(tf.shape(x), own, alg="philox")

    if noise_std:
        batches = tf.data.Dataset.zip(tf.data.Dataset.counter(start_step), batches).map(add)
    return batches.prefetch(tf.data.AUTOTUNE)


def first_examples(batches: tf.data.Dataset, count: int) -> tf.Tensor:
    """The first examples of endless batches, float32 [count, *event].

    Raises:
      ConfigError: see make_dataset.
    """
    found: list[tf.Tensor] = []
    for x in batches:
        found.append(tf.convert_to_tensor(x))
        if sum(len(one) for one in found) >= count:
            break
    return tf.concat(found, axis=0)[:count]


def fit_gaussian(energy: EnergyModel, mean: np.ndarray, factor: np.ndarray) -> None:
    """Where the energy's chains start, how far their steps go, and its reference if it has one, from a Gaussian.

    Steps of vectors are whitened, P = A Aᵀ; those of images half so (see root_of_spectrum).
    """
    energy.assign_gaussian(mean, factor)
    if energy.preconditioner is not None:
        energy.preconditioner.assign(root_of_spectrum(factor) if factor.ndim == 4 else factor)


def build_energy(config: TrainConfig, event_shape: tuple[int, ...] | None = None) -> EnergyModel:
    """A new energy model under config.dtype_policy, its weights drawn by config.seed.

    Args:
      config: settings of the run.
      event_shape: shape of one x. None: config's.
    """
    shape = tuple(event_shape or config.event_shape)
    keras.utils.set_random_seed(config.seed)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.dtype_policy)
    try:
        if config.dataset == "rings":
            return RingsNet(config.num_filters, config.energy_scale)
        is_image, reference = len(shape) == 3, None
        if "reference" in config.gaussian:  # whose bound spares all but 0.1 % of the noise on a white or a black pixel
            bound = 1 + 3 * config.data_noise if is_image else None
            reference = GaussianReference(config.temperature, bound=bound)
        kept: dict[str, Any] = {
            "reference": reference,
            "has_noise_spectrum": "start" in config.gaussian,
            "has_preconditioner": "steps" in config.gaussian,
        }
        if not is_image:
            net = vector_net(shape[0], config.num_filters, config.data_noise or 1.0, DEPTHS[config.preset])
            return EnergyModel(net, config.energy_scale, **kept)
        return ImageNet(
            config.num_filters,
            config.attention,
            (shape[0], shape[1]),
            config.energy_scale,
            shape[2],
            **kept,
        )
    finally:
        keras.config.set_dtype_policy(previous)


def wall_of(confinement: float, data_noise: float) -> Wall | None:
    """The wall of a run of earlier versions, from RunDir.confinement; beyond most noise on a white pixel."""
    return Wall(confinement, 1 + 3 * data_noise) if confinement else None


def use_xla(jit_compile: str) -> bool:
    """Whether chains and gradients are compiled with XLA: true, false, or auto, on a GPU."""
    if jit_compile == "auto":
        return bool(tf.config.get_visible_devices("GPU"))
    return jit_compile == "true"


def step_sizes(config: TrainConfig, event_shape: tuple[int, ...] | None = None) -> tf.Tensor:
    """epsilon of every coordinate, float32 [*event]; event_shape None: config's."""
    if config.dataset == "rings":
        shape = rings.STEP_SHAPE if config.gaussian == "steps" else np.ones(10, np.float32)
        return config.step_size * tf.constant(shape)
    return config.step_size * tf.ones(event_shape or config.event_shape)


def build_sampler(energy: EnergyModel, config: TrainConfig) -> Sampler:
    """The chains of config's training, from noise as the energy keeps it."""
    return Sampler(
        step_sizes(config, energy.event_shape).numpy(),
        config.temperature,
        config.num_steps,
        energy.event_shape,
        energy.noise_spectrum,
        energy.preconditioner,
        use_xla(config.jit_compile),
    )


def build_optimizer(
    config: TrainConfig, given: keras.optimizers.Optimizer | str | None = None
) -> keras.optimizers.Optimizer:
    """The optimizer with its learning rates, and with the weight average if there is one; or the one that is given.

    Raises:
      ConfigError: what is given is neither an optimizer of Keras nor the name of one.
    """
    if given is not None:
        try:
            return keras.optimizers.get(given)
        except (TypeError, ValueError):
            expected = "expected optimizer, one of Keras or its name, as keras.optimizers.Adam(1e-3)"
            raise ConfigError(f"{expected}. Received: optimizer={given!r:.100}") from None
    rate = config.first_learning_rate
    if config.learning_rate_schedule == "cosine":
        part_left = config.learning_rate_end / config.learning_rate
        rate = keras.optimizers.schedules.CosineDecay(rate, config.train_steps, alpha=part_left)
    average = {"use_ema": True, "ema_momentum": config.ema_momentum} if config.ema_momentum else {}
    kinds = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
    return kinds[config.optimizer](rate, **average)

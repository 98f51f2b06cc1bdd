"""The only place where settings become batches of data, an energy, chains and an optimizer."""

import dataclasses
from collections.abc import Collection
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import fft

from ebm_tf.data import images, rings
from ebm_tf.energies.base import EnergyModel, Origin
from ebm_tf.energies.image_net import ImageNet
from ebm_tf.energies.rings_net import RingsNet
from ebm_tf.energies.terms import GaussianReference, Wall
from ebm_tf.energies.vector_net import vector_net
from ebm_tf.errors import ConfigError
from ebm_tf.mcmc.preconditioner import root_of_spectrum
from ebm_tf.mcmc.sampler import Sampler
from ebm_tf.settings.presets import settings_for
from ebm_tf.settings.train import TrainConfig
from ebm_tf.stats.kernel_width import MOST, kernel_width

__all__ = [
    "build_energy",
    "build_optimizer",
    "build_sampler",
    "first_examples",
    "fit_gaussian",
    "fit_to_data",
    "gaussian_of",
    "make_dataset",
    "noise_of",
    "noise_spectrum",
    "step_sizes",
    "use_xla",
    "with_preset",
]

MIN_VARIANCE = 1e-6  # a fifth of what rounding to 8 bits adds to a pixel; a covariance of 0 has no factor


def make_dataset(config: TrainConfig, start_step: int = 0, data: Any = None) -> tf.data.Dataset:
    """Endless batches of config's training data, from update start_step on.

    Law: rings are drawn anew for every batch. Images come in a new uniform order each epoch; the rest of an epoch that
      does not fill a batch is left out. Then N(0, data_noise²) is added.
    Limits: data_noise = 0 gives the data as they are.

    Args:
      config: settings of the run.
      start_step: updates done before.
      data: a Dataset in place of the one that config names.

    Returns:
      tf.data.Dataset of float32 [batch_size, *event]; images in [-1, 1].

    Raises:
      ConfigError: the data are not there, or fewer than a batch.
    """
    if data is not None:
        clean = data.batches(config.batch_size, config.seed, start_step)
        batches = tf.data.Dataset.zip(tf.data.Dataset.counter(start_step), clean)
    elif config.dataset == "rings":
        batches = tf.data.Dataset.counter(start_step).map(lambda step: (step, _ring_batch(config, step)))
    else:
        batches = _image_batches(config, start_step)

    def add_noise(step, x):
        if not config.data_noise:
            return x
        return x + config.data_noise * tf.random.stateless_normal(tf.shape(x), _seed(config, 4, step), alg="philox")

    return batches.map(add_noise).prefetch(tf.data.AUTOTUNE)


def first_examples(config: TrainConfig, count: int, data: Any = None) -> tf.Tensor:
    """The first examples of make_dataset, float32 [count, *event].

    Raises:
      ConfigError: see make_dataset.
    """
    batches = make_dataset(config, data=data).take(-(-count // config.batch_size))
    return tf.concat([tf.convert_to_tensor(x) for x in batches], axis=0)[:count]


def noise_spectrum(config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spectrum of config's training images with the noise of data_noise: where chains start with
    noise_spectrum = data.

    The cosine transform (orthonormal DCT-II) of images is close to their principal components; what is kept are the
    covariances of the three colours at every frequency, 0.4 % of the full covariance matrix.

    Args:
      config: settings of a run on images.

    Returns:
      (mean [S, S, 3], factor [S, S, 3, 3], lower triangular), float32: `chain_init.noise` takes them.

    Raises:
      ConfigError: the data are not there.
    """
    x = images.load(config.dataset, config.train_split, config.data_dir, config.image_size)
    mean = images.to_unit_range(x.mean(axis=0))
    parts = (images.to_unit_range(part) for part in np.array_split(x, -(-len(x) // 1024)))
    return mean.numpy(), _spectrum_factor(parts, mean, config.data_noise)


def _spectrum_factor(parts, mean, data_noise):
    """The factor of noise_spectrum, of images in parts."""
    channels, count = mean.shape[-1], 0
    squares = np.zeros((*mean.shape, channels))
    for part in parts:
        coefficients = fft.dctn(part - mean, axes=(1, 2), norm="ortho")
        squares += np.einsum("nkli,nklj->klij", coefficients, coefficients)
        count += len(part)
    covariance = squares / count + max(data_noise**2, MIN_VARIANCE) * np.eye(channels)
    return np.linalg.cholesky(covariance).astype(np.float32)


def gaussian_of(data: Any, data_noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and factor of a Dataset's training examples with the noise of data_noise, as chain_init.coloured takes them:
    of vectors their covariance, of images their spectrum (see noise_spectrum).
    """
    count, total = 0, np.zeros(data.event_shape)
    for part in data.examples():
        count, total = count + len(part), total + part.sum(axis=0, dtype=np.float64)
    mean = (total / count).astype(np.float32)
    if len(data.event_shape) == 3:
        return mean, _spectrum_factor(data.examples(), mean, data_noise)
    squares = sum(np.asarray(part - mean, np.float64).T @ (part - mean) for part in data.examples())
    covariance = squares / count + max(data_noise**2, MIN_VARIANCE) * np.eye(len(mean))
    return mean, np.linalg.cholesky(covariance).astype(np.float32)


def fit_gaussian(energy: EnergyModel, mean: np.ndarray, factor: np.ndarray) -> None:
    """Where the energy's chains start, how far their steps go, and its reference if it has one, from a Gaussian.

    Steps of vectors are whitened, P = A Aᵀ; those of images half so (see root_of_spectrum).
    """
    energy.assign_gaussian(mean, factor)
    if energy.preconditioner is not None:
        energy.preconditioner.assign(root_of_spectrum(factor) if factor.ndim == 4 else factor)


def _seed(config, purpose, index):
    seed = tf.constant([config.seed, purpose], tf.int32)
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(index, tf.int32))


def _ring_batch(config, step):
    return rings.sample(config.batch_size, _seed(config, 3, step))


def _image_batches(config, start_step):
    data = images.load(config.dataset, config.train_split, config.data_dir, config.image_size)
    epoch_steps = len(data) // config.batch_size
    if not epoch_steps:
        raise ConfigError(f"--batch_size: expected at most {len(data)}. Received: batch_size={config.batch_size}")
    with tf.device("CPU"):
        data = tf.constant(data)

    def epoch(index):
        order = tf.random.experimental.stateless_shuffle(tf.range(len(data)), _seed(config, 3, index), alg="philox")
        return tf.data.Dataset.from_tensor_slices(order).batch(config.batch_size, drop_remainder=True)

    first_epoch, done = divmod(start_step, epoch_steps)
    orders = tf.data.Dataset.counter(first_epoch).flat_map(epoch).skip(done)
    batches = orders.map(lambda order: images.to_unit_range(tf.gather(data, order)), tf.data.AUTOTUNE)
    return tf.data.Dataset.zip(tf.data.Dataset.counter(start_step), batches)


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
        is_image, has_reference = len(shape) == 3, config.reference == "gaussian"
        bound = 1 + 3 * config.data_noise  # the wall spares all but 0.1 % of the noise on a white or a black pixel
        reference = GaussianReference(config.temperature, bound=bound if is_image else None) if has_reference else None
        kept: dict[str, Any] = {
            "reference": reference,
            "has_noise_spectrum": config.noise_spectrum == "data",
            "has_preconditioner": config.preconditioner == "spectrum",
        }
        if not is_image:
            net = vector_net(shape[0], config.num_filters, config.data_noise or 1.0)
            return EnergyModel(net, config.energy_scale, **kept)
        return ImageNet(
            config.num_filters,
            config.attention,
            (shape[0], shape[1]),
            config.energy_scale,
            shape[2],
            wall=Wall(config.confinement, bound) if config.confinement else None,
            **kept,
        )
    finally:
        keras.config.set_dtype_policy(previous)


def noise_of(energy: EnergyModel) -> float:
    """The data_noise of build_energy, from the bound of an energy of images that tilts a Gaussian."""
    assert energy.reference and energy.reference.bound is not None
    return round((energy.reference.bound - 1) / 3, 6)


NUM_WIDE = 3  # coordinates of A.1 with the large noise: x, y, z


def use_xla(config: TrainConfig) -> bool:
    """Whether chains and gradients are compiled with XLA."""
    if config.jit_compile == "auto":
        return bool(tf.config.get_visible_devices("GPU"))
    return config.jit_compile == "true"


def step_sizes(config: TrainConfig, event_shape: tuple[int, ...] | None = None) -> tf.Tensor:
    """epsilon of every coordinate, float32 [*event]."""
    sizes = config.step_size * tf.ones(event_shape or config.event_shape)
    if config.dataset == "rings":
        sizes *= tf.constant([config.step_ratio] * NUM_WIDE + [1.0] * (config.event_shape[0] - NUM_WIDE))
    return sizes


def build_sampler(energy: EnergyModel, config: TrainConfig) -> Sampler:
    """The chains of config's training, from noise as the energy keeps it."""
    return Sampler(
        step_sizes(config, energy.event_shape).numpy(),
        config.temperature,
        config.num_steps,
        energy.event_shape,
        energy.noise_spectrum,
        energy.preconditioner,
        use_xla(config),
    )


def build_optimizer(config: TrainConfig) -> keras.optimizers.Optimizer:
    """The optimizer with its learning rates, and with the weight average if there is one."""
    rate = config.first_learning_rate
    if config.learning_rate_schedule == "cosine":
        part_left = config.learning_rate_end / config.learning_rate
        rate = keras.optimizers.schedules.CosineDecay(rate, config.train_steps, alpha=part_left)
    average = {"use_ema": True, "ema_momentum": config.ema_momentum} if config.ema_momentum else {}
    kinds = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
    return kinds[config.optimizer](rate, **average)


# Of TrainConfig, what Trainer takes.
OWN_SETTINGS = (
    *("scheme", "cd_weight", "batch_size", "data_noise", "seed", "jit_compile", "refresh_prob", "refresh_unit"),
    *("bank_weight", "bank_size", "bank_start", "bank_burn_in", "bank_restart_data", "bank_restart_noise"),
)


def fit_to_data(
    energy: EnergyModel, data: Any, sampler: Sampler | None, preset: str, given: dict[str, Any]
) -> tuple[TrainConfig, Sampler]:
    """The settings and the sampler of a training of `energy` on `data`, and in the energy what its file says of them.

    Args:
      energy: gets the data's Gaussian, unless its reference has one of its own or the sampler says where chains start.
      data: a Dataset.
      sampler: the user's; taken as it is. None: one that fits the data.
      preset: see settings_for.
      given: settings of OWN_SETTINGS, which stay as they are.

    Raises:
      ConfigError: data of another shape than the energy's, or a setting that cannot be used.
    """
    if data is None or tuple(data.event_shape) != energy.event_shape:
        shape = None if data is None else list(data.event_shape)
        raise ConfigError(f"expected data of the energy's shape, {list(energy.event_shape)}. Received: {shape}")
    if unknown := sorted(set(given) - set(OWN_SETTINGS)):
        raise ConfigError(f"expected settings of {', '.join(OWN_SETTINGS)}. Received: {unknown[0]}")
    values = settings_for(*_sizes(data), preset)
    if sampler is not None:
        size = float(np.max(sampler.step_size))
        values |= {"step_size": size, "temperature": float(sampler.temperature), "num_steps": int(sampler.num_steps)}
    values |= given
    scheme = str(values["scheme"])
    if scheme != "hybrid":
        values["cd_weight"] = given.get("cd_weight")
    if scheme.startswith("persistent"):
        values |= {name: given.get(name, 0.0) for name in ("bank_weight", "bank_restart_noise")}
    config = TrainConfig(**values)
    _fit_gaussian_of(energy, data, config.data_noise, sampler)
    kept = energy.event_shape, energy.noise_spectrum, energy.preconditioner
    if sampler is None:
        sampler = Sampler(config.step_size, config.temperature, config.num_steps, *kept, use_xla(config))
    else:
        start = energy.noise_spectrum if energy.reference else sampler.start
        sampler = dataclasses.replace(sampler, start=start, event_shape=kept[0], jit_compile=use_xla(config))
    energy.origin = Origin.of(data, sampler, str(config.scheme))
    return config, sampler


def _fit_gaussian_of(energy, data, data_noise, sampler):
    """Where chains start and how they step, into its weights: by its own reference, the sampler or the data."""
    if not energy.noise_spectrum:
        return
    if energy.reference and energy.reference.mean is not None:
        fit_gaussian(energy, energy.reference.mean, np.asarray(energy.reference.factor, np.float32))
    elif energy.reference or sampler is None:
        fit_gaussian(energy, *gaussian_of(data, data_noise))
    elif sampler.start is not None:
        energy.assign_gaussian(*sampler.start)
    if sampler is not None and energy.preconditioner is not None:
        shape, root = energy.preconditioner.shape, sampler.preconditioner
        energy.preconditioner.assign(tf.eye(shape[-1], batch_shape=shape[:-2]) if root is None else root)


def with_preset(config: TrainConfig, given: Collection[str], data: Any) -> TrainConfig:
    """config with the settings of its preset that fit the data in place of those that nobody has given.

    Args:
      config: settings of a run on data of one's own.
      given: names of the settings that stay.
      data: config's Dataset.
    """
    values = settings_for(*_sizes(data), config.preset)
    return dataclasses.replace(config, **{name: value for name, value in values.items() if name not in given})


def _sizes(data: Any) -> tuple[tuple[int, ...], int, float]:
    """Shape of one x, number of examples, and of vectors the kernel width of the first whitened ones."""
    count = sum(len(part) for part in data.examples())
    if len(data.event_shape) == 3:
        return data.event_shape, count, 1.0
    mean, factor = gaussian_of(data, 0.0)
    x = np.concatenate(list(data.examples(most=MOST)))
    return data.event_shape, count, kernel_width(np.linalg.solve(factor.astype(np.float64), (x - mean).T).T)

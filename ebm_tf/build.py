"""The only place where settings become batches of data, an energy, chains and an optimizer."""

import keras
import numpy as np
import tensorflow as tf
from scipy import fft

from ebm_tf.data import images, rings
from ebm_tf.energies.base import EnergyModel
from ebm_tf.energies.image_net import ImageNet
from ebm_tf.energies.rings_net import RingsNet
from ebm_tf.errors import ConfigError
from ebm_tf.mcmc.langevin import compile_chain
from ebm_tf.settings.train import TrainConfig

__all__ = [
    "build_energy",
    "build_optimizer",
    "energy_chain_fn",
    "first_examples",
    "make_dataset",
    "noise_spectrum",
    "step_sizes",
    "use_xla",
]

MIN_VARIANCE = 1e-6  # a fifth of what rounding to 8 bits adds to a pixel; a covariance of 0 has no factor


def make_dataset(config: TrainConfig, start_step: int = 0) -> tf.data.Dataset:
    """Endless batches of config's training data, from update start_step on.

    Law: rings are drawn anew for every batch. Images come in a new uniform order each epoch; the rest of an epoch that
      does not fill a batch is left out. Then N(0, data_noise²) is added.
    Limits: data_noise = 0 gives the data as they are.

    Args:
      config: settings of the run.
      start_step: updates done before.

    Returns:
      tf.data.Dataset of float32 [batch_size, *event]; images in [-1, 1].

    Raises:
      ConfigError: the data are not there, or fewer than a batch.
    """
    if config.dataset == "rings":
        batches = tf.data.Dataset.counter(start_step).map(lambda step: (step, _ring_batch(config, step)))
    else:
        batches = _image_batches(config, start_step)

    def add_noise(step, x):
        if not config.data_noise:
            return x
        return x + config.data_noise * tf.random.stateless_normal(tf.shape(x), _seed(config, 4, step), alg="philox")

    return batches.map(add_noise).prefetch(tf.data.AUTOTUNE)


def first_examples(config: TrainConfig, count: int) -> tf.Tensor:
    """The first examples of make_dataset, float32 [count, *event].

    Raises:
      ConfigError: see make_dataset.
    """
    batches = make_dataset(config).take(-(-count // config.batch_size))
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
    squares = np.zeros((*mean.shape, 3))
    for part in np.array_split(x, -(-len(x) // 1024)):
        coefficients = fft.dctn(images.to_unit_range(part) - mean, axes=(1, 2), norm="ortho")
        squares += np.einsum("nkli,nklj->klij", coefficients, coefficients)
    covariance = squares / len(x) + max(config.data_noise**2, MIN_VARIANCE) * np.eye(3)
    return mean.numpy(), np.linalg.cholesky(covariance).astype(np.float32)


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


def build_energy(config: TrainConfig) -> EnergyModel:
    """A new energy model under config.dtype_policy, its weights drawn by config.seed."""
    keras.utils.set_random_seed(config.seed)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.dtype_policy)
    try:
        if config.dataset == "rings":
            return RingsNet(config.num_filters, config.energy_scale)
        size = config.num_filters, config.attention, config.image_size
        bound = 1 + 3 * config.data_noise  # the wall spares all but 0.1 % of the noise on a white or a black pixel
        kept = config.noise_spectrum == "data", config.preconditioner == "spectrum"
        reference = config.temperature if config.reference == "gaussian" else 0.0
        return ImageNet(*size, config.energy_scale, config.confinement, bound, reference, *kept)
    finally:
        keras.config.set_dtype_policy(previous)


NUM_WIDE = 3  # coordinates of A.1 with the large noise: x, y, z


def use_xla(config: TrainConfig) -> bool:
    """Whether chains and gradients are compiled with XLA."""
    if config.jit_compile == "auto":
        return bool(tf.config.get_visible_devices("GPU"))
    return config.jit_compile == "true"


def step_sizes(config: TrainConfig) -> tf.Tensor:
    """epsilon of every coordinate, float32 [*event]."""
    sizes = config.step_size * tf.ones(config.event_shape)
    if config.dataset == "rings":
        sizes *= tf.constant([config.step_ratio] * NUM_WIDE + [1.0] * (config.event_shape[0] - NUM_WIDE))
    return sizes


def energy_chain_fn(energy: keras.Model, config: TrainConfig) -> tf.types.experimental.PolymorphicFunction:
    """compile_chain for an energy model."""
    return compile_chain(energy, config.event_shape, use_xla(config), energy.preconditioner)


def build_optimizer(config: TrainConfig) -> keras.optimizers.Optimizer:
    """The optimizer with its learning rates, and with the weight average if there is one."""
    rate = config.first_learning_rate
    if config.learning_rate_schedule == "cosine":
        part_left = config.learning_rate_end / config.learning_rate
        rate = keras.optimizers.schedules.CosineDecay(rate, config.train_steps, alpha=part_left)
    average = {"use_ema": True, "ema_momentum": config.ema_momentum} if config.ema_momentum else {}
    kinds = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
    return kinds[config.optimizer](rate, **average)

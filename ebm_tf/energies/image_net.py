"""The ConvNet of Nijkamp et al. (2019) with attention (Sec. 3)."""

from collections.abc import Callable

import keras
import tensorflow as tf

from ebm_tf.energies import image_energy
from ebm_tf.energies.attention import NonLocalBlock
from ebm_tf.energies.base import EnergyModel
from ebm_tf.mcmc.cosines import cosine_transform

__all__ = ["ImageNet"]


@keras.saving.register_keras_serializable(package="ebm_tf")
class ImageNet(EnergyModel):
    """E(x) for images [B, S, S, 3] in [-1, 1].

    3x3 convolution to n_f; 4x4 stride-2 convolutions to 2 n_f, 4 n_f, 8 n_f; non-local blocks after the 16x16 and
    8x8 feature maps of a 32x32 image; one valid convolution over what is left, to one number. `network` holds these
    layers. Where there is a GPU, and in float16, the energy is computed from their weights by image_energy.py: the same
    to rounding.

    Args:
      num_filters: n_f. Paper: 128, "1024 output channels in the final convolutional layer" (Sec. 3).
      attention: whether the non-local blocks are there.
      image_size: S, a multiple of 16, 32 or more.
      energy_scale: see EnergyModel.
      confinement: c >= 0. c times the sum of max(|x| - b, 0)² over pixels and channels is added to the energy, a soft
        wall at b: exp(-E/T) falls off behind it like a Gaussian of standard deviation sqrt(T / (2 c)). 0, as in the
        paper: none.
      bound: b >= 1, as far out as noisy data reach.
      reference: t >= 0. t / 2 times the squared Mahalanobis distance of x from the law of `noise_spectrum` is added to
        the energy, and the network sees x clipped to [-b, b]: with t = T it tilts that Gaussian, as it does N(0, s² I)
        in Xie et al. (2016), and beyond the bound the Gaussian is alone. 0, as in the paper: none.
      has_noise_spectrum: whether two weights that do not train hold `noise_spectrum`: N(0, I) until they are assigned.
      has_preconditioner: whether one holds `preconditioner`: I until it is assigned.

    Source: Sec. 3; Nijkamp et al. (2019), App.
    """

    def __init__(
        self,
        num_filters: int = 128,
        attention: bool = True,
        image_size: int = 32,
        energy_scale: float = 1.0,
        confinement: float = 0.0,
        bound: float = 1.0,
        reference: float = 0.0,
        has_noise_spectrum: bool = False,
        has_preconditioner: bool = False,
        **kwargs,
    ):
        super().__init__(energy_scale=energy_scale, **kwargs)
        if image_size < 32 or image_size % 16:
            raise ValueError(f"expected an image_size that is a multiple of 16, 32 or more. Received: {image_size}")
        self.num_filters, self.attention, self.image_size = num_filters, attention, image_size
        self.confinement, self.bound, self.reference = confinement, bound, reference
        self.event_shape = (image_size, image_size, 3)
        dtype = {"dtype": self.dtype_policy}  # of the layers too, so that a model loaded from a file keeps it
        first = keras.layers.Conv2D(num_filters, 3, padding="same", **dtype)
        layers = [keras.Input(self.event_shape), first, _activation(**dtype)]
        for level, factor in enumerate((2, 4, 8)):
            convolution = keras.layers.Conv2D(factor * num_filters, 4, strides=2, padding="same", **dtype)
            layers += [convolution, _activation(**dtype)]
            if attention and level < 2:
                layers.append(NonLocalBlock(name=f"non_local_{level}", **dtype))
        layers += [keras.layers.Conv2D(1, image_size // 8, **dtype), keras.layers.Flatten(**dtype)]
        self.network = keras.Sequential(layers, name="network")
        self.has_noise_spectrum, self.has_preconditioner = has_noise_spectrum, has_preconditioner
        settings = {"dtype": "float32", "trainable": False, "autocast": False}
        matrices = {"shape": (*self.event_shape, 3), "initializer": _identities, **settings}
        if has_noise_spectrum:
            mean = self.add_weight(shape=self.event_shape, initializer="zeros", name="noise_mean", **settings)
            self.noise_spectrum = mean, self.add_weight(name="noise_factor", **matrices)
        if has_preconditioner:
            self.preconditioner = self.add_weight(name="preconditioner", **matrices)
        self.built = True  # the network is, from its Input

    def prepare(self):
        # On a CPU the layers themselves are faster; but nothing keeps their small gradients in float16.
        is_arranged = self.dtype_policy.compute_dtype == "float16" or tf.config.list_physical_devices("GPU")
        return self.prepare_for_gpu() if is_arranged else super().prepare()

    def prepare_for_gpu(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """As prepare, by image_energy.py."""
        layers = self.network.layers
        convolutions = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]
        blocks = [layer for layer in layers if isinstance(layer, NonLocalBlock)]
        weights = image_energy.prepare(convolutions, blocks, self.dtype_policy.compute_dtype)
        return lambda x: self.from_output(image_energy.energy(weights, self.to_input(x)), x)

    def to_input(self, x):
        return tf.clip_by_value(x, -self.bound, self.bound) if self.reference else x

    def from_output(self, output, x):
        energy = super().from_output(output, x)
        if self.reference and self.noise_spectrum:
            energy += 0.5 * self.reference * _squared_mahalanobis(x, *self.noise_spectrum)
        if not self.confinement:
            return energy
        outside = tf.nn.relu(tf.abs(x) - self.bound)
        return energy + self.confinement * tf.reduce_sum(tf.square(outside), axis=[1, 2, 3])

    def get_config(self):
        size = "num_filters", "attention", "image_size"
        names = *size, "confinement", "bound", "reference", "has_noise_spectrum", "has_preconditioner"
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _squared_mahalanobis(x, mean, factor):
    """[B], the squared Mahalanobis distance of x [B, S, S, C] from the Gaussian of chain_init.coloured."""
    mean, factor = tf.cast(mean, x.dtype), tf.cast(factor, x.dtype)
    coefficients = tf.unstack(cosine_transform(x - mean), axis=-1)
    white: list[tf.Tensor] = []  # forward substitution, since the factor is lower triangular
    for i, rest in enumerate(coefficients):
        known = [factor[:, :, i, j] * value for j, value in enumerate(white)]
        white.append((rest - tf.add_n(known) if known else rest) / factor[:, :, i, i])
    return tf.add_n([tf.reduce_sum(tf.square(value), axis=[1, 2]) for value in white])


def _identities(shape, dtype=None):
    return tf.eye(shape[-1], batch_shape=shape[:-2], dtype=dtype)


def _activation(**kwargs) -> keras.layers.Layer:
    return keras.layers.LeakyReLU(negative_slope=0.2, **kwargs)

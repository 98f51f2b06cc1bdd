"""The ConvNet of Nijkamp et al. (2019) with attention (Sec. 3)."""

from collections.abc import Callable

import keras
import tensorflow as tf

from ebm_tf.energies import image_energy
from ebm_tf.energies.attention import NonLocalBlock
from ebm_tf.energies.base import EnergyModel

__all__ = ["ImageNet"]


@keras.saving.register_keras_serializable(package="ebm_tf")
class ImageNet(EnergyModel):
    """E(x) for images [B, H, W, C] in [-1, 1].

    3x3 convolution to n_f; 4x4 stride-2 convolutions to 2 n_f, 4 n_f, 8 n_f; non-local blocks after the 16x16 and
    8x8 feature maps of a 32x32 image; one valid convolution over what is left, to one number. `network` holds these
    layers. Where there is a GPU, and in float16, the energy is computed from their weights by image_energy.py: the same
    to rounding.

    Args:
      num_filters: n_f. Paper: 128, "1024 output channels in the final convolutional layer" (Sec. 3).
      attention: whether the non-local blocks are there.
      image_size: H = W, or (H, W): multiples of 16.
      energy_scale: see EnergyModel.
      channels: C, 1 to 4. Paper: 3.
      **kwargs: of EnergyModel: wall, reference, has_noise_spectrum, has_preconditioner. Beyond the reference's bound,
        1 or more, the Gaussian is alone.

    Source: Sec. 3; Nijkamp et al. (2019), App.
    """

    def __init__(
        self,
        num_filters: int = 128,
        attention: bool = True,
        image_size: int | tuple[int, int] = 32,
        energy_scale: float = 1.0,
        channels: int = 3,
        **kwargs,
    ):
        super().__init__(energy_scale=energy_scale, **kwargs)
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if min(height, width) < 16 or height % 16 or width % 16:
            raise ValueError(f"expected an image_size of multiples of 16. Received: {image_size}")
        if not 1 <= channels <= 4:
            raise ValueError(f"expected 1 to 4 channels. Received: channels={channels}")
        self.num_filters, self.attention, self.channels = num_filters, attention, channels
        self.image_size = height if height == width else (height, width)
        dtype = {"dtype": self.dtype_policy}  # of the layers too, so that a model loaded from a file keeps it
        first = keras.layers.Conv2D(num_filters, 3, padding="same", **dtype)
        layers = [keras.Input((height, width, channels)), first, _activation(**dtype)]
        for level, factor in enumerate((2, 4, 8)):
            convolution = keras.layers.Conv2D(factor * num_filters, 4, strides=2, padding="same", **dtype)
            layers += [convolution, _activation(**dtype)]
            if attention and level < 2:
                layers.append(NonLocalBlock(name=f"non_local_{level}", **dtype))
        left = height // 8, width // 8
        layers += [keras.layers.Conv2D(1, left, **dtype), keras.layers.Flatten(**dtype)]
        self._hold(keras.Sequential(layers, name="network"))

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

    def get_config(self):
        names = "num_filters", "attention", "image_size", "channels"
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_config(cls, config):
        """Reads files of before as well, in which the terms were numbers: confinement, bound and reference."""
        config = dict(config)
        strength, bound = config.pop("confinement", 0.0), config.pop("bound", 1.0)
        if strength:
            config["wall"] = {"strength": strength, "bound": bound}
        if isinstance(temperature := config.get("reference"), (int, float)):
            config["reference"] = {"temperature": temperature, "bound": bound} if temperature else None
        return super().from_config(config)


def _activation(**kwargs) -> keras.layers.Layer:
    return keras.layers.LeakyReLU(negative_slope=0.2, **kwargs)

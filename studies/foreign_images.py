"""An energy whose network is not ours, for the detector: a small residual network of Keras' layers, on CIFAR-10.

  python studies/foreign_images.py --data_dir=TFDS --output=foreign.keras
  python studies/detector.py --data_dir=TFDS --output=DIR --model=foreign.keras --num_fit=4000 --num_changed=500

It is no Sequential and tilts no Gaussian, so the detector has E, its gradient and the bands of the pixels. It is
trained for eight minutes of a CPU core, by the hybrid from the data's Gaussian; nothing was tuned on what is reported.
"""

import argparse
import pathlib
import sys

import keras

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import ebm_tf
from ebm_tf.data.spectrum import noise_spectrum
from ebm_tf.mcmc.preconditioner import root_of_spectrum

TEMPERATURE, STEP_SIZE, NUM_STEPS, NOISE = 5e-5, 2.5, 20, 0.05  # of the presets for images, with fewer steps
WIDTHS = (16, 32)


def residual_net(event_shape):
    """[B, 32, 32, 3] -> [B, 1]: He et al. (2016), activations before convolutions, without normalisation."""
    x = keras.Input(event_shape)
    h = keras.layers.Conv2D(WIDTHS[0], 5, 4, "same")(x)
    for width in WIDTHS:
        stride = 1 if width == WIDTHS[0] else 2
        branch = keras.layers.Conv2D(width, 3, stride, "same", activation="silu")(keras.layers.Activation("silu")(h))
        branch = keras.layers.Conv2D(width, 3, padding="same")(branch)
        h = keras.layers.Add()([keras.layers.Conv2D(width, 1, stride, "same")(h), branch])
    h = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("silu")(h))
    return keras.Model(x, keras.layers.Dense(1)(h), name="residual_net")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets")
    parser.add_argument("--output", required=True, help="FILE.keras")
    parser.add_argument("--train_steps", type=int, default=1_000, help="updates")
    options = parser.parse_args()
    data = ebm_tf.Dataset.from_tfds("cifar10", data_dir=options.data_dir)
    mean, factor = noise_spectrum(data, NOISE)
    chains = STEP_SIZE, TEMPERATURE, NUM_STEPS, data.event_shape, (mean, factor), root_of_spectrum(factor)
    energy = ebm_tf.EnergyModel.from_network(residual_net(data.event_shape), energy_scale=TEMPERATURE)
    trainer = ebm_tf.Trainer(energy, data, sampler=ebm_tf.Sampler(*chains), batch_size=32)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, options.train_steps)
    trainer.compile(keras.optimizers.Adam(rate))
    trainer.fit(train_steps=options.train_steps, validation=False, verbose=2)
    trainer.energy.save(options.output)


if __name__ == "__main__":
    main()

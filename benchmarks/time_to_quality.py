"""How good samples are after so many minutes of training on one card: distances (FD, CIFAR features) of a run's kept
checkpoints, and of samples that other programs wrote.

  python benchmarks/time_to_quality.py --workdir=RUN --data_dir=DIR --output=FILE.json [--picture=FILE.png]
  python benchmarks/time_to_quality.py --samples=NAME:MINUTES:short:FILE.npz --data_dir=DIR --output=FILE.json

FILE.json is added to, a row per run and checkpoint, in the form of results/numbers. Of every checkpoint,
bin/evaluate.py's tasks make --num_samples samples of --num_steps steps from noise (short) and --num_chains chains of
--long_run_steps (long); they lie in RUN/update-N, and what is there already is not made again. Minutes are those of
metrics.jsonl up to the checkpoint: compiling, pictures and checkpoints count, reading the data before the first update
does not, nor what a rollback threw away. FILE.npz has one array, uint8 [N, S, S, 3], or floats in [-1, 1];
benchmarks/peers.py makes it. Distances compare at equal counts alone.
"""

import argparse
import json
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ebm_tf.cli import xla, xla_cache  # noqa: E402
from ebm_tf.drafts import replace_file  # noqa: E402
from ebm_tf.errors import ConfigError  # noqa: E402

COLUMNS = ["row", "run", "minutes", "update", "short: number", "short: FD", "long: number", "long: FD"]
KINDS = {"short_run": "short", "long_run": "long"}


def main() -> None:
    options = _options()
    xla.configure()
    xla_cache.configure()
    path = pathlib.Path(options.output)
    report = json.loads(path.read_text()) if path.exists() else {"how": {}, "columns": COLUMNS, "rows": []}
    report["how"] |= {"command": "python benchmarks/time_to_quality.py " + " ".join(sys.argv[1:]), **_where()}
    try:
        for workdir in options.workdir:
            for row in of_run(workdir, options):
                _add(report, row, path)
        for spec in options.samples:
            _add(report, of_samples(spec, options), path)
    except ConfigError as error:
        raise SystemExit(str(error)) from error
    if options.picture:
        plot(report["rows"], options.picture)


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workdir", action="append", default=[], help="a run with kept checkpoints; may be given several times")
    add("--samples", action="append", default=[], help="NAME:MINUTES:short or long:FILE.npz; several times")
    add("--data_dir", help="folder of prepared TFDS data sets")
    add("--fid_features", default=str(ROOT / "pretrained" / "cifar_features.keras"))
    add("--num_samples", type=int, default=10_000)
    add("--num_steps", type=int, default=1_000)
    add("--num_chains", type=int, default=1_000, help="long ones; 0: none")
    add("--long_run_steps", type=int, default=20_000)
    add("--batch_size", type=int, default=1_000)
    add("--output", required=True, help="a .json file")
    add("--picture", help="a .png file: the curves of all rows of the output")
    return parser.parse_args()


def of_run(workdir, options):
    """A row for each kept checkpoint of a run, as soon as it is known."""
    from ebm_tf.evaluation import tasks
    from ebm_tf.runs.run_dir import RunDir
    from ebm_tf.settings.commands import EvaluateConfig

    run_dir = RunDir(workdir)
    run_dir.load_config()  # says what is missing
    minutes = minutes_of(run_dir.read_metrics(), run_dir.checkpoint_steps())
    asked, long = "short_run", {}
    if options.num_chains:
        asked, long = "short_run,long_run", {"num_chains": options.num_chains, "long_run_steps": options.long_run_steps}
    for step, after in minutes.items():
        settings = EvaluateConfig(
            workdir=workdir,
            checkpoint=str(step),
            tasks=f"{asked},fid",
            fid_samples=asked,
            fid_features=options.fid_features,
            data_dir=options.data_dir,
            num_samples=options.num_samples,
            num_steps=options.num_steps,
            batch_size=options.batch_size,
            **long,
        )
        values = tasks.evaluate(settings).read_results()["fid"]["values"]
        found = {KINDS[name]: (value["num_samples"], value["frechet_distance"]) for name, value in values.items()}
        yield _row(pathlib.Path(workdir).name, after, step, found)


def minutes_of(rows, steps) -> dict[int, float]:
    """Minutes of training up to each of the updates, by the rows of metrics.jsonl, in order."""
    found, seconds, before = {}, 0.0, 0
    for row in rows:
        for step in steps:
            if before < step <= row["step"]:
                found[step] = (seconds + (step - before) / row["updates_per_second"]) / 60
        seconds, before = seconds + (row["step"] - before) / row["updates_per_second"], row["step"]
    return found


def of_samples(spec, options):
    """The row of samples that another program wrote."""
    import numpy as np

    from ebm_tf.data import images
    from ebm_tf.evaluation.features.extractors import load_extractor
    from ebm_tf.evaluation.features.fid import extract
    from ebm_tf.pixels import to_uint8
    from ebm_tf.runs.partial import PartialArrays
    from ebm_tf.stats.distances import Moments, both_distances

    expected = "--samples: expected NAME:MINUTES:short:FILE.npz, or long, with one array [N, S, S, 3]"
    try:
        name, minutes, kind, file = spec.split(":", 3)
        after = float(minutes)
        with np.load(file, allow_pickle=False) as arrays:
            (x,) = arrays.values()
    except (ValueError, OSError) as error:
        raise ConfigError(f"{expected}. Received: {spec}: {error}") from error
    if kind not in KINDS.values() or x.ndim != 4 or x.shape[3] != 3:
        raise ConfigError(f"{expected}. Received: {spec}, {list(x.shape)}")
    if not (finite := np.isfinite(x).all(axis=(1, 2, 3))).all():
        print(f"{name}: left out {(~finite).sum():,} of {len(x):,}, not finite", file=sys.stderr)
    pixels = x if x.dtype == np.uint8 else to_uint8(x[finite])
    reference = images.load("cifar10", "train", options.data_dir, x.shape[1])
    extractor = load_extractor(options.fid_features, x.shape[1])
    with tempfile.TemporaryDirectory() as folder:
        partial = PartialArrays(pathlib.Path(folder) / "partial", spec)
        rows, known = extract(extractor, {"x": pixels}, reference, "cifar10/train", partial, name)
        value = both_distances(rows["x"], known, Moments.of(known), 0)
    return _row(name, after, None, {kind: (len(pixels), value["frechet_distance"])})


def _row(name, minutes, update, found):
    cells = [cell for kind in KINDS.values() for cell in _cells(*found.get(kind, (None, None)))]
    key = f"{name}, update {update:,}" if update else f"{name}, {minutes:g} min"
    return [key, name, f"{minutes:.1f}", f"{update:,}" if update else "", *cells]


def _cells(count, distance):
    return ["", ""] if count is None else [f"{count:,}", f"{distance:.1f}"]


def _add(report, row, path):
    """Puts a row into the report, in place of what an earlier row of this name said, and writes it."""
    rows = {one[0]: one for one in report["rows"]}
    old = rows.get(row[0], [""] * len(row))
    rows[row[0]] = [new or before for new, before in zip(row, old, strict=True)]
    report["rows"] = sorted(rows.values(), key=lambda one: (one[1], float(one[2])))
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(report, indent=1) + "\n")
    print(" | ".join(rows[row[0]]), flush=True)


def _where() -> dict:
    """What the numbers' "how" wants beside the command."""
    import datetime

    from ebm_tf.training import device

    about = device.describe(is_compiled=True)
    date = str(datetime.date.today())
    return {"machine": ", ".join(about["devices"]), "date": date, "commit": about["git_commit"]}


def plot(rows, path) -> None:
    """Curves of distance against minutes, a panel for short chains and one for long ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axis, (title, place) in zip(figure.subplots(1, 2), (("short", 5), ("long", 7)), strict=True):
        for name in dict.fromkeys(row[1] for row in rows):
            points = [(float(row[2]), float(row[place])) for row in rows if row[1] == name and row[place]]
            if points:
                axis.plot(*zip(*points, strict=True), marker="o", label=name)
        axis.set(title=f"{title} chains", xlabel="minutes of training", ylabel="FD (CIFAR features)", yscale="log")
        if axis.lines:
            axis.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()

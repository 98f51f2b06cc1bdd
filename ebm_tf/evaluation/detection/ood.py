"""Energies of data sets, and telling one from another by a score: tasks energies and ood (Table 2; Figs. 5, 10).

In-distribution is the positive class; the score is -E(x), which is log p(x) up to a constant and the factor 1/T. All
sets go the same way, without noise: images as uint8 at the run's size, scaled to [-1, 1], vectors standardised.
"""

import functools
from typing import Any

import numpy as np

from ebm_tf.data import arrays, images, tables
from ebm_tf.data.base import Dataset
from ebm_tf.data.stores import HELD_OUT
from ebm_tf.errors import ConfigError
from ebm_tf.evaluation.detection.detector import LEAST_HELD_OUT, detect, print_table
from ebm_tf.evaluation.finished import FinishedRun, TaskResult, energies
from ebm_tf.evaluation.task import STORED, Task, if_done
from ebm_tf.plots import figures
from ebm_tf.runs.partial import PartialArrays, blocks
from ebm_tf.settings.commands import EvaluateConfig
from ebm_tf.settings.data import set_names
from ebm_tf.stats.detection import detection
from ebm_tf.stats.drift import histogram, mean_of, std_of
from ebm_tf.stats.fingerprint import Lookup
from ebm_tf.stats.resizing import resized, unequal
from ebm_tf.stats.usable import finite_rows

__all__ = [
    "SETTINGS",
    "TASKS",
    "check_energies",
    "check_ood",
    "energies_inputs",
    "energies_task",
    "ood_sets",
    "ood_task",
    "other_sets",
    "own_sources",
    "resizing",
]


def other_sets(settings: EvaluateConfig) -> dict[str, str]:
    """set_names of the settings; {} where there are none."""
    return set_names(settings.ood_data) if settings.ood_data else {}


# Kept: what was loaded to see whether it is there need not be loaded again.
_images = functools.lru_cache(maxsize=4)(images.load_any)


def _load(run: FinishedRun, settings: EvaluateConfig, source: str) -> np.ndarray:
    """At most num_samples examples of another set."""
    if not run.is_image:
        return _vectors(run, settings, source)[: settings.num_samples]
    height, width, channels = run.event_shape
    how = run.config.image_fit
    return _images(source, settings.data_dir, (height, width), "ood_data", channels, how)[: settings.num_samples]


def _vectors(run: FinishedRun, settings: EvaluateConfig, source: str) -> np.ndarray:
    """Rows of array:FILE or table:FILE in the model's range."""
    (kind, _, path), data = source.partition(":"), run.data(settings.data_dir)
    expected = f"--ood_data: expected array:FILE or table:FILE with rows of {data.event_shape[0]} numbers"
    if kind not in ("array", "table"):
        raise ConfigError(f"{expected}. Received: ood_data={source}")
    x = tables.read(path, data.columns, source)[0] if kind == "table" else arrays.read(path, "ood_data")
    if x.shape[1:] != data.event_shape:
        raise ConfigError(f"{expected}. Received: {source} of {list(x.shape)}")
    return data.from_stored(x)


def resizing(run: FinishedRun, settings: EvaluateConfig, sets: dict[str, str]) -> dict[str, Any]:
    """How the images of each set, name -> source, came to the model's size. Warns where they came to it unequally."""
    side = min(run.data(settings.data_dir).event_shape[:2])
    where = settings.data_dir, settings.num_samples
    found = {name: resized(images.short_sides(source, *where), side) for name, source in sets.items()}
    if line := unequal(found):
        print(f"warning: {line}", flush=True)
    return found


def own_sources(run: FinishedRun, settings: EvaluateConfig) -> dict[str, str]:
    """Sources of short_sides: of a folder or an array without splits both are all of its images."""
    data = run.data(settings.data_dir)
    kind, _, source = data.name.rpartition(":")
    if kind in ("folder", "array"):
        whole = source if kind == "folder" else data.name
        return {"test": whole, "train": whole}
    test = data.train_name if data.held_out_name == HELD_OUT else data.held_out_name
    return {"test": f"{source}/{test}", "train": f"{source}/{data.train_name}"}


def _own(run: FinishedRun, settings: EvaluateConfig, part: str) -> np.ndarray:
    """At most num_samples examples of the run's data, "train" or "held_out"."""
    return run.data(settings.data_dir).stored(part, settings.num_samples)


def _names(run: FinishedRun, settings: EvaluateConfig) -> dict[str, str]:
    """What test and train are."""
    data = run.data(settings.data_dir)
    return {"test": f"{data.name}/{data.held_out_name}", "train": f"{data.name}/{data.train_name}"}


def check_ood(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError when a set is not there, there is none to be told from the test data, or these are too few."""
    _check_sets(run, settings)
    if not other_sets(settings):
        kinds = "folders or sets of TFDS" if run.is_image else "array:FILE or table:FILE"
        raise ConfigError(f"--ood_data: expected what ood tells from held-out examples, {kinds}. Received: none")
    held_out = _own(run, settings, HELD_OUT)
    if (num := len(held_out)) < LEAST_HELD_OUT:
        expected = f"for ood, at least {LEAST_HELD_OUT} held-out examples"
        raise ConfigError(f"--num_samples: expected, {expected}. Received: {num}")
    _warn_of_trained(run, run.data(settings.data_dir), held_out)


def _warn_of_trained(run: FinishedRun, data: Dataset, held_out: np.ndarray) -> None:
    """Says where held-out examples, as stored, trained: a .keras file does not say which share of its data did not."""
    if origin := run.energy.origin:
        lookup = Lookup(origin.fingerprint, origin.num_examples)
        lookup.add(held_out if run.is_image else run.from_data(data.to_stored(held_out)))
        if words := lookup.words():
            print(f"warning: ood: of the held-out examples {words}; --workdir=RUN knows which did not", flush=True)


def check_energies(run: FinishedRun, settings: EvaluateConfig) -> None:
    """Raises ConfigError when a set is not there."""
    _check_sets(run, settings)
    _own(run, settings, "train")


def _check_sets(run, settings):
    _own(run, settings, HELD_OUT)
    for source in other_sets(settings).values():
        _load(run, settings, source)


energies_inputs = if_done("long_run")


def _energies_of(run, settings, partial, sets: dict[str, np.ndarray], label: str) -> dict[str, np.ndarray]:
    """Energies of each set, block by block over all of them."""
    energy = {name: partial.array(name, (len(x),), np.float32) for name, x in sets.items()}
    parts = [(name, part) for name, x in sets.items() for _, part in blocks(len(x), settings.batch_size)]
    for name, part in partial.remaining(parts, label, "image" if run.is_image else "row"):
        energy[name][part] = energies(run, sets[name][part], settings.batch_size)
    return energy


def energies_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """Energies of test and training data, of the ends of the long chains, and of other data sets."""
    sets = {
        "test": _own(run, settings, HELD_OUT),
        "train": _own(run, settings, "train"),
        **{name: _load(run, settings, source) for name, source in other_sets(settings).items()},
    }
    if energies_inputs(run, settings):
        x_final = run.from_data(run.arrays("long_run")["x_final"])
        sets["long_run"] = x_final[finite_rows(x_final)]
    energy = _energies_of(run, settings, partial, sets, "energies")
    numbers = {
        "sets": _names(run, settings),
        "num": {name: len(values) for name, values in energy.items()},
        "mean": {name: mean_of(values) for name, values in energy.items()},
        "std": {name: std_of(values) for name, values in energy.items()},
    }
    if run.is_image:
        numbers["resized"] = resizing(run, settings, own_sources(run, settings) | other_sets(settings))
    test = histogram(energy["test"])
    others = {name: {"this set": histogram(x), "test data": test} for name, x in energy.items() if name != "test"}
    figures.histograms_figure(others, "energy", run.run_dir.figures / "energies.png")
    return TaskResult(numbers, dict(energy))


def ood_sets(run: FinishedRun, settings: EvaluateConfig) -> dict[str, np.ndarray]:
    """The test data, as "in", and the sets that settings name, uint8 [N, H, W, C] or float32 [N, D] each."""
    names = other_sets(settings)
    sets = {"in": _own(run, settings, HELD_OUT)}
    return sets | {name: _load(run, settings, source) for name, source in names.items()}


def ood_task(run: FinishedRun, settings: EvaluateConfig, partial: PartialArrays) -> TaskResult:
    """How well -E tells test data from each of the other sets (Table 2), and the detector beside it."""
    names, sets = other_sets(settings), ood_sets(run, settings)
    energy = _energies_of(run, settings, partial, sets, "ood")
    against = {name: detection(-energy["in"], -energy[name]) for name in names}
    num_blocks = sum(len(list(blocks(len(x), settings.batch_size))) for x in sets.values())
    found, arrays = detect(run, partial, sets, num_blocks, settings.batch_size, settings.seed)
    source = _names(run, settings)["test"]
    print_table(found, source)
    numbers = {"in_distribution": source, "score": "-E", "against": against, "detector": found}
    if run.is_image:
        numbers["resized"] = resizing(run, settings, {"in": own_sources(run, settings)["test"], **names})
    arrays |= {f"energy_{name}": values for name, values in energy.items()}
    return TaskResult(numbers, arrays)


SETTINGS = ("num_samples", "ood_data")  # that the tasks of this folder read
TASKS = {
    "energies": Task(energies_task, SETTINGS, STORED, inputs=energies_inputs, check=check_energies, takes_bare=True),
    "ood": Task(ood_task, ("seed", *SETTINGS), STORED, check=check_ood, unprinted=("detector",), takes_bare=True),
}

"""The paper's figures and tables from finished runs, ours beside the paper's."""

import csv
import json
import pathlib
from collections.abc import Callable
from typing import Any

from ebm_tf.drafts import draft_of, replace_file
from ebm_tf.errors import ConfigError
from ebm_tf.paper import curves, pictures, report, tables
from ebm_tf.paper import numbers as paper
from ebm_tf.paper.catalog import LABELS, Artifact, Catalog, Table, settings_of
from ebm_tf.plots import figures
from ebm_tf.runs import saved
from ebm_tf.runs.run_dir import writable_folder
from ebm_tf.runs.saved import SavedRun, budget
from ebm_tf.settings.commands import ARTIFACTS, EvaluateConfig, ReproduceConfig
from ebm_tf.settings.train import Scheme

__all__ = ["reproduce"]


def reproduce(settings: ReproduceConfig, load_tensorflow: Callable[[], None] = lambda: None) -> list[pathlib.Path]:
    """Makes the artifacts that settings names: a picture or a .csv, and a .json, each; for "all" also index.html.

    Reads everything before it writes anything. Only fig2 needs TensorFlow.

    Args:
      settings: artifact, runs and output.
      load_tensorflow: called once before TensorFlow is imported.

    Returns:
      The files, without the .json.

    Raises:
      ConfigError: an artifact that was named, or every one of "all", cannot be made.
    """
    catalog = Catalog.of(pathlib.Path(settings.runs))
    output = _folder(settings.output)
    made: dict[str, Artifact] = {}
    reasons: dict[str, str] = {}
    for name in settings.artifact_names:
        try:
            made[name] = _make(name, catalog, load_tensorflow)
        except ConfigError as error:
            if not settings.is_all:
                raise
            reasons[name] = str(error)
            report.say(f"{name}: not made. {error}")
    if not made:
        raise ConfigError(f"--runs: expected runs from which an artifact can be made. Received: {settings.runs}")
    for path in catalog.unfinished:
        report.say(f"left out, since it is not finished: {path}")
    budgets = _budgets(made)
    report.print_budgets(budgets)
    for name, artifact in made.items():
        report.print_artifact(name, artifact)
    writable_folder(output, "output")
    written = [_write(name, artifact, output, settings) for name, artifact in made.items()]
    if settings.is_all:
        page = output / "index.html"
        replace_file(page, report.page(made, reasons, budgets, output, settings))
        written.append(page)
    return written


def _make(name: str, catalog: Catalog, load_tensorflow: Callable[[], None]) -> Artifact:
    """An artifact. Raises ConfigError, also where saved results are not what bin/evaluate.py writes."""
    try:
        return _fig2(catalog, load_tensorflow) if name == "fig2" else MAKERS[name](catalog)
    except ConfigError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ConfigError(
            f"--runs: expected, for {name}, results and arrays as bin/evaluate.py writes them. Received: {reason}"
        ) from error


MAKERS: dict[str, Callable[[Catalog], Artifact]] = {
    "fig3": pictures.fig3,
    "fig4": pictures.fig4,
    "fig5": curves.fig5,
    "fig6": curves.fig6,
    "fig7": pictures.fig7,
    "fig8": pictures.fig8,
    "fig9": curves.fig9,
    "fig10": curves.fig10,
    "table1": tables.table1,
    "table2": tables.table2,
}
assert {"fig2", *MAKERS} == set(ARTIFACTS)


def _folder(path: str) -> pathlib.Path:
    """A folder to write to. Raises ConfigError where there is a file in its place."""
    folder = pathlib.Path(path)
    try:
        taken = next((part for part in (folder, *folder.parents) if part.exists()), None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--output: expected a folder, new or old. Received: {error}") from error
    if taken is not None and not taken.is_dir():
        raise ConfigError(f"--output: expected a folder, new or old. Received: the file {taken}")
    return folder


def _budgets(made: dict[str, Artifact]) -> list[dict[str, Any]]:
    """A budget for every run used, once, with the artifacts that it is in."""
    users: dict[pathlib.Path, list[str]] = {}
    runs: dict[pathlib.Path, SavedRun] = {}
    for name, artifact in made.items():
        for run in artifact.runs:
            users.setdefault(run.path, []).append(name)
            runs[run.path] = run

    def order(run):
        return run.config.dataset, list(Scheme).index(run.config.scheme), run.path

    return [{**budget(run), "used in": ", ".join(users[run.path])} for run in sorted(runs.values(), key=order)]


def _write(name: str, artifact: Artifact, output: pathlib.Path, settings: ReproduceConfig) -> pathlib.Path:
    """The picture or .csv, and the .json."""
    if artifact.plot is not None:
        path = output / f"{name}.png"
        artifact.plot(path)
    else:
        assert artifact.csv is not None  # a table
        path = output / f"{name}.csv"
        with draft_of(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([artifact.csv.columns, *artifact.csv.rows])
    words = dict(zip(("where", "shows"), paper.SHOWS[name]))
    content = {
        "artifact": name,
        "command": report.command(name, settings),
        "paper": words if artifact.paper is None else artifact.paper,
        "ours": artifact.ours,
        "runs": [budget(run) for run in artifact.runs],
        "settings": artifact.settings,
        "notes": artifact.notes,
    }
    replace_file(path.with_suffix(".json"), json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def _fig2(catalog: Catalog, load_tensorflow: Callable[[], None]) -> Artifact:
    """Fig. 2 from rings runs of the five schemes, drawn from the first run of each, with the numbers of all.

    Evaluates runs that have not been.

    Raises:
      ConfigError: a scheme has no rings run, or a rings run is not finished.
    """
    found = {scheme: catalog.choose("rings", scheme) for scheme in Scheme}
    for path in catalog.unfinished:
        if saved.load_config(path).dataset == "rings":
            raise ConfigError(f"--runs: expected finished rings runs, with model.keras. Received: {path}")
    if absent := [scheme.value for scheme, runs in found.items() if not runs]:
        raise ConfigError(
            f"--runs: expected a rings run of every scheme. Received: {catalog.root}, without {', '.join(absent)}"
        )
    load_tensorflow()
    from ebm_tf.stats import plane  # TensorFlow, which nothing else here needs

    found = {scheme: [_evaluated(run) for run in runs] for scheme, runs in found.items()}
    columns = {}
    for scheme, runs in found.items():
        chains = runs[0].arrays("short_run", "x_from_noise")["x_from_noise"]
        model = runs[0].arrays("density", "model_density")["model_density"]
        columns[LABELS[scheme].replace("+", "\n+ ")] = (plane.kde_xy(chains), model)
    data = plane.data_density()
    used = [run for runs in found.values() for run in runs]
    ours = {scheme.value: [_rings_numbers(run) for run in runs] for scheme, runs in found.items()}
    return Artifact(
        ours,
        Table.of([_rings_row(scheme, numbers) for scheme, rows in ours.items() for numbers in rows]),
        used,
        settings_of(used, "density", "short_run"),
        ["Drawn from the run with the lowest seed of each scheme. The paper's Fig. 2 is a picture without numbers."],
        lambda path: figures.rings_figure(data, columns, path),
    )


def _evaluated(run: SavedRun) -> SavedRun:
    """The run with its results for Fig. 2, made now if they are missing."""
    missing = [task for task in ("density", "short_run") if not run.has(task)]
    if not missing:
        return run
    from ebm_tf.evaluation import tasks

    tasks.evaluate(EvaluateConfig(workdir=str(run.path), tasks=",".join(missing)))
    return saved.load(run.path)


def _rings_numbers(run: SavedRun) -> dict[str, Any]:
    density, short_run = run.numbers("density"), run.numbers("short_run")
    return {
        "run": run.path.name,
        "seed": run.config.seed,
        "train_steps": run.config.train_steps,
        "num_samples": short_run["num_samples"],
        "jensen_shannon_nats": density["jensen_shannon_nats"],
        "from_noise": short_run["from_noise"],
        "from_data": short_run["from_data"],
    }


def _rings_row(scheme: str, numbers: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of a rings run."""
    shares = {f"on a ring, from {start}": numbers[f"from_{start}"]["on_rings"] for start in ("noise", "data")}
    shown = ("run", "seed", "train_steps", "jensen_shannon_nats")
    return {"scheme": LABELS[Scheme(scheme)], **{key: numbers[key] for key in shown}, **shares}

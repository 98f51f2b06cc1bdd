"""What bin/reproduce.py says: lines on the terminal, and one HTML page that needs no other file and no network."""

import base64
import html
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from PIL import Image

from ebm_tf.paper import numbers
from ebm_tf.paper.catalog import Artifact, Table
from ebm_tf.settings.commands import ReproduceConfig

__all__ = ["command", "page", "print_artifact", "print_budgets", "say"]

HEADINGS = {
    "lambda": "λ",
    "cd_weight": "λ",
    "num_samples": "samples",
    "num_filters": "n_f",
    "num_steps": "L",
    "batch_size": "batch",
    "dtype_policy": "dtype",
    "kid": "KID",
    "fpr_at_95_tpr": "FPR at 95 % TPR",
    "jensen_shannon_nats": "JS, nats",
    "train_steps": "updates",
}
PICTURE_SCALE = 0.7  # of a picture's pixels, so that letters have one size in all pictures of the page
SKELETON = pathlib.Path(__file__).with_name("report.html")


def say(line: str) -> None:
    """A line for the reader of the terminal, on stderr."""
    print(line, file=sys.stderr)


def command(name: str, settings: ReproduceConfig) -> str:
    """What makes an artifact."""
    return f"bin/reproduce.py --artifact={name} --runs={settings.runs} --output={settings.output}"


def print_budgets(budgets: list[dict[str, Any]]) -> None:
    """A line per run: what it was and what it cost."""
    for run in budgets:
        weight = "" if run["cd_weight"] is None else f" lambda={run['cd_weight']:g}"
        attention = {True: "attention, ", False: "no attention, ", None: ""}[run["attention"]]
        length = f"{run['num_steps_start']} to {run['num_steps']}" if run["num_steps_start"] else f"{run['num_steps']}"
        start = f", from {run['init_model']}" if run["init_model"] else ""
        minutes = "minutes not known" if run["minutes"] is None else f"{run['minutes']:,} minutes"
        print(
            f"{run['run']}: {run['dataset']} {run['scheme']}{weight}, seed {run['seed']}, {run['updates']:,} updates, "
            f"batch {run['batch_size']}, n_f {run['num_filters']}, L {length}, {attention}"
            f"{run['dtype_policy']}, {minutes}{start}; in {run['used in']}"
        )


def print_artifact(name: str, artifact: Artifact) -> None:
    """Notes; of a table also its rows, ours beside the paper's."""
    for note in artifact.notes:
        print(f"{name}: {note}")
    if artifact.csv is None:
        return
    for entry in artifact.ours:
        weight = "" if entry["lambda"] is None else f" lambda={entry['lambda']:g}"
        chains = f", {entry['chains']}" if entry["chains"] else ""
        ours = entry["status"] if entry["ours"] is None else f"ours {entry['ours']:.4g}"
        spread = f" ± {entry['std']:.2g}" if "std" in entry else ""
        about = "".join(f", {entry[key]}" for key in ("distance", "run") if entry.get(key))
        seed = "" if entry.get("seed") is None else f", seed {entry['seed']}".replace("seed mean", "mean")
        print(f"{name}: {entry['scheme']}{weight}{chains}: paper {entry['paper']:g}, {ours}{spread}{about}{seed}")


def page(
    made: Mapping[str, Artifact],
    reasons: Mapping[str, str],
    budgets: list[dict[str, Any]],
    folder: pathlib.Path,
    settings: ReproduceConfig,
) -> str:
    """The page, HTML.

    Args:
      made: what was made, already written to folder.
      reasons: why the others were not.
      budgets: a row per run.
      folder: where the pictures lie, which go into the page.
      settings: of the command.
    """
    sections = [
        _section(name, made[name], folder, settings) if name in made else _absent(name, reasons[name], settings)
        for name in numbers.TITLES
    ]
    links = "".join(
        f'<li><a href="#{name}">{html.escape(title)}</a>{"" if name in made else " <em>not made</em>"}</li>'
        for name, title in numbers.TITLES.items()
    )
    values = {
        "command": html.escape(command("all", settings)),
        "count": f"{len(made)} of {len(numbers.TITLES)}",
        "links": links,
        "budgets": _table(Table.of(budgets), "Budget of each run"),
        "sections": "\n".join(sections),
    }
    text = SKELETON.read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"<!--{key}-->", value)
    return text


def _section(name: str, artifact: Artifact, folder: pathlib.Path, settings: ReproduceConfig) -> str:
    title = numbers.TITLES[name]
    parts = [f'<section id="{name}"><h2>{html.escape(title)}</h2>']
    if artifact.plot is not None:
        path = folder / f"{name}.png"
        picture, width = base64.b64encode(path.read_bytes()).decode(), round(Image.open(path).width * PICTURE_SCALE)
        names = ", ".join(run.path.name for run in artifact.runs)
        alt = html.escape(f"{title}, from {names}. Numbers: the table below.")
        parts.append(
            f'<figure class="scroll" tabindex="0"><img alt="{alt}" width="{width}" '
            f'src="data:image/png;base64,{picture}"></figure>'
        )
    where, shows = numbers.SHOWS[name]
    parts.append(f"<p><strong>The paper ({html.escape(where)}).</strong> {html.escape(shows)}</p>")
    parts.append(f"<p><strong>Ours.</strong> {html.escape(' '.join(artifact.notes))}</p>")
    parts.append(_table(artifact.table, title))
    parts.append(f"<pre>{html.escape(command(name, settings))}</pre></section>")
    return "\n".join(parts)


def _absent(name: str, reason: str, settings: ReproduceConfig) -> str:
    title, line = html.escape(numbers.TITLES[name]), html.escape(command(name, settings))
    return (
        f'<section id="{name}"><h2>{title}</h2><p class="absent"><strong>Not made.</strong> {html.escape(reason)}</p>'
        f"<pre>{line}</pre></section>"
    )


def _table(table: Table, caption: str) -> str:
    """A table whose headings sort it; data-sort holds what a cell is sorted by."""
    columns = [column for column in table.columns if any(value is not None for value in _values(table, column))]
    numeric = {column: all(_is_number(value) for value in _values(table, column)) for column in columns}
    head = "".join(
        f'<th scope="col"{_class(numeric[column])}><button type="button">'
        f"{html.escape(HEADINGS.get(column, column.replace('_', ' ')))}</button></th>"
        for column in columns
    )
    kept = [table.columns.index(column) for column in columns]
    body = "".join(
        f"<tr>{''.join(_cell(row[i], numeric[table.columns[i]]) for i in kept)}</tr>\n" for row in table.rows
    )
    label = html.escape(caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def _values(table: Table, column: str) -> list[Any]:
    place = table.columns.index(column)
    return [row[place] for row in table.rows]


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _class(is_numeric: bool) -> str:
    return ' class="number"' if is_numeric else ""


def _cell(value: Any, is_numeric: bool) -> str:
    key = "" if value is None else html.escape(str(value), quote=True)
    length = len(value) if isinstance(value, str) else 0
    kind = ' class="longer"' if length > 60 else ' class="long"' if length > 28 else _class(is_numeric)
    return f'<td{kind} data-sort="{key}">{html.escape(_shown(value))}</td>'


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 1000):
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

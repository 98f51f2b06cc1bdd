"""bin/score.py --report: one HTML page of a scored set, which needs no other file and works from file://.

It is made from the finished table, so a table that was broken off and continued has the same page; the inputs of the
most unusual rows are read once more. Memory does not grow with the number of rows: counts for the histogram, and at
most MOST_ROWS rows, the most unusual.
"""

import csv
import heapq
import html
import json
import math
import pathlib
import re
import string
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ebm_tf.drafts import replace_file
from ebm_tf.errors import ConfigError
from ebm_tf.serving.detector import Calibration
from ebm_tf.serving.report.pictures import gradient_map, to_uri
from ebm_tf.serving.sources.inputs import read_shard
from ebm_tf.serving.sources.records import Record, Shard
from ebm_tf.serving.table import DETECTOR_COLUMNS, pyarrow
from ebm_tf.serving.trained import TrainedEnergy
from ebm_tf.stats.conformal import clopper_pearson

__all__ = ["check_report", "write_report"]

SKELETON = pathlib.Path(__file__).with_name("page.html")
MOST_ROWS, NUM_SHOWN, NUM_BINS = 5_000, 20, 20


class Gathered(NamedTuple):
    """What is kept of a table.

    Attributes:
      counts: int [NUM_BINS], rows by p-value.
      num, num_bad, num_out: rows, those with an error, those that are out.
      rows: (place in the table, its cells) of at most MOST_ROWS, the most unusual first, those with errors last.
    """

    counts: np.ndarray
    num: int
    num_bad: int
    num_out: int
    rows: list[tuple[int, list[str]]]


def check_report(path: str | None, calibration: Calibration | None) -> None:
    """Raises ConfigError where a page cannot be made: before anything is scored."""
    if path is None:
        return
    if calibration is None:
        expected = "--report: expected a model that bin/calibrate.py has seen, or --reference"
        raise ConfigError(f"{expected}. Received: one without a calibration")
    file = pathlib.Path(path)
    if file.suffix != ".html" or not file.parent.is_dir() or file.exists():
        raise ConfigError(f"--report: expected a new FILE.html in a folder that is there. Received: report={path}")


def write_report(
    path: str,
    table: pathlib.Path,
    source: str,
    shards: Callable[[], Iterator[Shard]],
    model: TrainedEnergy,
    calibration: Calibration,
) -> None:
    """Writes the page.

    Args:
      path: of the page.
      table: that bin/score.py has finished.
      source: --input, for the title.
      shards: of the inputs, as inputs.find_shards gives them.
      model: that scored them.
      calibration: by which they were flagged.
    """
    gathered = _gather(_rows(table))
    shown = [(place, row) for place, row in gathered.rows[:NUM_SHOWN] if not row[-1]]
    records = _again(shards(), {place for place, _ in shown}, model)
    cards = "".join(_card(row, records[place], model) for place, row in shown)
    explained = ""
    if model.info.is_image:
        explained = (
            '<p class="quiet">Beside each image, bright: where the energy\'s gradient is largest, |∂E/∂x|² summed over '
            "channels and smoothed over about a twentieth of the side, each map by its own maximum. A change of these "
            "pixels changes the energy most. It is one part of what the detector sees, and no proof of why.</p>"
        )
    text = string.Template(SKELETON.read_text(encoding="utf-8")).substitute(
        input=html.escape(source),
        summary=_summary(gathered, calibration),
        model=_about(model, calibration),
        histogram=_histogram(gathered.counts, calibration.false_positive_rate),
        explained=explained,
        cards=cards,
        told=_told(gathered),
        rows=json.dumps([row for _, row in gathered.rows], ensure_ascii=True).replace("<", "\\u003c"),
    )
    replace_file(pathlib.Path(path), text)


def _rows(table: pathlib.Path) -> Iterator[list[str]]:
    """Cells of the table as text."""
    if table.suffix == ".parquet":
        file = pyarrow()[1].ParquetFile(table)
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                cells = (row[name] for name in DETECTOR_COLUMNS)
                yield ["" if one is None else one if isinstance(one, str) else f"{one:.9g}" for one in cells]
        return
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.reader(file)
        next(rows)
        yield from rows


def _gather(rows: Iterator[list[str]]) -> Gathered:
    counts, num, num_bad, num_out = np.zeros(NUM_BINS, int), 0, 0, 0
    heap: list[tuple[tuple[float, float, int], list[str]]] = []  # the least unusual one first
    for num, row in enumerate(rows, 1):
        if row[-1]:
            num_bad += 1
            key = (-2.0, 0.0, -num)
        else:
            score, p_value = float(row[2]), float(row[3])
            counts[math.ceil(p_value * NUM_BINS - 1e-6) - 1] += 1  # bars are (a, b], since p = α is out
            num_out += row[4] == "out"
            key = (-p_value, score, -num)
        (heapq.heappush if len(heap) < MOST_ROWS else heapq.heappushpop)(heap, (key, row))
    kept = [(-key[2] - 1, row) for key, row in sorted(heap, reverse=True)]
    return Gathered(counts, num, num_bad, num_out, kept)


def _again(shards: Iterator[Shard], places: set[int], model: TrainedEnergy) -> dict[int, Record]:
    """The records at these places of the source; only shards that have one are read."""
    found: dict[int, Record] = {}
    first = 0
    for shard in shards:
        if any(first <= place < first + shard.size for place in places):
            records = enumerate(read_shard(shard, model.info), first)
            found |= {place: record for place, record in records if place in places}
        first += shard.size
    return found


def _card(row: list[str], record: Record, model: TrainedEnergy) -> str:
    pictures = ""
    if model.info.is_image and record.x is not None:
        grad = model.energy_grad(record.x[None])[0]
        images = (to_uri(record.x), "input"), (to_uri(gradient_map(grad)), "the energy's gradient")
        pictures = "".join(f'<img src="{uri}" alt="{name}">' for uri, name in images)
    name, energy, score, p_value, flag, statistic, side, _ = map(html.escape, row)
    statistic = re.sub(r"([._])", r"\1<wbr>", statistic)  # where a line may break
    facts = {"p_value": _short(p_value), "statistic": f"{statistic}, {side}", "ood_score": _short(score)}
    facts["energy"] = _short(energy)
    lines = "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts.items())
    mark = ' <span class="out">out</span>' if flag == "out" else ""
    head = f'<div class="pictures">{pictures}</div><div class="id">{name}{mark}</div>'
    return f'<div class="card">{head}<dl>{lines}</dl></div>'


def _short(number: str) -> str:
    return f"{float(number):.4g}"


def _summary(gathered: Gathered, calibration: Calibration) -> str:
    good = gathered.num - gathered.num_bad
    if not good:
        return f"{gathered.num:,} inputs, none of which could be read."
    low, high = clopper_pearson(gathered.num_out, good, 0.95)
    rate = calibration.false_positive_rate
    bad = f", {gathered.num_bad:,} of which could not be read" if gathered.num_bad else ""
    return (
        f"{gathered.num:,} inputs{bad}. <b>{gathered.num_out:,}</b> of {good:,} are out: {gathered.num_out / good:.1%} "
        f"(95% interval {low:.1%} to {high:.1%}), where {100 * rate:.3g}% of inputs like the held-out ones would be."
    )


def _about(model: TrainedEnergy, calibration: Calibration) -> str:
    numbers: dict[str, Any] = calibration.numbers
    tail = {"both": "both sides of many statistics", "upper": "high energies alone", "lower": "low energies alone"}
    text = (
        f"Model {model.info.model} of {model.info.dataset}. Calibrated on {numbers['num_inputs']:,} held-out inputs "
        f"({numbers.get('input', 'in Python')}), by {tail[numbers['tail']]}."
    )
    return html.escape(text)


def _told(gathered: Gathered) -> str:
    if len(gathered.rows) == gathered.num:
        return "All inputs, the most unusual first."
    return f"The {len(gathered.rows):,} most unusual of {gathered.num:,} inputs; the table has all."


def _histogram(counts: np.ndarray, rate: float) -> str:
    """An SVG of shares by p-value."""
    width, height, left, top, bottom = 560, 230, 46, 12, 40
    total, even = max(int(counts.sum()), 1), 1 / NUM_BINS
    highest = max(1.15 * counts.max() / total, 2 * even)
    inner, floor = width - left - 10, height - bottom

    def x(p: float) -> float:
        return left + p * inner

    def y(share: float) -> float:
        return floor - share / highest * (floor - top)

    bars = "".join(
        f'<rect class="bar" x="{x(place / NUM_BINS) + 1:.1f}" width="{inner / NUM_BINS - 2:.1f}" '
        f'y="{y(count / total):.1f}" height="{floor - y(count / total):.1f}"><title>{count:,}</title></rect>'
        for place, count in enumerate(counts)
    )
    lines = f'<line class="axis" x1="{left}" x2="{x(1):.1f}" y1="{floor}" y2="{floor}"/>'
    lines += f'<line class="even" x1="{left}" x2="{x(1):.1f}" y1="{y(even):.1f}" y2="{y(even):.1f}"/>'
    lines += f'<line class="rate" x1="{x(rate):.1f}" x2="{x(rate):.1f}" y1="{top}" y2="{floor}"/>'
    ticks = [f'x="{x(p):.1f}" y="{floor + 17}" text-anchor="middle">{p:g}' for p in (0, 0.25, 0.5, 0.75, 1)]
    marks = "".join(f"<text {tick}</text>" for tick in ticks)
    marks += f'<text x="{left - 6}" y="{y(even) + 4:.1f}" text-anchor="end">{even:.0%}</text>'
    marks += f'<text x="{left - 6}" y="{top + 10}" text-anchor="end">{highest:.0%}</text>'
    marks += f'<text x="{x(0.5):.1f}" y="{height - 4}" text-anchor="middle">p-value</text>'
    label = "Histogram of p-values against the even spread"
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{lines}{bars}{marks}</svg>'

"""A run while it trains: one picture and one page, drawn anew from what lies in its folder. Loads no TensorFlow."""

import base64
import html
import json
import pathlib
import time
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ebm_tf.drafts import draft_of
from ebm_tf.errors import ConfigError, one_line
from ebm_tf.plots.figures import BLACK, BLUE, GREEN, ORANGE, PURPLE, STYLE
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.commands import WatchConfig
from ebm_tf.settings.train import TrainConfig

__all__ = ["plot", "watch"]

PNG_END = b"IEND\xaeB`\x82"
PANELS = (("energies", "energy/"), ("energy differences", "/energy_difference"))
COLORS = {"data": BLACK, "data_init": BLUE, "noise_init": ORANGE, "persistent_init": GREEN, "total": PURPLE}


def watch(settings: WatchConfig, sleep=time.sleep) -> pathlib.Path:
    """Draws RUN/watch.png and RUN/watch.html whenever there is news, until the run is finished.

    Args:
      settings: which run, how often to look.
      sleep: waits for so many seconds.

    Returns:
      The page.

    Raises:
      ConfigError: no run is there, or its folder cannot be written.
    """
    run_dir, seen = RunDir(settings.workdir), None
    while True:
        is_finished = run_dir.is_finished(run_dir.load_config().train_steps)
        if (news := (_size(run_dir.metrics), _newest_chains(run_dir), is_finished)) != seen:
            try:
                page, seen = plot(run_dir, settings.every_seconds), news
            except OSError as error:
                expected = "--workdir: expected a folder that can be written"
                raise ConfigError(f"{expected}. Received: {one_line(error)}") from error
        if is_finished or settings.once:
            return page
        sleep(settings.every_seconds)


def plot(run_dir: RunDir, every_seconds: float = 10.0) -> pathlib.Path:
    """Draws RUN/watch.png and RUN/watch.html once, each whole or not at all; returns the page.

    Raises:
      ConfigError: config.json or metrics.jsonl cannot be read.
      OSError: the folder cannot be written.
    """
    rows, chains = run_dir.read_metrics(), _newest_chains(run_dir)
    picture, page = run_dir.path / "watch.png", run_dir.path / "watch.html"
    with draft_of(picture) as draft:
        _picture(rows, chains).savefig(draft)
    with draft_of(page) as draft:
        draft.write_text(_page(run_dir, rows, picture, every_seconds), encoding="utf-8")
    return page


def _size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _newest_chains(run_dir: RunDir) -> pathlib.Path | None:
    """The newest picture that is whole, and not the draft of the next one; earlier versions left cut ones."""
    pictures = sorted(run_dir.figures.glob("chains_*[0-9].png"), reverse=True)
    return next((path for path in pictures if path.read_bytes().endswith(PNG_END)), None)


def _picture(rows: list[dict[str, Any]], chains: pathlib.Path | None) -> Figure:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 4), layout="constrained")
        axes = figure.subplots(1, 3)
        for ax, (title, part) in zip(axes, PANELS):
            for name in (name for name in names if part in name):
                label = name.replace(part, "")
                points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
                x, y = np.array(points).reshape(-1, 2).T
                ax.plot(x, y, color=COLORS.get(label), linewidth=1, label=label)
            ax.set(title=title, xlabel="update")
            if ax.lines:
                ax.legend()
        axes[2].axis("off")
        axes[2].set_title("no chains drawn yet")
        if chains is not None:
            axes[2].imshow(np.asarray(Image.open(chains).convert("RGB")))
            axes[2].set_title(f"chains from noise, update {int(chains.stem.partition('_')[2])}")
    return figure


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">{refresh}<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.4 system-ui, sans-serif; margin: 1rem; }}
img {{ width: 100%; max-width: 1800px; background: white; }}
table {{ border-collapse: collapse; display: inline-table; margin-right: 3rem; vertical-align: top; }}
td {{ padding: 0 1rem 0 0; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #ddd; }} }}
</style>
<h1>{title}</h1>
<p>{state}</p>
<img alt="Energies, energy differences and chain ends" src="data:image/png;base64,{picture}">
<h2>Newest metrics and settings</h2>
<table>{metrics}</table><table>{settings}</table>
</html>
"""


def _page(run_dir: RunDir, rows, picture: pathlib.Path, every_seconds: float) -> str:
    config = run_dir.load_config()
    last = rows[-1] if rows else {}
    is_finished = run_dir.is_finished(config.train_steps)
    refresh = "" if is_finished else f'<meta http-equiv="refresh" content="{max(1, round(every_seconds))}">'
    return PAGE.format(
        refresh=refresh,
        title=html.escape(run_dir.path.resolve().name),
        state=html.escape(_state(config, last, is_finished)),
        picture=base64.b64encode(picture.read_bytes()).decode(),
        metrics=_table({name: "not finite" if value is None else f"{value:.5g}" for name, value in last.items()}),
        settings=_table({name: json.dumps(value) for name, value in config.to_dict().items()}),
    )


def _state(config: TrainConfig, last: dict[str, Any], is_finished: bool) -> str:
    drawn = time.strftime("%Y-%m-%d %H:%M:%S")
    if is_finished:
        return f"finished, {config.train_steps} updates; drawn {drawn}"
    step, rate = last.get("step", 0), last.get("updates_per_second")
    left = ""
    if rate:
        pace = (config.share_done(step) - config.share_done(step - 1)) * rate
        left = f", {rate:.3g} updates/s, {(1 - config.share_done(step)) / pace / 60:.0f} minutes left"
    return f"update {step} of {config.train_steps}{left}; drawn {drawn}"


def _table(values: dict[str, str]) -> str:
    cells = ((html.escape(name), html.escape(text)) for name, text in values.items())
    return "".join(f"<tr><td>{name}<td>{text}" for name, text in cells)

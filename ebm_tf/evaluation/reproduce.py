"""The paper's figures from finished runs."""

import json
import pathlib

from ebm_tf.config import ConfigError, EvaluateConfig, ReproduceConfig, Scheme
from ebm_tf.evaluation import figures, runs
from ebm_tf.training.run_dir import RunDir

__all__ = ["fig2"]


def fig2(settings: ReproduceConfig) -> pathlib.Path:
    """Fig. 2 from rings runs of the five schemes, drawn from the first run of each, with the numbers of all.

    Evaluates runs that have not been.

    Args:
      settings: runs, a folder whose folders are runs; output, a folder.

    Returns:
      output/fig2.png; fig2.json lies beside it.

    Raises:
      ConfigError: a scheme has no rings run, or a run is not finished.
    """
    found = _rings_runs(pathlib.Path(settings.runs))
    columns, numbers = {}, {}
    for scheme, finished in found.items():
        for run in finished:
            missing = [task for task in ("density", "short_run") if task not in run.read_results()]
            if missing:
                runs.evaluate(EvaluateConfig(workdir=str(run.run_dir.path), tasks=",".join(missing)))
        columns[scheme.value.replace("_", "\n")] = runs.fig2_column(finished[0])
        numbers[scheme.value] = [_numbers(run) for run in finished]
    output = pathlib.Path(settings.output)
    output.mkdir(parents=True, exist_ok=True)
    figures.rings_figure(runs.data_density(), columns, output / "fig2.png")
    paper = "Fig. 2 is a picture: the paper gives no numbers for the rings"
    (output / "fig2.json").write_text(json.dumps({"paper": paper, "ours": numbers}, indent=2) + "\n")
    return output / "fig2.png"


def _rings_runs(root: pathlib.Path) -> dict[Scheme, list[runs.FinishedRun]]:
    if not root.is_dir():
        raise ConfigError(f"--runs: expected a folder of runs. Received: runs={root}")
    found: dict[Scheme, list[runs.FinishedRun]] = {scheme: [] for scheme in Scheme}
    for path in sorted(root.glob("*/config.json")):
        config = RunDir(path.parent).load_config()
        if config.dataset == "rings":
            found[config.scheme].append(runs.load_run(path.parent))
    if absent := [scheme.value for scheme, finished in found.items() if not finished]:
        raise ConfigError(
            f"--runs: expected a rings run of every scheme. Received: {root}, without {', '.join(absent)}"
        )
    return found


def _numbers(run: runs.FinishedRun) -> dict:
    results = run.read_results()
    return {
        "run": run.run_dir.path.name,
        "seed": run.config.seed,
        "train_steps": run.config.train_steps,
        "num_samples": results["short_run"]["num_samples"],
        "jensen_shannon_nats": results["density"]["jensen_shannon_nats"],
        "from_noise": results["short_run"]["from_noise"],
        "from_data": results["short_run"]["from_data"],
    }

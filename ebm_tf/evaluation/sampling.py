"""bin/sample.py: chains of a trained energy, as arrays and a picture."""

import dataclasses
import os
import pathlib

import numpy as np

from ebm_tf.data.pictures import scatter
from ebm_tf.drafts import draft_of
from ebm_tf.energies import devices
from ebm_tf.energies.devices import at_once, memory_explained
from ebm_tf.errors import ConfigError, UnusableError
from ebm_tf.evaluation.chains.long import data_starts
from ebm_tf.evaluation.finished import FinishedRun, noise_starts, run_chains, usable_numbers
from ebm_tf.evaluation.opening import bare_run, open_run
from ebm_tf.plots import figures
from ebm_tf.runs import signals
from ebm_tf.runs.partial import blocks
from ebm_tf.runs.run_dir import writable_folder
from ebm_tf.settings.commands import SampleConfig, resolve
from ebm_tf.settings.data import check_data_dir
from ebm_tf.stats import plane, usable
from ebm_tf.streams import Stream, block_seed

__all__ = ["sample"]


def sample(settings: SampleConfig) -> pathlib.Path:
    """Runs chains, writes samples.npz (x_init, x_final, float32 [N, *event]) and samples.png, vectors in the data's
    units, and says so.

    Law: see finished.run_chains, with T replaced by settings.temperature where given.
    Limits: num_steps = 0 writes the starts.

    Returns:
      The folder.

    Raises:
      ConfigError: no finished run or model, samples that are there, or not as many data to start at.
      Stopped: SIGTERM or SIGINT came, and the block of chains at work has ended.
      UnusableError: want of memory; or no chain ended at a state that can be used: samples.npz is written then.
    """
    run = _open(settings)
    check_data_dir(settings.data_dir, run.config.dataset)
    output = run.run_dir.path
    _check_is_free(output)
    settings = resolve(settings, run.config)
    assert settings.num_steps is not None and settings.step_size and settings.temperature is not None  # by resolve
    denoise_fns = run.denoise_fns if settings.denoise else None  # by the T of training
    run = dataclasses.replace(run, temperature=settings.temperature, loaded=run.energy)
    parts = list(blocks(settings.num_samples, settings.batch_size))
    if settings.init == "data":
        x_init = data_starts(run, settings.num_samples, settings.data_dir, "num_samples")
    else:
        x_init = np.concatenate(
            [noise_starts(run, part.stop - part.start, settings.seed, block) for block, part in parts]
        )
    x_final = np.empty_like(x_init)
    with signals.listening() as stop, memory_explained(at_once("sampling", settings, ["num_samples"])):
        writable_folder(output, "output")
        for block, part in parts:
            stop.obey(f"after {part.start} of {settings.num_samples} chains; nothing was written")
            seed = block_seed(settings.seed, Stream.CHAINS, block)
            x_final[part], _ = run_chains(run, x_init[part], settings.num_steps, settings.step_size, seed)
    if denoise_fns:
        x_final = devices.in_blocks(denoise_fns, x_final, settings.batch_size)
    with draft_of(output / "samples.npz") as draft:
        np.savez_compressed(draft, x_init=run.to_data(x_init), x_final=run.to_data(x_final))
    numbers, finite = usable_numbers(run, x_final), usable.finite_rows(x_final)
    line = usable.warning(numbers, len(x_final))
    if finite.any():
        _plot(run, x_init[finite], x_final[finite], output / "samples.png")
    if not numbers["num_usable"]:
        raise UnusableError(f"{line}: the energy or its chains have diverged. {output}/samples.npz has their ends")
    print(f"wrote {output / 'samples.npz'} and samples.png")
    if line:
        print(f"warning: {line}")
    return output


def _open(settings: SampleConfig) -> FinishedRun:
    if settings.workdir:
        return open_run(settings.workdir, settings.checkpoint, settings.output, settings.data_dir)
    assert settings.model and settings.output  # SampleConfig sees to it
    run = bare_run(settings.model, settings.output, settings.data_dir)
    missing = None in (settings.num_steps, settings.step_size, settings.temperature)
    if run.has_density and not run.energy.origin and missing:
        expected = "--num_steps, --step_size and --temperature beside a model of the rings"
        raise ConfigError(f"--model: expected {expected}. Received: model={settings.model}")
    return run


def _check_is_free(output: pathlib.Path) -> None:
    for name in ("samples.npz", "samples.png"):
        if os.path.exists(output / name):  # where Path.exists raises for a name that is too long
            expected = f"--output: expected a folder without {name}"
            raise ConfigError(f"{expected}. Received: {output}, which has one: move it, or name another folder")


def _plot(run: FinishedRun, x_init: np.ndarray, x_final: np.ndarray, path: pathlib.Path) -> None:
    if run.is_image:
        figures.save_image_grid(x_final[:256], path)
        return
    if not run.has_density:
        scatter(x_final, path, f"{len(x_final)} chains", run.energy.origin)
        return
    title = run.model.stem if run.is_bare else str(run.config.scheme)
    columns = {title: (plane.kde_xy(x_final), plane.kde_xy(x_init))}
    figures.rings_figure(plane.data_density(), columns, path, ("ends of chains", "starts of chains"))

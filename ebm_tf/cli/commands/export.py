"""Exports a trained energy as a SavedModel, which TensorFlow alone can load.

  bin/export.py --workdir=RUN --output=DIR [--checkpoint=N]
  bin/export.py --model=FILE.keras --output=DIR

Writes DIR: signatures energy (serving_default), energy_grad, score, each also for uint8 images, and sample; ebm_tf.json
with temperature, step size, normalisation and label names; with --onnx also model.onnx. What bin/calibrate.py left in
RUN, or beside FILE.keras, comes along: the signatures detect and the calibration.
"""

import functools
import pathlib
import shlex

from ebm_tf.cli import flags
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.commands import ExportConfig


def main(settings: ExportConfig) -> None:
    from ebm_tf.serving import export  # TensorFlow: after the flags have been checked
    from ebm_tf.serving.detector import place_of

    output = export.export(settings)
    words = "" if place_of(output).exists() else f", without a detector: {_ways(settings)}"
    print(f"wrote {output}{words}")


def _ways(settings: ExportConfig) -> str:
    """The commands by which it would have one."""
    from ebm_tf.serving.detector import place_of

    made = f"{shlex.join(['bin/calibrate.py', f'--model={settings.output}'])} --input=HELD_OUT makes one"
    run = pathlib.Path(settings.model or "").parent
    if settings.model and RunDir(run).config.exists() and place_of(run).exists():
        return f"{shlex.join([f'--workdir={run}'])} takes that of the run along, {made}"
    return made


start = functools.partial(flags.run_main, main, ExportConfig)

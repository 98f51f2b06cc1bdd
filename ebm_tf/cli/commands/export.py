"""Exports a trained energy as a SavedModel, which TensorFlow alone can load.

  bin/export.py --workdir=RUN --output=DIR [--checkpoint=N]
  bin/export.py --model=FILE.keras --output=DIR

Writes DIR: signatures energy (serving_default), energy_grad, score, each also for uint8 images, and sample; ebm_tf.json
with temperature, step size, normalisation and label names; with --onnx also model.onnx.
"""

import functools

from ebm_tf.cli import flags
from ebm_tf.settings.commands import ExportConfig


def main(settings: ExportConfig) -> None:
    from ebm_tf.serving import export  # TensorFlow: after the flags have been checked

    print(f"wrote {export.export(settings)}")


start = functools.partial(flags.run_main, main, ExportConfig)

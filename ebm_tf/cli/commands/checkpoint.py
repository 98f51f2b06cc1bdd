"""Packs a checkpoint into small files, and makes the run of them again, on another machine.

  bin/checkpoint.py pack --workdir=RUN --output=FOLDER [--update=N] [--part_mib=14]
  bin/checkpoint.py unpack --input=FOLDER --workdir=RUN

pack writes FOLDER/parcel.json and FOLDER/update-<N>.part-<i>: the run's settings, metrics and events, one checkpoint,
and model.keras where the run is finished. unpack verifies them by sha256, writes RUN, and bin/train.py goes on there
with --resume. TensorBoard's files, pictures and results are not packed.
"""

import functools
import shlex

from ebm_tf.cli import flags
from ebm_tf.runs import parcel
from ebm_tf.settings.commands import PackConfig, UnpackConfig


def pack(settings: PackConfig) -> None:
    print(f"wrote {settings.output}: {parcel.pack(settings)}")


def unpack(settings: UnpackConfig) -> None:
    how = shlex.join(["python", "bin/train.py", f"--workdir={settings.workdir}", "--resume"])
    print(flags.as_called(f"wrote {settings.workdir}: {parcel.unpack(settings)}; to continue: {how}"))


start = functools.partial(flags.run_action, {"pack": (pack, PackConfig), "unpack": (unpack, UnpackConfig)})

"""`ebm-tf train` from a clone, where nothing is installed: ebm_tf/cli/commands/train.py."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from ebm_tf.cli import main

if __name__ == "__main__":
    main.run("train")

"""Public peers, run unchanged from their own repositories, with a PyTorch of today: for benchmarks/time_to_quality.py.

  python benchmarks/peers.py data CIFAR10.npz --data_dir=DIR                       by the Python that has ebm_tf; once
  python benchmarks/peers.py run REPO SCRIPT.py [--set=NAME=VALUE] [--keep=NAME=FILE.npz] [--data=CIFAR10.npz] -- FLAGS
  python benchmarks/peers.py improved_cd REPO MODEL.pth --num_steps=1000 --num_samples=10000 --output=FILE.npz
  python benchmarks/peers.py minutes FOLDER                   minutes from the start of `run` to each file of a folder

`run` executes a script in its repository. --set gives the value of a name that the script sets at its head, where its
README asks to edit it. --keep writes what the script has under a name when it ends. What a script imports and cannot
have today (TensorFlow 1, scipy.misc, lmdb, a label that matplotlib refuses) is stood in for, as far as its training
does without: its TensorBoard and plots, and the Inception score that it prints now and then. torchvision's CIFAR10
reads CIFAR10.npz, without a network. To stop a training after so many minutes: `timeout`. All but `data` needs
PyTorch, torchvision and what the repository imports, and no part of ebm_tf.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import sys
import time
import types
from unittest import mock

import numpy as np

STARTED = "peers_started.json"


def main() -> None:
    options, flags = _options()
    if options.part == "run":
        with _in_repository(options.repository, [options.script, *flags], options.data):
            pathlib.Path(STARTED).write_text(json.dumps({"time": time.time(), "command": sys.argv}))
            found = execute(options.script, options.set)
        for name, file in (one.split("=", 1) for one in options.keep):
            np.savez(file, x=_channels_last(found[name]))
    else:
        {"data": write_data, "improved_cd": improved_cd, "minutes": minutes}[options.part](options)


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    data = parts.add_parser("data")
    data.add_argument("output", help="an .npz file")
    data.add_argument("--data_dir")
    run = parts.add_parser("run")
    run.add_argument("repository")
    run.add_argument("script")
    run.add_argument("--set", action="append", default=[], help="NAME=VALUE, VALUE as Python writes it")
    run.add_argument("--keep", action="append", default=[], help="NAME=FILE.npz, images [N, 3, S, S] in [-1, 1]")
    run.add_argument("--data", type=os.path.abspath, help="CIFAR10.npz of the part data")
    chains = parts.add_parser("improved_cd")
    chains.add_argument("repository")
    chains.add_argument("model", type=os.path.abspath)
    chains.add_argument("--num_steps", type=int, default=1_000)
    chains.add_argument("--num_samples", type=int, default=10_000)
    chains.add_argument("--batch_size", type=int, default=500)
    chains.add_argument("--output", type=os.path.abspath, required=True)
    parts.add_parser("minutes").add_argument("folder", help="of the repository, e.g. where its checkpoints lie")
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    return parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]


def write_data(options) -> None:
    """CIFAR-10 as arrays x_train and x_test, without labels: no peer's unconditional energy reads them."""
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
    from ebm_tf.data import images

    parts = {f"x_{split}": images.load("cifar10", split, options.data_dir, 32) for split in ("train", "test")}
    np.savez(options.output, **parts)


def execute(script, values) -> dict:
    """Runs a script of the folder, with some of its constants set, as the main program. Returns its globals."""
    source = pathlib.Path(script).read_text()
    for name, value in (one.split("=", 1) for one in values):
        line = re.compile(rf"^{re.escape(name)} = .*$", re.MULTILINE)
        if len(line.findall(source)) != 1:
            raise SystemExit(f"--set: expected a name that {script} sets once, at its head. Received: {name}")
        source = line.sub(lambda _, name=name, value=value: f"{name} = {value}", source)
    module = types.ModuleType("__main__")
    module.__file__ = script
    with mock.patch.dict(sys.modules, {"__main__": module}):
        exec(compile(source, script, "exec"), module.__dict__)
    return module.__dict__


@contextlib.contextmanager
def _in_repository(folder, argv, data=None):
    """In the repository's folder, its modules before all others."""
    import torchvision

    before = os.getcwd()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(sys.modules, _stand_ins()))
        stack.enter_context(mock.patch.object(sys, "argv", argv))
        stack.enter_context(mock.patch.object(sys, "path", [os.path.abspath(folder), *sys.path]))
        if data:
            stack.enter_context(mock.patch.object(torchvision.datasets, "CIFAR10", _cifar10(data)))
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _cifar10(file):
    """torchvision.datasets.CIFAR10, from an .npz file. Labels are 0."""
    from PIL import Image

    with np.load(file) as arrays:
        images = dict(arrays)

    class CIFAR10:
        def __init__(self, root, train=True, transform=None, download=False):
            self.x, self.transform = images["x_train" if train else "x_test"], transform or (lambda image: image)

        def __len__(self):
            return len(self.x)

        def __getitem__(self, index):
            return self.transform(Image.fromarray(self.x[index])), 0

    return CIFAR10


def _stand_ins() -> dict:
    """Modules by name: flags by absl as TensorFlow 1 had them, and mocks of what writes or prints on the side."""
    from absl import flags

    class Flags:
        def __getattr__(self, name):
            if not flags.FLAGS.is_parsed():
                flags.FLAGS(sys.argv)
            return getattr(flags.FLAGS, name)

        def __dir__(self):
            self.__getattr__("logdir")
            return [name for name in flags.FLAGS if not hasattr(flags, name) and name not in ("help", "helpfull")]

    platform = types.ModuleType("tensorflow.python.platform")
    platform.flags = types.SimpleNamespace(**vars(flags) | {"FLAGS": Flags()})
    easydict = types.ModuleType("easydict")
    easydict.EasyDict = EasyDict
    EasyDict.__module__ = "easydict"  # where a checkpoint that holds one looks for it
    inception = mock.MagicMock(get_inception_score=lambda *_, **__: (0.0, 0.0))
    on_the_side = ["tensorflow", "tensorflow.core", "tensorflow.core.util", "tensorflow.python", "logger"]
    on_the_side += ["lmdb", "IPython", "scipy.misc", "skimage.color", "matplotlib.pyplot"]
    found = {name: mock.MagicMock() for name in on_the_side}
    return found | {"tensorflow.python.platform": platform, "easydict": easydict, "inception": inception}


class EasyDict(dict):
    """A dict whose entries are attributes: as much of the package easydict as is used."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    __setattr__ = dict.__setitem__


def improved_cd(options) -> None:
    """Samples of a model of yilundu/improved_contrastive_divergence: its own gen_image, from uniform noise, with its
    average of the weights.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with _in_repository(options.repository, ["train.py"]):
        import models
        import train

        saved = torch.load(options.model, map_location=device, weights_only=False)
        model = models.ResNetModel(saved["FLAGS"]).eval().to(device)
        model.load_state_dict(saved["ema_model_state_dict_0"])
        torch.manual_seed(0)
        parts = []
        for first in range(0, options.num_samples, options.batch_size):
            x = torch.rand(min(options.batch_size, options.num_samples - first), 3, 32, 32, device=device)
            x = train.gen_image(None, saved["FLAGS"], model, x, options.num_steps)[0]
            parts.append(train.rescale_im(x.detach().permute(0, 2, 3, 1).cpu().numpy()))
    np.savez(options.output, x=np.concatenate(parts))


def minutes(options) -> None:
    """Prints minutes and name of every file in a folder, by the times that it was written at."""
    folder = pathlib.Path(options.folder).resolve()
    marks = [parent / STARTED for parent in (folder, *folder.parents) if (parent / STARTED).exists()]
    if not marks:
        raise SystemExit(f"expected a folder of a repository in which `run` was started. Received: {folder}")
    start = json.loads(marks[0].read_text())["time"]
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime):
        print(f"{(path.stat().st_mtime - start) / 60:.2f} {path}")


def _channels_last(x):
    return x.detach().cpu().permute(0, 2, 3, 1).numpy()


if __name__ == "__main__":
    main()

"""Settings of how a run goes on: its folder and files, what stops it, and where it runs."""

import dataclasses
import math
import re

from ebm_tf.settings.fields import BOUND, COUNT, NATURAL, Range, Role, Settings, setting

__all__ = ["DeviceConfig", "GuardConfig", "RunConfig"]

_TIME = r"[0-9]{1,9}(\.[0-9]{1,9})?[smh]"
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclasses.dataclass(frozen=True)
class RunConfig(Settings):
    """The folder of a run, and what is written when."""

    workdir: str | None = setting(
        None, "Folder of this run, new or empty; with --resume that of the run to continue.", role=Role.OPERATION
    )
    resume: bool = setting(False, "Continue the run in workdir from its newest checkpoint.", role=Role.OPERATION)
    stop_after: str | None = setting(
        None,
        "Time, e.g. 90s, 25m or 1.5h, after which the run finishes the update at work, writes a checkpoint, says how "
        "to go on, and exits 0. It counts from the start of train(), when TensorFlow is loaded; compilation is in it. "
        "bin/checkpoint.py brings the checkpoint to another machine. None: no end.",
        role=Role.OPERATION,
        range=Range(
            lambda text: re.fullmatch(_TIME, text) is not None,
            "a number and its unit, s, m or h, e.g. 90s, 25m or 1.5h",
        ),
    )
    log_every: int = setting(
        50, "Updates between rows of metrics.jsonl and TensorBoard.", role=Role.OPERATION, range=COUNT
    )
    figure_every: int = setting(
        1_000,
        "Updates between pictures of chain ends, and TensorBoard's histograms.",
        role=Role.OPERATION,
        range=COUNT,
    )
    watch: bool = setting(
        False, "Keep watch.png and watch.html in workdir up to date, as bin/watch.py does.", role=Role.OPERATION
    )
    checkpoint_every: int = setting(1_000, "Updates between checkpoints.", role=Role.OPERATION, range=COUNT)
    keep_checkpoints: int = setting(3, "Newest checkpoints that are kept.", role=Role.OPERATION, range=COUNT)

    @property
    def stop_seconds(self) -> float:
        """stop_after in seconds; inf where it is None."""
        if self.stop_after is None:
            return math.inf
        return float(self.stop_after[:-1]) * _SECONDS[self.stop_after[-1]]


@dataclasses.dataclass(frozen=True)
class GuardConfig(Settings):
    """When training has diverged, and what then."""

    on_divergence: str = setting(
        "stop",
        "What to do when training diverges: stop, or rollback to the newest checkpoint with other noise and a smaller "
        "learning rate.",
        choices=("stop", "rollback"),
        role=Role.OPERATION,
    )
    max_rollbacks: int = setting(3, "Rollbacks before the run stops after all.", role=Role.OPERATION, range=NATURAL)
    rollback_rate: float = setting(
        0.5,
        "Factor on the learning rate at every rollback.",
        role=Role.OPERATION,  # what it changes comes with a rollback, and these are counted in `rollbacks`
        range=Range(lambda value: 0 < value <= 1, "a number in (0, 1]"),
    )
    rollbacks: int = setting(
        0,
        "Rollbacks so far, written by training into config.json: leave it alone.",
        role=Role.RESULT,
        range=NATURAL,
    )
    max_energy: float = setting(
        1e4, "Divergence: largest size of a mean energy.", unit="energy_scale", role=Role.OPERATION, range=BOUND
    )
    max_energy_difference: float = setting(
        1e3,
        "Divergence: largest size of a component's energy difference.",
        "Eq. 7",
        unit="energy_scale",
        role=Role.OPERATION,
        range=BOUND,
    )
    max_energy_grad_norm: float = setting(
        1e5,
        "Divergence: largest norm of dE/dx, averaged over a chain.",
        unit="energy_scale per x",
        role=Role.OPERATION,
        range=BOUND,
    )
    max_abs_x: float = setting(1e3, "Divergence: largest |x| at the end of a chain.", role=Role.OPERATION, range=BOUND)


@dataclasses.dataclass(frozen=True)
class DeviceConfig(Settings):
    """Where training runs."""

    device: str = setting(
        "auto",
        "auto: a GPU if there is one; gpu: refuse to train without; cpu.",
        choices=("auto", "cpu", "gpu"),
        role=Role.OPERATION,
    )
    strategy: str = setting(
        "one_device",
        "Where the batch is trained: one_device, mirrored (all GPUs of this host) or multi_worker (one process a host, "
        "named by TF_CONFIG; docs/performance.md).",
        choices=("one_device", "mirrored", "multi_worker"),
        role=Role.RESULT,  # every device draws numbers and keeps a part of the bank of its own
    )
    jit_compile: str = setting(
        "auto",
        "Compile chains and gradient with XLA, whose random numbers are others. auto: on a GPU.",
        choices=("auto", "true", "false"),
        role=Role.OPERATION,  # other random numbers of the same law, and rounding; a resumed run is told of it
    )

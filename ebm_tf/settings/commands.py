"""Settings of the commands other than bin/train.py, as those of training are: see settings.train."""

import dataclasses
from typing import Any, TypeVar

from ebm_tf.errors import ConfigError
from ebm_tf.settings.data import IMAGE_SPLITS
from ebm_tf.settings.fields import (
    COUNT,
    FRACTION,
    NATURAL,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Range,
    Settings,
    bad_setting,
    setting,
    shortened,
)
from ebm_tf.settings.train import Scheme, TrainConfig

__all__ = [
    "ARTIFACTS",
    "TASKS",
    "EvaluateConfig",
    "ExportConfig",
    "PackConfig",
    "ReproduceConfig",
    "SampleConfig",
    "SweepConfig",
    "UnpackConfig",
    "WatchConfig",
    "resolve",
]

TASKS = (  # in the order in which they run: what one reads comes before it
    "density",
    "short_run",
    "long_run",
    "data_init",
    "bank",
    "mala",
    "diagnostics",
    "likelihood",
    "energies",
    "ood",
    "ood_curve",
    "neighbours",
    "fid",
)


@dataclasses.dataclass(frozen=True)
class SourceConfig(Settings):
    """Where a trained energy comes from."""

    workdir: str | None = setting(None, "Folder of a run; this or --model is required.")
    model: str | None = setting(
        None,
        "A .keras file of an energy, in place of workdir. bin/train.py and Trainer write into it how it was trained; "
        "of another file settings are the paper's for the scheme noise, and images are taken for CIFAR-10's.",
    )
    checkpoint: str | None = setting(
        None,
        "With workdir: take the weights of a checkpoint, by its update's number. None: those of model.keras, of a "
        "finished run.",
    )

    def _check(self) -> None:
        if bool(self.workdir) == bool(self.model):
            received = f"workdir={shortened(self.workdir or None)}, model={shortened(self.model or None)}"
            raise ConfigError(
                f"--workdir: expected a finished run's folder, or --model in its place. Received: {received}"
            )
        if self.checkpoint is not None and not self.workdir:
            raise bad_setting("checkpoint", "one with --workdir alone", self.checkpoint, "")
        output = getattr(self, "output", None)
        if output == "" or (self.model and not output):
            expected = "a folder for what is made from --model" if self.model else "a folder, or none for the run's own"
            raise bad_setting("output", expected, output, "")


@dataclasses.dataclass(frozen=True)
class EvaluateChains(Settings):
    """Tasks that run Langevin chains, and likelihood."""

    num_steps: int | None = setting(
        None,
        "L_test: steps of short_run and bank. None: as in training; divided by bank_restart_noise where that is "
        "above 0; 1,000 for the hybrid on the paper's images; with --model as its file says, else 500.",
        "Sec. 3",
        range=COUNT,
    )
    step_size: float | None = setting(
        None,
        "epsilon of short_run, long_run, data_init and bank. None: as in training, but 2 for the hybrid on the "
        "paper's images; with --model as its file says, else 1.",
        "Eq. 9, Sec. 3",
        unit="x^2/energy",
        range=POSITIVE,
    )
    long_run_steps: int = setting(100_000, "Langevin steps of long_run and diagnostics.", "Sec. 3", range=COUNT)
    data_init_steps: int = setting(10_000, "Langevin steps of data_init.", "Sec. 3", range=COUNT)
    ais_steps: int = setting(
        10_000, "Stages of annealed importance sampling in likelihood, each one move.", range=COUNT
    )


@dataclasses.dataclass(frozen=True)
class EvaluateImages(Settings):
    """Tasks that compare images or rows."""

    ood_data: str | None = setting(
        None,
        "Comma-separated sets for energies and ood: NAME or NAME/SPLIT of TFDS, or folders; for vectors array:FILE or "
        "table:FILE. None: svhn_cropped for cifar10 and the flowers, and none for data of one's own.",
        "Sec. 3",
    )
    fid_features: str = setting("inception", "inception, or a .keras file or SavedModel folder.", "Table 1")
    inception_graph: str | None = setting(None, "The 2015 Inception graph's file. None: downloaded once, and kept.")
    fid_samples: str = setting(
        "short_run", "Comma-separated sets for fid: short_run, bank, long_run, data_init, mala.", "Table 1"
    )
    denoise: bool = setting(False, "fid and neighbours take training's noise out of samples first; see docs/cifar.md.")
    reference_split: str | None = setting(
        None, "Split that fid and neighbours compare with. None: what the run trained on.", "Fig. 7"
    )
    neighbour_samples: int = setting(10, "Samples whose nearest images neighbours looks for.", "Fig. 7", range=COUNT)
    num_neighbours: int = setting(3, "Nearest images of each sample, in neighbours.", "Fig. 7", range=COUNT)

    def _check(self) -> None:
        is_read = self.inception_graph is None or self.fid_features == "inception"
        self._require("inception_graph", is_read, "None, since fid_features is not inception")


@dataclasses.dataclass(frozen=True)
class EvaluateMala(Settings):
    """The task mala."""

    mala_steps: int = setting(50_000, "Sampling steps of mala.", "Sec. 4.2.5", range=COUNT)
    mala_warmup_steps: int = setting(2_000, "Steps before them that adapt the step size.", "Sec. 4.2.5", range=COUNT)
    mala_target: float = setting(0.67, "Acceptance rate to adapt to.", "Sec. 4.2.5", range=FRACTION)
    mala_step_sizes: str = setting(
        "global", "One step size for all chains, or one each.", "Sec. 4.2.5", choices=("global", "per_chain")
    )
    mala_count: str = setting(
        "accepted", "What counts towards mala_steps: accepted moves, or all.", "Fig. 8", choices=("accepted", "all")
    )


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(EvaluateMala, EvaluateImages, EvaluateChains, SourceConfig):
    """What bin/evaluate.py does, and on how much."""

    output: str | None = setting(
        None, "Folder for the results. None: workdir, or its update-N with --checkpoint; with --model one is needed."
    )
    tasks: str = setting(
        "short_run",
        f"Comma-separated, of {', '.join(TASKS)}; with --model all but density, bank and ood_curve. "
        "docs/evaluation.md says what each does.",
        "Sec. 4",
    )
    data_dir: str | None = setting(None, "Folder of prepared TFDS data sets. None: the run's.")
    seed: int = setting(0, "Seed of the chains.", range=SEED)
    num_samples: int | None = setting(
        None,
        "Chains of short_run and bank, and at most so many images a set in energies, ood, ood_curve, likelihood and "
        "fid. None: 5,000 for vectors, 50,000 for images.",
        range=COUNT,
    )
    num_chains: int = setting(
        100,
        "Chains of long_run, data_init, mala, diagnostics and likelihood.",
        range=Range(lambda value: value >= 2, "a whole number, 2 or more: one chain has no spread"),
    )
    batch_size: int = setting(1_000, "Chains or images at once; chains' random numbers depend on it.", range=COUNT)

    def _check(self) -> None:
        if not self.task_names or set(self.task_names) - set(TASKS):
            raise bad_setting("tasks", "some of " + ", ".join(TASKS) + ", separated by commas", self.tasks, "")
        for task in {"mala", "diagnostics"} & set(self.task_names):  # whose chains are one batch
            received = f"num_chains={self.num_chains}, batch_size={self.batch_size}"
            if self.num_chains > self.batch_size:
                raise ConfigError(f"--num_chains: expected at most batch_size, for {task}. Received: {received}")

    @property
    def task_names(self) -> list[str]:
        """The tasks asked for, each once, in the order in which they run: what one reads comes before it."""
        asked = {task.strip() for task in self.tasks.split(",")} - {""}
        return [task for task in TASKS if task in asked] + sorted(asked - set(TASKS))


@dataclasses.dataclass(frozen=True)
class SampleChains(Settings):
    """Chains, and so samples."""

    num_samples: int = setting(64, "Chains, and so samples.", range=COUNT)
    num_steps: int | None = setting(
        None,
        "L_test: Langevin steps. None: as in training; divided by bank_restart_noise where that is above 0; 1,000 for "
        "the hybrid on the paper's images; with --model as its file says, else 500.",
        "Sec. 3",
        range=NATURAL,
    )
    step_size: float | None = setting(
        None,
        "epsilon. None: as in training, but 2 for the hybrid on the paper's images; with --model as its file says, "
        "else 1.",
        "Eq. 9, Sec. 3",
        unit="x^2/energy",
        range=POSITIVE,
    )
    temperature: float | None = setting(
        None,
        "T. None: as in training; with --model as its file says, else its Gaussian reference's, else 5e-5.",
        "Eq. 9, Sec. 3",
        unit="energy",
        range=NOT_NEGATIVE,
    )
    init: str = setting(
        "noise", "Where chains start: at noise, or at held-out data.", "Sec. 3", choices=("noise", "data")
    )
    denoise: bool = setting(False, "Take training's noise out of the ends, by one gradient; see docs/cifar.md.")
    batch_size: int = setting(1_000, "Chains at once; their random numbers depend on it.", range=COUNT)
    seed: int = setting(0, "Seed of the chains.", range=SEED)


@dataclasses.dataclass(frozen=True)
class SampleConfig(SampleChains, SourceConfig):
    """Where samples go."""

    output: str | None = setting(
        None,
        "Folder for samples.npz and samples.png, without such files. None: workdir, or its update-N with --checkpoint; "
        "with --model one is needed.",
    )
    data_dir: str | None = setting(None, "Folder of prepared TFDS data sets, for init=data. None: the run's.")


ARTIFACTS = ("fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8", "fig9", "fig10", "table1", "table2")


@dataclasses.dataclass(frozen=True)
class ReproduceConfig(Settings):
    """Settings of bin/reproduce.py."""

    artifact: str = setting("all", f"Comma-separated, of {', '.join(ARTIFACTS)}; or all, with a page that shows them.")
    runs: str = setting("", "Folder that holds finished runs, a folder each.", given="a folder")
    output: str = setting("", "Folder for pictures, tables and the page.", given="a folder")

    def _check(self) -> None:
        if not self.artifact_names or set(self.artifact_names) - set(ARTIFACTS):
            raise bad_setting("artifact", "all, or some of " + ", ".join(ARTIFACTS), self.artifact, "")

    @property
    def is_all(self) -> bool:
        """Whether everything that can be made is asked for."""
        return self.artifact.strip() == "all"

    @property
    def artifact_names(self) -> list[str]:
        """The artifacts asked for, each once, in the paper's order; unknown names last."""
        if self.is_all:
            return list(ARTIFACTS)
        asked = {name.strip() for name in self.artifact.split(",")} - {""}
        return [name for name in ARTIFACTS if name in asked] + sorted(asked - set(ARTIFACTS))


@dataclasses.dataclass(frozen=True)
class ExportConfig(SourceConfig):
    """What bin/export.py writes."""

    output: str = setting("", "Folder for the SavedModel, new or empty.", given="a folder for the SavedModel")
    data_dir: str | None = setting(None, "Folder of prepared TFDS data sets, for label names. None: the run's.")
    onnx: bool = setting(False, "Also write the energy as model.onnx; needs the extra onnx.")


@dataclasses.dataclass(frozen=True)
class SweepConfig(Settings):
    """Settings of bin/sweep.py."""

    runs: str = setting("", "Folder for the runs, one folder each.", given="a folder for the runs")
    grid: str = setting(
        "",
        "Values to combine, e.g. 'scheme=data,hybrid cd_weight=10,25 seed=0,1'.",
        given="flags of bin/train.py with values, NAME=VALUE,VALUE ...",
    )


@dataclasses.dataclass(frozen=True)
class WatchConfig(Settings):
    """Settings of bin/watch.py."""

    workdir: str = setting("", "Folder of a run, finished or not.", given="a run's folder")
    every_seconds: float = setting(10.0, "Pause between looks.", unit="seconds", range=POSITIVE)
    once: bool = setting(False, "Draw once and stop.")


@dataclasses.dataclass(frozen=True)
class PackConfig(Settings):
    """Settings of bin/checkpoint.py pack."""

    workdir: str = setting(
        "", "Folder of a run that has a checkpoint; half the size with bank_dtype=float16.", given="the folder of a run"
    )
    output: str = setting("", "Folder for parcel.json and the parts, new or empty.", given="a folder for the parts")
    update: int | None = setting(None, "Update whose checkpoint is packed. None: the newest.")
    part_mib: float = setting(
        14.0,
        "Largest size of a part.",
        unit="MiB",
        range=Range(lambda value: 0.001 <= value <= 4096, "a number from 0.001 to 4096"),
    )


@dataclasses.dataclass(frozen=True)
class UnpackConfig(Settings):
    """Settings of bin/checkpoint.py unpack."""

    input: str = setting(
        "",
        "Folder that holds parcel.json and all its parts, and nothing else.",
        given="a folder of bin/checkpoint.py pack",
    )
    workdir: str = setting("", "Folder for the run, new or empty.", given="a folder for the run")


Asked = TypeVar("Asked", EvaluateConfig, SampleConfig)


def resolve(settings: Asked, config: TrainConfig) -> Asked:
    """settings with a value in every place where None stands for one that depends on the run.

    The paper's images under the hybrid are sampled with L = 1,000 and epsilon = 2 (Sec. 3), all others as in training;
    see TrainConfig.sample_num_steps.
    """
    is_papers = config.dataset in IMAGE_SPLITS
    is_papers_hybrid = is_papers and config.scheme is Scheme.HYBRID
    at_test = (1_000, 2.0) if is_papers_hybrid else (config.sample_num_steps, config.step_size)
    values: dict[str, Any] = {"num_steps": at_test[0], "step_size": at_test[1], "data_dir": config.data_dir}
    if isinstance(settings, EvaluateConfig):
        values["ood_data"] = "svhn_cropped" if is_papers else ""
        values |= {"num_samples": 50_000 if is_papers else 5_000, "reference_split": config.train_split}
    else:
        values["temperature"] = config.temperature
    missing = {name: value for name, value in values.items() if getattr(settings, name) is None}
    return dataclasses.replace(settings, **missing)

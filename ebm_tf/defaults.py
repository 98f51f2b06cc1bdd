"""Settings, chains and a Gaussian that fit data of one's own, where the user has given none; and what Trainer says of
arguments that are others'.
"""

import dataclasses
import hashlib
import numbers
import types
from collections.abc import Collection
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ebm_tf.build import fit_gaussian, use_xla
from ebm_tf.data.base import Dataset, RingsDataset
from ebm_tf.data.spectrum import noise_spectrum
from ebm_tf.energies.base import EnergyModel, Origin
from ebm_tf.errors import ConfigError, check_kind, naming_arguments, some_of
from ebm_tf.mcmc.sampler import Sampler
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings import applies
from ebm_tf.settings.presets import PRESET_SETTINGS, settings_for
from ebm_tf.settings.train import TrainConfig
from ebm_tf.stats.fingerprint import MOST as MOST_KEPT
from ebm_tf.stats.fingerprint import fingerprint
from ebm_tf.stats.kernel_width import MOST, kernel_width

__all__ = [
    "OWN_SETTINGS",
    "blocks_of",
    "callbacks_of",
    "check_batches",
    "data_id",
    "fit_to_data",
    "preset_of",
    "refuse_habits",
    "remember",
    "saved_choice",
    "with_preset",
]

LOOKED_AT = 256  # examples by which data are known again: each start reads them
# Of TrainConfig, what Trainer takes.
OWN_SETTINGS = (
    *("scheme", "cd_weight", "batch_size", "data_noise", "seed", "jit_compile", "refresh_prob", "refresh_unit"),
    *("bank_weight", "bank_size", "bank_start", "bank_burn_in", "bank_restart_data", "bank_restart_noise", "bank_jump"),
)
# Where others are given.
ELSEWHERE = {
    **dict.fromkeys(("optimizer", "learning_rate"), "compile(optimizer=...)"),
    **dict.fromkeys(("train_steps", "epochs", "callbacks", "verbose"), "fit(train_steps=...)"),
    **dict.fromkeys(("step_size", "temperature", "num_steps"), "sampler=ebm_tf.Sampler(...)"),
    **dict.fromkeys(("wall", "reference", "energy_scale"), "ebm_tf.EnergyModel.from_network(net, ...)"),
    "held_out": "ebm_tf.Dataset.from_array(x, ...)",
}
# Arguments that Keras has and Trainer has not, and why.
HABITS = {
    "compile": {
        "learning_rate": "optimizer=keras.optimizers.Adam(1e-3) has it",
        "jit_compile": "Trainer(..., jit_compile='true') has it",
        **dict.fromkeys(("loss", "loss_weights"), "Algorithm 1 says what is descended"),
        **dict.fromkeys(("metrics", "weighted_metrics"), "fit tells val_loss"),
    },
    "fit": {
        **dict.fromkeys(("epochs", "steps_per_epoch"), "train_steps is the number of updates"),
        "batch_size": "Trainer(..., batch_size=...) has it",
        "validation_data": "validation has held-out examples, [N, *event]",
        "validation_split": "ebm_tf.Dataset.from_array(x, held_out=...) has it",
        **dict.fromkeys(("validation_freq", "validation_steps"), "validation_every is in their place"),
        **dict.fromkeys(("y", "class_weight", "sample_weight"), "an energy learns from x alone"),
        "initial_epoch": "a second fit goes on where the first ended",
        "shuffle": "every epoch has an order of its own",
    },
}


def refuse_habits(method: str, given: Collection[str]) -> None:
    """Raises ConfigError for arguments of Keras' method of this name that Trainer's has not."""
    if given:
        why = ", ".join(f"{name} ({HABITS[method][name]})" if name in HABITS[method] else name for name in given)
        raise ConfigError(f"expected {method} without {why}. Received: {', '.join(given)}")


def callbacks_of(given: Any) -> list[keras.callbacks.Callback]:
    """fit's callbacks as a list. Raises ConfigError for the one of Keras that would go on with another run."""
    callbacks = [given] if isinstance(given, keras.callbacks.Callback) else [*(given or ())]
    if any(isinstance(one, keras.callbacks.BackupAndRestore) for one in callbacks):
        expected = "expected callbacks without BackupAndRestore, which keeps neither the bank nor which update is next"
        instead = "trainer.checkpoint.save(FILE) keeps all that the next update depends on (docs/own_network.md)"
        raise ConfigError(f"{expected}: {instead}. Received: BackupAndRestore")
    return callbacks


def check_batches(x: Any, shape: tuple[int, ...], own: dict[str, Any]) -> None:
    """Raises ConfigError for what Trainer.fit cannot take in place of its data, anything but batches of this shape; and
    for arguments of its `own` that go with its data alone.
    """
    if not isinstance(x, tf.data.Dataset | tf.distribute.DistributedDataset):
        expected = "expected fit(train_steps=...), since Trainer has its data"
        raise ConfigError(f"{expected}, or batches, a tf.data.Dataset. Received: x={type(x).__name__}")
    if isinstance(x, tf.data.Dataset) and x.element_spec != tf.TensorSpec(shape, tf.float32):
        found = getattr(x.element_spec, "dtype", None), getattr(x.element_spec, "shape", None)
        received = f"{found[0].name} {found[1]}" if found[0] else type(x.element_spec).__name__
        expected = f"expected float32 batches {shape}, as batch({shape[0]}, drop_remainder=True) makes them"
        raise ConfigError(f"{expected}; Trainer(..., batch_size=...) sets their size. Received: {received}")
    if given := [name for name, value in own.items() if not (value is None or isinstance(value, bool))]:
        expected = "expected batches with epochs and steps_per_epoch, as Keras has them: what goes with Trainer's data"
        raise ConfigError(f"{expected} does not go with others. Received: {', '.join(given)}")


def blocks_of(train_steps: Any, every: Any) -> tuple[int, int]:
    """(blocks, updates in each) of a fit; every: None, or updates in each. Raises ConfigError."""
    if not isinstance(train_steps, numbers.Integral) or train_steps < 1:
        raise ConfigError(f"expected train_steps, a whole number, 1 or more. Received: train_steps={train_steps}")
    train_steps = int(train_steps)
    if every is None:
        every = train_steps // next(blocks for blocks in range(20, 0, -1) if train_steps % blocks == 0)
    if not isinstance(every, numbers.Integral) or every < 1 or train_steps % every:
        expected = f"expected validation_every that divides train_steps={train_steps}"
        raise ConfigError(f"{expected}. Received: validation_every={every}")
    return train_steps // int(every), int(every)


@naming_arguments()
def fit_to_data(
    energy: EnergyModel, data: Dataset, sampler: Sampler | None, preset: str, given: dict[str, Any]
) -> tuple[TrainConfig, Sampler]:
    """The settings and the sampler of a training of `energy` on `data`, and in the energy what its file says of them.

    Args:
      energy: gets the data's Gaussian, unless its reference has one of its own or the sampler says where chains start.
      data: a Dataset.
      sampler: the user's; taken as it is. None: one that fits the data.
      preset: see settings_for.
      given: settings of OWN_SETTINGS, which stay as they are.

    Raises:
      ConfigError: data of another shape than the energy's, a setting that cannot be used, or an argument of another
        kind.
    """
    check_kind("energy", energy, EnergyModel, "an EnergyModel: ebm_tf.EnergyModel.from_network(net) makes one")
    check_kind("data", data, Dataset, "a Dataset: ebm_tf.Dataset.from_array(x) makes one, and from_folder, from_table")
    check_kind("sampler", sampler, Sampler | None, "ebm_tf.Sampler(step_size, temperature, num_steps), or None")
    if data.event_shape != energy.event_shape:
        expected = f"expected data of the energy's shape, {list(energy.event_shape)}"
        raise ConfigError(f"{expected}. Received: {list(data.event_shape)}")
    if sampler is not None and sampler.start is not None and energy.reference:
        raise ConfigError("expected a sampler without start: chains start at the energy's reference. Received: both")
    if sampler is not None and sampler.event_shape not in (None, energy.event_shape):
        expected = f"expected a sampler of the energy's shape, {list(energy.event_shape)}"
        raise ConfigError(f"{expected}. Received: {list(sampler.event_shape)}")
    if unknown := sorted(set(given) - set(OWN_SETTINGS)):
        hint = f", which is for {ELSEWHERE[unknown[0]]}" if unknown[0] in ELSEWHERE else ""
        raise ConfigError(f"expected settings: {some_of(OWN_SETTINGS, unknown[0])}. Received: {unknown[0]}{hint}")
    values = {**preset_of(data, preset), "energy_scale": float(energy.energy_scale)}  # of the bounds on energies
    if sampler is not None:
        size = float(np.max(sampler.step_size))
        values |= {"step_size": size, "temperature": float(sampler.temperature), "num_steps": int(sampler.num_steps)}
    if not energy.reference:  # what the chains of its T may lack
        values["gaussian"] = values["gaussian"].removesuffix("+reference")
    for name in {"scheme", "bank_weight", "data_noise"} & set(given):  # on which it depends what the others are for
        TrainConfig(**{name: given[name]})
    rest = {name: value for name, value in values.items() if name not in given}
    config = TrainConfig(**given, **_useful(TrainConfig().to_dict() | given, rest))
    _fit_gaussian_of(energy, data, config.data_noise, sampler)
    kept = energy.event_shape, energy.noise_spectrum, energy.preconditioner
    drawn = config.sample_num_steps if sampler is None else None
    if sampler is None:
        sampler = Sampler(config.step_size, config.temperature, config.num_steps, *kept, use_xla(config.jit_compile))
    else:
        start = energy.noise_spectrum if energy.reference else sampler.start
        by_xla = use_xla(config.jit_compile) if sampler.jit_compile is None else sampler.jit_compile
        sampler = dataclasses.replace(sampler, start=start, event_shape=kept[0], jit_compile=by_xla)
    energy.origin = Origin.of(data, sampler, str(config.scheme), config.data_noise, drawn)
    remember(energy, data)
    return config, sampler


def remember(energy: EnergyModel, data: Dataset) -> None:
    """Puts into an energy with an origin what tells later whether an input trained. Data that are drawn as they are
    needed have nothing to remember.
    """
    if energy.origin is not None and not isinstance(data, RingsDataset):
        kept = fingerprint(data.examples(MOST_KEPT))
        energy.origin = dataclasses.replace(energy.origin, num_examples=data.num_examples, fingerprint=kept)


def data_id(data: Dataset) -> str:
    """Names the data: others, or as many others, have another name. "" of data that are drawn as they are needed."""
    if isinstance(data, RingsDataset):
        return ""
    standard = [None if one is None else one.tolist() for one in (data.mean, data.scale)]  # which all examples make
    known = data.num_examples, standard, fingerprint(data.examples(LOOKED_AT))
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _fit_gaussian_of(energy, data, data_noise, sampler):
    """Where chains start and how they step, into its weights: by its own reference, the sampler or the data."""
    if not energy.noise_spectrum:
        return
    if energy.reference and energy.reference.mean is not None:
        fit_gaussian(energy, energy.reference.mean, np.asarray(energy.reference.factor, np.float32))
    elif energy.reference or sampler is None:
        fit_gaussian(energy, *noise_spectrum(data, data_noise))
    elif sampler.start is not None:
        energy.assign_gaussian(*sampler.start)
    if sampler is not None and energy.preconditioner is not None:
        shape, root = energy.preconditioner.shape, sampler.preconditioner
        energy.preconditioner.assign(tf.eye(shape[-1], batch_shape=shape[:-2]) if root is None else root)


def preset_of(data: Dataset, preset: str) -> dict[str, Any]:
    """settings_for, of data and this machine."""
    has_gpu = bool(tf.config.get_visible_devices("GPU"))
    return settings_for(*_sizes(data, has_gpu), preset, has_gpu)


def with_preset(config: TrainConfig, given: Collection[str], values: dict[str, Any]) -> TrainConfig:
    """config with `values` in place of the settings that are not given, and with the defaults of those that have no use
    beside what is given.

    Args:
      config: settings of a run on data of one's own.
      given: names of the settings that stay.
      values: of preset_of or, of a run that is resumed, of saved_choice.

    Raises:
      ConfigError: what is given does not go with the rest.
    """
    fixed = {*given, *config.set_by_stages}
    values = {name: value for name, value in values.items() if name not in fixed}
    config = dataclasses.replace(config, **_useful(config.to_dict(), values))
    config.refuse_idle()
    return config


def _useful(rest: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """values, with the defaults of those that have no use beside the rest."""
    while True:
        whole = types.SimpleNamespace(**rest | values)
        found = applies.idle(whole, vars(TrainConfig()), applies.RULES)
        unused = {name: getattr(TrainConfig, name) for name, _ in found if name in values}
        if not unused:
            return values
        values = values | unused


def saved_choice(run_dir: RunDir) -> dict[str, Any]:
    """The settings of a run that its preset had a say in; {} where there is no run yet."""
    saved = run_dir.load_config().to_dict() if run_dir.config.exists() else {}
    return {name: saved[name] for name in PRESET_SETTINGS if name in saved}


def _sizes(data: Dataset, has_gpu: bool) -> tuple[tuple[int, ...], int, float]:
    """Shape of one x, number of examples, and the kernel width of some, of images over the pixels that vary."""
    if data.is_image and has_gpu:  # whose settings do not ask for it
        return data.event_shape, data.num_examples, 1.0
    x = np.concatenate(list(data.examples(most=MOST))).reshape(-1, int(np.prod(data.event_shape)))
    return data.event_shape, data.num_examples, kernel_width(x[:, x.std(axis=0) > 0])

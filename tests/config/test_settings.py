"""Every setting has a type, a role and a use: what is of another type, or would be ignored, is refused."""

import dataclasses
import enum
import inspect
import json
import math
import shlex

import numpy as np
import pytest
from absl import flags as absl_flags

from ebm_tf.cli import flags
from ebm_tf.defaults import with_preset
from ebm_tf.errors import ConfigError
from ebm_tf.paper.tables import NOT_COMPARED
from ebm_tf.runs.run_dir import FIXED_ON_RESUME, RunDir
from ebm_tf.settings import applies, commands, scoring
from ebm_tf.settings.chains import BankConfig, ChainConfig, Scheme
from ebm_tf.settings.data import DataConfig
from ebm_tf.settings.energy import EnergyConfig
from ebm_tf.settings.fields import Role, Settings, value_type
from ebm_tf.settings.optimizer import OptimizerConfig
from ebm_tf.settings.presets import settings_for
from ebm_tf.settings.running import DeviceConfig, GuardConfig, RunConfig
from ebm_tf.settings.train import STAGE_SETTINGS, TrainConfig

GROUPS = [DataConfig, EnergyConfig, ChainConfig, BankConfig, OptimizerConfig, RunConfig, GuardConfig, DeviceConfig]
COMMANDS = {  # and what each needs
    commands.EvaluateConfig: {"workdir": "run"},
    commands.SampleConfig: {"workdir": "run", "output": "out"},
    commands.ReproduceConfig: {"runs": "runs", "output": "out"},
    commands.ExportConfig: {"workdir": "run", "output": "out"},
    scoring.ScoreConfig: {"model": "model", "input": "x.npy", "output": "out.csv"},
    scoring.BeamConfig: {"model": "model", "input": "x.npy", "output": "out"},
    scoring.CalibrateConfig: {"model": "model", "input": "x.npy"},
    commands.SweepConfig: {"runs": "runs", "grid": "seed=0"},
    commands.WatchConfig: {"workdir": "run"},
    commands.PackConfig: {"workdir": "run", "output": "out"},
    commands.UnpackConfig: {"input": "parts", "workdir": "run"},
}
ALL = {TrainConfig: {}, **COMMANDS}
FILLED = {"image_size": 32}  # None, where the data are known by their name
EVERY = [(cls, field) for cls in ALL for field in dataclasses.fields(cls)]
IDS = [f"{cls.__name__}.{field.name}" for cls, field in EVERY]


def test_no_class_of_settings_is_left_out():
    both = (commands, scoring)
    made = {name for home in both for name in home.__all__ if isinstance(getattr(home, name), type)}
    assert made == {cls.__name__ for cls in COMMANDS}


def test_a_run_has_the_settings_of_all_groups():
    names = [field.name for group in GROUPS for field in dataclasses.fields(group)]
    assert [field.name for field in dataclasses.fields(TrainConfig)] == [*names, "stage"]
    config = TrainConfig(num_filters=4)
    assert all(isinstance(config, group) for group in GROUPS)


CLASSES = {base.__name__: base for cls in ALL for base in cls.__mro__ if issubclass(base, Settings)}


@pytest.mark.parametrize("cls", [CLASSES[name] for name in sorted(CLASSES)])
def test_no_class_adds_more_than_ten_settings(cls):
    assert len(inspect.get_annotations(cls)) <= 10


def defaults(cls):
    """What each setting is where it is not given."""
    names = {field.name: field.default for field in dataclasses.fields(cls)}
    return {name: FILLED.get(name, default) for name, default in names.items()}


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_a_group_stands_alone(group):
    made = group()
    assert all(getattr(made, name) == default for name, default in defaults(group).items())


def test_a_group_checks_itself():
    with pytest.raises(ConfigError, match=r"^--num_steps_start: expected a whole number from 1 to num_steps = 5"):
        ChainConfig(num_steps=5, num_steps_start=6)
    with pytest.raises(ConfigError, match=r"^--image_size: expected a multiple of 16"):
        DataConfig(image_size=33)


def test_every_setting_of_training_has_a_role():
    roles = {field.name: field.metadata["role"] for field in dataclasses.fields(TrainConfig)}
    assert [name for name, role in roles.items() if not isinstance(role, Role)] == []


def test_the_lists_are_those_that_were_kept_by_hand():
    assert set(FIXED_ON_RESUME) == {
        *("dataset", "image_size", "train_split", "batch_size", "num_filters", "attention", "energy_scale"),
        *("fit", "columns", "held_out", "preset"),
        *("gaussian", "dtype_policy", "scheme", "bank_size"),
        *("bank_dtype", "optimizer", "learning_rate_schedule", "ema_momentum", "init_model", "seed"),
    }
    assert set(NOT_COMPARED) - {"watch", "jit_compile"} == {  # these two were forgotten
        *("seed", "workdir", "resume", "data_dir", "log_every", "figure_every", "checkpoint_every"),
        *("keep_checkpoints", "stop_after", "device", "on_divergence", "max_rollbacks"),
        *("rollback_rate", "max_energy", "max_energy_difference", "max_energy_grad_norm", "max_abs_x"),
    }
    assert set(STAGE_SETTINGS) == {
        *("train_steps", "optimizer", "learning_rate", "learning_rate_schedule", "learning_rate_end"),
        *("ema_momentum", "num_steps", "num_steps_start", "cd_weight", "bank_weight", "bank_size", "bank_start"),
        *("bank_burn_in", "bank_restart_data", "bank_restart_noise", "bank_jump"),
    }


def wrong_values(kind, may_be_none):
    """Values of other types than a setting's."""
    wrong = {
        bool: ["true", 1, 0.0, []],
        int: ["100", 2.5, 2.0, True, [1], math.nan],
        float: ["0.5", True, [0.5], 1j, math.nan],
        tuple: ["calm train_steps=3", [3], 3],
    }.get(kind, [3, True, ["text"], b"text"])
    return wrong + ([] if may_be_none or kind is tuple else [None])


@pytest.mark.parametrize(("cls", "field"), EVERY, ids=IDS)
def test_a_value_of_another_type_is_refused(cls, field):
    for value in wrong_values(*value_type(field)):
        with pytest.raises(ConfigError) as caught:
            cls(**{**ALL[cls], field.name: value})
        text = str(caught.value)
        assert text.startswith(f"--{field.name}: expected ") and "\n" not in text
        assert f"Received: {field.name}={value!r}" in text


@pytest.mark.parametrize(("cls", "field"), EVERY, ids=IDS)
def test_a_value_of_its_type_keeps_it(cls, field):
    """The default and, for numbers, the same of NumPy."""
    value = {**defaults(cls), **ALL[cls]}[field.name]
    kind, may_be_none = value_type(field)
    values = [value] + ([np.int64(value)] if kind is int and value is not None else [])
    values += [np.float64(value)] if kind is float and value is not None else []
    for one in values:
        got = getattr(cls(**{**ALL[cls], field.name: one}), field.name)
        assert (got is None and may_be_none) or type(got) is kind
        assert got == one


def test_a_whole_number_is_a_number():
    assert repr(TrainConfig(step_size=1).step_size) == repr(TrainConfig(step_size=np.float32(1)).step_size) == "1.0"
    with pytest.raises(ConfigError, match=r"^--step_size: expected a number \(Eq. 9\). Received: step_size=1000"):
        TrainConfig(step_size=10**400)


def test_python_says_what_the_flag_says():
    values = absl_flags.FlagValues()
    flags.define_flags(TrainConfig, values)
    with pytest.raises(ConfigError) as caught:
        TrainConfig(batch_size="many")
    with pytest.raises(absl_flags.IllegalFlagValueError, match=r"expected a whole number \(Alg. 1\)"):
        values(["", "--batch_size=many"])
    assert str(caught.value) == "--batch_size: expected a whole number (Alg. 1). Received: batch_size='many'"


# Settings that have no use, and what was expected of the first of them.
UNUSED = [
    (dict(dataset="rings", image_size=48), "--image_size: expected None, since the rings are no images"),
    (dict(dataset="rings", train_split="test"), "--train_split: expected train, since the rings have no splits"),
    (dict(dataset="rings", attention=False), "--attention: expected True, since the rings are no images"),
    (dict(dataset="array:x.npy", train_split="test"), "--train_split: expected train, since data of array"),
    (dict(dataset="table:x.csv", attention=False), "--attention: expected True, since data of table:x.csv are"),
    (dict(refresh_prob=0.1), "--refresh_prob: expected 0.05 without --scheme=persistent_refresh (Sec. 3)"),
    (
        dict(scheme="persistent", refresh_unit="chain"),
        "--refresh_unit: expected batch without --scheme=persistent_refresh",
    ),
    (dict(bank_dtype="float16"), "--bank_dtype: expected float32 without a bank"),
    (
        dict(scheme="data", bank_size=300),
        "--bank_size: expected 60000 without a bank (--bank_weight above 0 or a persistent scheme) (Sec. 3). Received: "
        "bank_size=300",
    ),
    (dict(dataset="rings", data_dir="x"), "--data_dir: expected None, since the rings are not TFDS's. Received: data_"),
    (
        dict(stage=("one train_steps=3 num_steps=3",), train_steps=3, num_steps=7),
        "--num_steps: expected 500, since every stage sets its own (Sec. 3). Received: num_steps=7",
    ),
    (dict(max_rollbacks=1), "--max_rollbacks: expected 3 without --on_divergence=rollback"),
    (dict(rollback_rate=0.1), "--rollback_rate: expected 0.5 without --on_divergence=rollback"),
]


@pytest.mark.parametrize(("settings", "message"), UNUSED, ids=[list(settings)[-1] for settings, _ in UNUSED])
def test_a_setting_without_use_is_refused_but_read_from_an_old_run(settings, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**settings)
    assert str(caught.value).startswith(message)
    name = list(settings)[-1]
    rest = {key: value for key, value in settings.items() if key != name}
    old = {**TrainConfig(**rest).to_dict(), **settings}
    assert TrainConfig.from_dict(json.loads(json.dumps(old))) == TrainConfig(**rest)


# Settings that not every run has a use for: another value, and the kinds of run that use it.
OF_IMAGES, OF_OWN = {"cifar10", "tfds", "folder", "array"}, {"tfds", "folder", "array", "table"}
BANK = {"persistent", "persistent_refresh", "bank_weight"}
USED_BY = {
    "data_dir": ("tfds", {"cifar10", "tfds"}),
    "image_size": (48, OF_IMAGES),
    "attention": (False, OF_IMAGES),
    "fit": ("stretch", OF_IMAGES - {"cifar10"}),
    "columns": ("a", {"table"}),
    "held_out": (0.2, OF_OWN),
    "train_split": ("train[:90%]", {"cifar10", "tfds"}),
    "preset": ("detector", OF_OWN),
    "cd_weight": (3.0, {"hybrid"}),
    "bank_size": (300, BANK),
    "bank_dtype": ("float16", BANK),
    "bank_start": ("data", BANK),
    "bank_weight": (2.0, {"data", "noise", "hybrid"}),
    "bank_burn_in": (5, {"bank_weight"}),
    "bank_restart_data": (0.1, {"bank_weight"}),
    "bank_restart_noise": (0.2, {"bank_weight"}),
    "bank_jump": (True, BANK),
    "refresh_prob": (0.1, {"persistent_refresh"}),
    "refresh_unit": ("chain", {"persistent_refresh"}),
    "learning_rate_end": (1e-6, {"cosine"}),
    "max_rollbacks": (1, {"rollback"}),
    "rollback_rate": (0.1, {"rollback"}),
}
OF_DATA = ("data_dir", "image_size", "attention", "fit", "columns", "held_out", "train_split", "preset")
DATA = ("rings", "cifar10", "tfds:mnist", "folder:x", "array:x.npy", "table:x.csv")
SCHEMES = [{"scheme": scheme} for scheme in Scheme]
MORE = [{"on_divergence": "rollback"}, {"learning_rate_schedule": "cosine"}, {"scheme": "data", "bank_weight": 1.0}]
RUNS = [({"dataset": dataset}, OF_DATA) for dataset in DATA]
RUNS += [({"dataset": "cifar10", "data_noise": 0.1, **more}, set(USED_BY) - set(OF_DATA)) for more in SCHEMES + MORE]
RUNS += [({"dataset": "array:x.npy", **more}, set(USED_BY) - set(OF_DATA)) for more in SCHEMES]


def whole(settings):
    """The settings of a run, on data of one's own with those that fit the data."""
    config = TrainConfig(**settings)
    own = ":" in config.dataset
    return with_preset(config, set(settings), settings_for((2,), 500, 0.3, config.preset)) if own else config


def test_a_setting_is_used_or_refused_in_every_kind_of_run():
    assert {name for rule in applies.RULES for name in rule.names} == set(USED_BY)
    for settings, names in RUNS:
        run = whole(settings)
        kinds = {run.dataset.partition(":")[0], run.scheme.value, run.learning_rate_schedule, run.on_divergence}
        kinds |= {"bank_weight"} if run.bank_weight else set()
        for name in names:
            (value, used_by), is_refused = USED_BY[name], False
            try:
                whole({**settings, name: value})
            except ConfigError as error:
                assert str(error).startswith(f"--{name}: expected {default_words(name)}"), error
                is_refused = True
            assert is_refused == (not kinds & used_by), (settings, name)


def default_words(name):
    default = getattr(TrainConfig, name)
    return f"{default:g}" if isinstance(default, float) else f"{default}"


PRESETS = [
    dict(preset="detector", bank_restart_noise=0.1),
    dict(bank_size=300),
    dict(learning_rate_end=1e-5),
    dict(bank_burn_in=5, bank_start="data"),
]


@pytest.mark.parametrize("given", PRESETS)
def test_what_a_preset_gives_a_use_is_taken(given):
    config = TrainConfig(dataset="array:x.npy", **given)
    values = settings_for((2,), 500, 0.3, config.preset)
    whole = with_preset(config, set(given), values)
    assert given.items() <= whole.to_dict().items() and whole.bank_weight == values["bank_weight"]


def test_what_no_preset_gives_a_use_is_refused():
    with pytest.raises(ConfigError, match=r"^--refresh_prob: expected 0.05 without --scheme=persistent_refresh"):
        TrainConfig(dataset="array:x.npy", refresh_prob=0.1)
    config = TrainConfig(dataset="array:x.npy", scheme="persistent", bank_restart_noise=0.1)
    with pytest.raises(ConfigError, match=r"^--bank_restart_noise: expected 0 without --bank_weight above 0"):
        with_preset(config, {"scheme", "bank_restart_noise"}, settings_for((2,), 500, 0.3))


ALIKE = {"noise_spectrum": "white", "preconditioner": "none", "reference": "none"}
ALIKE |= {"step_ratio": 1.0, "confinement": 0.0}
FIT, STEPS, TILT = {"noise_spectrum": "data"}, {"preconditioner": "spectrum"}, {"reference": "gaussian"}
EARLIER = [
    ({"dataset": "rings", "best_metric": "loss"}, "none"),
    ({"dataset": "rings", "step_ratio": 36.0}, "steps"),
    (FIT, "start"),
    (FIT | STEPS, "start+steps"),
    (FIT | TILT, "start+reference"),
    (FIT | STEPS | TILT, "start+steps+reference"),
]
OWN = "array:x.npy"
BESIDE_A_PRESET = [
    (["--preconditioner=spectrum"], "start+steps+reference"),
    (["--preconditioner=none"], "start+reference"),
    (["--preconditioner=none", "--reference=none"], "start"),
    (["--noise_spectrum=white"], "none"),
]


@pytest.mark.parametrize(("old", "gaussian"), EARLIER)
def test_settings_of_earlier_versions_are_read(old, gaussian):
    """From config.json, where all stood, and from flags, where some did."""
    config = TrainConfig(dataset=old.get("dataset", "cifar10"), gaussian=gaussian)
    whole = {name: value for name, value in config.to_dict().items() if name != "gaussian"} | ALIKE | old
    assert TrainConfig.from_dict(json.loads(json.dumps(whole))) == config
    assert flags.config_from_flags(TrainConfig, [f"--{name}={value}" for name, value in old.items()]) == config


@pytest.mark.parametrize(("arguments", "gaussian"), BESIDE_A_PRESET)
def test_what_flags_of_earlier_versions_do_not_say_is_the_presets(arguments, gaussian):
    config = flags.config_from_flags(TrainConfig, [f"--dataset={OWN}", *arguments])
    assert config == TrainConfig(dataset=OWN, gaussian=gaussian)


NOT_READ = [
    (["--noise_spectrum=pink"], "--noise_spectrum: expected white or data. Received: noise_spectrum=pink"),
    (["--reference=gaussian"], "--reference: expected none without --noise_spectrum=data; --gaussian says all in one"),
    (["--gaussian=start", "--noise_spectrum=data"], "--noise_spectrum: expected --gaussian alone"),
    (["--gaussian=none", "--noise_spectrum=data"], "--noise_spectrum: expected --gaussian alone"),
    (["--step_ratio=36"], "--step_ratio: expected 1 for cifar10. Received: step_ratio=36"),
    (["--dataset=rings", "--step_ratio=9"], "--step_ratio: expected 1 or 36. Received: step_ratio=9"),
    (["--dataset=rings", "--noise_spectrum=data"], "--noise_spectrum: expected white for rings"),
    ([f"--dataset={OWN}", "--reference=none"], "--reference: expected --gaussian, which is in its place, for array:"),
    (["--confinement=0.02"], "--confinement: expected 0, or to be left out: a wall is EnergyModel.from_network(net, "),
]


@pytest.mark.parametrize(("arguments", "message"), NOT_READ)
def test_flags_of_earlier_versions_that_are_nothing_today_are_refused(arguments, message):
    with pytest.raises(ConfigError) as caught:
        flags.config_from_flags(TrainConfig, arguments)
    assert str(caught.value).startswith(message)


def test_a_ratio_without_use_is_read_from_an_old_run():
    assert TrainConfig.from_dict({"step_ratio": 36.0}) == TrainConfig()


def test_a_run_with_a_wall_is_read_and_keeps_it(tmp_path):
    """No setting has it, and a checkpoint has not: config.json goes on saying it."""
    config, run_dir = TrainConfig(scheme="noise"), RunDir(tmp_path)
    run_dir.config.write_text(json.dumps({**config.to_dict(), "confinement": 0.02}))
    assert run_dir.load_config() == config
    run_dir.check(dataclasses.replace(config, resume=True))
    run_dir.write_config(dataclasses.replace(config, train_steps=70_000))
    assert (run_dir.load_config().train_steps, run_dir.confinement) == (70_000, 0.02)
    run_dir.config.write_text(json.dumps(config.to_dict()))
    assert run_dir.confinement == 0


@pytest.mark.parametrize(
    "settings",
    [
        dict(scheme="persistent_refresh", refresh_prob=0.1, refresh_unit="chain", bank_dtype="float16"),
        dict(bank_weight=1.0, bank_dtype="float16"),
        dict(on_divergence="rollback", max_rollbacks=1, rollback_rate=0.1),
        dict(rollback_rate=0.1, rollbacks=1),
    ],
)
def test_the_same_settings_with_a_use_are_taken(settings):
    config = TrainConfig(**settings)
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_what_was_always_refused_is_refused_in_a_file():
    with pytest.raises(ConfigError, match=r"^--cd_weight: expected None, since scheme noise has no lambda"):
        TrainConfig.from_dict({"scheme": "noise", "cd_weight": 3.0})


def test_a_stage_has_use_for_what_the_others_have_none():
    calm = "calm train_steps=1 learning_rate_schedule=cosine"
    stages = ("plain train_steps=3", "old train_steps=2 bank_weight=2", calm)
    run = dict(bank_size=200, bank_dtype="float16", bank_start="data", learning_rate_end=1e-6)
    plain, old, calm = (stage.config for stage in TrainConfig(stage=stages, **run).stages)
    assert (plain.bank_dtype, plain.bank_start, plain.learning_rate_end) == ("float32", "noise", 0.0)
    assert (old.bank_dtype, old.bank_start, old.bank_size) == ("float16", "data", 200)
    assert calm.learning_rate_end == 1e-6
    with pytest.raises(ConfigError, match=r"^--bank_dtype: expected float32 without a bank"):
        TrainConfig(stage=stages[:1], bank_dtype="float16")


def test_scheme_is_of_its_enum():
    """A text is read; the file and the flag hold the text."""
    config = TrainConfig(scheme="noise")
    assert isinstance(config.scheme, enum.Enum) and config.to_dict()["scheme"] == "noise"


NEW = [
    (dict(fit="pad"), "--fit: expected None, since data of cifar10 are cut as in the paper"),
    (dict(dataset="rings", fit="pad"), "--fit: expected None, since the rings are no images"),
    (dict(held_out=0.2), "--held_out: expected 0.1, since data of cifar10 have a part to test"),
    (dict(dataset="folder:x", columns="a"), "--columns: expected None, since only tables have columns"),
]


@pytest.mark.parametrize(("settings", "message"), NEW)
def test_a_setting_of_own_data_without_use_is_refused(settings, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**settings)
    assert str(caught.value).startswith(message)


def test_the_size_that_rings_once_had_is_read():
    """Every config.json of the rings held image_size = 32, which was the default."""
    config = TrainConfig(dataset="rings")
    assert TrainConfig(dataset="rings", image_size=32) == config
    assert TrainConfig.from_dict({**config.to_dict(), "image_size": 32}) == config


def test_a_run_with_stages_is_read_with_what_one_of_them_uses():
    """A bank only the second stage has: its dtype has a use."""
    stage = ("draw train_steps=1", "settle train_steps=1 bank_weight=1 bank_size=200")
    config = TrainConfig(stage=stage, bank_dtype="float16")
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert TrainConfig.from_dict({**config.to_dict(), "stage": [stage[0]], "train_steps": 1}).bank_dtype == "float32"


def resumed(tmp_path, settings, *arguments):
    RunDir(tmp_path).write_config(TrainConfig(**settings))
    command = shlex.split(RunDir(tmp_path).resume_command())
    assert command[:2] == ["python", "bin/train.py"]
    return flags.config_from_flags(TrainConfig, [*command[2:], *arguments])


@pytest.mark.parametrize(
    ("settings", "arguments", "changed"),
    [
        (dict(dataset="folder:photos", image_size=32, preset="detector", device="gpu", stop_after="25m"), [], {}),
        (dict(dataset="rings", scheme="noise", strategy="multi_worker"), ["--seed=5"], dict(seed=5)),
        (dict(dataset="rings", gaussian="steps"), ["--step_ratio=1"], dict(gaussian="none")),
    ],
)
def test_a_run_resumes_by_its_folder_alone(tmp_path, settings, arguments, changed):
    """But for flags that are given, and for a time to stop after, which is of one start."""
    found = resumed(tmp_path, settings, *arguments)
    assert found == TrainConfig(**settings | {"stop_after": None} | changed, workdir=str(tmp_path), resume=True)


STAGES = ("a train_steps=3 learning_rate=1", "b train_steps=2 learning_rate=2 bank_weight=1 bank_size=200")


@pytest.mark.parametrize(
    ("settings", "given", "expected"),
    [
        (dict(stage=STAGES, bank_dtype="float16"), {}, dict(stage=STAGES, bank_dtype="float16")),
        (dict(learning_rate=0.1, train_steps=9), dict(stage=STAGES), dict(stage=STAGES, train_steps=5)),
        (dict(on_divergence="rollback", rollbacks=2), {}, dict(on_divergence="rollback", rollbacks=2)),
        (dict(cd_weight=7.0), dict(scheme="noise"), dict(scheme="noise")),
        (
            dict(bank_weight=1.0, bank_burn_in=5, bank_size=300, batch_size=200),
            dict(scheme="persistent"),
            dict(scheme="persistent", bank_size=300, batch_size=200),
        ),
    ],
)
def test_what_has_no_use_beside_what_is_given_takes_its_default(settings, given, expected):
    assert TrainConfig(**settings).with_given(given) == TrainConfig(**expected)


@pytest.mark.parametrize(("name", "value"), [("scheme", "cd"), ("cd_weight", 3.0), ("stage", ("a",)), ("seed", "x")])
def test_what_a_resumed_run_cannot_use_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"^--{name}: expected "):
        TrainConfig(scheme="noise").with_given({name: value})


def test_flags_of_earlier_versions_are_told_in_one_line(capsys):
    flags.config_from_flags(TrainConfig, ["--noise_spectrum=data", "--best_metric=loss"])
    flags.config_from_flags(TrainConfig, ["--best_metric=loss"])
    told = "earlier flags: --noise_spectrum=data --best_metric=loss is now --gaussian=start\n"
    assert capsys.readouterr().err == told + "earlier flags: --best_metric=loss is now nothing, and may go\n"

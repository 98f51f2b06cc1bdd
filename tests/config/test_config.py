"""Every flag file of configs/ parses, and every bad value says what was expected."""

import contextlib
import dataclasses
import json
import math
import pathlib

import numpy as np
import pytest
from absl import flags as absl_flags
from scipy import integrate

from ebm_tf.cli import flags
from ebm_tf.errors import ConfigError
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.settings.train import Scheme, TrainConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.flags"))
DATASETS = {"rings": "rings", "cifar": "cifar10", "flowers": "oxford_flowers102"}
SCHEMES = ("data", "noise", "persistent", "persistent_refresh", "hybrid")

BAD_VALUES = [
    (
        "dataset",
        "mnist",
        "--dataset: expected one of rings, cifar10, oxford_flowers102, tfds:NAME, folder:PATH, array:FILE, table:FILE "
        "(Sec. 3, A.1)",
    ),
    ("image_size", 31, "--image_size: expected a multiple of 16"),
    ("fit", "zoom", "--fit: expected one of crop, pad, stretch. Received: fit=zoom"),
    ("columns", "a,b", "--columns: expected None, since only tables have columns. Received: columns=a,b"),
    ("held_out", 1.0, "--held_out: expected a share in [0, 1). Received: held_out=1.0"),
    ("train_split", "train+val", "--train_split: expected splits of cifar10 joined by +: train, test (Sec. 3)"),
    ("data_noise", -0.1, "--data_noise: expected a finite number, 0 or more. Received: data_noise=-0.1"),
    ("batch_size", 0, "--batch_size: expected a whole number, 1 or more (Alg. 1). Received: batch_size=0"),
    ("num_filters", 0, "--num_filters: expected a whole number, 1 or more"),
    ("energy_scale", 0.0, "--energy_scale: expected a finite number above 0"),
    ("gaussian", "pink", "--gaussian: expected one of none, steps, start, start+steps, start+refer"),
    ("preset", "best", "--preset: expected one of density, detector"),
    ("dtype_policy", "float16", "--dtype_policy: expected one of float32, mixed_bfloat16, mixed_float16"),
    ("scheme", "pcd", "--scheme: expected one of data, noise, persistent, persistent_refresh, hybrid (Sec. 3)"),
    ("cd_weight", -1.0, "--cd_weight: expected a finite number, 0 or more (Eq. 6, Sec. 3)"),
    ("num_steps", 0, "--num_steps: expected a whole number, 1 or more"),
    ("num_steps_start", 501, "--num_steps_start: expected a whole number from 1 to num_steps = 500"),
    ("step_size", float("nan"), "--step_size: expected a finite number above 0 (Eq. 9). Received: step_size=nan"),
    ("temperature", -5e-5, "--temperature: expected a finite number, 0 or more (Eq. 9, Sec. 3)"),
    ("step_size_rule", "decay", "--step_size_rule: expected one of constant, adaptive"),
    ("bank_size", 0, "--bank_size: expected a whole number, 1 or more"),
    ("refresh_prob", 1.5, "--refresh_prob: expected a probability in [0, 1]"),
    ("refresh_unit", "step", "--refresh_unit: expected one of batch, chain"),
    ("train_steps", 0, "--train_steps: expected a whole number, 1 or more"),
    ("optimizer", "lion", "--optimizer: expected one of adam, sgd"),
    ("learning_rate", float("inf"), "--learning_rate: expected a finite number above 0 (Alg. 1)"),
    ("learning_rate_schedule", "step", "--learning_rate_schedule: expected one of constant, cosine"),
    ("learning_rate_end", 1e-5, "--learning_rate_end: expected 0 without --learning_rate_schedule=cosine"),
    ("ema_momentum", 1.0, "--ema_momentum: expected a number in [0, 1)"),
    ("seed", -1, "--seed: expected a whole number in [0, 2^31)"),
    ("stop_after", "25", "--stop_after: expected a number and its unit, s, m or h, e.g. 90s, 25m or 1.5h"),
    ("log_every", 0, "--log_every: expected a whole number, 1 or more"),
    ("figure_every", 0, "--figure_every: expected a whole number, 1 or more"),
    ("checkpoint_every", 0, "--checkpoint_every: expected a whole number, 1 or more"),
    ("keep_checkpoints", 0, "--keep_checkpoints: expected a whole number, 1 or more"),
    ("bank_weight", -1.0, "--bank_weight: expected a finite number, 0 or more"),
    ("bank_start", "grid", "--bank_start: expected one of noise, data (Sec. 3)"),
    ("bank_burn_in", -1, "--bank_burn_in: expected a whole number, 0 or more"),
    ("bank_restart_data", 1.5, "--bank_restart_data: expected a probability in [0, 1]"),
    ("bank_restart_noise", -0.5, "--bank_restart_noise: expected a probability in [0, 1]"),
    ("bank_dtype", "int8", "--bank_dtype: expected one of float32, float16"),
    ("on_divergence", "ignore", "--on_divergence: expected one of stop, rollback"),
    ("max_rollbacks", -1, "--max_rollbacks: expected a whole number, 0 or more"),
    ("rollback_rate", 2.0, "--rollback_rate: expected a number in (0, 1]"),
    ("rollbacks", -1, "--rollbacks: expected a whole number, 0 or more"),
    ("max_energy", 0.0, "--max_energy: expected a number above 0; inf for no bound"),
    ("max_energy_difference", -1.0, "--max_energy_difference: expected a number above 0; inf for no bound (Eq. 7)"),
    ("max_energy_grad_norm", math.nan, "--max_energy_grad_norm: expected a number above 0; inf for no bound"),
    ("max_abs_x", 0.0, "--max_abs_x: expected a number above 0; inf for no bound"),
    ("device", "tpu", "--device: expected one of auto, cpu, gpu"),
    ("strategy", "tpu", "--strategy: expected one of one_device, mirrored, multi_worker"),
    ("jit_compile", "yes", "--jit_compile: expected one of auto, true, false"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_VALUES, ids=[name for name, _, _ in BAD_VALUES])
def test_a_bad_value_says_why(name, value, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**{name: value})
    assert str(caught.value).startswith(message)
    assert f"Received: {name}={value}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_checked_setting_has_a_bad_value():
    free = {"stage", "data_dir", "attention", "bank_jump", "init_model", "workdir", "resume", "watch"}
    assert {name for name, _, _ in BAD_VALUES} == set(TrainConfig.__dataclass_fields__) - free


OLD = {"bank_weight": 2.0, "bank_size": 100}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(scheme="persistent", bank_weight=1.0), "--bank_weight: expected 0, since all chains of scheme"),
        (dict(bank_start="data"), "--bank_start: expected noise without a bank"),
        (dict(bank_burn_in=1), "--bank_burn_in: expected 0 without --bank_weight above 0"),
        (dict(bank_restart_data=0.1), "--bank_restart_data: expected 0 without --bank_weight above 0"),
        (dict(scheme="persistent", bank_restart_noise=0.1), "--bank_restart_noise: expected 0 without --bank_weight"),
        (dict(scheme="persistent", bank_jump=True), "--bank_jump: expected False without a bank"),
        (dict(bank_jump=True, data_noise=0.1), "--bank_jump: expected False without a bank"),
        ({**OLD, "bank_size": 99}, "--batch_size: expected at most bank_size = 99"),
        (
            {**OLD, "bank_restart_data": 0.6, "bank_restart_noise": 0.5},
            "--bank_restart_noise: expected at most 1 - bank_restart_data = 0.4",
        ),
    ],
)
def test_old_negatives_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**settings)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("data", {"data_init": 1}),
        ("noise", {"noise_init": 1}),
        ("hybrid", {"noise_init": 1, "data_init": 25}),
    ],
)
def test_the_bank_is_one_more_bracket(scheme, expected):
    assert TrainConfig(scheme=scheme).brackets == expected
    assert TrainConfig(scheme=scheme, **OLD).brackets == {**expected, "persistent_init": 2}
    assert not TrainConfig(scheme=scheme).has_bank and TrainConfig(scheme=scheme, **OLD).has_bank
    for persistent in ("persistent", "persistent_refresh"):
        assert TrainConfig(scheme=persistent).brackets == {"persistent_init": 1}


STAGES = ("grow train_steps=30 num_steps=8 learning_rate=1e-3", "calm train_steps=12 optimizer=sgd cd_weight=3")


def test_stages_share_out_the_updates():
    config = TrainConfig(stage=STAGES, num_steps=4)
    assert config.train_steps == 42 and config.has_bank is False
    grow, calm = config.stages
    assert (grow.name, grow.first_step, grow.last_step, calm.first_step, calm.last_step) == ("grow", 0, 30, 30, 42)
    assert (grow.config.num_steps, calm.config.num_steps, calm.config.hybrid_cd_weight) == (8, 4, 3.0)
    assert [config.stage_of(step).name for step in (0, 1, 30, 31, 42)] == ["grow", "grow", "grow", "calm", "calm"]
    assert config.at_end == TrainConfig(num_steps=4, optimizer="sgd", cd_weight=3.0, train_steps=42)
    assert config.share_done(30) == pytest.approx(240 / 288) and config.share_done(36) == pytest.approx(264 / 288)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    (whole,) = TrainConfig(train_steps=7).stages
    assert (whole.name, whole.first_step, whole.last_step) == ("", 0, 7)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (("",), "--stage: expected NAME train_steps=N SETTING=VALUE"),
        (("calm",), "--stage: expected NAME train_steps=N SETTING=VALUE"),
        (("calm rate",), "--stage: expected NAME train_steps=N SETTING=VALUE"),
        (("ca/lm train_steps=3",), "--stage: expected NAME train_steps=N SETTING=VALUE"),
        (("calm train_steps=3 train_steps=4",), "--stage: expected NAME train_steps=N SETTING=VALUE"),
        (("calm train_steps=3 seed=4",), "--stage: expected settings of train_steps, optimizer"),
        (("calm train_steps=3.5",), "--stage: calm: expected a whole number. Received: train_steps=3.5"),
        (("calm train_steps=0",), "--stage: calm: --train_steps: expected a whole number, 1 or more"),
        (("calm train_steps=3 bank_burn_in=4",), "--stage: calm: --bank_burn_in: expected 0 without --bank_weight"),
        (("a train_steps=1", "a train_steps=1"), "--stage: expected another name for every stage"),
    ],
)
def test_a_stage_that_cannot_be_used_says_why(stage, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(stage=stage)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_run_has_as_many_updates_as_its_stages():
    with pytest.raises(ConfigError, match=r"^--train_steps: expected 42, the sum of the stages', or none"):
        TrainConfig(stage=STAGES, train_steps=43)


def test_a_time_has_a_unit():
    seconds = {"90s": 90, "25m": 1500, "1.5h": 5400, "0s": 0, None: math.inf}
    assert {text: TrainConfig(stop_after=text).stop_seconds for text in seconds} == seconds
    for text in ("", "25 m", "-1s", "1e3s", "m", "1h30m", "25m\n", "inf", "٢m"):
        with pytest.raises(ConfigError, match=r"^--stop_after: expected a number and its unit"):
            TrainConfig(stop_after=text)
    with pytest.raises(ConfigError, match=r"^--stop_after: expected None with --strategy=multi_worker"):
        TrainConfig(stop_after="25m", strategy="multi_worker")


def test_a_rate_does_not_end_above_its_start():
    with pytest.raises(ConfigError, match=r"^--learning_rate_end: expected a number from 0 to learning_rate = 0\.0001"):
        TrainConfig(learning_rate_schedule="cosine", learning_rate_end=2e-4)


def test_growing_chains_have_a_mean_length():
    """Of L = 1 / (1/25 + t (1/8000 - 1/25)) over t in [0, 1], by SciPy's quadrature; and of chains that do not grow."""
    config = TrainConfig(num_steps_start=25, num_steps=8000)
    mean, _ = integrate.quad(lambda part: 1 / ((1 - part) / 25 + part / 8000), 0, 1)
    assert config.mean_num_steps == pytest.approx(mean, rel=1e-6)
    for start in (None, 40):
        assert TrainConfig(num_steps=40, num_steps_start=start).mean_num_steps == 40


@pytest.mark.parametrize("start", [None, 25, 8000])
def test_the_share_done_is_of_langevin_steps(start):
    """Against the sum over updates of L, each taken at the middle of its update: 100 updates of 25 to 8,000."""
    config = TrainConfig(num_steps_start=start, num_steps=8000, train_steps=100)
    parts = (np.arange(100) + 0.5) / 100
    steps = 1 / ((1 - parts) / (start or 8000) + parts / 8000)
    done = [config.share_done(step) for step in range(101)]
    np.testing.assert_allclose(np.diff(done), steps / steps.sum(), rtol=0.12)
    assert done[0] == 0 and done[-1] == pytest.approx(1)


def test_the_rings_have_known_widths_and_others_a_fit():
    with pytest.raises(ConfigError, match=r"^--gaussian: expected none or steps, since the rings' widths are known"):
        TrainConfig(dataset="rings", gaussian="start+steps")
    with pytest.raises(ConfigError, match=r"^--gaussian: expected start\+steps, where the data are not the rings"):
        TrainConfig(gaussian="steps")


def test_a_reference_needs_a_temperature():
    with pytest.raises(ConfigError, match=r"^--gaussian: expected one without reference where temperature=0"):
        TrainConfig(gaussian="start+reference", temperature=0.0)


def test_the_rings_have_no_float16():
    with pytest.raises(ConfigError, match=r"^--dtype_policy: expected float32 or mixed_bfloat16, since the rings"):
        TrainConfig(dataset="rings", dtype_policy="mixed_float16")


@pytest.mark.parametrize("scheme", ["data", "noise", "persistent", "persistent_refresh"])
def test_cd_weight_belongs_to_the_hybrid(scheme):
    with pytest.raises(ConfigError, match=f"scheme {scheme} has no lambda"):
        TrainConfig(scheme=scheme, cd_weight=25.0)


def test_a_batch_must_fit_into_the_bank():
    with pytest.raises(ConfigError, match="--batch_size: expected at most bank_size = 10"):
        TrainConfig(scheme="persistent", batch_size=11, bank_size=10)


@pytest.mark.parametrize(("path", "kind"), [("my/train.CSV", "table"), ("x.npy", "array"), (str(ROOT), "folder")])
def test_a_path_alone_is_told_with_its_kind(path, kind):
    text = rf", table:FILE, here {kind}:{path} \(Sec\. 3, A\.1\)\. Received: dataset={path}$"
    with pytest.raises(ConfigError, match=text):
        TrainConfig(dataset=path)


def test_a_rollback_is_for_one_process():
    message = "--on_divergence: expected stop with --strategy=multi_worker. Received: on_divergence=rollback"
    with pytest.raises(ConfigError, match=message):
        TrainConfig(strategy="multi_worker", on_divergence="rollback")
    TrainConfig(strategy="mirrored", on_divergence="rollback")


@pytest.mark.parametrize(
    ("dataset", "train_split", "test_split"),
    [
        ("cifar10", "train", "test"),
        ("cifar10", "train[:90%]", "test"),
        ("cifar10", "test", "train"),
        ("oxford_flowers102", "train+validation", "test"),
        ("oxford_flowers102", "train + validation[10:]", "test"),
        ("oxford_flowers102", "test+validation", "train"),
        ("oxford_flowers102", "test", "train+validation"),
    ],
)
def test_what_trains_does_not_test(dataset, train_split, test_split):
    assert TrainConfig(dataset=dataset, train_split=train_split).test_split == test_split


@pytest.mark.parametrize("train_split", ["train+validation+test", "train[:90%]+validation+test[:1]"])
def test_one_split_is_left_to_test(train_split):
    message = "^--train_split: expected to leave out one of train, validation, test to test"
    with pytest.raises(ConfigError, match=message):
        TrainConfig(dataset="oxford_flowers102", train_split=train_split)


@pytest.mark.parametrize("train_split", ["", "+", "train+", "extra", "train,test"])
def test_unknown_splits_are_refused(train_split):
    with pytest.raises(ConfigError, match=r"^--train_split: expected splits of cifar10 joined by \+: train, test"):
        TrainConfig(train_split=train_split)


def test_a_resumed_run_keeps_its_splits(tmp_path):
    config = TrainConfig(dataset="oxford_flowers102", train_split="train+validation")
    run_dir = RunDir(tmp_path / "run")
    run_dir.prepare(config)
    with pytest.raises(
        ConfigError, match=r"^--train_split: expected train\+validation, as the run in .*\. To go on: python bin/"
    ):
        run_dir.check(dataclasses.replace(config, train_split="test", resume=True))


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        (dict(bank_weight=0.5, bank_size=200), dict(bank_weight=0.0), None),  # its chains are left out
        (dict(), dict(bank_weight=0.5, bank_size=200), "^--bank_weight: expected 0.0, as the run in .*=0.5. To go on"),
        (dict(bank_weight=0.5, bank_size=200), dict(bank_size=300), "^--bank_size: expected 200, as the run in"),
        (dict(dataset="table:x.csv"), dict(preset="detector"), "^--preset: expected density, as"),  # another network
    ],
)
def test_a_resumed_run_may_leave_its_bank_and_not_get_one(tmp_path, before, now, message):
    config = TrainConfig(**before)
    RunDir(tmp_path).write_config(config)
    with pytest.raises(ConfigError, match=message) if message else contextlib.nullcontext():
        RunDir(tmp_path).check(dataclasses.replace(config.with_given(now), resume=True))


def test_dict_round_trip():
    config = TrainConfig(dataset="rings", scheme="persistent", bank_size=500)
    assert TrainConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="unknown lamda"):
        TrainConfig.from_dict({"lamda": 25})


def read_flagfile(path):
    """Settings of one flag file, parsed by absl in this process without touching its global flags."""
    values = absl_flags.FlagValues()
    known = TrainConfig.__dataclass_fields__
    for name in known:
        absl_flags.DEFINE_string(name, None, "", flag_values=values)
    absl_flags.DEFINE_string("flagfile", None, "", flag_values=values)
    rest = values(["train.py", *values.read_flags_from_files([f"--flagfile={path}"])])[1:]
    assert not rest
    return {name: values[name].value for name in known if values[name].present}


def test_all_files_are_there():
    expected = {f"{dataset}_{scheme}" for dataset in DATASETS for scheme in SCHEMES}
    expected |= {"rings_demo", "smoke", "cifar_hybrid_lambda10", "cifar_hybrid_lambda50"}
    assert expected <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_every_flagfile_parses(path):
    """As the command reads it; test_launch.py and test_flags.py run the command with some."""
    flags.config_from_flags(TrainConfig, [f"--flagfile={path}"])


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_flagfile_says_what_it_is(path):
    text = path.read_text()
    assert text.splitlines()[0] == f"# python bin/train.py --flagfile=configs/{path.name}"
    assert "# Reproduces" in text
    settings = read_flagfile(path)
    assert settings["dataset"] == DATASETS.get(path.stem.partition("_")[0], "rings")
    assert ("cd_weight" in settings) == (settings["scheme"] == "hybrid")
    name = path.stem.partition("_")[2]
    if name in SCHEMES:
        assert settings["scheme"] == name


OTHERS = "_cpu", "_20min", "_spectrum", "_preconditioned", "_bank", "_settled", "_short"
PAPERS = [path for path in CONFIGS if path.stem.startswith("cifar") and not path.stem.endswith(OTHERS)]


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_cifar_files_hold_the_papers_values(path):
    settings = read_flagfile(path)
    numbers = {name: float(settings[name]) for name in ("num_steps", "step_size", "temperature", "num_filters")}
    assert numbers == {"num_steps": 500, "step_size": 1, "temperature": 5e-5, "num_filters": 128}
    assert float(settings["train_steps"]) == 50_000
    if settings["scheme"] == "hybrid":
        assert float(settings["cd_weight"]) == float(path.stem.partition("_lambda")[2] or 25)
    if Scheme(settings["scheme"]).has_bank:
        assert float(settings["bank_size"]) == 60_000


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_short_cifar_files_differ_in_size_and_schedule_only(path):
    size = {"num_filters": "64", "num_steps": "100", "dtype_policy": "mixed_bfloat16"}
    schedule = {"train_steps": "3000", "learning_rate_schedule": "cosine"}
    papers, short = read_flagfile(path), read_flagfile(path.with_stem(f"{path.stem}_20min"))
    bank = {"bank_dtype": "float16"} if Scheme(papers["scheme"]).has_bank else {}
    assert short == {**papers, **size, **schedule, **bank}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_flowers_files_are_the_cifar_files_on_other_data(scheme):
    flowers = read_flagfile(ROOT / "configs" / f"flowers_{scheme}.flags")
    cifar = read_flagfile(ROOT / "configs" / f"cifar_{scheme}.flags")
    assert flowers.pop("train_split") == "train+validation"
    assert flowers == {**cifar, "dataset": "oxford_flowers102"}

"""Public constructors and functions refuse arguments of another kind in one line: what was expected, what came."""

import inspect
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

import ebm_tf
from ebm_tf.defaults import HABITS

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
DATA = ebm_tf.Dataset.from_array(X)
NET = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
ENERGY = ebm_tf.EnergyModel.from_network(NET)
SAMPLER = ebm_tf.Sampler(0.1, 1.0, 2, event_shape=(3,))
SEED = [0, 1]
MALA = {
    **dict(num_moves=2, enough_accepted=np.inf, adapt=False, step_size=0.1, temperature=1.0, target_rate=0.6),
    **dict(per_chain=False, projections=np.eye(3, dtype=np.float32), seed=SEED),
}
AIS = dict(step_shape=np.ones(3, np.float32), temperature=1.0, base=(np.zeros(3), np.ones(3)), seed=SEED)
BETAS, LOG_STEPS = [0.0, 0.5, 1.0], [0.0, 0.0]


def quadratic(x):
    return tf.reduce_sum(x**2, axis=1) / 2


def langevin(energy_fn=quadratic, x=X, num_steps=2, step_size=0.1, temperature=1.0, seed=SEED, preconditioner=None):
    return ebm_tf.langevin_chain(energy_fn, x, num_steps, step_size, temperature, seed, preconditioner)


def anneal(energy_fn=quadratic, x=X, log_steps=LOG_STEPS, **changes):
    return ebm_tf.anneal(energy_fn, x, BETAS, log_steps, **AIS | changes)


CASES = {
    "a network for an energy": (lambda: ebm_tf.Trainer(NET, DATA), "energy, an EnergyModel: .*energy=Sequential"),
    "an array for data": (lambda: ebm_tf.Trainer(ENERGY, X), "data, a Dataset: .*from_array.*data=ndarray"),
    "a dict for a sampler": (lambda: ebm_tf.Trainer(ENERGY, DATA, sampler={}), "sampler, ebm_tf.Sampler.*=dict"),
    "a word for a strategy": (lambda: ebm_tf.Trainer(ENERGY, DATA, strategy="mirrored"), "strategy, a tf.*=str"),
    "an optimizer for Trainer": (lambda: ebm_tf.Trainer(ENERGY, DATA, optimizer="adam"), "settings.*which is for comp"),
    "an array for a network": (lambda: ebm_tf.EnergyModel(X), "network, a keras.Model: .*network=ndarray"),
    "no network": (lambda: ebm_tf.EnergyModel(), "network, a keras.Model: .*network=NoneType"),
    "an energy for a network": (lambda: ebm_tf.EnergyModel.from_network(ENERGY), "a network. .*an EnergyModel already"),
    "a number for a wall": (lambda: ebm_tf.EnergyModel.from_network(NET, wall=1.0), "wall, an ebm_tf.Wall.*=float"),
    "a number for a shape": (lambda: ebm_tf.EnergyModel.from_network(NET, event_shape=3), "event_shape, .*=int"),
    "a word for a strength": (lambda: ebm_tf.Wall("1", 1), "strength, a number. Received: strength=str"),
    "nothing for T": (lambda: ebm_tf.GaussianReference(None), "temperature, a number. .*=NoneType"),
    "a file without ending": (lambda: ENERGY.save("mine"), "filepath, a file that ends in .keras. Received: mine$"),
    "data for settings": (lambda: ebm_tf.train(DATA), "config, an ebm_tf.TrainConfig.*config=Dataset"),
    "an array for a Dataset": (lambda: ebm_tf.Dataset(X), "Dataset.from_array.*Received: Dataset.ndarray, NoneType"),
    "a list for an array": (lambda: ebm_tf.Dataset.from_array([1.0]), "floats .* as a NumPy array.*a list"),
    "targets beside an array": (lambda: ebm_tf.Dataset.from_array(X, X), "a share in .0, 1.. Received: held_out="),
    "an array for a table": (lambda: ebm_tf.Dataset.from_table(X), "table, a path, .*table=ndarray"),
    "an array for a folder": (lambda: ebm_tf.Dataset.from_folder(X), "path, that of a folder. .*path=ndarray"),
    "an energy for a file": (lambda: ebm_tf.load(ENERGY), "path, a .keras file, .*path=EnergyModel"),
    "a file that is not there": (lambda: ebm_tf.load("gone.keras"), "path: .*: gone.keras, which does not exist"),
    "a folder that is not there": (lambda: ebm_tf.load("gone"), "path: expected a .keras file, .*gone, which does not"),
    "a file for a folder": (lambda: ENERGY.save(f"{__file__}/mine.keras"), "filepath, a file that can be written. "),
    "a folder without images": (lambda: ebm_tf.Dataset.from_folder("gone"), "^path: expected a folder that can be"),
    "a name that TFDS has not": (
        lambda: ebm_tf.Dataset.from_tfds("mnistt", "all"),
        "^name: expected a data set of TFDS: mnist, kmnist, emnist or another of .* Received: mnistt$",
    ),
    "a split that is none": (lambda: ebm_tf.Dataset.from_tfds("svhn_cropped", "x"), "^split: expected svhn_cropped/te"),
    "a bad setting": (lambda: ebm_tf.Trainer(ENERGY, DATA, batch_size=0), "^batch_size: expected a whole number"),
    "a setting that is none": (
        lambda: ebm_tf.Trainer(ENERGY, DATA, batchsize=3),
        "^expected settings: batch_size, .*or another of 15. Received: batchsize$",
    ),
    "a file for a table": (lambda: ebm_tf.EnergyDensity().fit("x.csv"), "X, a table of numbers .*X=str"),
    "a Dataset for a table": (lambda: ebm_tf.EnergyDensity().fit(DATA), "X, a table of numbers .*X=Dataset"),
    "a word for a step": (lambda: ebm_tf.Sampler("0.1", 1.0, 2), "step_size, a finite number, above 0. .*='0.1'"),
    "half a step": (lambda: ebm_tf.Sampler(0.1, 1.0, 1.5), "num_steps, a whole number, 0 or more. .*=1.5"),
    "two temperatures": (lambda: ebm_tf.Sampler(0.1, [1.0, 2.0], 2), "temperature, a finite number.*1.0, 2.0"),
    "a word for starts": (lambda: ebm_tf.Sampler(0.1, 1.0, 2, start="noise"), "start, .mean, factor.*start=str"),
    "a factor of another size": (
        lambda: ebm_tf.Sampler(0.1, 1.0, 2, start=(np.zeros(3), np.eye(2))),
        r"the factor of start, .*\[3, 3\]. Received: shape=\(2, 2\)",
    ),
    "one number for a seed": (lambda: SAMPLER.run(quadratic, X, 0), "seed, two whole numbers, as .0, 1.. .*seed=0"),
    "a seed of starts": (lambda: SAMPLER.starts(2, [0, 1, 2]), r"seed, two whole numbers, .*seed=\[0, 1, 2\]"),
    "a model for an energy function": (lambda: langevin(3), "energy_fn, an EnergyModel or a function .*: int"),
    "data for states": (lambda: langevin(x=DATA), "states of chains, floats .*: Dataset"),
    "one state": (lambda: langevin(x=X[0]), r"states of chains, floats .*: shape=\(3,\)"),
    "a network's column": (lambda: langevin(NET), r"energy_fn to give .B., .*\(60, 1\); EnergyModel.from_network"),
    "one energy of all": (lambda: langevin(lambda x: tf.reduce_sum(x)), r"energy_fn to give .B., .*shape=\(\)"),
    "an energy of NumPy": (lambda: langevin(lambda x: np.sum(x**2, 1)), "of TensorFlow's op.*without a gradient in x"),
    "a step below 0": (lambda: langevin(step_size=-0.1), "step_size, a finite number, 0 or more. .*-0.1"),
    "T below 0": (lambda: langevin(temperature=-1.0), "temperature, a finite number, 0 or more. .*-1.0"),
    "steps below 0": (lambda: langevin(num_steps=-1), "num_steps, a whole number, 0 or more. .*-1"),
    "another matrix": (
        lambda: langevin(preconditioner=np.eye(2)),
        r"preconditioner, .*3, 3.. Received: shape=\(2, 2\)",
    ),
    "moves of no temperature": (
        lambda: ebm_tf.mala_chain(quadratic, X, **MALA | {"temperature": 0.0}),
        "temperature, a finite number, above 0. .*0.0",
    ),
    "no base": (lambda: anneal(base=None), "base, .mean, std., .*NoneType"),
    "stages of another number": (lambda: anneal(log_steps=[0.0]), r"betas .K . 1. and log_steps .K.. .*3. and .1."),
    "a word for records": (lambda: ebm_tf.diagnose("abc", 1), "records, numbers .N, C.. Received: values=str"),
    "no moves between records": (lambda: ebm_tf.diagnose(X, 0), "moves_per_record, a finite number, above 0. .*=0"),
}


@pytest.mark.parametrize("case", CASES)
def test_another_kind_of_argument_is_told(case):
    """ConfigError is a ValueError."""
    call, text = CASES[case]
    with pytest.raises(ValueError, match=text) as error:
        call()
    assert "expected " in str(error.value) and "\n" not in str(error.value)


def test_a_matrix_of_the_right_size_is_taken():
    """So that the refusals above are of what differs."""
    assert langevin(num_steps=0, preconditioner=np.eye(3, dtype=np.float32))[0].shape == (60, 3)


def test_a_number_of_numpy_is_a_number_of_starts():
    assert SAMPLER.starts(np.int64(2), [0, 1]).shape == (2, 3)


@pytest.fixture(scope="module")
def trainer():
    return ebm_tf.Trainer(ENERGY, DATA, sampler=SAMPLER, scheme="noise", batch_size=8)


def test_keras_habits_are_told(trainer):
    with pytest.raises(ebm_tf.ConfigError, match=r"^expected compile\(optimizer\) before fit"):
        trainer.fit(train_steps=1)
    with pytest.raises(ebm_tf.ConfigError, match=r"^expected optimizer, one of Keras .* Received: optimizer=0.001$"):
        trainer.compile(1e-3)
    trainer.compile("adam")
    for name, why in HABITS["compile"].items():
        with pytest.raises(ebm_tf.ConfigError) as error:
            trainer.compile("adam", **{name: 1})
        assert str(error.value) == f"expected compile without {name} ({why}). Received: {name}"
    for name, why in HABITS["fit"].items():
        with pytest.raises(ebm_tf.ConfigError) as error:
            trainer.fit(train_steps=1, **{name: 1})
        assert str(error.value) == f"expected fit without {name} ({why}). Received: {name}"
    batches = tf.data.Dataset.from_tensor_slices(X)
    for x in (batches.batch(8), batches.batch(7, drop_remainder=True), tf.data.Dataset.zip(batches, batches)):
        with pytest.raises(ebm_tf.ConfigError, match=r"float32 batches \(8, 3\), as batch\(8, drop_remainder=True\)"):
            trainer.fit(x)
    for x in (X, DATA, 100, (one for one in X)):  # Keras wants tuples of a generator, and train_step none
        text = rf"^expected fit\(train_steps=...\), since Trainer has its data, .* Received: x={type(x).__name__}$"
        with pytest.raises(ebm_tf.ConfigError, match=text):
            trainer.fit(x, epochs=3)
    with pytest.raises(ebm_tf.ConfigError, match=r"validation, examples \[N, 3\], True or False. Received: \[60, 2\]"):
        trainer.held_out.batches(DATA, X[:, :2], 0)
    with pytest.raises(ebm_tf.ConfigError, match=r"True or False. Received: tuple$"):
        trainer.held_out.batches(DATA, (X, None), 0)
    with pytest.raises(NotImplementedError, match=r"trainer\.energy"):
        trainer(X)


def test_habits_are_arguments_of_keras():
    """And none of Trainer's own."""
    for name, habits in HABITS.items():
        own = inspect.signature(getattr(ebm_tf.Trainer, name)).parameters
        keras_own = inspect.signature(getattr(keras.Model, name)).parameters
        assert not {*habits} & {*own}
        assert {*habits} - {"learning_rate"} <= {*keras_own}


def test_one_callback_or_none(trainer):
    trainer.compile("adam")
    one = keras.callbacks.History()
    with mock.patch.object(keras.Model, "fit") as fit_of_keras:
        for callbacks in (one, [one], None):
            trainer.fit(tf.data.Dataset.from_tensor_slices(X).batch(8, drop_remainder=True), callbacks=callbacks)
    assert [call.kwargs["callbacks"] for call in fit_of_keras.call_args_list] == [[one], [one], []]
    with pytest.raises(
        ebm_tf.ConfigError, match=r"BackupAndRestore, .*: trainer\.checkpoint\.save.*: BackupAndRestore$"
    ):
        trainer.fit(train_steps=1, callbacks=[one, keras.callbacks.BackupAndRestore("backup")])


def test_a_models_info_is_short():
    info = ebm_tf.ModelInfo("x", (3,), 1.0, 1.0, 1.0, 1, (), "0", "data", "0", fingerprint="f" * 3_000)
    assert "fff" not in repr(info) and ebm_tf.ModelInfo.from_json(info.to_json()) == info

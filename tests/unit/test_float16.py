"""What training says where float16 cannot hold a number. How near it comes to others: tests/equivalence, gradient."""

from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import board, callbacks, failures, guard, run

HELD = "float16 holds sizes up to 65,504"
TINY = dict(dataset="cifar10", num_filters=2, batch_size=2, num_steps=1, log_every=2, figure_every=9, train_steps=6)


@pytest.fixture(autouse=True)
def _forget_models():
    yield
    keras.utils.clear_session(free_memory=False)


def build(**settings):
    return run.build_trainer(TrainConfig(**{**TINY, "dtype_policy": "mixed_float16", **settings}))


def fit(trainer):
    """Six updates on noise. Returns their logs."""
    seen = []
    keep = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(dict(logs)))
    x = tf.random.stateless_uniform([2, 32, 32, 3], [1, 2], minval=-1.0)
    guarding = callbacks.DivergenceGuard(trainer.config.log_every, logger=mock.Mock())
    batches = tf.data.Dataset.from_tensors(x).repeat()
    trainer.fit(batches, steps_per_epoch=6, epochs=1, callbacks=[keep, guarding], verbose=0)
    return seen


def test_a_usual_update_loses_nothing(capsys):
    """Of a new net the gradients of queries, keys and values are 0: their block's last layer is."""
    trainer = build()
    shares = [logs["zero_gradient_share"] for logs in fit(trainer)]
    sizes = {v.path: int(np.prod(v.shape)) for v in trainer.energy.trainable_variables}
    unused = sum(size for path, size in sizes.items() if any(name in path for name in ("query", "key", "value")))
    assert shares[0] == pytest.approx(unused / sum(sizes.values()), abs=0.002)
    assert max(shares) < guard.MAX_ZERO_SHARE
    assert list(board.scalars({"zero_gradient_share": 0.0})) == ["optimizer/zero_gradient_share"]
    assert "warning" not in capsys.readouterr().err


def test_a_gradient_that_float16_loses_is_told_once(capsys):
    shares = [logs["zero_gradient_share"] for logs in fit(build(energy_scale=1e-8))]
    assert min(shares) > guard.MAX_ZERO_SHARE
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning: zero_gradient_share" in line]
    assert "beyond 0.05: float16 holds no sizes below 6e-8" in line and line.endswith("(update 2)")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_number_that_is_not_finite_tells_of_float16s_range(policy):
    trainer = build(dtype_policy=policy)
    looks = guard.Guard(trainer.config, trainer.energy, trainer.optimizer)
    with pytest.raises(run.DivergenceError) as too_large:
        looks.check(7, {"energy/data": 1e9})
    assert HELD not in str(too_large.value)  # it was held
    for logs in ({"energy/data": float("inf")}, {"gradient_norm": float("nan")}):
        with pytest.raises(run.DivergenceError) as error:
            looks.check(7, logs)
        assert (HELD in str(error.value)) == (policy == "mixed_float16") and "\n" not in str(error.value)
    if policy == "mixed_float16":
        assert f"or --dtype_policy=mixed_bfloat16 or float32 ({HELD})" in str(error.value)


def test_states_that_overflow_end_training_with_this_advice():
    trainer = build()
    for variable in trainer.energy.trainable_variables:
        variable.assign(1e3 * variable)
    with pytest.raises(run.DivergenceError, match=f"= (nan|inf|-inf) at update 1.*{HELD}"):
        fit(trainer)


def test_a_chain_takes_as_much_memory_as_in_bfloat16():
    configs = [TrainConfig(**TINY, dtype_policy=policy) for policy in ("float32", "mixed_bfloat16", "mixed_float16")]
    wide, half, float16 = (failures.out_of_memory(config, (32, 32, 3)).partition(" GiB; ")[0] for config in configs)
    assert half == float16 != wide


def test_batches_are_not_shuffled():
    trainer, x = build(), np.zeros((2, 32, 32, 3), np.float32)
    with mock.patch.object(keras.Model, "fit") as fit_of_keras:
        trainer.fit(tf.data.Dataset.from_tensors(x))
    assert fit_of_keras.call_args.kwargs["shuffle"] is False

"""Settings of the parameter updates."""

import dataclasses

from ebm_tf.settings.fields import COUNT, POSITIVE, SEED, Range, Role, Settings, setting

__all__ = ["OptimizerConfig"]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Settings):
    """How many updates, and how each changes the weights."""

    train_steps: int = setting(
        50_000,
        "Parameter updates; with stages the sum of theirs.",
        "Sec. 3",
        role=Role.RESULT,
        range=COUNT,
        per_stage=True,
    )
    optimizer: str = setting(
        "adam", "Keras' optimizer that changes the weights.", choices=("adam", "sgd"), role=Role.MODEL, per_stage=True
    )
    learning_rate: float = setting(
        1e-4, "eta: learning rate at the start.", "Alg. 1", role=Role.RESULT, range=POSITIVE, per_stage=True
    )
    learning_rate_schedule: str = setting(
        "constant",
        "constant, or cosine: half a cosine down to learning_rate_end at train_steps.",
        choices=("constant", "cosine"),
        role=Role.MODEL,
        per_stage=True,
    )
    learning_rate_end: float = setting(
        0.0, "Learning rate that half a cosine ends at, at train_steps.", role=Role.RESULT, per_stage=True
    )
    ema_momentum: float = setting(
        0.0,
        "Momentum of an average of the weights over updates, which is saved in the end. 0: none.",
        role=Role.MODEL,
        range=Range(lambda value: 0 <= value < 1, "a number in [0, 1)"),
        per_stage=True,
    )
    seed: int = setting(0, "Seed of weights, data order and chains.", role=Role.MODEL, range=SEED)

    def _check(self) -> None:
        expected = f"a number from 0 to learning_rate = {self.learning_rate:g}"
        self._require("learning_rate_end", 0 <= self.learning_rate_end <= self.learning_rate, expected)

"""Is training still sane? Looked at after every update: numbers that are not finite, or beyond their bounds."""

import math
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from ebm_tf.settings.train import TrainConfig

__all__ = ["DivergenceError", "Guard", "count_not_finite", "float_variables", "underflow"]

# Of the weights' gradient. A new network has 0.044 with attention, whose last layer is 0; where it has 0.049, a fifth
# of the gradient is lost. A trained one loses 2 % where it has 0.01, 30 % at 0.16 (docs/performance.md, "float16").
MAX_ZERO_SHARE = 0.05


class DivergenceError(FloatingPointError):
    """Training diverged. One line: what, at which update, what to change.

    Attributes:
      what: which number, its value, its bound.
      step: the update.
      advice: the change that fits.
    """

    def __init__(self, what: str, step: int, advice: str):
        super().__init__(f"training diverged: {what} at update {step}. {advice}")
        self.what, self.step, self.advice = what, step, advice


def float_variables(energy: keras.Model, optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """What has to stay finite: the weights, and the optimizer's variables but for its counters."""
    return [variable for variable in (*energy.weights, *optimizer.variables) if "float" in variable.dtype]


def count_not_finite(values: list[tf.Tensor]) -> tf.Tensor:
    """How many numbers of all values are not finite, float32 []."""
    return tf.add_n([tf.reduce_sum(tf.cast(~tf.math.is_finite(value), tf.float32)) for value in values])


def underflow(logs: dict[str, float]) -> str | None:
    """One line where too much of the weights' gradient is 0 because float16 holds nothing so small, else None."""
    share = logs.get("zero_gradient_share", 0.0)
    if share <= MAX_ZERO_SHARE:
        return None
    return (
        f"zero_gradient_share = {share:.2g}, beyond {MAX_ZERO_SHARE:g}: float16 holds no sizes below 6e-8, so part of "
        "the gradient is lost. Try --dtype_policy=mixed_bfloat16 or float32"
    )


class Guard:
    """Looks at an update's scalars, the weights and the optimizer's variables.

    The bank needs no look of its own: what an update writes into it are ends of chains, whose energies are among the
    scalars.

    Args:
      config: gives the bounds. Those on energies are in units of energy_scale.
      energy: the model that learns.
      optimizer: its optimizer.
    """

    def __init__(self, config: TrainConfig, energy: keras.Model, optimizer: keras.optimizers.Optimizer):
        self.config, self.is_image = config, len(energy.event_shape) == 3
        self.bounds = {
            "max_energy": config.max_energy * config.energy_scale,
            "max_energy_difference": config.max_energy_difference * config.energy_scale,
            "max_energy_grad_norm": config.max_energy_grad_norm * config.energy_scale,
            "max_abs_x": config.max_abs_x,
        }
        self._variables = float_variables(energy, optimizer)

    def check(self, step: int, logs: dict[str, float], num_not_finite: int = 0) -> None:
        """Looks for the first thing that is wrong after an update.

        Args:
          step: the update.
          logs: its scalars.
          num_not_finite: Trainer's. The variables are looked at if it is not 0.

        Raises:
          DivergenceError: something is.
        """
        for name, value in logs.items():
            if not math.isfinite(value):
                raise self._error(f"{name} = {value}", step, name, is_finite=False)
        for name, value, bound, flag in self._bounded(logs):
            if abs(value) > bound:
                raise self._error(f"{name} = {value:.4g}, beyond {bound:g} (--{flag})", step, name)
        for variable in self._variables if num_not_finite else []:
            if count := int(np.count_nonzero(~np.isfinite(variable.numpy()))):
                what = f"{count} of {math.prod(variable.shape)} numbers of {variable.path} are not finite"
                raise self._error(what, step, "weight", is_finite=False)

    def _bounded(self, logs: dict[str, float]) -> Iterator[tuple[str, float, float, str]]:
        """(name, value, bound, flag) of every scalar that has a bound."""
        for name, value in logs.items():
            flag = ""
            if name == "max_abs":
                flag = "max_abs_x"
            elif name == "energy_grad_norm":
                flag = "max_energy_grad_norm"
            elif name.startswith("energy/"):
                flag = "max_energy"
            elif name.endswith("/energy_difference") and not name.startswith("total/"):
                flag = "max_energy_difference"
            if flag:
                yield name, value, self.bounds[flag], flag

    def _error(self, what: str, step: int, name: str, is_finite: bool = True) -> DivergenceError:
        rate = f"--learning_rate (now {self.config.first_learning_rate:g})"
        step_size = f"--step_size (now {self.config.step_size:g})"
        if name in ("max_abs", "energy_grad_norm"):
            advice = f"The chains run away: try a smaller {step_size} or {rate}"
        elif name.startswith("energy/"):
            advice = f"The energies run away: try a smaller {rate}, --learning_rate_schedule=cosine, or {step_size}"
        else:
            advice = f"Try a smaller {rate} or {step_size}"
        # Steps too long for the data's noise: docs/log/cifar.md, "How large a Langevin step may be".
        needed = 3 * math.sqrt(2 * self.config.step_size * self.config.temperature)
        if self.is_image and self.config.data_noise < 0.99 * needed:
            advice += f", or --data_noise={needed:.2g} or more (now {self.config.data_noise:g})"
        if self.config.dtype_policy == "mixed_float16" and not is_finite:
            advice += ", or --dtype_policy=mixed_bfloat16 or float32 (float16 holds sizes up to 65,504)"
        return DivergenceError(what, step, advice)

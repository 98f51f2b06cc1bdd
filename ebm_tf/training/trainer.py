"""The Keras model that learns an energy: compile() and fit() as usual, train_step by Algorithm 1."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from ebm_tf import build
from ebm_tf.build import build_energy, build_optimizer, energy_chain_fn, step_sizes, use_xla
from ebm_tf.data.base import Dataset
from ebm_tf.data.spectrum import noise_spectrum
from ebm_tf.mcmc import chain_init
from ebm_tf.mcmc.preconditioner import root_of_spectrum
from ebm_tf.mcmc.sample_bank import Drawn, SampleBank
from ebm_tf.mcmc.step_size import adaptive_step_size
from ebm_tf.settings.train import Scheme, Stage, TrainConfig
from ebm_tf.training import replicas
from ebm_tf.training.algorithm1 import one_step_update
from ebm_tf.training.guard import float_variables
from ebm_tf.training.losses import energy_difference

__all__ = ["Trainer"]


class Starts(NamedTuple):
    """Where the chains of an update start.

    Attributes:
      x_inits: by bracket [N, *event].
      weights: by bracket, its weight in Eq. 6, [] or one per chain [N].
      drawn: the chains of the bank, as they will be written back but for their steps. None without a bank.
    """

    x_inits: dict[str, tf.Tensor]
    weights: dict[str, float | tf.Tensor]
    drawn: Drawn | None


class Trainer(keras.Model):
    """Trains config's energy. Update i on replica r draws everything random from (config.seed, i, r): stopping and
    resuming changes nothing.

    Attributes:
      config: settings of its stage of the run; without stages the run's.
      stage: the stage.
      data: the Dataset.
      energy: the EnergyModel.
      strategy: where the replicas are. fit outside its scope; fit takes what replicas.split_batches returns.
      bank: the SampleBank where config has one, BankShards on several replicas, else None.
      update_count: int64 [], updates done.
      num_not_finite: how many of the weights' and the optimizer's numbers are not finite after the last update of fit.

    Args:
      config: settings of the run. Its batch_size is that of all replicas together.
      stage: of config.stages, the one to train. None: the first.
      strategy: TensorFlow's default, one device, unless replicas.make_strategy made another.
      data: config's. None: it opens them.
    """

    train_function: Callable | None

    def __init__(
        self,
        config: TrainConfig,
        strategy: tf.distribute.Strategy | None = None,
        stage: Stage | None = None,
        data: Dataset | None = None,
    ):
        super().__init__(name="trainer")
        self.stage = stage or config.stages[0]
        self.config = config = self.stage.config
        self.data = data or build.dataset(config)
        self.strategy = strategy or tf.distribute.get_strategy()
        self.seed = tf.constant(config.chain_seed, tf.int32)
        self._is_float16 = config.dtype_policy == "mixed_float16"
        with self.strategy.scope():
            self.energy = build_energy(config, self.data.event_shape)
            first = tf.VariableAggregation.ONLY_FIRST_REPLICA
            self.update_count = tf.Variable(0, False, dtype=tf.int64, name="update_count", aggregation=first)
            zeros = tf.zeros([1 + len(config.brackets), config.batch_size])
            own = tf.VariableSynchronization.ON_READ
            self._energies = tf.Variable(zeros, False, name="energies", synchronization=own, aggregation=first)
        if self.energy.noise_spectrum:
            self._fit_spectrum()
        self.bank = self._build_bank() if config.has_bank else None
        self.built = True
        compiled = functools.partial(tf.function, jit_compile=use_xla(config), autograph=False)
        self.one_step_update, self.apply_gradient = compiled(self._one_step_update), compiled(self._apply_gradient)
        self._step = self.train_step
        if self.strategy.num_replicas_in_sync == 1:  # as a whole; but collectives are outside XLA
            self._step = compiled(self.train_step)
        self.count_not_finite = compiled(_count_not_finite)
        self.num_not_finite = 0
        self.chain_fn = energy_chain_fn(self.energy, config)

    def _fit_spectrum(self) -> None:
        """What the training images say of where chains start and how far their steps go."""
        assert self.energy.noise_spectrum
        mean, factor = noise_spectrum(self.data, self.config.data_noise)
        for weight, value in zip(self.energy.noise_spectrum, (mean, factor), strict=True):
            weight.assign(value)
        if self.energy.preconditioner is not None:
            self.energy.preconditioner.assign(root_of_spectrum(factor))

    def compile(self) -> None:
        """Keras' compile, with the optimizer that config names."""
        with self.strategy.scope():
            optimizer = build_optimizer(self.config)
            # XLA compiles what __init__ says; Keras nothing.
            super().compile(optimizer=optimizer, jit_compile=False)
            optimizer.build(self.energy.trainable_variables)

    def _build_bank(self) -> SampleBank | replicas.BankShards:
        config = self.config
        seed = tf.constant([config.seed, 1], tf.int32)
        x_init = build.first_examples(config, config.bank_size, self.data) if config.bank_start == "data" else None
        args = config.bank_size, self.data.event_shape, seed, config.bank_dtype, self.energy.noise_spectrum, x_init
        one = self.strategy.num_replicas_in_sync == 1
        return SampleBank(*args) if one else replicas.BankShards(self.strategy, *args)

    @property
    def checkpoint(self) -> tf.train.Checkpoint:
        """Everything the next update depends on."""
        return self._checkpoint(has_ages=True)

    def checkpoint_like(self, prefix: str) -> tf.train.Checkpoint:
        """`checkpoint`, for one on the disk, which may have been written before chains had ages."""
        names = [name for name, _ in tf.train.list_variables(prefix)]
        return self._checkpoint(has_ages=any(name.startswith("bank/ages") for name in names))

    def _checkpoint(self, has_ages: bool) -> tf.train.Checkpoint:
        parts = {"energy": self.energy, "optimizer": self.optimizer, "update_count": self.update_count}
        if self.bank:  # the whole bank, whatever the number of replicas
            ages = {"ages": self.bank.ages} if has_ages else {}
            parts["bank"] = tf.train.Checkpoint(samples=self.bank.samples, **ages)
        return tf.train.Checkpoint(**parts)

    @property
    def last_energies(self) -> dict[str, tf.Tensor]:
        """Energies [N] of the last update's data and, per group of chains, of their ends. In no checkpoint: no update
        depends on them.
        """
        names = ("data", *self.config.brackets)
        return dict(zip(names, tf.unstack(self._energies.read_value()), strict=True))

    def make_train_function(self, force=False):
        """Keras' hook: a function of an iterator that does an update and returns its scalars as Python's numbers.

        All that the host wants to know of an update comes from the device in one piece. Keras' own function leaves
        tensors, which Keras' list of callbacks then fetches one by one; and on several workers it averages the scalars
        of the replicas, which train_step has put together already, along an axis that they have not (Keras 3.12).
        """
        if self.train_function is None or force:
            update = replicas.on_every_replica(self.strategy, self._packed_step)

            def train_function(iterator) -> dict[str, float]:
                *scalars, num_not_finite = update(iterator).numpy().tolist()
                self.num_not_finite = int(num_not_finite)
                return dict(zip(self._scalar_names, scalars, strict=True))

            self.train_function = train_function
        return self.train_function

    def _packed_step(self, x):
        """An update's scalars, and then num_not_finite, as one float32 vector."""
        scalars = self._step(x)
        self._scalar_names = list(scalars)
        values = [tf.convert_to_tensor(variable) for variable in float_variables(self.energy, self.optimizer)]
        return tf.stack([*scalars.values(), self.count_not_finite(values)])

    def train_step(self, x):
        """One update of one replica: negatives, energies, gradient, step, metrics (Algorithm 1)."""
        step_seed = tf.random.experimental.stateless_fold_in(self.seed, tf.cast(self.update_count, tf.int32))
        init_seed, chain_seed = tf.unstack(tf.random.split(replicas.replica_seed(step_seed), 2))
        starts, step_size = self._chain_starts(x, init_seed), self._step_size(x)
        x_inits, weights = list(starts.x_inits.values()), list(starts.weights.values())
        result = self.one_step_update(x, x_inits, weights, step_size, chain_seed)
        bank_scalars = self._write_bank(starts, result.x_final)
        result, weights = replicas.over_replicas(result), [replicas.gather_chains(weight) for weight in weights]
        self._energies.assign(tf.stack([result.energy_data, *result.energy_final]))
        # Of this update: apply_gradient counts on.
        num_steps, learning_rate = self._num_steps(), tf.convert_to_tensor(self.optimizer.learning_rate)
        replicas.on_every_device(self.strategy, self.update_count, self.apply_gradient, result.gradient)
        return {
            **_scalars(list(starts.x_inits), weights, result),
            **bank_scalars,
            **({"zero_gradient_share": _zero_share(result.gradient)} if self._is_float16 else {}),
            "num_steps": tf.cast(num_steps, tf.float32),
            "step_size": tf.reduce_min(step_size),
            "learning_rate": learning_rate,
        }

    def _one_step_update(self, x, x_inits, weights, step_size, seed):
        energy, theta = self.energy, self.energy.trainable_variables
        steps, temperature = self._num_steps(), tf.constant(self.config.temperature)
        settings = steps, step_size, temperature, seed, energy.preconditioner
        result = one_step_update(energy, theta, x, x_inits, weights, *settings)
        # The chains' own energies are not logged; what is not returned is not computed.
        return result._replace(info=result.info._replace(energy_init=None, energy_final=None))

    def _num_steps(self):
        """L of this update, int32 []."""
        first, last = self.config.num_steps_start, self.config.num_steps
        if first is None:
            return tf.constant(last)
        count = tf.cast(self.update_count - self.stage.first_step, tf.float32)
        done = tf.minimum(count / max(self.config.train_steps - 1, 1), 1.0)
        return tf.cast(tf.round(1 / ((1 - done) / first + done / last)), tf.int32)

    def _apply_gradient(self, gradient):
        """The optimizer's step, and update_count, on one device."""
        self.update_count.assign_add(1)
        optimizer, theta = self.optimizer, self.energy.trainable_variables
        if self.strategy.num_replicas_in_sync == 1:
            optimizer.apply_gradients(zip(gradient, theta, strict=True))
            return
        # What apply_gradients does with build_optimizer's, but for its own all-reduce, which XLA does not compile.
        for slope, variable in zip(gradient, theta, strict=True):
            optimizer.update_step(slope, variable.value, optimizer.learning_rate)
        if optimizer.use_ema:
            optimizer._update_model_variables_moving_average(theta)
        optimizer.iterations.assign_add(1)

    def _energy_fn(self, x):
        return self.energy(x, training=False)

    def _chain_starts(self, x, seed) -> Starts:
        """By config.brackets, the one rule of which chains an update has."""
        config, spectrum = self.config, self.energy.noise_spectrum
        seeds = tf.unstack(tf.random.split(seed, 2))
        x_inits, weights, drawn = {}, dict(config.brackets), None
        if "noise_init" in weights:
            x_inits["noise_init"] = self._noise(tf.shape(x), seeds[0])
        if "data_init" in weights:
            x_inits["data_init"] = x
        if self.bank:
            draw_seed, restart_seed = seeds if config.scheme.has_bank else tf.unstack(tf.random.split(seeds[1], 2))
            drawn = self.bank.draw(x.shape[0], draw_seed)
            x_bank, is_new = drawn.x, tf.zeros([x.shape[0]], tf.bool)
            if config.scheme is Scheme.PERSISTENT_REFRESH:
                share = config.refresh_prob, config.refresh_unit
                x_bank, is_new = chain_init.refresh(x_bank, *share, restart_seed, spectrum)
            elif config.bank_restart_data or config.bank_restart_noise:
                shares = config.bank_restart_data, config.bank_restart_noise
                x_bank, is_new = chain_init.restart(x_bank, x, *shares, restart_seed, spectrum)
            ages = tf.where(is_new, 0.0, drawn.ages) + tf.cast(self._num_steps(), tf.float32)
            x_inits["persistent_init"], drawn = x_bank, Drawn(drawn.indices, x_bank, ages)
            if config.bank_burn_in:
                has_burned_in = tf.cast(ages >= config.bank_burn_in, tf.float32)
                weights["persistent_init"] *= has_burned_in
        return Starts(x_inits, weights, drawn)

    def _write_bank(self, starts: Starts, x_final) -> dict[str, tf.Tensor]:
        """Puts the ends of the bank's chains back. Returns what is to be known of their ages, on this replica."""
        if self.bank is None or starts.drawn is None:
            return {}
        names = list(starts.x_inits)
        drawn = starts.drawn._replace(x=x_final[names.index("persistent_init")])
        self.bank.write(drawn)
        counted = tf.cast(drawn.ages >= self.config.bank_burn_in, tf.float32)
        return {
            "bank/age": tf.reduce_mean(drawn.ages),
            "bank/age_max": tf.reduce_max(drawn.ages),
            "bank/counted": tf.reduce_mean(counted),
        }

    def _noise(self, shape, seed):
        return chain_init.noise(shape, seed, self.energy.noise_spectrum)

    def _step_size(self, x):
        sizes = step_sizes(self.config, self.data.event_shape)
        if self.config.step_size_rule == "constant":
            return sizes
        largest = tf.constant(self.config.step_size)
        energies = replicas.gather(self._energy_fn(x))
        return sizes * adaptive_step_size(energies, largest) / largest

    def sample_chain(self, num_samples: int, num_steps: int, seed: int, x_init: tf.Tensor | None = None) -> tf.Tensor:
        """Ends of chains under the training's step size and temperature, float32 [num_samples, *event].

        Law: langevin_chain's, from noise unless x_init [num_samples, *event] is given.
        Limits: changes no variable; num_steps = 0 returns the starts.
        """
        seeds = tf.random.split(tf.constant([seed, 2], tf.int32), 2)
        if x_init is None:
            x_init = self._noise((num_samples, *self.data.event_shape), seeds[0])
        sizes, temperature = step_sizes(self.config, self.data.event_shape), tf.constant(self.config.temperature)
        return self.chain_fn(x_init, tf.constant(num_steps), sizes, temperature, seeds[1])[0]


def _count_not_finite(values):
    return tf.add_n([tf.reduce_sum(tf.cast(~tf.math.is_finite(value), tf.float32)) for value in values])


def _zero_share(gradient):
    """Share of a gradient's numbers that are 0: what float16 cannot hold."""
    zeros = tf.add_n([tf.reduce_sum(tf.cast(value == 0.0, tf.float32)) for value in gradient])
    return zeros / sum(value.shape.num_elements() for value in gradient)


def _scalars(names, weights, result):
    """The scalars of one update: Fig. 6's components and what tells a healthy run from a sick one."""
    scalars = {"energy/data": tf.reduce_mean(result.energy_data)}
    total = tf.zeros_like(result.energy_data)
    for name, weight, energy_final in zip(names, weights, result.energy_final, strict=True):
        component = energy_difference(result.energy_data, energy_final)
        scalars |= {f"{name}/{key}": value for key, value in component.items()}
        scalars[f"energy/{name}"] = tf.reduce_mean(energy_final)
        total += weight * (result.energy_data - energy_final)
    scalars |= {f"total/{key}": value for key, value in energy_difference(total, tf.zeros_like(total)).items()}
    return scalars | {
        "loss": scalars["total/energy_difference"],
        "energy_grad_norm": result.info.energy_grad_norm,
        "gradient_norm": result.gradient_norm,
        "max_abs": result.info.max_abs,
    }

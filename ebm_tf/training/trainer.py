"""The Keras model that learns an energy: compile() and fit() as usual, train_step by Algorithm 1."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ebm_tf import build
from ebm_tf.data.base import Dataset
from ebm_tf.defaults import blocks_of, callbacks_of, check_batches, fit_to_data, refuse_habits
from ebm_tf.energies.base import EnergyModel
from ebm_tf.errors import ConfigError, check_kind
from ebm_tf.mcmc.langevin import in_halves
from ebm_tf.mcmc.sample_bank import SampleBank
from ebm_tf.mcmc.sampler import Sampler
from ebm_tf.mcmc.step_size import adaptive_step_size
from ebm_tf.settings.train import Stage
from ebm_tf.streams import Stream
from ebm_tf.training import replicas
from ebm_tf.training.algorithm1 import Starts, centres, chain_starts, one_step_update, with_jumps
from ebm_tf.training.callbacks import DivergenceGuard, ProgressBar
from ebm_tf.training.guard import count_not_finite, float_variables
from ebm_tf.training.losses import HeldOut, scalars, zero_share

__all__ = ["Trainer"]


class Trainer(keras.Model):
    """Trains an energy on data by contrastive divergence, chains from noise, or both (Algorithm 1). Update i on replica
    r draws everything random from (seed, i, r): stopping and resuming changes nothing. What is not given fits the data.

    Attributes:
      config, stage: settings of its stage of the run, without stages the run's; and the stage.
      energy, data, sampler: the EnergyModel, the Dataset and the chains of training.
      strategy: where the replicas are. fit outside its scope; fit takes what replicas.split_batches returns.
      bank: the SampleBank where config has one, BankShards on several replicas, else None.
      update_count: int64 [], updates done.
      num_not_finite: how many of the weights' and the optimizer's numbers are not finite after the last update.

    Args:
      energy: the EnergyModel.
      data: the Dataset, of the same event_shape.
      sampler: step size, temperature, L, starts and preconditioner of chains. None: those that fit the data.
      strategy: TensorFlow's default, one device, unless replicas.make_strategy made another.
      stage: of a run's settings, in place of those below. Its batch_size is that of all replicas together.
      preset: what the settings are for that are not given: density or detector.
      **settings: of TrainConfig, those of OWN_SETTINGS: scheme, cd_weight, batch_size, data_noise, seed and others.

    Raises:
      ConfigError: an argument of another kind, data of another shape than the energy's, or a setting that cannot be
        used.
    """

    train_function: Callable | None

    def __init__(
        self,
        energy: EnergyModel,
        data: Dataset,
        *,
        sampler: Sampler | None = None,
        strategy: tf.distribute.Strategy | None = None,
        stage: Stage | None = None,
        preset: str = "density",
        **settings: Any,
    ):
        check_kind("strategy", strategy, tf.distribute.Strategy | None, "a tf.distribute.Strategy, or None")
        super().__init__(name="trainer")
        self.energy, self.data = energy, data
        if stage is None:
            config, sampler = fit_to_data(energy, data, sampler, preset, settings)
            stage = Stage("", 0, config, {})
        assert sampler is not None
        self.stage, self.sampler = stage, sampler
        self.config = config = stage.config
        self.strategy = strategy or tf.distribute.get_strategy()
        self.seed = tf.constant(config.chain_seed, tf.int32)
        self._is_float16 = energy.dtype_policy.compute_dtype == "float16"
        with self.strategy.scope():
            first = tf.VariableAggregation.ONLY_FIRST_REPLICA
            self.update_count = tf.Variable(0, False, dtype=tf.int64, name="update_count", aggregation=first)
            zeros = tf.zeros([1 + len(config.brackets), config.batch_size])
            own = tf.VariableSynchronization.ON_READ
            self._energies = tf.Variable(zeros, False, name="energies", synchronization=own, aggregation=first)
        self.held_out = HeldOut(self._energy_fn, config.data_noise, config.temperature)
        self.bank = self._build_bank() if config.has_bank else None
        self._centres = centres(data) if config.bank_jump else None
        self.built = True
        compiled = functools.partial(tf.function, jit_compile=build.use_xla(config.jit_compile), autograph=False)
        self.one_step_update, self.apply_gradient = compiled(self._one_step_update), compiled(self._apply_gradient)
        self._step = self.train_step
        if self.strategy.num_replicas_in_sync == 1:  # as a whole; but collectives are outside XLA
            self._step = compiled(self.train_step)
        self.count_not_finite = compiled(count_not_finite)
        self.num_not_finite = 0

    @property
    def metrics(self):
        """Metrics of `evaluate`: what train_step returns needs none."""
        return self.held_out.means

    def compile(self, optimizer: keras.optimizers.Optimizer | str | None = None, **kwargs: Any) -> None:
        """Keras' compile.

        Args:
          optimizer: any of Keras, or its name. None: the one that config names.
          **kwargs: none; Keras' own are refused with a ConfigError.
        """
        refuse_habits("compile", kwargs)
        with self.strategy.scope():
            chosen = build.build_optimizer(self.config, optimizer)
            # XLA compiles what __init__ says; Keras nothing.
            super().compile(optimizer=chosen, jit_compile=False)
            chosen.build(self.energy.trainable_variables)

    def fit(
        self,
        x: Any = None,
        *,
        train_steps: int | None = None,
        validation_every: int | None = None,
        validation: np.ndarray | bool = True,
        callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback | None = (),
        verbose: int | str = "auto",
        **kwargs,
    ) -> keras.callbacks.History:
        """Keras' fit, in updates. An epoch is a block of validation_every of them; at its end callbacks see the block's
        last update and, as val_loss, val_energy and val_energy_difference, what `evaluate` says of held-out data.

        A second call goes on where the first ended. Keras' callbacks work, but for BackupAndRestore; ModelCheckpoint
        writes the energy's file. "val_loss" is the number to monitor: loss is d of Eq. 7, which does not fall.

        Args:
          x: batches of config.batch_size, a tf.data.Dataset, in place of the data; Keras' own kwargs say how many.
          train_steps: updates to do.
          validation_every: updates from one look at held-out data to the next; it divides train_steps. None: a
            twentieth of train_steps, or the nearest longer part that divides it.
          validation: held-out examples, [N, *event]. True: the data's, at most 1,000. False: none.
          callbacks: of Keras.
          verbose: 0: silent. auto: a bar on a terminal, lines elsewhere.

        Returns:
          Keras' History: a list per number, one entry per block.

        Raises:
          ConfigError: train_steps or validation_every cannot be used, no data are held out, or Keras' own arguments.
          DivergenceError: an update was not finite, or beyond its bounds.
        """
        callbacks = callbacks_of(callbacks)
        if not self.compiled:
            raise ConfigError("expected compile(optimizer) before fit. Received: a trainer that has not been compiled")
        if x is not None:
            own = {"train_steps": train_steps, "validation_every": validation_every, "validation": validation}
            check_batches(x, (self.config.batch_size, *self.energy.event_shape), own)
            kwargs = {"shuffle": False, **kwargs}  # newer Keras warns of its own default
            return super().fit(x, callbacks=callbacks, verbose=verbose, **kwargs)
        refuse_habits("fit", kwargs)
        blocks, every = blocks_of(train_steps, validation_every)
        first = int(self.update_count.numpy())
        rate = float(tf.convert_to_tensor(self.optimizer.learning_rate))  # for what the guard says
        config = dataclasses.replace(self.config, train_steps=first + blocks * every, learning_rate=rate)
        self.config, self.stage = config, self.stage._replace(config=config)
        watching = [DivergenceGuard(config.log_every), *([ProgressBar(config)] if verbose else [])]
        return super().fit(
            replicas.split_batches(self.strategy, build.make_dataset(config, first, self.data)),
            epochs=blocks,
            steps_per_epoch=every,
            validation_data=self.held_out.batches(self.data, validation, config.seed),
            callbacks=[*watching, *callbacks],
            shuffle=False,
            verbose=0,
        )

    def evaluate(self, x: Any = None, **kwargs) -> dict[str, float]:
        """What held-out data say, see losses.HeldOut: x [N, *event], or at most 1,000 of the data's own."""
        if x is None or isinstance(x, np.ndarray | list | tf.Tensor | Dataset):
            x = self.held_out.batches(self.data, True if x is None else x, self.config.seed)
            kwargs = {"verbose": 0, "return_dict": True, **kwargs}
        return super().evaluate(x, **kwargs)

    def call(self, x):
        """Refuses what Keras' predict wants: energies come from the energy."""
        raise NotImplementedError(
            "expected trainer.energy(x) or trainer.energy.predict(x). Received: a call of Trainer"
        )

    def test_step(self, batch):
        """One batch of held_out."""
        return self.held_out.update(*batch)

    def save(self, filepath: str, overwrite: bool = True, **kwargs) -> None:
        """Writes the energy's .keras file: what ebm_tf.load and keras.callbacks.ModelCheckpoint want of a trainer."""
        self.energy.save(filepath, overwrite=overwrite, **kwargs)

    def _build_bank(self) -> SampleBank | replicas.BankShards:
        config = self.config
        seed, x_init = tf.constant([config.seed, int(Stream.BANK)], tf.int32), None
        if config.bank_start == "data":
            x_init = build.first_examples(build.make_dataset(config, data=self.data), config.bank_size)
        args = config.bank_size, self.energy.event_shape, seed, config.bank_dtype, self.sampler.start, x_init
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
        return dict(zip(("data", *self.config.brackets), tf.unstack(self._energies.read_value()), strict=True))

    def make_train_function(self, force=False):
        """Keras' hook: a function of an iterator that does an update and returns its scalars as Python's numbers.

        All that the host wants to know of an update comes from the device in one piece. Keras' own function leaves
        tensors, which Keras' list of callbacks then fetches one by one; and on several workers it averages the scalars
        of the replicas, which train_step has put together already, along an axis that they have not (Keras 3.12).
        """
        if self.train_function is None or force:
            update = replicas.on_every_replica(self.strategy, self._packed_step)

            def train_function(iterator) -> dict[str, float]:
                *values, num_not_finite = update(iterator).numpy().tolist()
                self.num_not_finite = int(num_not_finite)
                return dict(zip(self._scalar_names, values, strict=True))

            self.train_function = train_function
        return self.train_function

    def _packed_step(self, x):
        """An update's scalars, and then num_not_finite, as one float32 vector."""
        found = self._step(x)
        self._scalar_names = list(found)
        values = [tf.convert_to_tensor(variable) for variable in float_variables(self.energy, self.optimizer)]
        return tf.stack([*found.values(), self.count_not_finite(values)])

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
            **scalars(list(starts.x_inits), weights, result),
            **bank_scalars,
            **({"zero_gradient_share": zero_share(result.gradient)} if self._is_float16 else {}),
            "num_steps": tf.cast(num_steps, tf.float32),
            "step_size": tf.reduce_min(step_size),
            "learning_rate": learning_rate,
        }

    def _one_step_update(self, x, x_inits, weights, step_size, seed):
        energy = in_halves(self.energy, self.energy.event_shape, build.use_xla(self.config.jit_compile))
        chains = {"num_steps": self._num_steps(), "step_size": step_size, "seed": seed}
        chains |= {"temperature": tf.constant(self.config.temperature), "preconditioner": self.sampler.preconditioner}
        result = one_step_update(energy, self.energy.trainable_variables, x, x_inits, weights, **chains)
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
        starts = chain_starts(self.config, self.sampler.start, self.bank, x, self._num_steps(), seed)
        if self._centres is None:
            return starts
        return with_jumps(starts, self._energy_fn, self._centres, self.config, seed)

    def _write_bank(self, starts: Starts, x_final) -> dict[str, tf.Tensor]:
        """Puts the ends of the bank's chains back. Returns what is to be known of their ages, on this replica."""
        if self.bank is None or starts.drawn is None:
            return {}
        names = list(starts.x_inits)
        drawn = starts.drawn._replace(x=x_final[names.index("persistent_init")])
        self.bank.write(drawn)
        jumped, counted = starts.has_jumped, tf.cast(drawn.ages >= self.config.bank_burn_in, tf.float32)
        return {
            "bank/age": tf.reduce_mean(drawn.ages),
            "bank/age_max": tf.reduce_max(drawn.ages),
            "bank/counted": tf.reduce_mean(counted),
            **({} if jumped is None else {"bank/jumped": tf.reduce_mean(tf.cast(jumped, tf.float32))}),
        }

    def _step_size(self, x):
        sizes = tf.constant(self.sampler.step_size, tf.float32)
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
        seeds = tf.random.split(tf.constant([seed, int(Stream.TRAINERS_SAMPLES)], tf.int32), 2)
        x_init = self.sampler.starts(num_samples, seeds[0]) if x_init is None else x_init
        return self.sampler.run(self.energy, x_init, seeds[1], num_steps)[0]

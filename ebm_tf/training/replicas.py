"""Training on several devices with tf.distribute: who takes part, and what their parts of an update make together.

    g = (1/R) Σ_r g_r,    g_r: the gradient of Eq. 6 over the N/R data and chains of replica r

train_step runs once per replica. Every replica holds all weights, draws random numbers of its own, and keeps its own
part of the bank. What the strategies share is the global batch: it does not depend on R.
"""

import contextlib
import functools
import json
import signal
import sys
import zlib
from collections.abc import Callable, Sequence

import tensorflow as tf

from ebm_tf.errors import ConfigError
from ebm_tf.mcmc.chain_init import Spectrum
from ebm_tf.mcmc.sample_bank import Drawn, SampleBank
from ebm_tf.settings.train import TrainConfig
from ebm_tf.training import cluster
from ebm_tf.training.algorithm1 import StepResult

__all__ = [
    "BankShards",
    "check_same_run",
    "copy_bank",
    "gather",
    "gather_chains",
    "is_chief",
    "make_strategy",
    "meet",
    "on_every_device",
    "on_every_replica",
    "over_replicas",
    "replica_seed",
    "split_batches",
]


def is_chief(strategy: str) -> bool:
    """Whether this process writes the run's files: the only one, or worker 0 of TF_CONFIG.

    Raises:
      ConfigError: multi_worker without a TF_CONFIG that can be used.
    """
    return strategy != "multi_worker" or cluster.read_tf_config().task == 0


def make_strategy(config: TrainConfig) -> tf.distribute.Strategy:
    """The strategy that config names.

    multi_worker returns when all workers have joined; it has to come before anything else that TensorFlow computes.
    mirrored takes all GPUs of this host, or without GPUs TensorFlow's logical CPU devices; with one device it is
    one_device, and says so.

    Raises:
      ConfigError: batch_size or bank_size cannot be shared out evenly; no usable TF_CONFIG.
      WorkerLostError: a worker did not join.
    """
    strategy = tf.distribute.get_strategy()
    if config.strategy == "mirrored":
        devices = _local_devices()
        if len(devices) > 1:
            strategy = _mirrored(devices)
        else:
            print(f"--strategy=mirrored: one device, {devices[0]}; training as with one_device", file=sys.stderr)
    elif config.strategy == "multi_worker":
        strategy = _multi_worker(cluster.read_tf_config())
    replicas = strategy.num_replicas_in_sync
    for name in ("batch_size", "bank_size") if config.has_bank else ("batch_size",):
        if getattr(config, name) % replicas:
            raise ConfigError(
                f"--{name}: expected a multiple of {replicas}, the devices that train (--strategy={config.strategy}). "
                f"Received: {name}={getattr(config, name)}"
            )
    return strategy


def _local_devices() -> tuple[str, ...]:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tuple(device.name for device in devices)


# One strategy a process: a second one's collectives would take the numbers of the first one's.


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _multi_worker(workers: cluster.Cluster) -> tf.distribute.Strategy:
    cluster.wait_for_workers(workers)
    ways = tf.distribute.experimental.CommunicationImplementation
    # Left to itself TensorFlow sends what is on GPUs from worker to worker by gRPC.
    way = ways.NCCL if tf.config.get_visible_devices("GPU") else ways.AUTO
    options = tf.distribute.experimental.CommunicationOptions(implementation=way)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # TensorFlow's own handler notes it and goes on
    return strategy


def check_same_run(
    strategy: tf.distribute.Strategy, config: TrainConfig, first_step: int, weights: Sequence[tf.Variable]
) -> None:
    """Whether all workers have the same settings and go on from the same update and with these weights.

    Raises:
      ConfigError: they do not; on every worker.
    """
    if config.strategy != "multi_worker":
        return
    places = {"workdir": None, "data_dir": None, "init_model": None}  # which may have other names on other hosts
    settings = {**config.to_dict(), **places}
    mine = zlib.crc32(json.dumps([settings, first_step]).encode())
    for weight in weights:  # that a file gave: each worker has read its own
        mine = zlib.crc32(weight.numpy().tobytes(), mine)
    checks = on_every_replica(strategy, lambda: gather(tf.constant([mine], tf.int64)))()
    if tf.reduce_any(checks != mine):
        raise ConfigError(
            "--strategy: multi_worker expected the same flags, and a --workdir that all share, on every worker. "
            f"Received: another worker differs from this one, which is at update {first_step}"
        )


def meet(strategy: tf.distribute.Strategy) -> None:
    """Returns when every process of the run has come here."""
    on_every_replica(strategy, lambda: gather(tf.zeros([1])))()


def on_every_replica(strategy: tf.distribute.Strategy, fn: Callable) -> Callable:
    """fn on every replica, as one graph. fn returns the same on all; the graph returns it once.

    Args:
      strategy: where.
      fn: called in replica context.

    Returns:
      run(*iterators), each of them an iterator of one of fn's arguments, a value per replica.
    """

    @tf.function(autograph=False)
    def run(*iterators):
        results = strategy.run(fn, [next(values) for values in iterators])
        return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], results)

    return run


def split_batches(strategy: tf.distribute.Strategy, batches: tf.data.Dataset):
    """Endless batches [N, *event] as what Keras' fit takes: [N/R, *event] for every replica, in the batch's order."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return batches

    def parts(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local

        def mine(x):
            return tf.reshape(x, (replicas, x.shape[0] // replicas, *x.shape[1:]))[first : first + local]

        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return batches.map(mine).unbatch().apply(endless).prefetch(2 * local)

    return strategy.distribute_datasets_from_function(parts)


# In replica context: inside train_step.


def replica_seed(seed: tf.Tensor) -> tf.Tensor:
    """A seed int32 [2] for this replica alone; the seed itself where there is one replica."""
    if tf.distribute.get_replica_context().num_replicas_in_sync == 1:
        return seed
    return tf.random.experimental.stateless_fold_in(seed, _replica_id())


def _replica_id() -> tf.Tensor:
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def gather(values: tf.Tensor) -> tf.Tensor:
    """[B, ...] of every replica as [R B, ...], the same on all."""
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync
    if replicas == 1:
        return values
    return tf.ensure_shape(context.all_gather(values, axis=0), (replicas * values.shape[0], *values.shape[1:]))


def gather_chains(weight: float | tf.Tensor) -> float | tf.Tensor:
    """A bracket's weights [B] of every replica as [R B]; a weight that is the same for all as it is."""
    return gather(weight) if isinstance(weight, tf.Tensor) else weight


def over_replicas(result: StepResult) -> StepResult:
    """The result of the global batch: its gradient and its norm, its energies [N], the mean of energy_grad_norm, the
    largest |x|. One all-gather and one all-reduce: every collective is a meeting of all devices. x_final stays the
    replica's.
    """
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync
    if replicas == 1:
        return result
    info, shape = result.info, result.energy_data.shape
    scalars = [tf.fill(shape, value) for value in (info.energy_grad_norm, info.max_abs)]
    columns = gather(tf.stack([result.energy_data, *result.energy_final, *scalars], axis=1))
    energy_data, *energy_final, norms, largest = tf.unstack(columns, axis=1)
    info = info._replace(energy_grad_norm=tf.reduce_mean(norms), max_abs=tf.reduce_max(largest))
    shapes = [value.shape for value in result.gradient]
    joined = tf.concat([tf.reshape(value, [-1]) for value in result.gradient], axis=0)
    joined = context.all_reduce(tf.distribute.ReduceOp.MEAN, joined)
    parts = tf.split(joined, [shape.num_elements() for shape in shapes])
    gradient = [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]
    return StepResult(gradient, tf.norm(joined), energy_data, energy_final, result.x_final, info)


def on_every_device(strategy: tf.distribute.Strategy, anchor: tf.Variable, fn: Callable, values: list) -> None:
    """Calls fn(values) once per device, where variables are that device's own: fn may assign to them, under XLA too.

    Args:
      strategy: where.
      anchor: a variable that every device holds.
      fn: returns nothing.
      values: the replica's.
    """
    if strategy.num_replicas_in_sync == 1:
        fn(values)
        return

    def on_device(variable, *values):
        fn(list(values))
        return tf.zeros([])

    def everywhere(strategy, *values):
        strategy.extended.update(anchor, on_device, args=values, group=False)

    tf.distribute.get_replica_context().merge_call(everywhere, args=tuple(values))


class BankShards:
    """A bank in equal parts, one per replica and on its device. draw and write, in replica context, are SampleBank's on
    the replica's own part.

    Law: SampleBank's in every part; parts are independent.

    Attributes:
      samples: variable [size, *event] of this host. A copy for checkpoints, good after `collect`.
      ages: float32 variable [size], likewise.

    Args:
      strategy: of R replicas.
      size: number of chains, a multiple of R.
      event_shape: shape of one x.
      seed: int32 [2], of the noise.
      dtype: see SampleBank.
      spectrum: see SampleBank.
      x_init: see SampleBank.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        size: int,
        event_shape: tuple[int, ...],
        seed: tf.Tensor,
        dtype: str = "float32",
        spectrum: Spectrum | None = None,
        x_init: tf.Tensor | None = None,
    ):
        self._strategy, self._part = strategy, size // strategy.num_replicas_in_sync
        self._shards = []
        for replica, device in zip(self._local_replicas(), strategy.extended.worker_devices, strict=True):
            with tf.device(device):
                replica_seed = tf.random.experimental.stateless_fold_in(seed, replica)
                part = None if x_init is None else x_init[replica * self._part : (replica + 1) * self._part]
                self._shards.append(SampleBank(self._part, event_shape, replica_seed, dtype, spectrum, part))
        self._gather_parts = on_every_replica(strategy, self._parts_with_id)
        with tf.device("CPU"):
            self.samples = tf.Variable(tf.zeros((size, *event_shape), dtype), trainable=False, name="samples")
            self.ages = tf.Variable(tf.zeros([size]), trainable=False, name="ages")

    def _local_replicas(self) -> range:
        local = len(self._strategy.extended.worker_devices)
        resolver = self._strategy.cluster_resolver
        first = local * resolver.task_id if resolver else 0
        return range(first, first + local)

    def _shard(self) -> SampleBank:
        replica = tf.get_static_value(_replica_id())
        return self._shards[replica % len(self._shards)]

    def draw(self, batch_size: int, seed: tf.Tensor) -> Drawn:
        """Draws the chains of distinct slots of the replica's part."""
        return self._shard().draw(batch_size, seed)

    def write(self, drawn: Drawn) -> None:
        """Writes states and ages into the slots that they were drawn from."""
        self._shard().write(drawn)

    def collect(self) -> None:
        """Copies all parts into `samples` and `ages`, in replica order. All workers call it after the same update."""
        replica_ids, *parts = self._gather_parts()
        with tf.device("CPU"):
            order = tf.argsort(replica_ids)
            for whole, values in zip((self.samples, self.ages), parts, strict=True):
                whole.assign(tf.reshape(tf.gather(values, order), whole.shape))

    def _parts_with_id(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        replica_id = tf.cast(_replica_id(), tf.float32)  # NCCL gathers no integers of the host
        shard = self._shard()
        parts = (replica_id, shard.samples.value(), shard.ages.value())
        return tuple(gather(part[tf.newaxis]) for part in parts)

    def share_out(self) -> None:
        """Copies `samples` and `ages` into the parts."""
        for replica, shard in zip(self._local_replicas(), self._shards, strict=True):
            part = slice(replica * self._part, (replica + 1) * self._part)
            shard.samples.assign(self.samples[part])
            shard.ages.assign(self.ages[part])


def copy_bank(source: SampleBank | BankShards, target: SampleBank | BankShards) -> None:
    """Copies the samples of a bank and their ages to another of its kind and size."""
    if isinstance(source, BankShards):
        source.collect()
    target.samples.assign(source.samples)
    target.ages.assign(source.ages)
    if isinstance(target, BankShards):
        target.share_out()

"""The workers of a multi_worker run: TF_CONFIG, and waiting for each other before TensorFlow connects them.

TensorFlow's own wait for a worker that does not come has no end and cannot be interrupted.
"""

import contextlib
import json
import os
import socket
import sys
import time
from typing import NamedTuple

from ebm_tf.errors import ConfigError

__all__ = ["Cluster", "WorkerLostError", "read_tf_config", "wait_for_workers", "without_others"]

JOIN_SECONDS = 300.0
SAY_SECONDS = (3.0, 30.0)  # until the first word on who is awaited, and between words
EXAMPLE = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'


class WorkerLostError(RuntimeError):
    """A process of a multi_worker run is not there. One line: which, and what to do."""


class Cluster(NamedTuple):
    """The processes of a run, one per host.

    Attributes:
      workers: address of each, host:port. The first is the chief, which writes the run's files.
      task: the place of this process among them.
    """

    workers: tuple[str, ...]
    task: int


def read_tf_config() -> Cluster:
    """The cluster that the environment variable TF_CONFIG describes.

    Raises:
      ConfigError: it is not there, or not as in EXAMPLE.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        values = json.loads(text)
        workers, task = values["cluster"]["worker"], int(str(values["task"]["index"]))
        are_usable = isinstance(workers, list) and all(map(_is_address, workers)) and len({*workers}) == len(workers)
        is_complete = set(values["cluster"]) == {"worker"} and values["task"]["type"] == "worker"
        if are_usable and is_complete and 0 <= task < len(workers):
            return Cluster(tuple(workers), task)
    except (AttributeError, KeyError, TypeError, ValueError):
        pass  # said below
    received = " ".join(text.split())[:200]
    raise ConfigError(
        f"--strategy: expected for multi_worker an environment variable such as TF_CONFIG='{EXAMPLE}'. "
        f"Received: TF_CONFIG='{received}'"
    )


def _is_address(address: str) -> bool:
    """Whether it is host:port. Raises ValueError where the port is no number."""
    host, _, port = address.rpartition(":")
    return bool(host) and 0 < int(port) < 2**16


def without_others(strategy: str) -> str:
    """The strategy; mirrored in place of multi_worker where TF_CONFIG names one worker, and says so on stderr.

    Raises:
      ConfigError: see read_tf_config.
    """
    if strategy != "multi_worker" or len(read_tf_config().workers) > 1:
        return strategy
    print("--strategy=multi_worker: one worker in TF_CONFIG; training as with mirrored", file=sys.stderr)
    return "mirrored"


def wait_for_workers(cluster: Cluster, seconds: float | None = None) -> None:
    """Returns when every worker has been seen to listen at its address, this one too. Says on stderr who is awaited.

    Args:
      cluster: the workers.
      seconds: how long to wait. None: JOIN_SECONDS.

    Raises:
      ConfigError: this worker's port is taken.
      WorkerLostError: a worker did not come.
    """
    start = time.monotonic()
    deadline, say_at = start + (JOIN_SECONDS if seconds is None else seconds), start + SAY_SECONDS[0]
    port = int(cluster.workers[cluster.task].rpartition(":")[2])
    try:
        server = socket.create_server(("", port), backlog=len(cluster.workers))
    except OSError as error:
        raise ConfigError(
            f"--strategy: expected a free port for this worker in TF_CONFIG. Received: {port}, {error.strerror}"
        ) from error
    with server:
        missing = [address for task, address in enumerate(cluster.workers) if task != cluster.task]
        while missing := [address for address in missing if not _listens(address)]:
            now = time.monotonic()
            if now > deadline:
                raise WorkerLostError(f"no worker at {', '.join(missing)} (TF_CONFIG). Start all workers together")
            if now > say_at:
                say_at = now + SAY_SECONDS[1]
                awaited = f"the worker at {', '.join(missing)} (TF_CONFIG)"
                print(f"waiting for {awaited}, for {deadline - now:.0f} s more", file=sys.stderr, flush=True)
            time.sleep(0.2)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=2.0):
        return True
    return False

"""The devices of a run, on one machine or several, and how several come to know the same."""

import functools
import json
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from train.errors import UsageError, reason

Json = TypeVar("Json")
Address = tuple[str, int]  # kind of the task and its number


@dataclass(frozen=True, eq=False)
class Workers:
    """The processes that train together, each on its own devices; one if TF_CONFIG names no others.

    Attributes:
        strategy: over all of their devices.
        index: this one's number. The first is the chief, which alone writes.
        count: number of processes.
    """

    strategy: tf.distribute.Strategy
    index: int = 0
    count: int = 1

    @property
    def chief(self) -> bool:
        """Whether this one writes checkpoints, logs and results."""
        return self.index == 0

    def of_chief(self, compute: Callable[[], Json]) -> Json:
        """What the chief computes, on every worker. All have to call it, and wait for the chief.

        Args:
            compute: called on the chief alone; gives what JSON can hold.

        Raises:
            UsageError: the chief's mistake, on every worker; on the chief, whatever error it was.
        """
        if self.count == 1:
            return compute()
        found: list[Any] = [None, None]
        problem: Exception | None = None
        if self.chief:
            try:
                found[0] = compute()
            except Exception as error:  # whatever it is, the others must not wait
                found[1], problem = str(error), error
        text = json.dumps(found).encode() if self.chief else b""
        size = int(self._sum(np.array(len(text), np.float64)))
        letters = np.frombuffer(text, np.uint8) if self.chief else np.zeros(size)
        value, mistake = json.loads(self._sum(letters.astype(np.float32)).astype(np.uint8).tobytes())
        if problem is not None:
            raise problem
        if mistake is not None:
            raise UsageError(mistake)
        return value

    def share(self, variables: Iterable[tf.Variable]) -> None:
        """Gives every worker the chief's values of the variables."""
        if self.count > 1:
            for variable in variables:
                value = variable.numpy()
                wide = value.astype(np.float64) if value.dtype.kind in "iu" else value
                variable.assign(tf.cast(self._sum(wide if self.chief else np.zeros_like(wide)), variable.dtype))

    def _sum(self, value: np.ndarray) -> np.ndarray:
        """The sum of an array over the workers: their first devices', the others' being 0."""
        first = self.index * self.strategy.num_replicas_in_sync // self.count

        def of_device(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            return tf.constant(value if context.replica_id_in_sync_group == first else np.zeros_like(value))

        each = self.strategy.experimental_distribute_values_from_function(of_device)
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None).numpy()


@functools.cache
def make_workers(replicas: int | None = None) -> Workers:
    """The workers that TF_CONFIG names, or this process alone, and their strategy.

    Args:
        replicas: number of devices of all workers together; all GPUs if None.

    Raises:
        UsageError: there are not so many devices, or TF_CONFIG is not understood.
    """
    addresses, own = cluster()
    if len(addresses) < 2:
        return Workers(make_strategy(replicas))
    index, gpus = list(addresses).index(own), tf.config.list_physical_devices("GPU")
    print(f"worker {index} of {', '.join(addresses.values())}; waits for the others", flush=True)
    # On CPUs TensorFlow's own choice is the same; NCCL is chosen where all devices are GPUs.
    kinds = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(implementation=kinds.AUTO if gpus else kinds.RING)
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except (ValueError, RuntimeError, tf.errors.UnknownError) as error:
        raise UsageError(f"TF_CONFIG: {addresses[own]}: {reason(error)}") from None
    signal.signal(signal.SIGTERM, terminated)  # which the strategy takes for itself
    if replicas not in (None, strategy.num_replicas_in_sync):
        raise UsageError(
            f"--replicas: {replicas} asked for, and the workers of TF_CONFIG have {strategy.num_replicas_in_sync} "
            "devices; leave it out, or hide GPUs with CUDA_VISIBLE_DEVICES"
        )
    return Workers(strategy, index, len(addresses))


def cluster() -> tuple[dict[Address, str], Address]:
    """The address of each task that trains, chief first, and which of them this process is.

    Raises:
        UsageError: TF_CONFIG is not understood.
    """
    if not os.environ.get("TF_CONFIG"):  # which TensorFlow takes for bad JSON where it is empty
        return {}, ("worker", 0)
    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        spec = resolver.cluster_spec()
        kinds = [kind for kind in ("chief", "worker") if kind in spec.jobs]
        addresses = {(k, number): spec.task_address(k, number) for k in kinds for number in spec.task_indices(k)}
        own = (resolver.task_type, resolver.task_id)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"TF_CONFIG: {error}; it takes {_EXAMPLE}") from None
    if addresses and own not in addresses:
        raise UsageError(f"TF_CONFIG: task {own[0]} {own[1]} is none of the cluster's workers; it takes {_EXAMPLE}")
    return addresses, own


_EXAMPLE = (
    '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}, on each worker '
    "with its own index"
)


@functools.cache
def make_strategy(replicas: int | None) -> tf.distribute.Strategy:
    """All GPUs of this machine, or as many devices as asked for: GPUs if there are any, else logical CPU devices.

    One strategy a process and size: TensorFlow numbers the collectives of each strategy from the same start, so a
    second one would run into the first one's.

    Raises:
        UsageError: more replicas than devices.
    """
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if kind == "CPU" and (replicas or 1) > 1:
        _split_cpu(replicas or 1)
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    count = replicas or (len(devices) if kind == "GPU" else 1)
    if count > len(devices):
        raise UsageError(f"--replicas: {count} asked for, and there are {len(devices)} {kind} devices")
    return tf.distribute.MirroredStrategy(devices[:count]) if count > 1 else tf.distribute.get_strategy()


def _split_cpu(count: int) -> None:
    """Makes logical CPU devices, which works once a process and before TensorFlow's first operation."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or []) < count:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)

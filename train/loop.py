"""The custom training loop: steps under a strategy, validation, selection, checkpoints, and going on from one."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from adap_tf import AdversarialModel, Evaluator
from adap_tf.backbones import BACKBONES
from adap_tf.data import Sampler, training_batches
from adap_tf.methods import METHODS
from train.config import PRECISIONS, Config, UsageError
from train.monitor import Monitor
from train.run_folder import Row, RunFolder, replacing
from train.sources import Splits

SELECTED_BY = {"clean": "clean_ap", "adversarial": "robust_ap"}


class NonFiniteError(UsageError):
    """Training gave a number that is not finite."""


@functools.cache
def make_strategy(replicas: int | None) -> tf.distribute.Strategy:
    """All GPUs, or as many devices as asked for: GPUs if there are any, else logical devices of the CPU.

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


def make_sampler(config: Config, splits: Splits) -> Sampler:
    """The batches of a run.

    Raises:
        UsageError: the batch does not fit the data.
    """
    asked = None
    if METHODS[config.method].sampling == "positives":
        asked = config.positives_per_batch or max(config.batch_size // 2, 1)
        if asked > config.batch_size:
            raise UsageError(f"--positives-per-batch: {asked} is more than the batch of {config.batch_size}")
    if config.batch_size > len(splits.train):
        raise UsageError(
            f"--batch-size: {config.batch_size} is more than the {len(splits.train)} training examples of {config.data}"
        )
    sampler = Sampler(splits.train.label, config.batch_size, asked, config.seed)
    if asked not in (None, sampler.positives_per_batch):
        print(f"note: {asked} positives a batch asked for; with this data a batch holds {sampler.positives_per_batch}")
    return sampler


def make_model(config: Config, splits: Splits, steps: int) -> AdversarialModel:
    """Network, method and optimizer of a run; call it in the strategy's scope."""
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(PRECISIONS[config.precision])
    try:
        network = BACKBONES[config.backbone](splits.train.image.shape[1:], splits.train.label.shape[1])
    finally:
        keras.config.set_dtype_policy("float32")
    model = AdversarialModel(
        network,
        config.method,
        splits.train.positives,
        examples=len(splits.train),
        attack=config.training_attack,
        threat=config.threat,
        l2=config.weight_decay,
        seed=config.seed,
        lam=config.lam,
        gamma1=config.gamma1,
        gamma2=config.gamma2,
        margin=config.margin,
    )
    rates = [config.learning_rate * share for share in (1, 0.1, 0.01)]
    drops = [steps // 2, 3 * steps // 4]
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.PiecewiseConstantDecay(drops, rates), epsilon=1e-8))
    return model


def train(config: Config, splits: Splits, folder: RunFolder) -> Row:
    """Trains from the last checkpoint, or from the start, to the end.

    After it, `best/` holds the network of the epoch with the highest validation AP, robust or clean as the
    method's row says, `metrics.csv` a row an epoch, and `checkpoints/` the newest states.

    Returns:
        The row of the epoch that was selected.

    Raises:
        UsageError: the batch does not fit the data or the replicas.
        NonFiniteError: a term was not finite; the message names the step, the term and the last good checkpoint.
    """
    strategy = make_strategy(config.replicas)
    sampler = make_sampler(config, splits)
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise UsageError(f"--batch-size: {config.batch_size} cannot be divided among {replicas} replicas")
    folder.open(config)

    steps = sampler.steps_per_epoch * config.epochs
    with strategy.scope():
        model = make_model(config, splits, steps)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    manager = tf.train.CheckpointManager(checkpoint, str(folder.checkpoints), max_to_keep=2, checkpoint_name="step")
    if manager.restore_or_initialize():
        print(f"goes on from {manager.latest_checkpoint}")
    first_step = int(model.optimizer.iterations)
    history = folder.history()[: first_step // sampler.steps_per_epoch]

    batches = strategy.distribute_datasets_from_function(
        lambda _: training_batches(splits.train, sampler, first_step, parts=replicas)
    )
    step = _compiled_step(strategy, model)
    evaluator = Evaluator(model.network, {"clean": None, "robust": config.threat}, seed=config.seed)
    selected_by = SELECTED_BY[model.method.selection]
    batch = iter(batches)
    with Monitor.watching(config.name, steps, first_step, folder.tensorboard) as monitor:
        for epoch in range(len(history) + 1, config.epochs + 1):
            model.reset_metrics()
            signals = _run_epoch(step, batch, sampler.steps_per_epoch, monitor, epoch, manager)
            found = evaluator.average_precision(splits.validation.image, splits.validation.label)
            row = {"epoch": float(epoch), **signals, **{f"{view}_ap": x["ap"] for view, x in found.items()}}
            monitor.epoch(row, epoch * sampler.steps_per_epoch, config.epochs)
            if all(row[selected_by] > earlier[selected_by] for earlier in history):
                with replacing(folder.best) as part:
                    model.network.save(part)
            history.append(row)
            folder.write_history(history)
            manager.save(checkpoint_number=epoch * sampler.steps_per_epoch)
    return max(history, key=lambda row: row[selected_by])


def _compiled_step(strategy: tf.distribute.Strategy, model: AdversarialModel) -> Callable[[Any], dict[str, tf.Tensor]]:
    """The step on all replicas as one graph. Every replica reports the same numbers, so the first one's will do."""

    @tf.function
    def step(batch: Any) -> dict[str, tf.Tensor]:
        signals = strategy.run(model.train_step, args=(batch,))
        return {name: strategy.experimental_local_results(value)[0] for name, value in signals.items()}

    return step


def _run_epoch(
    step: Callable[[Any], dict[str, tf.Tensor]],
    batches: Iterator[Any],
    steps: int,
    monitor: Monitor,
    epoch: int,
    manager: tf.train.CheckpointManager,
) -> Row:
    """The steps of an epoch; means of the terms over it. Numbers leave the device once, at the end."""
    signals = []
    for _ in range(steps):
        signals.append(step(next(batches)))
        monitor.step()
    values = {name: np.array([float(at_step[name]) for at_step in signals]) for name in signals[0]}
    for name, value in values.items():
        if name != "loss" and not np.isfinite(value).all():
            place = (epoch - 1) * steps + int(np.argmax(~np.isfinite(value))) + 1
            raise NonFiniteError(
                f"term {name} was not finite at step {place} (epoch {epoch}); "
                f"last good checkpoint: {manager.latest_checkpoint or 'none'}; a lower --learning-rate may help"
            )
    return {name: float(value[-1]) for name, value in values.items()}

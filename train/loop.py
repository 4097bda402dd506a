"""The custom training loop: steps under a strategy, checkpoints and going on from one, validation, selection."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from adap_tf import AdversarialModel, Evaluator
from adap_tf.backbones import BACKBONES
from adap_tf.data import AUGMENTATIONS, Sampler, training_batches
from adap_tf.methods import METHODS
from train.checkpoints import Checkpoints
from train.config import PRECISIONS, Config
from train.errors import NonFiniteError, UsageError
from train.monitor import Monitor
from train.run_folder import Row, RunFolder, replacing
from train.sources import Splits

SELECTED_BY = {"clean": "clean_ap", "adversarial": "robust_ap"}


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
    drops = [steps // 2 - 1, 3 * steps // 4 - 1]  # Keras changes the rate after the step of that number
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.PiecewiseConstantDecay(drops, rates), epsilon=1e-8))
    return model


def train(config: Config, splits: Splits, folder: RunFolder) -> Row:
    """Trains from the last checkpoint, or from the start, to the end.

    After it, `best/` holds the network of the epoch with the highest validation AP, robust or clean as the
    method's row says, `metrics.csv` a row an epoch, and `checkpoints/` the newest states.

    Returns:
        The row of the epoch that was selected.

    Raises:
        UsageError: the batch does not fit the data or the replicas, or the disk is full.
        NonFiniteError: a term was not finite; the message names the step, the term and the last good checkpoint.
    """
    strategy = make_strategy(config.replicas)
    sampler = make_sampler(config, splits)
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise UsageError(f"--batch-size: {config.batch_size} cannot be divided among {replicas} replicas")
    folder.open(config)

    epoch_steps = sampler.steps_per_epoch
    with strategy.scope():
        model = make_model(config, splits, epoch_steps * config.epochs)
    checkpoints = Checkpoints(folder.checkpoints, state_of(model), config.checkpoint_minutes)
    first_step = checkpoints.restore()
    if first_step:
        print(f"goes on from step {first_step}: {checkpoints}")
    history = folder.history()[: first_step // epoch_steps]
    if len(history) < (first_step - 1) // epoch_steps:
        raise UsageError(f"--out: {folder.metrics} lacks epochs that {checkpoints} has seen; remove {folder.path}")

    step = _compiled_step(strategy, model)
    batches = iter(
        strategy.distribute_datasets_from_function(
            lambda _: training_batches(splits.train, sampler, first_step, replicas, AUGMENTATIONS[config.augmentation])
        )
    )
    evaluator = Evaluator(model.network, {"clean": None, "robust": config.threat}, seed=config.seed)
    selected_by = SELECTED_BY[model.method.selection]
    with (
        Monitor.watching(folder, first_step, epoch_steps, config.epochs, config.batch_size) as monitor,
        _kept_if_stopped(model, checkpoints),
    ):
        while len(history) < config.epochs:
            end = (len(history) + 1) * epoch_steps
            signals = _run_epoch(model, lambda: step(next(batches)), end, epoch_steps, monitor, checkpoints)
            found = evaluator.average_precision(splits.validation.image, splits.validation.label)
            row = {"epoch": len(history) + 1.0, **signals, **{f"{view}_ap": x["ap"] for view, x in found.items()}}
            if all(row[selected_by] > earlier[selected_by] for earlier in history):
                with replacing(folder.best) as part:
                    model.network.save(part)
            history.append(row)
            folder.write_history(history)
            monitor.epoch(row)
    return max(history, key=lambda row: row[selected_by])


def state_of(model: AdversarialModel) -> list[tf.Variable]:
    """All variables that a run's future depends on, each once: weights, estimators, optimizer, running means."""
    means = [variable for mean in model.signals.values() for variable in mean.variables]
    variables = [*model.variables, *model.optimizer.variables, *means]
    return [variable.value for variable in {id(variable): variable for variable in variables}.values()]


def _compiled_step(strategy: tf.distribute.Strategy, model: AdversarialModel) -> Callable[[Any], dict[str, tf.Tensor]]:
    """The step on all replicas as one graph. Every replica reports the same numbers, so the first one's will do."""

    @tf.function
    def step(batch: Any) -> dict[str, tf.Tensor]:
        signals = strategy.run(model.train_step, args=(batch,))
        return {name: strategy.experimental_local_results(value)[0] for name, value in signals.items()}

    return step


def _run_epoch(
    model: AdversarialModel,
    step: Callable[[], dict[str, tf.Tensor]],
    end: int,
    length: int,
    monitor: Monitor,
    checkpoints: Checkpoints,
) -> Row:
    """The epoch's steps up to the one numbered `end`, and a checkpoint; the means of its terms.

    Numbers leave the device at checkpoints only.
    """
    first = int(model.steps_taken.value)
    if first == end - length:
        model.reset_metrics()
    means: list[dict[str, tf.Tensor]] = []
    for number in range(first + 1, end + 1):
        means.append(step())
        monitor.step(means[-1])
        if checkpoints.due or number == end:
            _check_finite(means, number, length, checkpoints)
            checkpoints.save(number)
            means.clear()
    return {name: float(value) for name, value in model.get_metrics_result().items()}


def _check_finite(means: list[dict[str, tf.Tensor]], last: int, length: int, checkpoints: Checkpoints) -> None:
    """Looks at the running means after each step up to the one numbered `last`."""
    for name in means[0]:
        bad = ~np.isfinite([float(at_step[name]) for at_step in means])
        if name != "loss" and bad.any():
            step = last - len(means) + int(np.argmax(bad)) + 1
            raise NonFiniteError(
                f"term {name} was not finite at step {step} (epoch {-(-step // length)}); "
                f"last good checkpoint: {checkpoints}; a lower --learning-rate may help"
            )


@contextlib.contextmanager
def _kept_if_stopped(model: AdversarialModel, checkpoints: Checkpoints) -> Iterator[None]:
    """A stop by Ctrl-C or SIGTERM loses no step: what is finite goes to disk first."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if np.isfinite([float(mean.result()) for mean in model.signals.values()]).all():
            checkpoints.save(int(model.steps_taken.value))
        raise

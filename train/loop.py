"""The custom training loop: steps under a strategy, checkpoints and going on from one, validation, selection."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from adap_tf import AdversarialModel, Evaluator
from adap_tf.data import AUGMENTATIONS, training_batches
from train.building import make_model, make_sampler, make_strategy
from train.checkpoints import Checkpoints
from train.config import Config
from train.errors import NonFiniteError, UsageError
from train.identity import fingerprints
from train.monitor import Monitor
from train.run_folder import Row, RunFolder, replacing
from train.sources import Splits

SELECTED_BY = {"clean": "clean_ap", "adversarial": "robust_ap"}
Signals = dict[str, tf.Tensor]


class Training:
    """A run between two checkpoints: its model, the steps it has taken, and its folder.

    The state after `N` steps is in `checkpoints/step-N`, and a row an epoch in `metrics.csv`. An epoch's last
    checkpoint is written before its validation, so whatever stops the run, what is on disk tells where it was.

    Args:
        config: the run.
        splits: its data.
        folder: where it goes; if steps of this run are there, it goes on after them.

    Raises:
        UsageError: the batch does not fit the data or the replicas, or the folder will not do.
    """

    def __init__(self, config: Config, splits: Splits, folder: RunFolder):
        self.config, self.splits, self.folder = config, splits, folder
        self.strategy = make_strategy(config.replicas)
        self.sampler = make_sampler(config, splits, self.strategy.num_replicas_in_sync)
        self.epoch_steps = self.sampler.steps_per_epoch
        with self.strategy.scope():
            self.model = make_model(config, splits, self.epoch_steps * config.epochs)
            threats = {"clean": None, "robust": config.threat}
            self.evaluator = Evaluator(self.model.network, threats, seed=config.seed, reach=splits.reach)
        folder.open(config, fingerprints(splits))  # nothing is written before all of it can be
        self.selected_by = SELECTED_BY[self.model.method.selection]
        self.checkpoints = Checkpoints(folder.checkpoints, state_of(self.model), config.checkpoint_minutes)
        self.history = self._restored()

    def run(self) -> Row:
        """Takes all steps that are left; the row of the epoch that is selected.

        Raises:
            UsageError: the disk is full.
            NonFiniteError: a term or a weight was not finite; the message names it, the step and the last good
                checkpoint.
        """
        first, epochs = self._steps_taken(), self.config.epochs
        batches = self._batches(first)
        watching = Monitor.watching(self.folder, first, self.epoch_steps, epochs, self.config.batch_size)
        with watching as monitor, self._kept_if_stopped():
            while len(self.history) < epochs:
                self._finish_epoch(batches, monitor)
                self._validate()
                monitor.epoch(self.history[-1])
        return max(self.history, key=lambda row: row[self.selected_by])

    def _restored(self) -> list[Row]:
        """Takes the newest state on disk, if there is any; the rows of the epochs before it."""
        step = self.checkpoints.restore()
        if step:
            print(f"goes on from step {step}: {self.checkpoints}")
        rows = self.folder.history()[: step // self.epoch_steps]
        if len(rows) < (step - 1) // self.epoch_steps:
            missing = f"lacks epochs that {self.checkpoints} has behind it"
            raise UsageError(f"--out: {self.folder.metrics} {missing}; remove {self.folder.path} or give another --out")
        return rows

    def _steps_taken(self) -> int:
        return int(self.model.steps_taken.numpy())

    def _batches(self, first_step: int) -> Iterator[Any]:
        """Each replica's part of the batches from a step on."""
        replicas, augmentation = self.strategy.num_replicas_in_sync, AUGMENTATIONS[self.config.augmentation]

        def own(worker: tf.distribute.InputContext) -> tf.data.Dataset:
            share = worker.input_pipeline_id, worker.num_input_pipelines
            return training_batches(self.splits.train, self.sampler, first_step, replicas, augmentation, *share)

        return iter(self.strategy.distribute_datasets_from_function(own))

    def _finish_epoch(self, batches: Iterator[Any], monitor: Monitor) -> None:
        """Takes the steps that the epoch has left, with a checkpoint at its end; numbers leave the device at those."""
        first, end = self._steps_taken(), (len(self.history) + 1) * self.epoch_steps
        if first == end - self.epoch_steps:
            self.model.reset_metrics()
        means: list[Signals] = []
        for number in range(first + 1, end + 1):
            means.append(self._step(next(batches)))
            monitor.step(means[-1])
            if self.checkpoints.due or number == end:
                self._check_finite(means, number)
                self.checkpoints.save(number)
                means.clear()

    @tf.function
    def _step(self, batch: Any) -> Signals:
        """The step on all replicas as one graph. Every replica reports the same numbers: the first one's will do."""
        signals = self.strategy.run(self.model.train_step, args=(batch,))
        return {name: self.strategy.experimental_local_results(value)[0] for name, value in signals.items()}

    def _validate(self) -> None:
        """Validates the epoch, writes its row, and keeps the network if it is the best so far."""
        image, label = self.splits.validation.image, self.splits.validation.label
        means = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        found = self.evaluator.average_precision(image, label)
        aps = {f"{view}_ap": entry["ap"] for view, entry in found.items()}
        row = {"epoch": len(self.history) + 1.0, **means, **self._health(), **aps}
        if all(row[self.selected_by] > earlier[self.selected_by] for earlier in self.history):
            with replacing(self.folder.best) as part:
                self.model.network.save(part)
        self.history.append(row)
        self.folder.write_history(self.history)

    def _health(self) -> Row:
        """What the estimators' rows say of themselves, and `row_age`, the mean of the steps since each last moved."""
        health = self.model.health()
        if health:
            taken, positive = self._steps_taken(), self.splits.train.label == 1
            last = np.broadcast_to(self.sampler.last_drawn(taken)[:, None], positive.shape)[positive]
            health["row_age"] = float(taken - 1 - last[last >= 0].mean())
        return health

    def _check_finite(self, means: list[Signals], last: int) -> None:
        """Looks at the running means after each step up to the one numbered `last`, and at the weights after it."""
        for name in self.model.method.signals:
            bad = ~np.isfinite([float(at_step[name]) for at_step in means])
            if bad.any():
                raise self._not_finite(f"term {name} was", last - len(means) + int(np.argmax(bad)) + 1)
        for weight in self.model.network.weights:
            if not np.isfinite(weight.numpy()).all():
                raise self._not_finite(f"weights {weight.path} were", last)

    def _not_finite(self, what: str, step: int) -> NonFiniteError:
        epoch = (step - 1) // self.epoch_steps + 1
        return NonFiniteError(
            f"{what} not finite at step {step} (epoch {epoch}); last good checkpoint: {self.checkpoints}; "
            "a lower --learning-rate may help"
        )

    @contextlib.contextmanager
    def _kept_if_stopped(self) -> Iterator[None]:
        """A stop by Ctrl-C or SIGTERM loses no step: the state goes to disk first, unless numbers are not finite."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self._check_finite([self.model.get_metrics_result()], self._steps_taken())
            self.checkpoints.save(self._steps_taken())
            raise


def state_of(model: AdversarialModel) -> list[tf.Variable]:
    """All variables that a run's future depends on, each once: weights, estimators, optimizer, running means."""
    means = [variable for mean in model.signals.values() for variable in mean.variables]
    variables = [*model.variables, *model.optimizer.variables, *means]
    return [variable.value for variable in {id(variable): variable for variable in variables}.values()]

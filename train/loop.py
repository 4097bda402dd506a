"""The custom training loop: steps under a strategy, checkpoints and going on from one, validation, selection."""

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from adap_tf import AdversarialModel, Evaluator
from adap_tf.data import AUGMENTATIONS, Examples, StoredImages, training_batches
from adap_tf.evaluation import summary
from adap_tf.finite import refused
from adap_tf.methods import Method
from adap_tf.scored import ADVERSARIAL, CLEAN
from train import figures
from train.building import make_model, make_sampler
from train.checkpoints import Checkpoints
from train.config import Config
from train.errors import NonFiniteError, UsageError
from train.identity import changed, fingerprints
from train.monitor import Monitor
from train.networks import load_network
from train.run_folder import Row, RunFolder, replacing
from train.sources import Splits
from train.summaries import Summaries
from train.workers import Workers

SELECTED_BY = {CLEAN: "clean_ap", ADVERSARIAL: "robust_ap"}
NAMED = 10  # examples in a message
Signals = dict[str, tf.Tensor]
Scores = dict[str, np.ndarray]
Watch = Callable[[Sequence[Row]], None]


class Training:
    """A run between two checkpoints: its model, the steps it has taken, and its folder.

    The state after `N` steps is in `checkpoints/step-N`, and a row an epoch in `metrics.csv`. An epoch's last
    checkpoint is written before its validation, so whatever stops the run, what is on disk tells where it was.

    Args:
        config: the run.
        splits: its data.
        folder: where it goes; if steps of this run are there, it goes on after them. Only the chief's is looked at.
        workers: that train together; each has to make one of these, with the same config and data.
        watch: called before each epoch with the rows of those before it; what it raises ends the run, which can go on
            later.

    Raises:
        UsageError: the batch does not fit the data or the replicas, the folder will not do, or the workers were not
            started alike.
    """

    def __init__(
        self, config: Config, splits: Splits, folder: RunFolder, workers: Workers, watch: Watch = lambda rows: None
    ):
        self.config, self.splits, self.folder, self.workers, self._watch = config, splits, folder, workers, watch
        self.strategy = workers.strategy
        self.sampler = make_sampler(config, splits, self.strategy.num_replicas_in_sync)
        self.epoch_steps = self.sampler.steps_per_epoch
        with self.strategy.scope():
            # The network to start from may lie on the chief's disk alone.
            own = config if workers.chief else replace(config, init_from=None)
            self.model = make_model(own, splits, self.epoch_steps * config.epochs)
            threats = {"clean": None, "robust": config.threat}
            self.evaluator = Evaluator(self.model.network, threats, seed=config.seed, reach=splits.reach)
        self._open()  # nothing is written before all of it can be
        self.selected_by = SELECTED_BY[self.model.method.selection]
        state = state_of(self.model)
        self.checkpoints = Checkpoints(folder.checkpoints, state, config.checkpoint_minutes)
        self.history = workers.of_chief(self._restored)
        workers.share(state)

    def run(self) -> Row:
        """Takes all steps that are left; the row of the epoch that is selected.

        Raises:
            UsageError: the disk is full.
            NonFiniteError: a term or a weight was not finite; the message names it, the step and the last good
                checkpoint.
        """
        first, epochs = self._steps_taken(), self.config.epochs
        batches = self._batches(first)
        silent = not self.workers.chief
        watching = Monitor.watching(self.folder, first, self.epoch_steps, epochs, self.config.batch_size, silent)
        writing = Summaries.of(self.folder, self.config, self.splits.tasks, silent)
        with watching as monitor, writing as summaries, self._kept_if_stopped():
            while len(self.history) < epochs:
                self._watch(self.history)
                speed = self._finish_epoch(batches, monitor)
                scores = self._validate()
                monitor.epoch(self.history[-1])
                self._summarise(summaries, scores, speed)
            row = selected(self.history, self.model.method)
            summaries.selected(int(row["epoch"]) * self.epoch_steps, row)
        return row

    def take_best(self) -> keras.Model:
        """Gives the network the weights of the epoch that was selected; the network."""
        network = self.model.network
        if self.workers.chief:
            network.set_weights(load_network(self.folder.best).get_weights())
        self.workers.share(weight.value for weight in network.weights)
        return network

    def _open(self) -> None:
        """Makes sure that all workers see the same data, and that the run can go to its folder.

        Raises:
            UsageError: they do not, or it cannot.
        """
        own, workers = fingerprints(self.splits), self.workers
        if name := changed(workers.of_chief(lambda: own), own):
            raise UsageError(f"--data-dir: the {name} data of worker {workers.index} are not those of worker 0")
        workers.of_chief(lambda: self.folder.open(self.config, own))

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

    def _finish_epoch(self, batches: Iterator[Any], monitor: Monitor) -> float:
        """Takes the steps that the epoch has left, with a checkpoint at its end; numbers leave the device at those.

        Returns:
            Examples a second.
        """
        first, end = self._steps_taken(), (len(self.history) + 1) * self.epoch_steps
        started = time.perf_counter()
        if first == end - self.epoch_steps:
            self.model.reset_metrics()
        for number in range(first + 1, end + 1):
            try:
                signals = self._step(next(batches))
            except tf.errors.InvalidArgumentError as error:
                if (found := refused(error)) is None:
                    raise
                raise self._not_finite(", ".join(found[1]), found[0]) from None
            monitor.step(signals)
            if number == end or (self.workers.chief and self.checkpoints.due):
                self._save(number)
        return (end - first) * self.config.batch_size / (time.perf_counter() - started)

    def _save(self, step: int) -> None:
        """Writes a checkpoint, unless its weights are not finite."""
        for weight in self.model.network.weights:
            if not np.isfinite(weight.numpy()).all():
                raise NonFiniteError(f"weights {weight.path} were not finite at step {step} {self._advice(step)}")
        if self.workers.chief:
            self.checkpoints.save(step)

    @tf.function
    def _step(self, batch: Any) -> Signals:
        """The step on all replicas as one graph. Every replica reports the same numbers: the first one's will do."""
        signals = self.strategy.run(self.model.train_step, args=(batch,))
        return {name: self.strategy.experimental_local_results(value)[0] for name, value in signals.items()}

    def _validate(self) -> Scores:
        """Validates the epoch, writes its row, and keeps the network if it is the best so far; the scores."""
        image, label = self.splits.validation.image, self.splits.validation.label
        means = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        scores = self.evaluator.scores(image, label)
        aps = {f"{view}_ap": entry["ap"] for view, entry in summary(scores, label).items()}
        counts = {
            "learning_rate": float(self.model.optimizer.learning_rate),
            "steps_skipped": float(self.model.steps_skipped.numpy()),
        }
        row = {"epoch": len(self.history) + 1.0, **means, **self._health(), **counts, **aps}
        if self.workers.chief and all(row[self.selected_by] > earlier[self.selected_by] for earlier in self.history):
            with replacing(self.folder.best) as part:
                self.model.network.save(part)
        self.history.append(row)
        if self.workers.chief:
            self.folder.write_history(self.history)
        return scores

    def _summarise(self, summaries: Summaries, scores: Scores, speed: float) -> None:
        """Writes the epoch for TensorBoard; perturbed images after the first, second, fourth, … and after the last."""
        if not self.workers.chief:
            return
        row, validation = self.history[-1], self.splits.validation
        epoch = int(row["epoch"])
        step = epoch * self.epoch_steps
        numbers = {name: value for name, value in row.items() if name != "epoch"} | {"images_per_second": speed}
        summaries.epoch(step, numbers, validation.label, scores)
        if epoch & (epoch - 1) == 0 or epoch == self.config.epochs:
            png, task = io.BytesIO(), self.splits.tasks[0]
            seen = validation.image, validation.label, scores
            figures.perturbed_examples(self.evaluator, "robust", *seen, self.config.eps, task, png)
            summaries.image(step, "perturbed", png)

    def _health(self) -> Row:
        """What the estimators' rows say of themselves, and `row_age`, the mean of the steps since each last moved."""
        health = self.model.health()
        if health:
            taken, positive = self._steps_taken(), self.splits.train.label == 1
            last = np.broadcast_to(self.sampler.last_drawn(taken)[:, None], positive.shape)[positive]
            health["row_age"] = float(taken - 1 - last[last >= 0].mean())
        return health

    def _not_finite(self, what: str, step: int) -> NonFiniteError:
        """What to say of a step that was refused, whose examples are looked at once more, each for itself."""
        augmentation = AUGMENTATIONS[self.config.augmentation]
        batch = next(iter(training_batches(self.splits.train, self.sampler, step - 1, 1, augmentation)))
        places = self.sampler.indices(step - 1).numpy()[self.model.not_finite(batch)]
        whose = f"for {_named(self.splits.train, places)}" if len(places) else "for no example by itself"
        if len(places) == self.config.batch_size:
            whose = "for every example of the batch"
        return NonFiniteError(f"{what} not finite at step {step} {whose} {self._advice(step)}, or --skip-nonfinite")

    def _advice(self, step: int) -> str:
        epoch = (step - 1) // self.epoch_steps + 1
        return f"(epoch {epoch}); last good checkpoint: {self.checkpoints}; a lower --learning-rate may help"

    @contextlib.contextmanager
    def _kept_if_stopped(self) -> Iterator[None]:
        """A stop by Ctrl-C or SIGTERM loses no step: the state goes to disk first, unless numbers are not finite."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self._save(self._steps_taken())
            raise


def selected(rows: Sequence[Row], method: Method) -> Row:
    """The epoch that is kept: the first of the highest AP by which the method selects."""
    return max(rows, key=lambda row: row[SELECTED_BY[method.selection]])


def _named(examples: Examples, places: np.ndarray) -> str:
    """The first few of the training examples at those places, by number, and by name where they are files."""
    names = [str(place) for place in places[:NAMED]]
    if isinstance(examples.image, StoredImages):
        names = [f"{name} ({key})" for name, key in zip(names, examples.image.keys[places], strict=False)]
    more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
    return f"training example {', '.join(names)}{more}"


def state_of(model: AdversarialModel) -> list[tf.Variable]:
    """All variables that a run's future depends on, each once: weights, estimators, optimizer, running means."""
    means = [variable for mean in model.signals.values() for variable in mean.variables]
    variables = [*model.variables, *model.optimizer.variables, *means]
    return [variable.value for variable in {id(variable): variable for variable in variables}.values()]

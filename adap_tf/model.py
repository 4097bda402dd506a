"""The trainer: a network and a method, as a Keras model. `train_step` is the whole system on one page."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from adap_tf.adversary import EVERYTHING, Reach, perturbed
from adap_tf.attacks import PGD, Attack
from adap_tf.data.examples import as_unit_range, checked_labels
from adap_tf.data.pipeline import batches
from adap_tf.estimators import RowTable
from adap_tf.evaluation import PGD10, Evaluator, arrays_of, summary
from adap_tf.finite import all_finite, refuse_unless
from adap_tf.lean import at_rest
from adap_tf.methods import Method, estimator_key, find_method
from adap_tf.noise import Noise
from adap_tf.passes import Passes
from adap_tf.replicas import Replicas, StepMean
from adap_tf.scored import ADVERSARIAL, CLEAN, Scored
from adap_tf.terms import Term
from adap_tf.weights import Population

NORM = "gradient_norm"
"""Name of that signal, and in the graph of what replicas tell each other of it."""


class AdversarialModel(keras.Model):
    """A network trained so that its average precision survives an attack.

    `compile`, `fit`, `evaluate`, `predict`, `save_weights`, callbacks and `strategy.scope()` work as for any Keras
    model. The estimators are weights of this model: they are in its checkpoints, and in no export of `network`.

    Args:
        network: built Keras model, images `[B, ...]` in [0, 1] to logits `[B, C]`.
        method: a name in `METHODS`, or a `Method` of your own.
        positives: number of positive training examples, of each task where there are several; the methods with an
            AP term need it.
        examples: number of training examples `n`, of each task where labels are unknown, for the smallest value
            `m²/n` of the estimators and for `prevalence="dataset"`; without it the former is `1.2e-7 m²`.
        attack: the training attack, such as `PGD()`, `FGSM()` or `APGD()`.
        threat: the attack under which `evaluate` reports `robust_ap`.
        reach: which examples and features an adversary can change, in training and in `evaluate`.
        l2: weight of `½‖w‖²` over all trainable weights; its gradient is added before the optimizer sees it, which
            is not Keras' decoupled `weight_decay`.
        seed: of the attack's starts.
        skip_nonfinite: whether a step with a number that is not finite is left out and counted in `steps_skipped`,
            rather than ended with an error. Either way it moves nothing: no weight, statistic or estimator, and no
            random numbers.
        **hyperparameters: passed to `Method.tuned`: `lam`, `gamma1`, `gamma2`, `margin`, `prevalence`, ….

    Raises:
        ValueError: the network is not built or gives no `[B, C]`, `positives` or `examples` is missing or not of its
            tasks, or a hyperparameter is out of range.
    """

    def __init__(
        self,
        network: keras.Model,
        method: str | Method = "adap_lpn",
        positives: int | Sequence[int] | np.ndarray | None = None,
        *,
        examples: int | Sequence[int] | np.ndarray | None = None,
        attack: Attack = PGD(),
        threat: Attack = PGD10,
        reach: Reach = EVERYTHING,
        l2: float = 0.0,
        seed: int = 0,
        skip_nonfinite: bool = False,
        **hyperparameters: Any,
    ):
        super().__init__(name="adversarial_model")
        if not network.built:
            raise ValueError("the network has no weights yet: build it, or call it once on a batch of images")
        self.network = network
        self.method = (find_method(method) if isinstance(method, str) else method).tuned(**hyperparameters)
        self.attack, self.threat, self.reach, self.l2, self.seed = attack, threat, reach, l2, seed
        self.skip_nonfinite = skip_nonfinite
        # The widest type in the network: float32 heads over bfloat16 layers, float64 in float64 tests.
        self.score_dtype = "float64" if any(w.dtype == "float64" for w in network.weights) else "float32"
        shape = getattr(network, "output_shape", (None, None))  # a subclassed model may not know its own
        given = np.atleast_1d([] if positives is None else positives)
        self.tasks = shape[-1] or len(given) or 1
        if len(shape) != 2 or len(given) not in (0, self.tasks):
            raise ValueError(f"a network with outputs {shape} does not fit {len(given)} numbers of positives")
        if not len(given) and self.method.needs_rows:
            raise ValueError(f"method {self.method.name!r} keeps a row for every positive: give positives=")
        self.population = Population(
            _by_task("positives", 0 if positives is None else positives, self.tasks),
            None if examples is None else _by_task("examples", examples, self.tasks),
        )
        made = self.method.estimators(self.population, self.score_dtype)
        self._estimator_names = tuple(made)
        for name, estimator in made.items():
            setattr(self, name, estimator)  # as attributes: tf.train.Checkpoint does not look into Keras' dicts
        self.signals = {name: StepMean(name) for name in ("loss", *self.method.signals, NORM)}
        # Not `optimizer.iterations`: loss scaling leaves out steps, and they would share the next one's noise.
        self.steps_taken = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False, aggregation="none", name="steps_taken"
        )
        self.steps_skipped = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False, aggregation="none", name="steps_skipped"
        )
        self._evaluator = functools.lru_cache(self._make_evaluator)
        self.built = True

    def health(self) -> dict[str, float]:
        """What the row tables say of themselves, means over them; empty for a method without any."""
        found = [estimator.health() for estimator in self.estimators.values() if isinstance(estimator, RowTable)]
        return {name: float(np.mean([each[name] for each in found])) for name in found[0]} if found else {}

    @property
    def estimators(self) -> dict[str, keras.layers.Layer]:
        """The estimators by (term, view), such as "P_clean"."""
        return {name: getattr(self, name) for name in self._estimator_names}

    def call(self, image: Any, training: bool = False) -> tf.Tensor:
        """The logits `[B, C]` of the network, of images in [0, 1] or uint8, or of a dict that holds them."""
        image = image["image"] if isinstance(image, Mapping) else image
        return self.network(as_unit_range(image), training=training)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Not for the trainer, whose method and attack are no layers: says what to call instead."""
        raise NotImplementedError(
            "an AdversarialModel is not saved whole: save_weights keeps its state (ModelCheckpoint with "
            "save_weights_only=True, to a file *.weights.h5), "
            "and network.save or adap_tf.export_saved_model what it has trained"
        )

    def compile(
        self,
        optimizer: Any = "adam",
        jit_compile: bool = False,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        """As `keras.Model.compile`, without losses: the method has them.

        Args:
            optimizer: any Keras optimizer. A float16 network gets it wrapped in a `LossScaleOptimizer`, without which
                its small gradients would round to 0.
            jit_compile: whether XLA compiles the step; off, since it is slower on CPUs and does not compile the
                collectives of several replicas.
            run_eagerly: as in Keras.
            steps_per_execution: as in Keras.

        Raises:
            ValueError: the optimizer clips gradients, and there are several replicas; or XLA is to compile a step that
                has to end with an error.
        """
        optimizer = keras.optimizers.get(optimizer)
        if self.distribute_strategy is not None and self.distribute_strategy.num_replicas_in_sync > 1:
            for name in ("clipnorm", "global_clipnorm", "clipvalue"):
                if getattr(optimizer, name, None) is not None:
                    raise ValueError(f"{name} cuts each replica's part of the gradient for itself: not with replicas")
        if jit_compile and not self.skip_nonfinite:
            raise ValueError("XLA drops the error of a step that is not finite: jit_compile needs skip_nonfinite=True")
        scaling = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if not scaling and _computes_in("float16", self.network):
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        super().compile(
            optimizer=optimizer,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
        )
        self.optimizer.build(self.network.trainable_variables)

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """As `keras.Model.fit`, on arrays, or on a data set of batches such as `adap_tf.data.batches` gives.

        Args:
            x: images `[n, ...]`, float in [0, 1] or uint8, from which batches are drawn as the method has it
                (`Method.sampling`); or a data set of batches.
            y: labels where `x` is an array, `[n]` or `[n, C]`: 0, 1 or NaN for unknown.
            batch_size: examples in a batch drawn from arrays, 128 by default. An epoch has `n // batch_size` steps; the
                next call goes on with the batches that come then.
            *args: as in Keras.
            **kwargs: as in Keras; weights of samples or classes are refused.

        Raises:
            ValueError: the data set has no end and there is no `steps_per_epoch`, or there are weights.
        """
        _refuse_weights(kwargs.get("sample_weight"))
        _refuse_weights(kwargs.get("class_weight"))
        if y is not None:
            x = self._drawn(x, y, batch_size, kwargs)
        endless = isinstance(x, tf.data.Dataset) and x.cardinality() == tf.data.INFINITE_CARDINALITY
        if endless and kwargs.get("steps_per_epoch") is None:
            raise ValueError("the data set has no end: give steps_per_epoch=, usually len(images) // batch_size")
        if isinstance(x, tf.data.Dataset):
            kwargs["shuffle"] = False  # Keras warns that it cannot
        return super().fit(x, None, None, *args, **kwargs)

    def _drawn(self, x: Any, y: Any, batch_size: int | None, options: dict[str, Any]) -> tf.data.Dataset:
        """Batches of arrays; what `fit` has to know of them goes into its options."""
        if held_out := int(len(x) * options.pop("validation_split", 0.0)):
            options.setdefault("validation_data", (x[-held_out:], y[-held_out:]))
            x, y = x[:-held_out], y[:-held_out]
        batch_size = batch_size or min(128, len(x))
        options["steps_per_epoch"] = options.get("steps_per_epoch") or len(x) // batch_size
        options["validation_batch_size"] = options.get("validation_batch_size") or batch_size
        return batches(
            x,
            y,
            batch_size,
            positives_per_batch=None if self.method.sampling == "shuffle" else -1,
            separate=self.method.sampling == "separate",
            seed=self.seed,
            first_step=int(self.steps_taken.numpy()),
        )

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step on a batch, or on this replica's part of it.

        Args:
            data: a dict of `image` `[b, ...]` in [0, 1] or uint8, `label` `[b, C]` (0, 1 or NaN for unknown) and
                `row` `[b, C]` int64, as `adap_tf.data` makes it.

        Returns:
            Running means since the metrics were last reset, by name; `loss`, the value of each term, and
            `gradient_norm`, of the gradient by the weights with L2 in it. On several replicas that is √R times the norm
            of all their parts together, which is no less: nobody has the sum but the optimizer.

        Raises:
            tf.errors.InvalidArgumentError: an image, a score, a term or a gradient is not finite, unless such steps are
                skipped; the message names the step and what it was.
        """
        batch = self._checked(data)
        replicas = Replicas.current()

        whole = self._whole(batch, replicas)
        take_back = [estimator.remembered(whole.row) for estimator in self.estimators.values()]
        images = {CLEAN: batch["image"]}
        if self.method.attack is not None:
            images[ADVERSARIAL] = self._attacked(self.method.attack, batch, whole)

        passes = Passes(self.network, {view: images[view] for view in self.method.views}, self.score_dtype)
        take_back.append(passes.take_back)
        scored = whole.with_scores(passes.scores)
        signals, slopes = self.method.objective(scored, self.estimators)

        # The network is differentiated by its weights through its scores alone, weighted with the objective's slopes.
        # Each replica has the gradient by its own scores; `apply` adds the replicas' gradients up.
        scale = self.optimizer.scale_loss(tf.ones([], self.score_dtype))  # 1, unless the optimizer scales losses
        slopes = {view: scale * replicas.own(slopes[view]) for view in passes.scores}
        gradients = passes.gradients(slopes, scale / replicas.count, self.l2)

        terms = {f"term {name}": [value] for name, value in signals.items() if name != "loss"}
        numbers = {"images": [*images.values()], "scores": [*scored.scores.values()], **terms, "gradients": gradients}
        fine = self._moved(gradients, all_finite(numbers, replicas), scale, take_back, replicas)
        for name, value in (signals | {NORM: _norm(gradients, scale, replicas)}).items():
            self.signals[name].update_state(value, fine)
        return self.get_metrics_result()

    def _moved(
        self,
        gradients: list[tf.Tensor],
        finite: dict[str, tf.Tensor],
        scale: tf.Tensor,
        take_back: Sequence[Callable[[], object]],
        replicas: Replicas,
    ) -> tf.Tensor:
        """Moves the weights and counts the step; where something is not finite, takes back what has moved instead.

        Args:
            gradients: this replica's part of the gradient by each weight, times the scale.
            finite: what was looked at, and whether it is finite on all replicas.
            scale: of the loss.
            take_back: what puts the network's state and the estimators back to what they were before the step.
            replicas: that take the step.

        Returns:
            Whether the step counts, a bool.
        """
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            # It halves its scale where gradients overflow, but looks at one replica's alone: here that one sees all.
            gradients = [tf.where(finite["gradients"], gradients[0], np.nan), *gradients[1:]]
            finite = finite | {"gradients": finite["gradients"] | (scale > 1)}
        fine = tf.reduce_all([*finite.values()])
        move = functools.partial(self.optimizer.apply, gradients, self.network.trainable_variables)
        done = replicas.either(fine, move, lambda: [put_back() for put_back in take_back])
        with tf.control_dependencies([done]):
            allowed = [] if self.skip_nonfinite else [refuse_unless(finite, self.steps_taken.value + 1)]
        with tf.control_dependencies([done, *allowed]):
            self.steps_taken.assign_add(1)
            self.steps_skipped.assign_add(tf.cast(~fine, tf.int64))
        return fine

    def not_finite(self, data: Any) -> np.ndarray:
        """The examples `[b]` of a batch, as bools, of which the image or a score is not finite: who spoiled a step.

        Each is looked at for itself, in inference mode; nothing moves. Only if all are fine, as the attack leaves them:
        an attack on a ranking term spoils all examples for the sake of one.
        """
        batch = self._checked(data)
        found = self._spoilt(batch["image"])
        if self.method.attack is not None and not found.any():
            whole = self._whole(batch, Replicas())
            found = self._spoilt(self._attacked(self.method.attack, batch, whole, peek=True))
        return found

    def _spoilt(self, image: tf.Tensor) -> np.ndarray:
        """Which images are not finite, or have a score that is not, `[b]`."""
        looked_at = image, self.network(image, training=False)
        fine = [tf.reduce_all(tf.math.is_finite(x), axis=list(range(1, x.shape.rank))) for x in looked_at]
        return ~tf.reduce_all(fine, axis=0).numpy()

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Exact average precision over a whole data set, clean and under `threat`, on all of the model's replicas.

        Args:
            x: images, or a data set of batches (dicts with "image" and "label", or tuples).
            y: labels where `x` is an array, `[n]` or `[n, C]`.
            batch_size: examples that a replica scores at once, 256 by default.
            verbose: as in Keras. A step is a batch, clean or attacked.
            sample_weight: must be None.
            steps: number of batches to take; all by default.
            callbacks: as in Keras; a batch's logs are empty, since AP is one of all the data.
            return_dict: whether to return a dict rather than a list.
            **kwargs: what `fit` hands over besides.

        Returns:
            `ap` and `robust_ap`, means over the tasks, as a dict or a list in that order.

        Raises:
            ValueError: there are weights, labels are missing, or the data set is empty or has no end and no `steps`.
        """
        _refuse_weights(sample_weight)
        if steps is not None and y is None:
            x = itertools.islice(iter(x), steps)
        elif steps is not None:
            x, y = (array[: steps * (batch_size or 256)] for array in (x, y))
        elif isinstance(x, tf.data.Dataset) and x.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError("the data set has no end: give steps= (in fit, validation_steps=)")
        image, label = arrays_of(x, y)
        evaluator = self._evaluator(batch_size or 256, self.threat)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            rounds = evaluator.rounds(len(image))
            callbacks = keras.callbacks.CallbackList(
                callbacks, add_progbar=verbose != 0, verbose=verbose, epochs=1, steps=rounds, model=self
            )
        number = itertools.count()
        callbacks.on_test_begin()
        scores = evaluator.scores(image, label, lambda *_: callbacks.on_test_batch_end(next(number), {}))
        found = {name: entry["ap"] for name, entry in summary(scores, label).items()}
        callbacks.on_test_end(found)
        return found if return_dict else list(found.values())

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """What `evaluate` says of a single batch."""
        _refuse_weights(sample_weight)
        return self.evaluate([x] if y is None else x, y, verbose=0, return_dict=return_dict)

    def _make_evaluator(self, batch_size: int, threat: PGD) -> Evaluator:
        with self.distribute_strategy.scope():
            return Evaluator(self.network, {"ap": None, "robust_ap": threat}, batch_size, self.seed, reach=self.reach)

    def _whole(self, batch: dict[str, tf.Tensor], replicas: Replicas) -> Scored:
        """The batch of all replicas, still without scores."""
        row = batch["row"] if self.method.needs_rows else None
        return Scored.of({}, batch["label"], row, batch.get("candidate"), replicas)

    def _attacked(self, term: Term, batch: dict[str, tf.Tensor], whole: Scored, peek: bool | None = None) -> tf.Tensor:
        """The batch's images under the training attack; its start is keyed by step and place in the global batch."""
        image, network = batch["image"], at_rest(self.network)
        key = tf.stack([tf.constant(self.seed, tf.int64), self.steps_taken.value])
        return perturbed(
            lambda image: tf.cast(network(image), self.score_dtype),
            self.attack,
            term,
            image,
            batch["label"],
            Noise(key, whole.replicas.index * image.shape[0]),
            batch=whole,
            estimator=self.estimators.get(estimator_key(term)),
            peek=self.method.peek if peek is None else peek,
            reach=self.reach,
        )

    def _checked(self, data: Any) -> dict[str, tf.Tensor]:
        """The batch as a dict of images in [0, 1], labels, rows and perhaps candidates.

        A method without rows makes do with pairs.

        Raises:
            ValueError: rows or labels are missing, there are weights, or shapes are not known or not of the tasks.
        """
        image, label, weight = keras.utils.unpack_x_y_sample_weight(data)
        _refuse_weights(weight)
        batch = dict(image) if isinstance(image, Mapping) else {"image": image, "label": label}
        if "row" not in batch:
            batch |= self._without_rows(batch["image"], batch.get("label"))
        size = batch["image"].shape[0]
        if size is None:
            raise ValueError(
                "batches must all be of one size: fit on arrays or on a tf.data set with batch(…, drop_remainder=True)"
            )
        for name in ("label", "row"):
            if batch[name].shape != (size, self.tasks):
                raise ValueError(
                    f"{name} must have the shape {(size, self.tasks)}, {size} examples of {self.tasks} tasks, "
                    f"not {tuple(batch[name].shape)}"
                )
        return batch | {"image": as_unit_range(batch["image"])}

    def _without_rows(self, image: tf.Tensor, label: tf.Tensor | None) -> dict[str, tf.Tensor]:
        """Labels and rows of plain pairs."""
        if self.method.needs_rows:
            raise ValueError(
                f"method {self.method.name!r} needs to know which positive is which: "
                "fit on arrays, or on adap_tf.data.batches(x, y, …) or adap_tf.data.with_rows(dataset)"
            )
        if label is None:
            raise ValueError("labels are missing: give pairs (image, label)")
        label = checked_labels(tf.reshape(tf.cast(label, self.score_dtype), [-1, self.tasks]))
        return {"label": label, "row": tf.fill(tf.shape(label), tf.constant(-1, tf.int64))}


def _norm(gradients: Sequence[tf.Tensor], scale: tf.Tensor, replicas: Replicas) -> tf.Tensor:
    """Norm of the gradient from this replica's part, times the scale; a bound on it where there are several."""
    own = tf.linalg.global_norm(gradients)
    with tf.name_scope(NORM):
        return tf.sqrt(replicas.count * replicas.sum(tf.square(own / tf.cast(scale, own.dtype))))


def _by_task(name: str, number: Any, tasks: int) -> tuple[int, ...]:
    """A number of each task, from one for all of them or one for each."""
    numbers = np.atleast_1d(number)
    if len(numbers) not in (1, tasks) or (numbers < 0).any():
        raise ValueError(f"{name} must be one whole number or {tasks}, one of each task, not {number}")
    return tuple(int(n) for n in np.broadcast_to(numbers, tasks))


def _refuse_weights(weight: Any) -> None:
    if weight is not None:
        raise ValueError("sample and class weights do not belong to a loss on rankings; lam and the sampler do")


def _computes_in(dtype: str, layer: keras.Layer) -> bool:
    """Whether a layer or one within it computes in that type; a model's own type says nothing after it was loaded."""
    return layer.compute_dtype == dtype or any(_computes_in(dtype, inner) for inner in getattr(layer, "layers", ()))

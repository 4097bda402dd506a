"""The trainer: a network and a method, as a Keras model. `train_step` is the whole system on one page."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from adap_tf.attacks import PGD, keyed_noise
from adap_tf.evaluation import PGD10, Evaluator, arrays_of, attack_labels
from adap_tf.methods import Method, find_method
from adap_tf.replicas import Replicas
from adap_tf.terms import ADVERSARIAL, CLEAN, CrossEntropy, Scored


class AdversarialModel(keras.Model):
    """A network trained so that its average precision survives an attack.

    `compile`, `fit`, `evaluate`, `predict`, callbacks and `strategy.scope()` work as for any Keras model. The
    estimators are weights of this model: they are in its checkpoints, and in no export of `network`.

    Args:
        network: built Keras model, images `[B, ...]` in [0, 1] to logits `[B, C]`.
        method: a name in `METHODS`, or a `Method` of your own.
        positives: number of positive training examples, of each task where there are several; the methods with an
            AP term need it.
        examples: number of training examples `n`, for the smallest value `m²/n` of the estimators.
        attack: the training attack.
        threat: the attack under which `evaluate` reports `robust_ap`.
        l2: weight of `½‖w‖²` over all trainable weights; its gradient is added before the optimizer sees it, which
            is not Keras' decoupled `weight_decay`.
        seed: of the attack's starts.
        **hyperparameters: passed to `Method.tuned`: `lam`, `gamma1`, `gamma2`, `margin`, ….

    Raises:
        ValueError: the network is not built, `positives` is missing, or a hyperparameter is out of range.
    """

    def __init__(
        self,
        network: keras.Model,
        method: str | Method = "adap_lpn",
        positives: int | Sequence[int] | None = None,
        *,
        examples: int | None = None,
        attack: PGD = PGD(),
        threat: PGD = PGD10,
        l2: float = 0.0,
        seed: int = 0,
        **hyperparameters: Any,
    ):
        super().__init__(name="adversarial_model")
        if not network.built:
            raise ValueError("the network has no weights yet: build it, or call it once on a batch of images")
        self.network = network
        self.method = (find_method(method) if isinstance(method, str) else method).tuned(**hyperparameters)
        self.attack, self.threat, self.l2, self.seed = attack, threat, l2, seed
        # The widest type in the network: float32 heads over bfloat16 layers, float64 in float64 tests.
        self.score_dtype = "float64" if network.trainable_weights[0].dtype == "float64" else "float32"
        counts = (positives,) if isinstance(positives, int) else tuple(positives or ())
        if not counts and any(term.needs_rows for term in self.method.terms):
            raise ValueError(f"method {self.method.name!r} keeps a row for every positive: give positives=")
        self.positives = counts
        made = self.method.estimators(counts or (0,), examples, self.score_dtype)
        self._estimator_names = tuple(made)
        for name, estimator in made.items():
            setattr(self, name, estimator)  # as attributes: tf.train.Checkpoint does not look into Keras' dicts
        signals = ["loss", *dict.fromkeys(term.name for term in self.method.terms)]
        self.signals = {name: keras.metrics.Mean(name=name) for name in signals}
        # Not `optimizer.iterations`: loss scaling leaves out steps, and they would share the next one's noise.
        self.steps_taken = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False, aggregation="none", name="steps_taken"
        )
        self.built = True

    @property
    def estimators(self) -> dict[str, keras.layers.Layer]:
        """The estimators by (term, view), such as "P_clean"."""
        return {name: getattr(self, name) for name in self._estimator_names}

    def call(self, image: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The logits `[B, C]` of the network."""
        return self.network(image, training=training)

    def compile(self, optimizer: Any = "adam", jit_compile: bool = False, **kwargs: Any) -> None:
        """As `keras.Model.compile`, without losses: the method has them.

        Args:
            optimizer: any Keras optimizer. A float16 network gets it wrapped in a `LossScaleOptimizer`, without which
                its small gradients would round to 0.
            jit_compile: whether XLA compiles the step; off, since it is slower on CPUs and does not compile the
                collectives of several replicas.
            **kwargs: further arguments of `keras.Model.compile`.
        """
        optimizer = keras.optimizers.get(optimizer)
        scaling = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if not scaling and _computes_in("float16", self.network):
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        self.optimizer.build(self.network.trainable_variables)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step on a batch, or on this replica's part of it.

        Args:
            data: a dict of `image` `[b, ...]` in [0, 1], `label` `[b, C]` (0, 1 or NaN for unknown) and `row`
                `[b, C]` int64, as `adap_tf.data` makes it.

        Returns:
            Running means since the metrics were last reset, by name; `loss` and the value of each term.
        """
        batch = self._checked(data)
        replicas = Replicas.current()
        weights = self.network.trainable_variables

        images = {CLEAN: batch["image"]}
        if self.method.attack is not None:
            images[ADVERSARIAL] = self._attacked(self.method.attack, batch, replicas)

        with tf.GradientTape() as tape:
            scores = {view: self._scores(images[view]) for view in self.method.views}
            penalty = tf.add_n(self.network.losses or [0.0]) / replicas.count
        scored = Scored.of(scores, batch["label"], batch["row"], replicas)
        signals, slopes = self.method.objective(scored, self.estimators)

        # The network's one differentiation: by its scores, weighted with the objective's gradient by the scores.
        # Each replica has the gradient by its own scores; `apply` adds the replicas' gradients up.
        scale = self.optimizer.scale_loss(tf.ones([], self.score_dtype))  # 1, unless the optimizer scales losses
        targets = [*scores.values(), penalty]
        seeds = [*(scale * replicas.own(slopes[view]) for view in scores), tf.cast(scale, penalty.dtype)]
        gradients = tape.gradient(targets, weights, output_gradients=seeds, unconnected_gradients="zero")
        if self.l2:
            l2 = scale * self.l2 / replicas.count
            gradients = [
                g + tf.cast(l2, g.dtype) * tf.cast(w, g.dtype) for g, w in zip(gradients, weights, strict=True)
            ]
        self.optimizer.apply(gradients, weights)
        self.steps_taken.assign_add(1)

        for name, value in signals.items():
            self.signals[name].update_state(value)
        return self.get_metrics_result()

    def evaluate(self, x: Any = None, y: Any = None, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Exact average precision over a whole data set, clean and under `threat`.

        Args:
            x: images, or a data set of batches (dicts with "image" and "label", or tuples).
            y: labels where `x` is an array, `[n]` or `[n, C]`.
            batch_size: examples scored at once, 256 by default.
            **kwargs: `return_dict` as in Keras (default False: a list); what else `fit` passes is accepted.

        Returns:
            `ap` and `robust_ap`, means over the tasks, as a dict or a list in that order.
        """
        evaluator = self._evaluator(batch_size or 256)
        found = {name: entry["ap"] for name, entry in evaluator.average_precision(*arrays_of(x, y)).items()}
        return found if kwargs.get("return_dict") else list(found.values())

    @functools.cache  # noqa: B019 - one per batch size, and it lives as long as the model
    def _evaluator(self, batch_size: int) -> Evaluator:
        return Evaluator(self.network, {"ap": None, "robust_ap": self.threat}, batch_size, self.seed)

    def _scores(self, image: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.network(image, training=True), self.score_dtype)

    def _attacked(self, term: CrossEntropy, batch: dict[str, tf.Tensor], replicas: Replicas) -> tf.Tensor:
        """The batch's images under the training attack; its start is keyed by step and place in the global batch."""
        image = batch["image"]
        key = tf.stack([tf.constant(self.seed, tf.int64), self.steps_taken.value])
        noise = keyed_noise(key, replicas.index * image.shape[0], image)
        return tf.stop_gradient(attack_labels(self.network, self.attack, image, batch["label"], noise, term))

    def _checked(self, data: Any) -> dict[str, tf.Tensor]:
        """The batch as a dict with rows; plain (image, label) pairs will do for a method without rows."""
        if isinstance(data, dict):
            return data
        if self.positives:
            raise ValueError(
                f"method {self.method.name!r} needs to know which positive is which: "
                "fit on adap_tf.data.batches(x, y, …) or on adap_tf.data.with_rows(dataset)"
            )
        image, label, _ = keras.utils.unpack_x_y_sample_weight(data)
        label = tf.reshape(label, [image.shape[0], -1])
        return {"image": image, "label": label, "row": tf.fill(tf.shape(label), tf.constant(-1, tf.int64))}


def _computes_in(dtype: str, layer: keras.Layer) -> bool:
    """Whether a layer or one within it computes in that type; a model's own type says nothing after it was loaded."""
    return layer.compute_dtype == dtype or any(_computes_in(dtype, inner) for inner in getattr(layer, "layers", ()))

"""A hypermodel for KerasTuner's own tuners, in a script of yours.

>>> hypermodel = AdversarialHyperModel(lambda: mlp((2,), 1), "adap_lpn", positives=10)
>>> robust = keras_tuner.Objective("val_robust_ap", "max")
>>> tuner = keras_tuner.RandomSearch(hypermodel, robust, max_trials=20, directory=folder)

after which `tuner.search(adap_tf.data.batches(x, y, …), validation_data=(x_val, y_val), epochs=10)` searches.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import keras_tuner

from adap_tf import AdversarialModel
from adap_tf.methods import Method, find_method
from tuning.space import Space, declare, paper


class AdversarialHyperModel(keras_tuner.HyperModel):
    """Models of one method that differ in its hyperparameters and in the learning rate.

    `fit` reports `val_ap` and `val_robust_ap` where it gets validation data: objectives are made of these, such as
    `RobustAboveFloor(0.95, "val_ap", "val_robust_ap")`.

    Args:
        network: makes a network of one logit a task, anew for each trial.
        method: a name in `adap_tf.METHODS`, or a `Method`.
        positives: positives of each task in the training data.
        space: values or ranges by hyperparameter; the paper's grids by default (`tuning.space.wide` goes beyond).
        optimizer: makes the optimizer, from `learning_rate` if the space has that.
        **options: of `AdversarialModel`, for all trials.

    Raises:
        ValueError: there is no such method.
    """

    def __init__(
        self,
        network: Callable[[], keras.Model],
        method: str | Method,
        positives: int | Sequence[int],
        space: Space | None = None,
        optimizer: Callable[..., keras.optimizers.Optimizer] = keras.optimizers.Adam,
        **options: Any,
    ):
        super().__init__(name="adversarial")
        self.network, self.positives, self.optimizer, self.options = network, positives, optimizer, options
        self.method = find_method(method) if isinstance(method, str) else method
        self.space = paper(self.method) if space is None else space

    def build(self, hp: keras_tuner.HyperParameters) -> AdversarialModel:
        """A compiled model with the values in `hp`.

        Args:
            hp: KerasTuner's; learns of the space.
        """
        values = declare(hp, self.space)
        rate = values.pop("learning_rate", None)
        model = AdversarialModel(self.network(), self.method, self.positives, **{**self.options, **values})
        model.compile(self.optimizer(**({} if rate is None else {"learning_rate": rate})))
        return model

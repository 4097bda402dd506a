"""What a search is after, as KerasTuner's objectives."""

from collections.abc import Mapping

import keras_tuner

CLEAN, ROBUST = "clean_ap", "robust_ap"


class RobustAboveFloor(keras_tuner.Objective):
    """Robust AP among what keeps a clean AP; below the floor, how far it is from it, which is negative.

    Args:
        floor: the clean AP that is wanted at least, in (0, 1).
        clean: name of the clean AP; "val_ap" where `AdversarialModel.fit` reports it.
        robust: name of the robust AP; "val_robust_ap" there.
    """

    def __init__(self, floor: float, clean: str = CLEAN, robust: str = ROBUST):
        super().__init__(f"{robust}_above_floor", "max")
        self.floor, self.clean, self.robust = floor, clean, robust

    def has_value(self, logs: Mapping[str, float]) -> bool:
        """Whether both APs are there."""
        return self.clean in logs and self.robust in logs

    def get_value(self, logs: Mapping[str, float]) -> float:
        """The value, from the APs by name."""
        return logs[self.robust] if logs[self.clean] >= self.floor else logs[self.clean] - self.floor


OBJECTIVES = {
    "robust": "robust AP",
    "floor": "robust AP among what keeps a clean AP of --clean-floor",
    "pareto": "both APs, their sum; the trade-off figure has the front",
}
"""Names of objectives, and the words for them."""


def make_objective(name: str, floor: float | None) -> keras_tuner.Objective | list[keras_tuner.Objective]:
    """The objective of that name in `OBJECTIVES`, of a run's APs, as a KerasTuner oracle takes it."""
    if name == "floor":
        assert floor is not None
        return RobustAboveFloor(floor)
    robust = keras_tuner.Objective(ROBUST, "max")
    return robust if name == "robust" else [keras_tuner.Objective(CLEAN, "max"), robust]

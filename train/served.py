"""An exported SavedModel as what scores files: its signature, and its card if there is one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from adap_tf.data import DataError
from adap_tf.data.pixels import MODES, Form
from train.card import CARD, FORMAT
from train.errors import UsageError, reason
from train.run_folder import RunFolder, read_json

MODEL = "saved_model.pb"
IMAGE, FEATURES = "image", "features"  # the inputs that a signature may have
OUTPUTS = ("score", "probability")
SERVING, FLOAT = "serving_default", "float"


class Threshold(NamedTuple):
    """The least score of a positive, and what it was chosen for: a precision or recall of at least so much."""

    task: str
    at: str
    level: float
    score: float

    @property
    def goal(self) -> str:
        """As `--at` names it."""
        return f"{self.at}={self.level:g}"


class Served:
    """The scorer of a SavedModel, as a function of batches.

    Args:
        loaded: the SavedModel, with the signature "serving_default" of `image` or `features` to `score` and
            `probability`; one called "float" takes images in [0, 1].
        card: what its `model_card.json` says; empty if it has none.

    Attributes:
        kind: the input's name, "image" or "features".
        shape: of an example as the signature takes it, None where any size will do.
        tasks: names, by number if there is no card.
        form: what image files become; None if the network takes none.
        columns: names of the features; empty if they are not known.
        thresholds: those of the card.

    Raises:
        ValueError: it has no such signature, or the card is not its own.
    """

    def __init__(self, loaded: Any, card: Mapping[str, Any]):
        self.loaded = loaded  # kept: its variables live as long as it does
        serving = _signature(loaded, SERVING)
        if serving is None:
            raise ValueError(f"it has no signature {SERVING!r} of image or features to {' and '.join(OUTPUTS)}")
        spec = _spec(serving)
        self.kind, self.shape = spec.name, tuple(spec.shape[1:])
        self._takes = {np.dtype(spec.dtype.as_numpy_dtype): serving}
        if self.kind == IMAGE and (floats := _signature(loaded, FLOAT)) is not None:
            self._takes[np.dtype(np.float32)] = floats
        count = serving.structured_outputs["score"].shape[-1]
        self.tasks = tuple(card["tasks"] if card else map(str, range(count)))
        if len(self.tasks) != count:
            raise ValueError(f"it gives {count} scores, and {CARD} names {len(self.tasks)} tasks")
        own = tuple(_spec([*self._takes.values()][-1]).shape[1:])  # that of images in [0, 1] takes one size alone
        size = tuple(card["input"]["shape"] if card else own)
        usual = self.kind == IMAGE and len(size) == 3 and size[2] in MODES and None not in size
        self.form = Form(*size) if usual else None
        self.columns = tuple(card["input"].get("columns", ())) if card else ()
        if self.columns and (len(self.columns),) != self.shape:
            raise ValueError(f"it takes {self.shape} features, and {CARD} names {len(self.columns)} columns")
        self.thresholds = [
            Threshold(each["task"], each["at"], float(each["level"]), float(each["threshold"]))
            for each in card.get("thresholds", ())
            if each["threshold"] is not None
        ]

    def __call__(self, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, float32 `[B, C]`. The batch's size is free in the signature: none is traced anew.

        Args:
            examples: that `check` accepts.
        """
        found = self._takes[examples.dtype](**{self.kind: tf.constant(examples)})
        return found["score"].numpy(), found["probability"].numpy()

    def check(self, path: Path, examples: np.ndarray) -> None:
        """Makes sure that the network takes such examples.

        Raises:
            DataError: it does not; the message names the file.
        """
        if examples.dtype not in self._takes:
            kinds = " or ".join(str(kind) for kind in self._takes)
            raise DataError(f"{path} holds {examples.dtype}, and the network takes {kinds}")
        shape = _spec(self._takes[examples.dtype]).shape[1:]
        if not shape.is_compatible_with(examples.shape[1:]):
            wanted, found = ("×".join("?" if n is None else str(n) for n in s) for s in (shape, examples.shape[1:]))
            raise DataError(f"{path} holds examples of {found}, and the network takes {wanted}")

    def thresholds_at(self, goal: str | None) -> list[Threshold]:
        """The thresholds for a goal such as "precision=0.9", of each task that has one.

        Args:
            goal: if None, the thresholds of the card if there is one for each task; else none.

        Raises:
            UsageError: there is none for that goal.
        """
        if goal is None:
            alone = sorted(each.task for each in self.thresholds) == sorted(self.tasks)
            return self.thresholds if alone else []
        found = [each for each in self.thresholds if _same(each, goal)]
        if not found:
            there = ", ".join(dict.fromkeys(each.goal for each in self.thresholds)) or "none"
            raise UsageError(f"--at: there is no threshold for {goal}; the card has {there}")
        return found


def _same(threshold: Threshold, goal: str) -> bool:
    """Whether a threshold was chosen for a goal, in whatever way its number is written."""
    at, _, level = goal.partition("=")
    try:
        return at == threshold.at and bool(np.isclose(float(level), threshold.level, rtol=1e-9))
    except ValueError:
        return False


def _spec(signature: Any) -> tf.TensorSpec:
    """Of the one input of a signature, with its name."""
    (spec,) = signature.structured_input_signature[1].values()
    return spec


def _signature(loaded: Any, name: str) -> Any | None:
    """A signature of one known input to score and probability, None if there is no such."""
    found = loaded.signatures.get(name)
    if found is None or not set(OUTPUTS) <= set(found.structured_outputs):
        return None
    inputs = list(found.structured_input_signature[1])
    return found if inputs in ([IMAGE], [FEATURES]) else None


def load_served(given: str) -> Served:
    """The network in an export, or in that of a run folder.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path = export_at(Path(given))
    card = read_card(path / CARD)
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # of many types, for a file that is damaged
        raise UsageError(f"{path}: cannot be read: {reason(error)}") from None
    try:
        return Served(loaded, card)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path / CARD} is damaged ({error!r}); export the network again") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None


def export_at(path: Path) -> Path:
    """The folder of the SavedModel.

    Raises:
        UsageError: there is none.
    """
    run = RunFolder(path)
    for folder in (path, run.export):
        if (folder / MODEL).is_file():
            return folder
    if run.config.is_file():
        raise UsageError(f"{path}: the run has no export; start its command again, and it goes on to its end")
    raise UsageError(f"{path}: no {MODEL} there; give the folder that train/export_run.py made, or a run folder")


def read_card(path: Path) -> Mapping[str, Any]:
    """What a card says, empty if there is none.

    Raises:
        UsageError: it is damaged, or of another format.
    """
    if not path.exists():
        return {}
    card = read_json(path)
    if card is None:
        raise UsageError(f"{path} is damaged; export the network again")
    if card.get("format") != FORMAT:
        raise UsageError(f"{path} has the format {card.get('format')!r}, and {FORMAT} is read; export it again")
    return card

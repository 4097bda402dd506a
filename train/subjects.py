"""What can be evaluated: a run folder, an exported SavedModel, or a .keras file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from adap_tf.data.examples import as_unit_range
from train.errors import UsageError, reason
from train.networks import load_network
from train.run_folder import RunFolder


class Exported:
    """The scorer of a SavedModel, as a function of images that can be differentiated.

    Args:
        path: folder of a SavedModel with the signature "float": `image` in [0, 1] to `score`.

    Raises:
        ValueError: it has no such signature.
    """

    def __init__(self, path: Path):
        self.loaded = tf.saved_model.load(str(path))  # kept: its variables live as long as it does
        self.signature = self.loaded.signatures.get("float")
        if self.signature is None or "score" not in self.signature.structured_outputs:
            raise ValueError("it has no signature 'float' with an output 'score'")
        self.input_shape = tuple(self.signature.structured_input_signature[1]["image"].shape)
        self.output_shape = tuple(self.signature.structured_outputs["score"].shape)

    def __call__(self, image: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The logits `[B, C]`."""
        return self.signature(image=image)["score"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network and where it comes from.

    Attributes:
        name: what it is called in tables.
        path: what the user gave.
        network: images in [0, 1] to logits `[B, C]`.
        config: of the run that trained it; empty if that is not known.
        home: folder for what is found out about it.
        data: fingerprints of the data that it was trained on; empty if they are not known.
    """

    name: str
    path: Path
    network: Any
    config: dict[str, Any]
    home: Path
    data: Mapping[str, str]

    def check(self, image_shape: Sequence[int], tasks: Sequence[str]) -> None:
        """Makes sure that the network takes such images and has a logit for each task.

        Raises:
            UsageError: it does not.
        """
        taken, given = tuple(self.network.input_shape[1:]), self.network.output_shape[-1]
        if not all(have in (None, want) for have, want in zip(taken, image_shape, strict=False)) or len(taken) != len(
            image_shape
        ):
            raise UsageError(f"{self.path}: takes images of shape {taken}, and the data have {tuple(image_shape)}")
        if given != len(tasks):
            raise UsageError(f"{self.path}: gives {given} scores, and the data have the tasks {', '.join(tasks)}")

    def is_network_of(self, other: "Subject", image: np.ndarray) -> bool:
        """Whether another has this very network: it is at the same path, or gives the same scores for these images."""
        if self.path == other.path:
            return True
        own, others = (subject.network(as_unit_range(tf.constant(image)), training=False) for subject in (self, other))
        return bool(np.allclose(own, others, rtol=1e-4, atol=1e-5))


def load_subject(given: str) -> Subject:
    """The network at a path.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path = Path(given).resolve()
    folder = next((RunFolder(p) for p in (path, path.parent, path.parent.parent) if (p / "config.json").exists()), None)
    config = {} if folder is None else _read(folder.config)
    run = folder if folder is not None and path == folder.path else None
    file = path if run is None else run.best
    try:
        if run is None and (file / "saved_model.pb").is_file():  # a program: never where a run has its .keras file
            network: Any = Exported(file)
        elif file.is_file() and file.suffix == ".keras":
            network = load_network(file)
        else:
            raise UsageError(f"{given}: no trained network there; give a run folder, a SavedModel or a .keras file")
    except UsageError:
        raise
    except Exception as error:  # of many types, for a file that is damaged or not a network's
        raise UsageError(f"{given}: cannot be read: {reason(error)}") from None
    home = folder.path if folder is not None else path.parent
    name = path.name if folder is None or run is not None else f"{folder.path.name}-{path.stem}"
    return Subject(name, path, network, config, home, {} if folder is None else folder.fingerprints())


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{path} is damaged")
    return found

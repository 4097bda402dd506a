"""Whether data are still those that a run began with: its split, and the rows of its estimators, belong to them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from adap_tf.data import Examples, StoredImages
from train.sources import Splits


def fingerprints(splits: Splits) -> dict[str, str]:
    """A text for each part, another one for other examples or another order."""
    return {name: fingerprint(part) for name, part in splits.parts.items()}


def fingerprint(examples: Examples) -> str:
    """A text that follows from the labels, and from the pixels, or the files' names where images stay on disk."""
    hashed = hashlib.sha256(examples.label.tobytes())
    if isinstance(examples.image, StoredImages):
        for key in examples.image.keys:
            hashed.update(Path(str(key)).name.encode() + b"\0")
    elif isinstance(examples.image, np.ndarray):
        hashed.update(np.ascontiguousarray(examples.image).data)
    return hashed.hexdigest()[:16]


def changed(stored: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """The first part whose examples are others than those that were stored, else None."""
    return next((name for name, text in found.items() if stored.get(name, text) != text), None)

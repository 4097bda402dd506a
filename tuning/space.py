"""What is searched: values or ranges of a method's hyperparameters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import keras_tuner

from adap_tf.methods import Method
from train.config import Config
from train.errors import UsageError
from train.fields import Check
from train.sources import DataOptions

LEARNING_RATES = (1e-3, 1e-4, 1e-5)


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, log-uniformly."""

    low: float
    high: float


Values = tuple[float, ...] | Range
Space = Mapping[str, Values]

RANGES = {"lam": Range(0.01, 100.0), "gamma1": Range(0.01, 1.0), "gamma2": Range(0.01, 1.0)}
LEARNING_RATE = Range(1e-5, 1e-2)


def paper(method: Method) -> dict[str, Values]:
    """The paper's grids (Section 5.1): λ, γ1 and γ2 where the method has them, and the learning rate."""
    return {**dict(method.grids), "learning_rate": LEARNING_RATES}


def wide(method: Method) -> dict[str, Values]:
    """Ranges about the same hyperparameters, far beyond the paper's values."""
    return {**{name: RANGES[name] for name, _ in method.grids}, "learning_rate": LEARNING_RATE}


SPACES = {"paper": paper, "wide": wide}


def declare(hp: keras_tuner.HyperParameters, space: Space) -> dict[str, float]:
    """Makes the hyperparameters known to KerasTuner; their values in `hp`.

    Ranges come first, as they do when KerasTuner has sent a trial to another process: the names of runs keep the order.
    """
    return {
        name: hp.Float(name, values.low, values.high, sampling="log")
        if isinstance(values, Range)
        else hp.Choice(name, list(values))
        for name, values in sorted(space.items(), key=lambda item: not isinstance(item[1], Range))
    }


def listed(space: Space) -> dict[str, list[float] | dict[str, float]]:
    """The space as JSON holds it."""
    return {name: asdict(values) if isinstance(values, Range) else [*values] for name, values in space.items()}


def read_grid(texts: Sequence[str], config: Config) -> dict[str, Values]:
    """What the user wants searched.

    Args:
        texts: each a field's name and its values, `lam=0.1,1,10`, or the ends of a range, `lam=0.1:10`.
        config: the run of which the fields are varied.

    Raises:
        UsageError: a name or a value is not accepted.
    """
    space: dict[str, Values] = {}
    searchable = _searchable(config)
    for text in texts:
        name, equals, listed = (part.strip() for part in text.partition("="))
        name = name.replace("-", "_")
        if not equals or not listed:
            raise UsageError(f"--grid: {text!r} is not understood; it takes NAME=VALUE,VALUE,… or NAME=LOW:HIGH")
        if name in config.idle:
            raise UsageError(f"--grid: method {config.method} does not look at {name}")
        if name not in searchable:
            raise UsageError(f"--grid: {name!r} cannot be searched; it takes {', '.join(searchable)}")
        kind, check = searchable[name]
        values = [_read(name, part, kind, check) for part in listed.replace(":", ",").split(",")]
        if ":" not in listed:
            if len(set(values)) < len(values):
                raise UsageError(f"--grid: {text!r} names a value twice")
            space[name] = tuple(values)
        elif kind is int or "," in listed or len(values) != 2 or not 0 < values[0] < values[1]:
            raise UsageError(f"--grid: {text!r}: a range is of numbers, LOW:HIGH with 0 < LOW < HIGH")
        else:
            space[name] = Range(*values)
    return space


def _searchable(config: Config) -> dict[str, tuple[type, Check | None]]:
    """Fields with numbers that a run may be tuned with: not the data, the threat, the seeds or the epochs."""
    fixed = {spec.name for spec in fields(DataOptions)} | {"seed", "split_seed", "eps", "eval_steps", "eval_step_size"}
    fixed |= {"train_examples", "validation_examples", "epochs"}
    return {
        spec.name: (spec.metadata["kind"], spec.metadata["check"])
        for spec in fields(config)
        if spec.metadata["kind"] in (int, float) and spec.metadata["result"] and spec.name not in fixed
    }


def _read(name: str, text: str, kind: type, check: Check | None) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if math.isnan(value) or (check and not check.accepts(value)):
        words = check.words if check else "a number"
        raise UsageError(f"--grid: {name}: {text!r} is not accepted; it takes {words}")
    return value

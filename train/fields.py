"""Fields of frozen configs that are options too: what is accepted of each, and the words for it."""

import math
from collections.abc import Callable, Collection
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from train.errors import UsageError


@dataclass(frozen=True)
class Check:
    """What is accepted of a value: a test, and the words for it."""

    accepts: Callable[[Any], bool]
    words: str


POSITIVE = Check(lambda x: 0 < x < math.inf, "a number above 0")
NON_NEGATIVE = Check(lambda x: 0 <= x < math.inf, "a number of at least 0")
RATE = Check(lambda x: 0 < x <= 1, "a number above 0 and up to 1")
COUNT = Check(lambda x: x >= 1, "a whole number of at least 1")
WHOLE = Check(lambda x: 0 <= x < 2**31, "a whole number from 0 to 2147483647")


def one_of(names: Collection[str]) -> Check:
    """Accepts the names of a collection."""
    return Check(lambda x: x in names, f"one of {', '.join(names)}")


def option(help: str, check: Check | None = None, kind: type = str, result: bool = True, default: Any = MISSING) -> Any:
    """A field of a config that is also an option.

    Args:
        help: what `--help` says of it.
        check: what is accepted.
        kind: type of the value.
        result: whether it can change a run's result; if not, a run may be continued with another value.
        default: the field's, if it has one.
    """
    return field(default=default, metadata={"help": help, "check": check, "kind": kind, "result": result})


def check_fields(config: Any) -> None:
    """Refuses what the checks of the fields do not accept.

    Raises:
        UsageError: the message names the option.
    """
    for spec in fields(config):
        if (check := spec.metadata["check"]) is not None:
            check_value(spec.name, getattr(config, spec.name), check)


def check_value(name: str, value: Any, check: Check) -> None:
    """Refuses a value that a check does not accept; None is none.

    Raises:
        UsageError: the message names the option.
    """
    if value is not None and not check.accepts(value):
        raise UsageError(f"{flag(name)}: {value!r} is not accepted; it takes {check.words}")


def flag(name: str) -> str:
    """The option of a field."""
    return "--" + name.replace("_", "-")

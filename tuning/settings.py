"""How a search goes: one frozen config, checked at construction, and the command line."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from adap_tf.methods import METHODS
from train.config import Config
from train.errors import UsageError
from train.fields import COUNT, POSITIVE, WHOLE, Check, check_fields, one_of, option
from train.options import Parser, add_config_options, add_options, config_of
from tuning.objectives import OBJECTIVES
from tuning.oracles import ORACLES
from tuning.space import SPACES, Range, Space, read_grid


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A search. Every field is an option of the same name.

    Raises:
        UsageError: a value is not accepted; the message names the option.
    """

    tuner: str = option("how trials are chosen, by KerasTuner", one_of(ORACLES), default="grid")
    trials: int | None = option(
        "how many, at most; a grid's first ones. All of a grid, else 20, if not given", COUNT, int, False, default=None
    )
    space: str | None = option(
        "what is searched: the paper's grids for the method (λ, γ1, γ2, learning rate), or wide ranges about them; "
        "paper, or with --grid nothing but that, if not given",
        one_of(SPACES),
        default=None,
    )
    objective: str = option(
        "of validation data: " + "; ".join(f"{name}: {words}" for name, words in OBJECTIVES.items()),
        one_of(OBJECTIVES),
        default="robust",
    )
    clean_floor: float | None = option(
        "clean AP that a trial has to keep; makes the objective robust AP among these",
        Check(lambda x: 0 < x < 1, "a number between 0 and 1"),
        float,
        default=None,
    )
    seeds: int = option("runs of a trial, with seeds from --seed on; their mean counts", COUNT, int, default=1)
    tuner_seed: int = option("of random and Bayesian search", WHOLE, int, default=0)
    no_early_stopping: bool = option(
        "let every trial run to its end, also one that is below the median of the others", kind=bool, default=False
    )
    worker_timeout: float = option(
        "minutes after which a tuner that is not heard of counts as lost, where a chief serves several",
        POSITIVE,
        float,
        False,
        default=5.0,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.objective == "floor") != (self.clean_floor is not None):
            raise UsageError("--clean-floor: goes with --objective floor, and that with it; give both or none")

    def resolved(self) -> dict[str, Any]:
        """The fields that can change the result, as `search.json` holds them."""
        return {spec.name: asdict(self)[spec.name] for spec in fields(self) if spec.metadata["result"]}


def parse(arguments: Sequence[str] | None = None) -> tuple[Settings, Space, Config, Path]:
    """Reads the command line: the search, what is searched, the run that is varied, and where it all goes.

    Raises:
        UsageError: an option or a value is not accepted.
    """
    given = vars(_parser().parse_args(arguments))
    out, grid = Path(given.pop("out")), given.pop("grid") or []
    own = {spec.name: given.pop(spec.name) for spec in fields(Settings) if spec.name in given}
    if "clean_floor" in own:
        own.setdefault("objective", "floor")
    settings, (_, config) = Settings(**own), config_of(given)
    named = settings.space or ("paper" if not grid else None)
    space = SPACES[named](METHODS[config.method]) if named else {}
    space |= read_grid(grid, config)
    _check(settings, space)
    return settings, space, config, out


def _check(settings: Settings, space: Space) -> None:
    """Makes sure that a grid is one.

    Raises:
        UsageError: there are ranges in it.
    """
    if settings.tuner == "grid":
        for name, values in space.items():
            if isinstance(values, Range):
                raise UsageError(f"--tuner: a grid has no range, as {name} is; random and bayesian take it")


def _parser() -> Parser:
    parser = Parser(
        prog="tuning/search.py",
        description="Searches for a method's hyperparameters with KerasTuner. Each trial is a run, in a folder like "
        "any other; all other options are as in train/main.py. It ends with a table of the trials, the trade-off of "
        "robust against clean AP, and the best config as a file for train/main.py --config.",
        epilog="The same command again goes on with a search that was interrupted; with more --trials, with one that "
        "has ended. On several workers: docs/tuning.md.",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the search")
    parser.add_argument(
        "--grid",
        action="append",
        metavar="NAME=VALUES",
        help="values of an option to search, such as lam=0.1,1,10, or for random and bayesian a range, lam=0.1:10; "
        "can be given more than once; with --space, in its place there",
    )
    add_options(parser, Settings)
    add_config_options(parser)
    return parser

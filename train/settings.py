"""How networks are evaluated: one frozen config, checked at construction, and its command line."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from adap_tf.attacks import APGD, PGD, Square
from adap_tf.attacks.base import ANYWHERE, KEEPS, RANGES
from adap_tf.geometry import NORMS
from train.errors import UsageError
from train.fields import COUNT, NON_NEGATIVE, POSITIVE, WHOLE, Check, check_fields, one_of, option
from train.options import Parser, add_options
from train.sources import DataOptions, absolute

THREATS = ("clean", "fgsm", "pgd", "apgd", "square", "transfer", "surrogate", "listwise")
SPLITS = ("test", "validation")


def _shares(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    return tuple(float(part) for part in text.split(",") if part)


def _are_shares(text: str, closed: bool) -> bool:
    try:
        return all(0 < share < 1 or (closed and share == 1) for share in _shares(text))
    except ValueError:
        return False


def _are_threats(text: str) -> bool:
    names = text.split(",")
    return len(set(names)) == len(names) and set(names) <= set(THREATS)


def _start(text: str) -> float | str:
    """A standard deviation, or the word that stands for the whole ball."""
    return text if text == ANYWHERE else float(text)


def _is_start(text: str) -> bool:
    accepts, _ = RANGES["start"]
    try:
        return accepts(_start(text))
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class Settings(DataOptions):
    """An evaluation. Every field is an option of the same name; None stands for what the run was trained with.

    Raises:
        UsageError: a value is not accepted, or options contradict each other; the message names the option.
    """

    threats: str = option(
        "threats with commas between them; transfer too if there is an --attacker",
        Check(_are_threats, f"some of {', '.join(THREATS)}, each once"),
        default="clean,pgd,apgd",
    )
    attacker: str | None = option(
        "run whose network the threat 'transfer' attacks, a ce run in the paper; the others then get its images",
        default=None,
    )
    strict: bool = option(
        "each example keeps the worst of all points that an attack visits in 40 steps from 3 starts (one start for "
        "attacks on the ranking), and of the clean image",
        kind=bool,
        default=False,
    )
    eps: float | None = option(
        "ε, radius of the ball; the run's, or 8/255, if not given", NON_NEGATIVE, float, default=None
    )
    norm: str = option("of the ball; l2 needs --eps", one_of(NORMS), default="linf")
    eps_positives: float | None = option(
        "ε of positives, up to --eps if that is given; 0 leaves them alone", NON_NEGATIVE, float, default=None
    )
    eps_negatives: float | None = option(
        "the same of negatives; of --eps and these two, what is not given is the run's",
        NON_NEGATIVE,
        float,
        default=None,
    )
    features: str | None = option(
        ".npy file of the shape of an image: the share of ε by which each feature may change, 0 for not at all",
        default=None,
    )
    steps: int | None = option(
        "of pgd, apgd and the attacks on the ranking; the run's, or 10; 40 if --strict", COUNT, int, default=None
    )
    step_size: float | None = option(
        "of pgd and the attacks on the ranking; the run's, or the paper's 0.007 of 8/255, in proportion to ε",
        POSITIVE,
        float,
        default=None,
    )
    restarts: int | None = option(
        "starts of fgsm, pgd, apgd and transfer, the best kept; 1, or 3 if --strict", COUNT, int, default=None
    )
    start: str = option(
        "of the attacks by gradient, standard deviation of the noise that they begin with; or anywhere in the ball",
        Check(_is_start, RANGES["start"][1]),
        default=str(PGD.start),
    )
    keep: str | None = option(
        "point at which pgd, transfer and the attacks on the ranking end; last, or best if --strict",
        one_of(KEEPS),
        default=None,
    )
    momentum: float = option("weight of apgd's new step", Check(*RANGES["momentum"]), float, default=APGD.momentum)
    rho: float = option("share of apgd's steps that must rise", Check(*RANGES["rho"]), float, default=APGD.rho)
    queries: int = option("of square", COUNT, int, default=1000)
    area: float = option(
        "share of the image that square's first squares cover", Check(*RANGES["area"]), float, default=Square.area
    )
    transfer_steps: int = option("of the PGD against --attacker", COUNT, int, default=20)
    transfer_step_size: float | None = option(
        "length of each; the paper's 0.003 of 8/255, in proportion to ε", POSITIVE, float, default=None
    )
    split: str = option("part of the data", one_of(SPLITS), default="test")
    examples: int | None = option("how many of it, of each class its share; all if not given", COUNT, int, default=None)
    batch_size: int = option("examples in the network at once, on each replica", COUNT, int, default=256)
    replicas: int | None = option(
        "devices to evaluate on; all GPUs if not given, logical CPU devices where there is no GPU",
        COUNT,
        int,
        result=False,
        default=None,
    )
    seed: int | None = option(
        "of the attacks, the run's if not given; and of the bootstrap, for all runs the same, 0 if not given",
        WHOLE,
        int,
        default=None,
    )
    bootstrap: int = option("resamples for the intervals", COUNT, int, default=1000)
    confidence: float = option("of the intervals", Check(lambda x: 0 < x < 1, "between 0 and 1"), float, default=0.95)
    recalls: str = option(
        "recalls to give the precision at",
        Check(lambda x: _are_shares(x, closed=True), "numbers above 0 and up to 1, with commas between them"),
        default="0.5,0.9",
    )
    prevalences: str = option(
        "shares of positives to give the AP for, besides the data's own",
        Check(lambda x: _are_shares(x, closed=False), "numbers between 0 and 1, with commas between them"),
        default="0.01",
    )
    budget: int = option("longest budget curve, in attacked examples", COUNT, int, default=100)
    quick: bool = option("leave out the check with twice the steps", kind=bool, default=False)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.norm != "linf" and self.eps is None:
            raise UsageError(f"--norm: {self.norm} needs an --eps of its own")
        if "transfer" in self.threats.split(",") and self.attacker is None:
            raise UsageError("--threats: transfer needs an --attacker, the run whose network is attacked")

    @property
    def names(self) -> tuple[str, ...]:
        """The threats, those of the command line and transfer if there is an attacker."""
        names = tuple(self.threats.split(","))
        return names if self.attacker is None or "transfer" in names else (*names, "transfer")

    @property
    def start_point(self) -> float | str:
        """The start as the attacks take it."""
        return _start(self.start)

    @property
    def recall_levels(self) -> tuple[float, ...]:
        """The recalls as numbers."""
        return _shares(self.recalls)

    @property
    def prevalence_levels(self) -> tuple[float, ...]:
        """The prevalences as numbers."""
        return _shares(self.prevalences)

    def resolved(self) -> dict[str, Any]:
        """All fields, as `results.json` holds them."""
        return asdict(self)


def parse(arguments: Sequence[str] | None = None) -> tuple[Settings, list[str], str | None]:
    """Reads the command line: settings, the networks' paths, and where results go.

    Raises:
        UsageError: an option or a value is not accepted.
    """
    given = absolute(vars(_parser().parse_args(arguments)))
    runs, out = given.pop("runs"), given.pop("out")
    return Settings(**given), runs, out


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="train/evaluate.py",
        description="Average precision of trained networks under attack, with intervals, the damage that single "
        "examples do, and warnings where an attack was weak. The defaults are the paper's: PGD and APGD of 10 steps, "
        "transfer by PGD of 20 steps from the network of a ce run.",
        epilog="surrogate and listwise are attacks on the ranking itself: they raise the AP surrogate's loss, or the "
        "listwise divergence, over all examples together. Every example is attacked, also one already ranked wrong.",
    )
    runs = "run folder, .keras file, or SavedModel, which is a program: only from someone you trust"
    parser.add_argument("runs", nargs="+", metavar="RUN", help=runs)
    parser.add_argument("--out", metavar="DIR", help="folder for results and figures (RUN/evaluation of the first)")
    add_options(parser, Settings)
    return parser

"""What a run is made of: one frozen config, a preset for each recipe, and the command line that changes it."""

import argparse
import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import keras

from adap_tf.attacks import ATTACKS, PGD, Attack
from adap_tf.backbones import BACKBONES, is_backbone
from adap_tf.data import AUGMENTATIONS, SAMPLINGS
from adap_tf.estimators import STARTS
from adap_tf.losses import DIVERGENCES, SCORES
from adap_tf.methods import HYPERPARAMETERS, METHODS
from adap_tf.weights import PREVALENCES
from train.errors import UsageError
from train.sources import SOURCES

OPTIMIZERS = {
    name.lower(): kind
    for name, kind in vars(keras.optimizers).items()
    if isinstance(kind, type) and name != "Optimizer" and "learning_rate" in inspect.signature(kind).parameters
}
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


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


def option(help: str, check: Check | None = None, kind: type = str, result: bool = True) -> Any:
    """A field of the config that is also an option.

    Args:
        help: what `--help` says of it.
        check: what is accepted.
        kind: type of the value.
        result: whether it can change a run's result; if not, a run may be continued with another value.
    """
    return field(metadata={"help": help, "check": check, "kind": kind, "result": result})


@dataclass(frozen=True, kw_only=True)
class Config:
    """A run. Every field is an option of the same name; `PRESETS` holds values that belong together.

    Raises:
        UsageError: a value is not accepted; the message names the option.
    """

    data: str = option("data set", one_of(SOURCES))
    data_dir: str | None = option(
        "folder of the prepared data set, if it does not come with a package; TFDS_DATA_DIR or "
        "~/tensorflow_datasets if not given",
        result=False,
    )
    download: bool = option("fetch the data set where it is missing", kind=bool, result=False)
    train_examples: int | None = option(
        "training examples to keep, of each class its share; all if not given", COUNT, int
    )
    validation_examples: int | None = option("the same of the validation examples", COUNT, int)
    split_seed: int | None = option("of the split and of what is kept; --seed if not given", WHOLE, int)
    augmentation: str = option("random change of training images", one_of(AUGMENTATIONS))
    positive: str = option("the class to find, all others being negatives; a,b,c or all for several tasks at once")
    method: str = option("how to train", one_of(METHODS))
    lam: float = option("λ, weight of the robustness regulariser", NON_NEGATIVE, float)
    gamma1: float = option("γ1, moving-average rate of the AP estimators", RATE, float)
    gamma2: float = option("γ2, moving-average rate of the listwise estimator", RATE, float)
    margin: float = option("m, margin of the AP surrogate's pair loss", POSITIVE, float)
    ap_score: str = option("what the AP surrogate sees of a logit", one_of(SCORES))
    list_score: str = option("what the listwise regulariser sees of a logit", one_of(SCORES))
    temperature: float = option("τ, by which the listwise regulariser's scores are divided", POSITIVE, float)
    divergence: str = option("of the listwise and pointwise regularisers", one_of(DIVERGENCES))
    start: str = option("where the estimators begin: at the first batch's estimate or at 0", one_of(STARTS))
    prevalence: str = option("share of positives that the ranking terms aim at", one_of(PREVALENCES))
    peek: bool = option("let an attack on a ranking term look at its estimators and not move them", kind=bool)
    sampling: str | None = option(
        "how a batch is filled: with positives and others, with anchors separate from candidates, or as a shuffle has "
        "it; the method's own way if not given",
        one_of(SAMPLINGS),
    )
    init_from: str | None = option(
        "run folder (or .keras file) whose network lends its weights, but for the head; the methods that need one "
        "train it first if not given"
    )
    epochs: int = option("passes over the training data", COUNT, int)
    batch_size: int = option("examples a step, over all replicas", COUNT, int)
    positives_per_batch: int | None = option(
        "positives a step, for the methods that sample them; half the batch if not given", COUNT, int
    )
    optimizer: str = option("any of Keras'", one_of(OPTIMIZERS))
    learning_rate: float = option("a tenth of it after 50%% and again after 75%% of the steps", POSITIVE, float)
    weight_decay: float = option("L2, added to the gradient of every weight", NON_NEGATIVE, float)
    backbone: str = option(
        "network", Check(is_backbone, f"one of {', '.join(BACKBONES)}, or a name in keras.applications")
    )
    precision: str = option("arithmetic of the network; scores and estimators stay float32", one_of(PRECISIONS))
    seed: int = option("of the initial weights, the batches, the attacks and, as a rule, the split", WHOLE, int)
    eps: float = option("ε, radius of the L∞ ball, of images in [0, 1], in training and evaluation", POSITIVE, float)
    attack: str = option("training attack", one_of(ATTACKS))
    attack_steps: int = option("steps of the training attack", COUNT, int)
    attack_step_size: float = option("length of each, in the unit of --eps", POSITIVE, float)
    eval_steps: int = option("steps of the PGD attack in evaluation", COUNT, int)
    eval_step_size: float = option("length of each, in the unit of --eps", POSITIVE, float)
    replicas: int | None = option(
        "devices to train on; all GPUs if not given, logical CPU devices where there is no GPU",
        COUNT,
        int,
        False,
    )
    checkpoint_minutes: float = option(
        "time between checkpoints within an epoch; there is one after every epoch too", POSITIVE, float, False
    )

    def __post_init__(self) -> None:
        for spec in fields(self):
            value, check = getattr(self, spec.name), spec.metadata["check"]
            if value is not None and check is not None and not check.accepts(value):
                raise UsageError(f"{flag(spec.name)}: {value!r} is not accepted; it takes {check.words}")

    @property
    def training_attack(self) -> Attack:
        """The attack that perturbs the training batches."""
        kind = ATTACKS[self.attack]
        numbers = {"eps": self.eps, "steps": self.attack_steps, "step_size": self.attack_step_size}
        return kind(**{spec.name: numbers[spec.name] for spec in fields(kind) if spec.name in numbers})

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the method is tuned with."""
        return {name: getattr(self, name) for name in HYPERPARAMETERS}

    @property
    def sampled_by(self) -> str:
        """How batches are filled."""
        return self.sampling or METHODS[self.method].sampling

    @property
    def threat(self) -> PGD:
        """The attack of validation and test."""
        return PGD(eps=self.eps, step_size=self.eval_step_size, steps=self.eval_steps)

    def resolved(self) -> dict[str, Any]:
        """All fields, as `config.json` holds them."""
        return asdict(self)

    @property
    def idle(self) -> frozenset[str]:
        """Fields that this run's method does not look at."""
        method = METHODS[self.method]
        idle = set(HYPERPARAMETERS - method.hyperparameters)
        if method.attack is None:
            idle |= {"attack", "attack_steps", "attack_step_size"}
        else:
            of_attack = {f"attack_{spec.name}" for spec in fields(ATTACKS[self.attack])}
            idle |= {"attack_steps", "attack_step_size"} - of_attack
        if self.sampled_by == "shuffle":
            idle |= {"positives_per_batch"}
        return frozenset(idle)

    def differing(self, other: Mapping[str, Any]) -> str | None:
        """The first field that can change the result and differs from a stored config, else None."""
        names = (spec.name for spec in fields(self) if spec.metadata["result"] and spec.name not in self.idle)
        return next((name for name in names if name not in other or getattr(self, name) != other[name]), None)


CIFAR10 = Config(
    data="cifar10",
    data_dir=None,
    download=False,
    train_examples=None,
    validation_examples=None,
    split_seed=None,
    augmentation="crop_flip",
    positive="automobile",
    method="adap_lpn",
    lam=0.8,
    gamma1=0.1,
    gamma2=0.9,
    margin=0.6,
    ap_score="sigmoid",
    list_score="tanh",
    temperature=1.0,
    divergence="kl",
    start="first_visit",
    prevalence="batch",
    peek=False,
    sampling=None,
    init_from=None,
    epochs=60,
    batch_size=128,
    positives_per_batch=None,
    optimizer="adam",
    learning_rate=1e-3,
    weight_decay=2e-4,
    backbone="resnet18",
    precision="float32",
    seed=0,
    eps=8 / 255,
    attack="pgd",
    attack_steps=6,
    attack_step_size=0.01,
    eval_steps=10,
    eval_step_size=0.007,
    replicas=None,
    checkpoint_minutes=10.0,
)
"""The paper's recipe for CIFAR-10, one class against the rest; λ, γ1, γ2 and the learning rate from its grids."""

CIFAR10_MINI = replace(
    CIFAR10,
    train_examples=20_000,
    validation_examples=5_000,
    split_seed=0,
    epochs=12,
    backbone="small_cnn",
)
"""The same on half the training images, the same ones for every seed, with a small network, for two CPU cores."""

DIGITS = replace(
    CIFAR10,
    data="digits",
    augmentation="none",
    positive="8",
    lam=1.0,
    batch_size=64,
    backbone="small_cnn",
    eps=0.1,
    attack_step_size=0.032,
    eval_step_size=0.0225,
)
"""scikit-learn's digits, one against the rest. The paper's recipe but for ε, which suits 16 grey levels, and the
smaller batch and network; the step sizes stand to ε as in the paper. About 20 seconds a run on two CPU cores."""

PRESETS: Mapping[str, Config] = {"digits": DIGITS, "cifar10": CIFAR10, "cifar10-mini": CIFAR10_MINI}
"""Recipes by name."""

BASELINES: Mapping[str, str] = {"digits": "ce"}
"""The method trained beside the one asked for, by preset, since a robust AP alone means nothing."""


def flag(name: str) -> str:
    """The option of a field."""
    return "--" + name.replace("_", "-")


def parse(arguments: Sequence[str] | None = None) -> list[tuple[Config, Path]]:
    """Reads the command line.

    Returns:
        The run that is asked for and the folder it goes to; those of the baseline if there is one, and of what they
        start from if that has to be trained.

    Raises:
        UsageError: an option or a value is not accepted.
    """
    given = vars(_parser().parse_args(arguments))
    preset, out = given.pop("preset"), given.pop("out")
    if preset not in PRESETS:
        raise UsageError(f"--preset: unknown preset {preset!r}; it takes one of {', '.join(PRESETS)}")
    baseline = given.pop("baseline", BASELINES.get(preset, "none"))
    if baseline not in (*METHODS, "none"):
        raise UsageError(f"--baseline: unknown method {baseline!r}; it takes one of {', '.join(METHODS)}, none")
    asked = replace(PRESETS[preset], **given)

    def folder(method: str) -> Path:
        if out is None:
            return Path("runs") / f"{preset}-{asked.positive}-{method}-seed{asked.seed}"
        path = Path(out).resolve()
        return path if method == asked.method else path.with_name(f"{path.name}-{method}")

    runs = {}
    wanted = [asked.method, *({baseline} - {"none"})]
    while wanted:
        method = wanted.pop(0)
        lender = METHODS[method].pretrained if asked.init_from is None else None
        runs[method] = replace(asked, method=method, init_from=str(folder(lender)) if lender else asked.init_from)
        wanted += {lender} - {None, *runs, *wanted}
    return [(run, folder(method)) for method, run in runs.items()]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(f"{message.removeprefix('argument ')} (--help lists all options)")


def _parser() -> argparse.ArgumentParser:
    """The options: those of the config, and three that are not part of a run."""
    parser = _Parser(
        prog="train/main.py",
        description="Trains a network for average precision that survives an attack, and a baseline beside it; "
        "evaluates both, clean and attacked, on test data; writes figures, a SavedModel and results.json.",
        epilog="Without arguments it finds one handwritten digit among ten. The same command again continues a "
        "run that was interrupted, and prints the results of one that is finished.",
    )
    parser.add_argument(
        "--preset", default="digits", metavar="NAME", help=f"recipe: {', '.join(PRESETS)} (%(default)s)"
    )
    parser.add_argument("--out", metavar="DIR", help="run folder (runs/PRESET-POSITIVE-METHOD-seedSEED)")
    parser.add_argument(
        "--baseline",
        default=argparse.SUPPRESS,
        metavar="METHOD",
        help="method to train beside it, on the same network, data and attack; none for no other "
        "(digits: ce; others: none)",
    )
    for spec in fields(Config):
        _add_option(parser, spec.name, **spec.metadata)
    return parser


def _add_option(
    parser: argparse.ArgumentParser, name: str, help: str, check: Check | None, kind: type, result: bool
) -> None:
    """The option of a field; absent from what is parsed if it is not given, so that the preset's value stays."""
    presets: dict[str, list[str]] = {}
    for preset, config in PRESETS.items():
        value = getattr(config, name)
        if value not in (None, False):
            presets.setdefault(f"{value:.4g}" if isinstance(value, float) else str(value), []).append(preset)
    text = f"{help}; {check.words}" if check else help
    if presets:
        everywhere = [*presets.values()] == [list(PRESETS)]
        text += f" ({'; '.join(v if everywhere else f'{v} in {chr(44).join(p)}' for v, p in presets.items())})"
    if kind is bool:
        parser.add_argument(flag(name), action="store_true", default=argparse.SUPPRESS, help=text)
    else:
        metavar = kind.__name__.upper().replace("STR", "NAME")
        parser.add_argument(flag(name), type=kind, default=argparse.SUPPRESS, metavar=metavar, help=text)

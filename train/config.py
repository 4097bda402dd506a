"""What a run is made of: one frozen config, checked at construction."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
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
from train.fields import COUNT, NON_NEGATIVE, POSITIVE, RATE, WHOLE, Check, check_fields, one_of, option
from train.sources import OWN, DataOptions

OPTIMIZERS = {
    name.lower(): kind
    for name, kind in vars(keras.optimizers).items()
    if isinstance(kind, type) and name != "Optimizer" and "learning_rate" in inspect.signature(kind).parameters
}
FAIR = "fair"
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@dataclass(frozen=True, kw_only=True)
class Config(DataOptions):
    """A run. Every field is an option of the same name.

    Raises:
        UsageError: a value is not accepted; the message names the option.
    """

    train_examples: int | None = option(
        "training examples to keep, of each class its share; all if not given", COUNT, int
    )
    validation_examples: int | None = option("the same of the validation examples", COUNT, int)
    augmentation: str = option("random change of training images", one_of(AUGMENTATIONS))
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
        "it; fair fills it with positives and others for every method, so that all draw alike; the method's own way if "
        "not given",
        one_of((*SAMPLINGS, FAIR)),
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
    learning_rate: float = option(
        "of the optimizer; a tenth of it after 50%% and again after 75%% of the steps", POSITIVE, float
    )
    weight_decay: float = option("L2, added to the gradient of every weight", NON_NEGATIVE, float)
    backbone: str | None = option(
        "network; small_cnn for images and mlp for features if not given",
        Check(is_backbone, f"one of {', '.join(BACKBONES)}, or a name in keras.applications"),
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
        "devices to train on; all GPUs if not given, logical CPU devices where there is no GPU. Several machines: the "
        "same command on each, with TF_CONFIG set (docs/distributed.md)",
        COUNT,
        int,
        False,
    )
    checkpoint_minutes: float = option(
        "time between checkpoints within an epoch; there is one after every epoch too", POSITIVE, float, False
    )

    skip_nonfinite: bool = option(
        "leave out steps with a number that is not finite and count them, instead of stopping at the first",
        kind=bool,
        result=False,
        default=False,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.data is None:
            raise UsageError("--data: say which data to train on")

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
        return "positives" if self.sampling == FAIR else self.sampling or METHODS[self.method].sampling

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
        own = {"data_dir"} if self.data in OWN else set()  # what the user's own data are is where they are
        names = {spec.name for spec in fields(self) if spec.metadata["result"]} | own
        decisive = (spec for spec in fields(self) if spec.name in names - self.idle)
        # a field that is younger than the stored config has its default there
        return next((x.name for x in decisive if getattr(self, x.name) != other.get(x.name, x.default)), None)

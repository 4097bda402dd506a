"""The threats of an evaluation: settings and the run's own attack → attacks by name."""

import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adap_tf import APGD, FGSM, PGD, Listwise, Square, Threat
from adap_tf.adversary import EVERYTHING, Reach
from adap_tf.attacks import Attack
from adap_tf.evaluation import Network
from adap_tf.exact import ExactAveragePrecision
from adap_tf.methods import HYPERPARAMETERS
from adap_tf.terms import tuned
from train.errors import UsageError
from train.settings import Settings

PAPER = {"eps": 8 / 255, "steps": 10, "step_size": 0.007, "transfer_step_size": 0.003}
STRICT = {"steps": 40, "restarts": 3}  # as strong as AutoAttack's APGD of 100 steps: docs/fidelity.md


@dataclass(frozen=True)
class Limits:
    """The numbers of an evaluation's attacks, after the run's own have filled the gaps; `eps` is the largest radius."""

    eps: float
    steps: int
    step_size: float
    transfer_step_size: float
    restarts: int
    keep: str
    eps_positives: float
    eps_negatives: float


def limits(settings: Settings, config: Mapping[str, Any]) -> Limits:
    """The settings; where they are silent, what the run was validated with; else the paper's, in proportion to ε.

    Args:
        settings: what was asked for.
        config: the run's, or empty.
    """
    own_eps = config.get("eps", PAPER["eps"])
    by_class = [
        next(x for x in (radius, settings.eps, own_eps) if x is not None)
        for radius in (settings.eps_positives, settings.eps_negatives)
    ]
    eps = max(by_class) if settings.eps is None else settings.eps
    step_size = settings.step_size or config.get("eval_step_size", PAPER["step_size"]) * eps / own_eps
    return Limits(
        eps,
        settings.steps or (STRICT["steps"] if settings.strict else config.get("eval_steps", PAPER["steps"])),
        step_size or PAPER["step_size"],  # in the ball of radius 0 any step will do
        settings.transfer_step_size or PAPER["transfer_step_size"] * (eps or PAPER["eps"]) / PAPER["eps"],
        settings.restarts or (STRICT["restarts"] if settings.strict else 1),
        settings.keep or ("best" if settings.strict else "last"),
        *by_class,
    )


def make_threats(
    settings: Settings, own: Limits, config: Mapping[str, Any], attacker: Network | None
) -> dict[str, Attack | Threat | None]:
    """The threats asked for, by name.

    Args:
        settings: what was asked for.
        own: the numbers.
        config: of the evaluated run; the attacks on the ranking take its margin, scores and temperature.
        attacker: the network that the threat "transfer" looks at.
    """
    shared: dict[str, Any] = {"eps": own.eps, "norm": settings.norm}
    several: dict[str, Any] = {**shared, "restarts": own.restarts, "start": settings.start_point}
    pgd = PGD(steps=own.steps, step_size=own.step_size, keep=own.keep, **several)
    transfer = PGD(steps=settings.transfer_steps, step_size=own.transfer_step_size, keep=own.keep, **several)
    terms = {name: config[name] for name in HYPERPARAMETERS & set(config)}
    whole = replace(pgd, restarts=1)
    all_of_them: dict[str, Attack | Threat | None] = {
        "clean": None,
        "fgsm": FGSM(**several),
        "pgd": pgd,
        "apgd": APGD(steps=own.steps, momentum=settings.momentum, rho=settings.rho, **several),
        "square": Square(queries=settings.queries, area=settings.area, **shared),
        "transfer": Threat(transfer, source=attacker),
        "surrogate": Threat(whole, tuned(ExactAveragePrecision(), **terms)),
        "listwise": Threat(whole, tuned(Listwise(), **terms)),
    }
    return {name: all_of_them[name] for name in settings.names}


def with_twice_the_steps(threat: Threat) -> Threat:
    """The same threat by an attack twice as long."""
    attack: Any = threat.attack
    return replace(threat, attack=replace(attack, steps=2 * attack.steps))


def make_reach(settings: Settings, own: Limits, image_shape: tuple[int, ...], data: Reach = EVERYTHING) -> Reach:
    """Which examples and features may change: what the settings say, within what the data allow.

    Raises:
        UsageError: a radius is larger than ε, or the file of features does not fit the images.
    """
    shares: dict[str, Any] = {}
    for name in ("positives", "negatives"):
        radius = getattr(own, f"eps_{name}")
        if radius > own.eps:
            raise UsageError(f"--eps-{name}: {radius} is more than --eps, {own.eps}")
        shares[name] = radius / own.eps if own.eps else 1.0
    if settings.features is None:
        everything = data.features is None and set(shares.values()) == {1.0}
        return EVERYTHING if everything else Reach(**shares, features=data.features)
    try:
        features = _array(settings.features)
        np.broadcast_to(features, image_shape)
        return Reach(**shares, features=features if data.features is None else features * data.features)
    except (OSError, EOFError, MemoryError, ValueError, tokenize.TokenError) as error:
        raise UsageError(
            f"--features: {settings.features} does not fit images of shape {image_shape}: {error}"
        ) from None


def _array(path: str) -> np.ndarray:
    """The numbers of a `.npy` file.

    Raises:
        ValueError: it is another kind of file, or has no number in it.
    """
    with open(path, "rb") as file:
        found = np.load(file, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise ValueError("it is an archive, and one array is wanted, a .npy file")
    if not found.size:
        raise ValueError("it is empty")
    return found.astype(np.float32)

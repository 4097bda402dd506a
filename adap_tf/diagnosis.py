"""Signs that an attack was weak, so that a robust AP says more about the attack than about the network.

The signs are those of Carlini et al., "On evaluating adversarial robustness" (2019), put in terms of AP.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

TOLERANCE = 0.005  # of AP, between two attacks
FALLING = 0.01  # of AP, between an attack and one twice as long
FLAT = 0.01  # share of examples


class Doubt(NamedTuple):
    """A reason not to trust a result: what it is a sign of, and the words for it."""

    sign: str
    text: str


def doubts(
    ap: Mapping[str, float],
    *,
    zero_gradients: float = 0.0,
    white_box: Collection[str] = ("pgd", "apgd"),
    black_box: Collection[str] = ("square", "transfer"),
    single_step: Collection[str] = ("fgsm",),
    ranking: Collection[str] = ("surrogate", "listwise"),
    doubled: Mapping[str, float] | None = None,
) -> list[Doubt]:
    """What speaks against the robust AP of one network.

    Args:
        ap: AP by threat; what is not in it is not compared.
        zero_gradients: share of the examples whose gradient is exactly 0.
        white_box: threats of many steps that follow the network's own gradient.
        black_box: threats that do not see it.
        single_step: threats of one step.
        ranking: threats that attack all examples together; the others attack each for itself.
        doubled: AP of white-box threats that were run with twice their steps.

    >>> [doubt.sign for doubt in doubts({"pgd": 0.5, "square": 0.4, "fgsm": 0.6})]
    ['black_box_stronger']
    """
    flat = [] if zero_gradients <= FLAT else [_flat(zero_gradients)]
    many, one = _those(ap, white_box), _those(ap, single_step)
    return [
        *flat,
        *_stronger(
            "black_box_stronger",
            "without the gradient",
            _those(ap, black_box),
            _strongest(many or one),
            "the gradient misleads",
        ),
        *_stronger("single_step_stronger", "a single step", one, many, "more or other steps are needed"),
        *_stronger(
            "ranking_attack_stronger",
            "an attack on the ranking",
            _those(ap, ranking),
            _strongest(_those(ap, {*white_box, *black_box, *single_step})),
            "attacks on single examples are not the worst here",
        ),
        *_falling(ap, doubled or {}),
    ]


def _those(ap: Mapping[str, float], names: Collection[str]) -> dict[str, float]:
    return {name: value for name, value in ap.items() if name in names}


def _strongest(ap: Mapping[str, float]) -> dict[str, float]:
    """The one with the lowest AP, if there is any."""
    return dict(sorted(ap.items(), key=lambda item: item[1])[:1])


def _stronger(sign: str, kind: str, these: Mapping[str, float], others: Mapping[str, float], so: str) -> list[Doubt]:
    """A doubt for each of these threats that lowers AP further than some of the others, with the names of those."""
    found = []
    for name, lower in these.items():
        weaker = [f"{other} ({value:.4f})" for other, value in others.items() if lower < value - TOLERANCE]
        if weaker:
            text = f"{name}, {kind}, gives a lower AP ({lower:.4f}) than {' and '.join(weaker)}: {so}"
            found.append(Doubt(sign, text))
    return found


def _flat(share: float) -> Doubt:
    return Doubt(
        "zero_gradients",
        f"{share:.1%} of the examples have a gradient of exactly 0: attacks by gradient cannot move them; look at a "
        "black-box threat",
    )


def _falling(ap: Mapping[str, float], doubled: Mapping[str, float]) -> list[Doubt]:
    """A doubt for each threat that twice the steps make stronger still."""
    return [
        Doubt(
            "still_falling",
            f"{name} with twice the steps lowers AP from {ap[name]:.4f} to {lower:.4f}: it has not come to its end; "
            "give more --steps",
        )
        for name, lower in doubled.items()
        if lower < ap[name] - FALLING
    ]

"""Signs that an attack was weak, so that a robust AP says more about the attack than about the network.

The signs are those of Carlini et al., "On evaluating adversarial robustness" (2019), put in terms of AP.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

TOLERANCE = 0.005  # of AP, between two attacks
FALLING = 0.02  # of AP, between an attack and one twice as long
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
    doubled: Mapping[str, float] | None = None,
) -> list[Doubt]:
    """What speaks against the robust AP of one network.

    Args:
        ap: AP by threat; what is not in it is not compared.
        zero_gradients: share of the examples whose gradient is exactly 0.
        white_box: threats of many steps that follow the network's own gradient.
        black_box: threats that do not see it.
        single_step: threats of one step.
        doubled: AP of white-box threats that were run with twice their steps.

    >>> [doubt.sign for doubt in doubts({"pgd": 0.5, "square": 0.4, "fgsm": 0.6})]
    ['black_box_stronger']
    """
    found = []
    if zero_gradients > FLAT:
        found.append(
            Doubt(
                "zero_gradients",
                f"{zero_gradients:.1%} of the examples have a gradient of exactly 0: attacks by gradient cannot move "
                "them; look at a black-box threat",
            )
        )
    strong = {name: ap[name] for name in white_box if name in ap}
    if strong:
        best = min(strong, key=lambda name: strong[name])
        for name in black_box:
            if name in ap and ap[name] < strong[best] - TOLERANCE:
                text = (
                    f"{name}, without the gradient, gives a lower AP ({ap[name]:.4f}) than {best} ({strong[best]:.4f})"
                )
                found.append(Doubt("black_box_stronger", f"{text}: the gradient misleads"))
        for name in single_step:
            if name in ap and ap[name] < strong[best] - TOLERANCE:
                text = f"{name}, a single step, gives a lower AP ({ap[name]:.4f}) than {best} ({strong[best]:.4f})"
                found.append(Doubt("single_step_stronger", f"{text}: more or other steps are needed"))
    for name, lower in (doubled or {}).items():
        if lower < ap[name] - FALLING:
            text = f"{name} with twice the steps lowers AP from {ap[name]:.4f} to {lower:.4f}"
            found.append(Doubt("still_falling", f"{text}: it has not come to its end; give more --steps"))
    return found

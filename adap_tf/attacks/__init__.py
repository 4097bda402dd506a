"""Attacks: functions of `value_and_grad(x)`, which know neither the network nor what it is that they ascend.

`value_and_grad` takes perturbed images `[B, ...]` and returns the values `[B]` to be raised and their gradient
by the images. `ascending` makes one from a network and an ascent on its scores.
"""

from collections.abc import Mapping

from adap_tf.attacks.apgd import APGD as APGD
from adap_tf.attacks.ascent import ValueAndGrad as ValueAndGrad
from adap_tf.attacks.ascent import as_direction as as_direction
from adap_tf.attacks.ascent import ascending as ascending
from adap_tf.attacks.ascent import chosen as chosen
from adap_tf.attacks.ascent import traced_once as traced_once
from adap_tf.attacks.ascent import without_loops as without_loops
from adap_tf.attacks.base import Attack as Attack
from adap_tf.attacks.square import Square as Square
from adap_tf.attacks.steps import FGSM as FGSM
from adap_tf.attacks.steps import PGD as PGD

ATTACKS: Mapping[str, type] = {"pgd": PGD, "fgsm": FGSM, "apgd": APGD}
"""The attacks by gradient, by name: those that a network can be trained against."""

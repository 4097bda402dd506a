"""What ranking adds to a training step: `python -m benchmarks.overhead --method adap_lpn`."""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence

import tensorflow as tf

from adap_tf.attacks import PGD
from adap_tf.methods import estimator_key
from adap_tf.model import AdversarialModel
from adap_tf.scored import ADVERSARIAL, CLEAN, Scored
from benchmarks.step import add_options, prepared, stepper
from benchmarks.timing import add_repeats, changed, ratios, show, timed

ALLOWED = 1.05
"""A method with a clean and an attacked pass may take as long as `pgd` and so many steps of `ce`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead",
        description=f"Times a step, one of pgd, one of ce, and the step's terms and estimators alone, in turn. Two "
        f"ratios, turn by turn: of the step to pgd + {ALLOWED} ce, and of the terms to the step.",
    )
    add_options(parser)
    add_repeats(parser, 12, "timed steps of each")
    given = parser.parse_args(arguments)
    names = (given.method, "pgd", "ce")
    steps = [stepper(changed(given, method=name)) for name in names]
    seconds = timed([*steps, terms_alone(given)], given.repeats)
    for name, found in zip((*names, "terms"), seconds, strict=True):
        show(name, found, "s")
    step, pgd, ce, terms = seconds
    allowed = [one + ALLOWED * other for one, other in zip(pgd, ce, strict=True)]
    shares = {"bound": ratios(step, allowed), "terms_share": ratios(terms, step)}
    for name, found in shares.items():
        show(name, found)
    if given.json:
        medians = {name: statistics.median(found) for name, found in {"seconds": step, **shares}.items()}
        print(json.dumps({**medians, "repeats": given.repeats}))


def terms_alone(given: argparse.Namespace) -> Callable[[], None]:
    """All that a step does with scores, in a graph of its own: the objective, and the slopes of the attack's steps.

    Its call and the way back to Python count too, so it takes longer than as a part of the step, but for a joint
    attack's: in the step each of its slopes is a call.
    """
    # Any network will do: it only says how many scores an example has.
    model, batch, _ = prepared(changed(given, backbone="mlp", replicas=1))
    assert isinstance(model.attack, PGD)
    scores = tf.random.stateless_normal([2 + model.attack.steps, *batch["label"].shape], seed=(0, 0))
    step = tf.function(lambda: of_scores(model, batch, tf.unstack(scores)))

    def take() -> None:
        float(step()["loss"])

    return take


def of_scores(
    model: AdversarialModel, batch: dict[str, tf.Tensor], scores: Sequence[tf.Tensor]
) -> dict[str, tf.Tensor]:
    """The signals of a step on scores that are there already: the clean ones, the perturbed, those of the attack.

    The slopes are among them, since a graph leaves out what nobody asks for.
    """
    method, attack = model.method, model.method.attack
    clean, perturbed, *within = scores
    whole = Scored.of({CLEAN: clean, ADVERSARIAL: perturbed}, batch["label"], batch["row"])
    ascents = (
        []
        if attack is None
        else [
            attack.ascent(whole.with_scores({ADVERSARIAL: h}), model.estimators.get(estimator_key(attack)), method.peek)
            for h in within
        ]
    )
    signals, slopes = method.objective(whole, model.estimators)
    return {**signals, **slopes, **{f"ascent {number}": slope for number, (_, slope) in enumerate(ascents)}}


if __name__ == "__main__":
    main()

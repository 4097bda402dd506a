"""One network under all threats: its scores, what they say, and what speaks against that."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from tqdm import tqdm

from adap_tf import Evaluator, doubts
from adap_tf.data import Examples, Source, same_images, splits
from adap_tf.metrics import mean_average_precision
from adap_tf.resampling import bootstrap
from train.errors import UsageError
from train.fields import flag
from train.identity import changed, fingerprint
from train.measures import WORST, measured, with_worst
from train.settings import Settings
from train.sources import DataOptions, Splits, load_splits
from train.subjects import Subject
from train.threats import limits, make_reach, make_threats, with_twice_the_steps
from train.workers import make_strategy

WHITE_BOX = ("pgd", "apgd")
OTHERS = ("data", "data_dir", "positive", "split_seed", "labels", "image_size", "changeable", "bounds")
"""Options that can make data others than those that a run was trained on."""

LOOKED_AT = 64  # images that tell two networks apart


class Evaluation:
    """A network, the examples that it is evaluated on, and the threats.

    Args:
        name: what it is called.
        subject: the network.
        attacker: the one that the threat "transfer" looks at.
        settings: what was asked for.

    Raises:
        UsageError: data, networks and settings do not fit each other.
    """

    def __init__(self, name: str, subject: Subject, attacker: Subject | None, settings: Settings):
        self.name, self.subject, self.settings = name, subject, settings
        self.examples, self.splits = examples_of(subject, settings)
        self.tasks = self.splits.tasks
        shape = self.examples.image.shape[1:]
        subject.check(shape, self.tasks)
        if attacker is not None:
            self._check_attacker(attacker)
            attacker.check(shape, self.tasks)
        self._check_positives()
        self.transfers = attacker is not None and not attacker.is_network_of(
            subject, self.examples.image[np.arange(min(LOOKED_AT, len(self.examples)))]
        )
        self.limits = limits(settings, subject.config)
        self.seed = subject.config.get("seed", 0) if settings.seed is None else settings.seed
        self.reach = make_reach(settings, self.limits, shape, self.splits.reach)
        source = None if attacker is None else attacker.network
        self.evaluator = self._evaluator(make_threats(settings, self.limits, subject.config, source))

    def run(self) -> None:
        """Scores the examples under every threat, and asks what speaks against the result.

        Afterwards there are `scores` by threat, the bootstrapped AP as `samples`, `measures` by threat, and `doubts`.
        Whatever run it is, the same examples have the same resamples.

        Raises:
            UsageError: scores are not finite.
        """
        started = time.perf_counter()
        image, label = self.examples.image, self.examples.label
        self.scores = with_worst(self._scored(self.evaluator), label)
        self.samples = bootstrap(self.scores, label, self.settings.bootstrap, self.settings.seed or 0)
        self.measures = measured(self.scores, label, self.tasks, self.samples, self.settings)
        self.doubled = {} if self.settings.quick else self._with_twice_the_steps()
        self.zero_gradients = self.evaluator.zero_gradients(image, label)
        ap = {threat: found["ap"] for threat, found in self.measures.items()}
        black_box = ("square", "transfer") if self.transfers else ("square",)
        self.doubts = doubts(ap, zero_gradients=self.zero_gradients, black_box=black_box, doubled=self.doubled)
        self.seconds = time.perf_counter() - started

    def results(self) -> dict[str, Any]:
        """What `results.json` holds of this network."""
        return {
            "path": str(self.subject.path),
            "method": self.subject.config.get("method"),
            "tasks": list(self.tasks),
            "skipped": len(self.splits.skipped),
            "limits": asdict(self.limits),
            "seed": self.seed,
            "threats": self.measures,
            "twice_the_steps": self.doubled,
            "zero_gradients": self.zero_gradients,
            "warnings": [doubt._asdict() for doubt in self.doubts],
            "notes": self.notes,
        }

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers has to know."""
        if self.transfers or "transfer" not in self.evaluator.threats:
            return []
        return ["transfer looks at the very network that is evaluated, so it is no black-box threat here"]

    @property
    def shown_threat(self) -> str | None:
        """The threat for figures: the strongest of those against each example by itself, None if there is none."""
        found = [name for name, threat in self.evaluator.threats.items() if threat and not threat.term.joint]
        return min(found, key=lambda name: self.measures[name]["ap"], default=None)

    def comparable(self, other: "Evaluation") -> set[str]:
        """The threats under which another was evaluated alike: by the same attack and limits, on the same examples."""
        if not self.same_examples(other):
            return set()
        alike = {
            name
            for name, threat in self.evaluator.threats.items()
            if threat is None or (threat == other.evaluator.threats[name] and self.limits == other.limits)
        }
        return alike | ({WORST} if len(alike) == len(self.evaluator.threats) else set())

    def same_examples(self, other: "Evaluation") -> bool:
        """Whether another was evaluated on the same examples, in the same order, for the same tasks."""
        return (
            self.tasks == other.tasks
            and np.array_equal(self.examples.label, other.examples.label, equal_nan=True)
            and same_images(self.examples.image, other.examples.image)
        )

    def _check_attacker(self, attacker: Subject) -> None:
        for name in ("data", "positive"):
            own = getattr(self.settings, name) or self.subject.config.get(name)
            if own and (others := attacker.config.get(name) or own) != own:
                raise UsageError(
                    f"--attacker: {attacker.path} was trained with {flag(name)} {others}, and {self.subject.path} is "
                    f"evaluated with {own}"
                )

    def _check_positives(self) -> None:
        for task, count in zip(self.tasks, self.examples.positives, strict=True):
            if not count:
                raise UsageError(
                    f"--examples: {len(self.examples)} of the {self.settings.split} split hold no positive of "
                    f"{task!r}; more are needed"
                )

    def _evaluator(self, threats: Mapping[str, Any]) -> Evaluator:
        with make_strategy(self.settings.replicas).scope():
            return Evaluator(
                self.subject.network,
                threats,
                self.settings.batch_size,
                self.seed,
                reach=self.reach,
                strict=self.settings.strict,
            )

    def _with_twice_the_steps(self) -> dict[str, float]:
        """AP under the strongest white-box threat when it takes twice as many steps; empty if there is none."""
        there = [name for name in WHITE_BOX if name in self.evaluator.threats]
        if not there:
            return {}
        strongest = min(there, key=lambda name: self.measures[name]["ap"])
        threat = self.evaluator.threats[strongest]
        assert threat is not None
        longer = self._evaluator({strongest: with_twice_the_steps(threat)})
        return {strongest: mean_average_precision(self._scored(longer)[strongest], self.examples.label)}

    def _scored(self, evaluator: Evaluator) -> dict[str, np.ndarray]:
        """The scores, with a bar that shows how far it is."""
        n, order = len(self.examples), list(evaluator.threats)
        with tqdm(desc=self.name, total=n * len(order), unit="image", leave=False, disable=None) as bar:
            looks: Counter[str] = Counter()

            def progress(threat: str, done: int) -> None:
                looks[threat] += not done
                bar.set_postfix_str(threat if done else f"{threat}, look {looks[threat]}", refresh=not done)
                bar.update(order.index(threat) * n + done - bar.n)

            found = evaluator.scores(self.examples.image, self.examples.label, progress, self.examples.ids)
        for threat, scores in found.items():
            if not np.isfinite(scores).all():
                raise UsageError(f"{self.subject.path}: scores under {threat} are not finite; nothing can be ranked")
        return found


def examples_of(subject: Subject, settings: Settings) -> tuple[Examples, Splits]:
    """The examples that a network is evaluated on, and the data that they are of.

    Raises:
        UsageError: nobody says which data, they are missing, or there are fewer than asked for.
    """
    asked = data_of(subject, settings)
    for name in ("data", "positive"):
        if getattr(asked, name) is None and not subject.config:
            raise UsageError(f"--{name}: {subject.path} has no run folder around it that would say so; give --{name}")
    of_run = data_of(subject, Settings())
    own = all(getattr(asked, name) == getattr(of_run, name) for name in OTHERS)
    cut = subject.config.get("validation_examples") if own else None
    loaded = load_splits(asked, subject.config.get("seed", 0), validation_examples=cut)
    examples = loaded.parts[settings.split]
    if own and changed(subject.data, {settings.split: fingerprint(examples)}):
        raise UsageError(
            f"--data-dir: the data of {subject.path} have changed, so its {settings.split} data may hold what it was "
            "trained on; restore them, or name other data"
        )
    if settings.examples is not None:
        if settings.examples > len(examples):
            raise UsageError(f"--examples: {settings.examples} asked for, and there are {len(examples)}")
        strata = Source(examples.image, examples.label, loaded.tasks).strata
        examples = examples.take(splits.stratified(strata, (settings.examples / len(examples),), 0)[0])
    return examples, loaded


def data_of(subject: Subject, settings: Settings) -> DataOptions:
    """The data asked for; where the settings are silent, those of the run."""
    merged = {}
    for spec in fields(DataOptions):
        given = getattr(settings, spec.name)
        silent = given is None or given is False
        merged[spec.name] = subject.config.get(spec.name, spec.default) if silent else given
    return DataOptions(**merged)

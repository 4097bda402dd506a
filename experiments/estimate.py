"""What an entry would take: runs, steps and hours, before anything runs."""

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from adap_tf.data import Examples, training_batches
from experiments import published
from experiments.cells import ALL, GROUPS, PAPERS, Entry
from experiments.gather import missing
from experiments.store import Run, unique
from experiments.study import Study
from experiments.without_runs import NAMES
from experiments.work import evaluations
from train.building import make_model, make_sampler
from train.config import Config
from train.sources import Splits

REFERENCE, UNTIMED = "AdAP_LN", "TRADES"
"""The method whose step is measured; and that which stands for methods that Table 7 does not have."""

PIXELS = {"digits": 8 * 8, "cifar10": 32 * 32, "cifar100": 32 * 32, "celeba": 218 * 178, "bdd100k": 224 * 224}
TIMED_STEPS = 60 * (40_000 // 128)  # of a run of Table 7
WARM_UP, REPEATS = 2, 5


class Plan(NamedTuple):
    """What the runs of one data set take.

    Attributes:
        runs: how many there are.
        finished: of them.
        steps: of the others.
        work: these steps in steps of `REFERENCE` on images of 32×32.
    """

    runs: int
    finished: int
    steps: int
    work: float


def plans(study: Study, *entries: Entry) -> dict[str, Plan]:
    """By data set, what entries take, a run that several need once, and the data that are missing included."""
    runs: dict[str, list[Run]] = {}
    stages = chain.from_iterable(study.stages(entry, anyway=True) for entry in entries)
    for run in unique(chain.from_iterable(stages)):
        runs.setdefault(run.config.data or "", []).append(run)
    return {data: plan(of_data, study) for data, of_data in runs.items()}


def plan(runs: list[Run], study: Study) -> Plan:
    """What some runs take."""
    left = [run for run in runs if not run.over]
    steps = [steps_of(run.config, study) for run in left]
    work = sum(count * weight(run.config) for count, run in zip(steps, left, strict=True))
    return Plan(len(runs), len(runs) - len(left), sum(steps), work)


def steps_of(config: Config, study: Study) -> int:
    """The steps of a run."""
    return config.epochs * (examples(config, study) // config.batch_size)


def examples(config: Config, study: Study) -> int:
    """The training examples of a run; where all are taken, as many as Table 6 says."""
    if config.train_examples is not None:
        return config.train_examples
    rows = (NAMES.get(group, group) for group, tasks in GROUPS.items() if tasks[0].startswith(f"{config.data}/"))
    if row := next(rows, None):
        return int(published.read("table6")["", row, "Train", "Examples"].text)
    splits = study.splits(next(iter(GROUPS.values()))[0])
    assert isinstance(splits, Splits)
    return len(splits.train)


def weight(config: Config) -> float:
    """A step's work in steps of `REFERENCE` on images of 32×32: by Table 7, the pixels and the batch."""
    seconds = published.seconds()
    name = PAPERS[config.method]
    of_method = seconds.get(name, seconds[UNTIMED]) / seconds[REFERENCE]
    return of_method * PIXELS.get(config.data or "", 32 * 32) / 32**2 * config.batch_size / 128


def unevaluated(study: Study, entry: Entry) -> int:
    """How many runs are still to be evaluated."""
    return sum(not job.done() for job in evaluations(study, entry, anyway=True)) if entry.cells else 0


def measured(config: Config) -> float:
    """Seconds of a step of `REFERENCE` on random images of 32×32, with a run's network: the median of a few."""
    config = config_of_reference(config)
    rng = np.random.default_rng(0)
    label = np.arange(2 * config.batch_size) % 4 == 0
    parts = Examples(rng.uniform(size=(len(label), 32, 32, 3)).astype(np.float32), label.astype(np.float32))
    splits = Splits(parts, parts, parts, ("a task",))
    model = make_model(config, splits, 10)
    batch, step = next(iter(training_batches(parts, make_sampler(config, splits)))), tf.function(model.train_step)
    seconds = []
    for _ in range(WARM_UP + REPEATS):
        started = time.perf_counter()
        float(step(batch)["loss"])
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[WARM_UP:])


def config_of_reference(config: Config) -> Config:
    """The recipe with the method and the batch that a measured step has."""
    return replace(config, method=ALL[REFERENCE], batch_size=128, init_from=None)


def told(name: str, entry: Entry, study: Study, seconds: float) -> Iterator[str]:
    """The lines of a dry run.

    Args:
        name: of the entry.
        entry: the table or figure.
        study: its runs.
        seconds: of a step of `REFERENCE` here, on images of 32×32 and a batch of 128.
    """
    gone = missing(entry, study)
    yield f"\n{name}, {entry.title}; scale {study.scale.name}"
    yield from table(plans(study, entry), seconds)
    yield f"evaluations left: {unevaluated(study, entry)}"
    for data, problem in gone.items():
        yield f"missing: {data}: {problem}; docs/data.md says how to get it; the other columns come without it"


def table(found: Mapping[str, Plan], seconds: float) -> Iterator[str]:
    """Plans as lines, a data set each, and their sum."""
    on_gpu = published.seconds()[REFERENCE] / TIMED_STEPS
    yield f"{'data':<10}{'runs':>7}{'finished':>10}{'steps left':>13}{'hours here':>12}{'GPU-hours':>11}"
    for data, each in {**found, "all": total(found)}.items():
        hours = f"{each.work * seconds / 3600:>12.2f}{each.work * on_gpu / 3600:>11.2f}"
        yield f"{data:<10}{each.runs:>7}{each.finished:>10}{each.steps:>13}{hours}"


def total(found: Mapping[str, Plan]) -> Plan:
    """The sum of plans."""
    return Plan(*(sum(numbers) for numbers in zip(*found.values(), strict=True))) if found else Plan(0, 0, 0, 0)

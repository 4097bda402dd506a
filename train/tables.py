"""The sections of a report that are tables: summary, threats, differences, remarks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from train.measures import WORST
from train.parts import NOTHING, Cell, Remarks, Section, Table, ends, number, shown, signed, with_interval
from train.records import OWN_SETTINGS, Record, pairs
from train.settings import THREATS

NORMS = {"linf": "L∞", "l2": "L2"}


def threats_of(records: Sequence[Record]) -> list[str]:
    """All threats that there are numbers of, in the order of the command's options, the worst of all last."""
    there = {threat for record in records for threat in record.measures}
    known = [threat for threat in (*THREATS, WORST) if threat in there]
    return known + sorted(there - set(known))


def summary(records: Sequence[Record]) -> Section:
    """A row a run: AP under each threat, and the epoch whose network it is."""
    threats = threats_of(records)
    rows = [
        [
            Cell(record.name),
            Cell(record.config.method),
            *(_ap(record.measures, threat) for threat in threats),
            selected(record),
            Cell(record.source or NOTHING, "", "long"),
        ]
        for record in records
    ]
    table = Table(
        f"{what(records)}, below it {intervals_of(records)}",
        ["run", "method", *threats, "selected epoch", "numbers from"],
        rows,
    )
    return Section("summary", "Summary", explained(threats, records), [table])


def what(records: Sequence[Record]) -> str:
    """AP, or the mean over the tasks."""
    count = max(len(record.tasks) for record in records)
    return "AP" if count < 2 else f"Mean AP over {count} tasks"


def intervals_of(records: Sequence[Record]) -> str:
    """What the intervals are, in words."""
    shares = sorted({f"{record.confidence:.4g}" for record in records if record.measures})
    return f"the {' or '.join(f'{100 * float(share):g}%' for share in shares) or '95%'} interval (stratified bootstrap)"


def explained(threats: Sequence[str], records: Sequence[Record]) -> list[str]:
    """What a reader has to know of the columns, and of runs that have none."""
    found = []
    if threats:
        found.append(
            "An interval says how far AP depends on which examples happen to be in the test data; it does not say what "
            "another seed of the training would give."
        )
    if WORST in threats:
        found.append(f"“{WORST}” takes for each example the worst score that any of the run's threats found.")
    if len({record.source for record in records if record.measures}) > 1:
        found.append(
            "Not all runs have their numbers from the same place: of those that differ in it, compare threats of the "
            "same name and settings only."
        )
    found += [
        f"{record.name} is not finished: {len(record.history)} of {record.config.epochs} epochs are done, and there "
        "are no test results yet."
        for record in records
        if record.results is None
    ]
    return found


def _ap(measures: Mapping[str, Any], threat: str) -> Cell:
    if threat not in measures:
        return number(None)
    return with_interval(measures[threat]["ap"], measures[threat]["interval"])


def selected(record: Record) -> Cell:
    """The epoch of the network that was tested, of how many."""
    if record.results is None:
        return Cell("not finished", f"{len(record.history)} of {record.config.epochs} epochs")
    return Cell(str(record.results["selected"]["epoch"]), f"of {record.config.epochs}", "number")


def under_threats(records: Sequence[Record]) -> list[Table]:
    """Each measure under each threat, the AP of each task, and how the attacks were set."""
    known = [record for record in records if record.measures]
    tables = [_measures(known)]
    if by_task := [record for record in known if len(record.tasks) > 1]:
        tables.append(_by_task(by_task))
    return [*tables, _attacks(known)]


def _measures(records: Sequence[Record]) -> Table:
    every = [found for record in records for found in record.measures.values()]
    shares = list(dict.fromkeys(share for found in every for share in found["ap_at_prevalence"]))
    recalls = list(dict.fromkeys(recall for found in every for recall in found["precision_at_recall"]))
    head = ["run", "threat", "AP", "interval"]
    head += [f"AP at {100 * float(share):g}% positives" for share in shares]
    head += [f"precision at recall {recall}" for recall in recalls] + ["ranking error", "AP with twice the steps"]
    rows = [
        [
            Cell(record.name),
            Cell(threat),
            number(found["ap"]),
            Cell(ends(found["interval"]), "", "number"),
            *(number(found["ap_at_prevalence"].get(share)) for share in shares),
            *(number(found["precision_at_recall"].get(recall)) for recall in recalls),
            number(_ranking_error(found)),
            number(_twice_the_steps(record, threat)),
        ]
        for record in records
        for threat, found in record.measures.items()
    ]
    error = "the ranking error is Theorem 1's robust one, the mean over the tasks"
    return Table(f"Every measure, with {intervals_of(records)}; {error}", head, rows)


def _ranking_error(found: Mapping[str, Any]) -> float | None:
    errors = [each["robust"] for each in found.get("theorem_1", {}).values()]
    return float(np.mean(errors)) if errors else None


def _twice_the_steps(record: Record, threat: str) -> float | None:
    return None if record.evaluated is None else record.evaluated.entry["twice_the_steps"].get(threat)


def _by_task(records: Sequence[Record]) -> Table:
    threats = threats_of(records)
    rows = [
        [
            Cell(task),
            Cell(record.name),
            *(number(record.measures.get(threat, {}).get("ap_by_task", {}).get(task)) for threat in threats),
        ]
        for task in records[0].tasks
        for record in records
    ]
    return Table("AP by task", ["task", "run", *threats], rows)


def _attacks(records: Sequence[Record]) -> Table:
    head = ["run", "numbers from", "ε", "norm", "steps", "step size", "restarts", "attacker", "seed", "resamples"]
    rows = [[Cell(record.name), Cell(record.source, "", "long"), *map(Cell, _attack(record))] for record in records]
    return Table("Settings of the attacks", head, rows, folded="Settings of the attacks")


def _attack(record: Record) -> list[str]:
    if record.evaluated is None:
        threat = record.config.threat
        numbers = [threat.eps, NORMS["linf"], threat.steps, threat.step_size, threat.restarts]
        return [*map(shown, numbers), NOTHING, str(record.config.seed), str(OWN_SETTINGS.bootstrap)]
    own, settings = record.evaluated.entry["limits"], record.evaluated.settings
    norm = NORMS.get(settings.get("norm", ""), NOTHING)
    numbers = [own.get("eps"), norm, own.get("steps"), own.get("step_size"), own.get("restarts")]
    rest = [settings.get("attacker"), record.evaluated.entry.get("seed"), settings.get("bootstrap")]
    return [shown(value) for value in (*numbers, *rest)]


def compared(records: Sequence[Record]) -> Section | None:
    """The runs in pairs; None if there are none."""
    rows = [
        [
            Cell(f"{pair['runs'][0]} minus {pair['runs'][1]}"),
            Cell(pair["threat"]),
            Cell(signed(f"{pair['difference']:+.4f}"), "", "number"),
            Cell(ends(pair["interval"], "+"), "", "number"),
            Cell(_verdict(*pair["interval"])),
            Cell(pair["source"], "", "long"),
        ]
        for pair in pairs(records)
    ]
    if not rows:
        return None
    head = ["runs", "threat", "difference of AP", "interval", "interval is", "numbers from"]
    text = (
        "Both runs of a pair were resampled alike. What is hard for both cancels out, so that these intervals are as a "
        "rule narrower than those of each AP suggest."
    )
    table = Table(f"Differences of AP, with {intervals_of(records)}", head, rows)
    return Section("differences", "Paired differences", [text], [table])


def _verdict(low: float, high: float) -> str:
    return "above 0" if low > 0 else "below 0" if high < 0 else "around 0"


def remarks(records: Sequence[Record]) -> Section:
    """Warnings and notes of the evaluations, and what the runs themselves counted."""
    rows = [row for record in records for row in _remarks(record)]
    evaluated = [record.name for record in records if record.evaluated is not None]
    missing = [record.name for record in records if record.evaluated is None and record.results is not None]
    text = [f"Not evaluated with train/evaluate.py: {', '.join(missing)}. Nothing is known of weak attacks there."]
    if not rows and evaluated:
        text.append("The evaluation found nothing that speaks against the numbers.")
    return Section("remarks", "Warnings and notes", text if missing else text[1:], [Remarks(rows)] if rows else [])


def _remarks(record: Record) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str]] = []
    if record.evaluated is not None:
        entry = record.evaluated.entry
        found += [("warning", warning["text"]) for warning in entry["warnings"]]
        found += [("note", note) for note in entry["notes"]]
    results = record.results or {}
    if skipped := results.get("steps_skipped"):
        found.append(("warning", f"{skipped} steps were left out, for their numbers were not finite"))
    if skipped := results.get("skipped"):
        found.append(("note", f"{skipped} examples of the data were left out, for they could not be used"))
    return [(record.name, kind, text) for kind, text in found]

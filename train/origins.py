"""The sections of a report on what the runs were: configs side by side, and how to have the runs again."""

import shlex
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from train.config import Config
from train.evaluated import Evaluated
from train.fields import flag
from train.parts import NOTHING, Cell, Commands, Section, Table, shown
from train.presets import PRESETS
from train.records import Record
from train.reproduce import commands, evaluation_command, nearest_preset

PARTS = ("train", "validation", "test")


def configs(records: Sequence[Record]) -> Section:
    """The options side by side, of one run beside its preset's: first those that differ, then, folded, the others."""
    columns = {record.name: record.config for record in records}
    if len(records) == 1:
        preset = nearest_preset(records[0].config)
        columns = {f"preset {preset}": PRESETS[preset], **columns}
    text = "Values in bold differ from the first column's. Greyed out is what the run's method does not look at."
    head, names = ["option", *columns], [spec.name for spec in fields(Config)]
    differing = [name for name in names if len({getattr(config, name) for config in columns.values()}) > 1]
    tables = [
        Table("Options that differ", head, [_option(name, list(columns.values())) for name in differing]),
        Table(
            "Options that are equal",
            ["option", "value"],
            [_option(name, list(columns.values())[:1]) for name in names if name not in differing],
            folded=f"{len(names) - len(differing)} options that are equal",
        ),
    ]
    return Section("configs", "Configs", [text], tables if differing else tables[1:])


def _option(name: str, configs: Sequence[Config]) -> list[Cell]:
    first = getattr(configs[0], name)
    cells = []
    for config in configs:
        value = getattr(config, name)
        look = "differs" if value != first else ""
        cells.append(Cell(shown(value), "", f"{look} unused".strip() if name in config.idle else look))
    return [Cell(flag(name), "", "code"), *cells]


def reproduction(records: Sequence[Record]) -> Section:
    """The commands, and on what they ran."""
    lines = [line for record in records for line in commands(record.config, record.folder, _slug(record.name))]
    parts: list[Any] = [Commands("Training, from the project's folder", _words(lines))]
    if evaluations := [_evaluation(record.evaluated) for record in records if record.evaluated]:
        parts.append(Commands("Evaluation, as it was done", _words(evaluations)))
    text = "Each command has the options that differ from its preset; the same command gives the same numbers on the "
    text += "same data, versions and number of devices."
    return Section("reproduce", "How to reproduce", [text], [*parts, _origins(records)])


def _words(lines: Sequence[str]) -> list[list[str]]:
    """The words of each command line, of equal lines once: where words end, a line may be broken."""
    return [[shlex.quote(word) for word in shlex.split(line)] for line in dict.fromkeys(lines)]


def _slug(name: str) -> str:
    return name.replace("/", "-")


def _evaluation(evaluated: Evaluated) -> str:
    stored = evaluated.evaluation
    paths = [entry["path"] for entry in stored.results["runs"].values()]
    return evaluation_command(evaluated.settings, paths, stored.folder)


def _origins(records: Sequence[Record]) -> Table:
    """Versions, seed and fingerprints of the data, by run."""
    head = ["run", "folder", "seed", "versions", *(f"{part} data" for part in PARTS)]
    rows = []
    for record in records:
        versions = (record.results or {}).get("versions", {})
        prints = record.folder.fingerprints()
        rows.append(
            [
                Cell(record.name),
                Cell(str(record.folder.path), "", "long"),
                Cell(str(record.config.seed), "", "number"),
                Cell(", ".join(f"{name} {version}" for name, version in versions.items()) or NOTHING, "", "long"),
                *(Cell(prints.get(part, NOTHING), "", "code") for part in PARTS),
            ]
        )
    return Table("Origin of each run; of the data the fingerprints", head, rows)

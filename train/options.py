"""The command line: every field of the config is an option."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from adap_tf.methods import METHODS
from train.config import Config
from train.errors import UsageError
from train.fields import Check, flag
from train.presets import BASELINES, PRESETS, preset_for
from train.sources import absolute, run_name

RUNS = Path("runs")
"""Where runs go if nobody says."""


def parse(arguments: Sequence[str] | None = None) -> list[tuple[Config, Path]]:
    """Reads the command line.

    Returns:
        The run that is asked for and the folder it goes to; those of the baseline if there is one, and of what they
        start from if that has to be trained.

    Raises:
        UsageError: an option or a value is not accepted.
    """
    given = vars(_parser().parse_args(arguments))
    out, named = given.pop("out"), given["preset"]
    given.pop("describe")
    baseline = given.pop("baseline", None)
    preset, asked = config_of(given)
    baseline = baseline or BASELINES.get(preset, "none")
    if baseline not in (*METHODS, "none"):
        raise UsageError(f"--baseline: unknown method {baseline!r}; it takes one of {', '.join(METHODS)}, none")

    def folder(method: str) -> Path:
        if out is None:
            return RUNS / run_name(asked, named, method, asked.seed)
        path = Path(out).resolve()
        return path if method == asked.method else path.with_name(f"{path.name}-{method}")

    runs: dict[str, Config] = {}
    wanted = [asked.method, *({baseline} - {"none"})]
    while wanted:
        method = wanted.pop(0)
        lender = METHODS[method].pretrained
        start = asked.init_from if lender or method == asked.method else None  # of the others, those that need one
        if start is None and lender:
            start = str(folder(lender))
            wanted += {lender} - {*runs, *wanted}
        runs[method] = replace(asked, method=method, init_from=start)
    return [(run, folder(method)) for method, run in runs.items()]


def config_of(given: dict[str, Any]) -> tuple[str, Config]:
    """The config that options stand for.

    Args:
        given: what `add_config_options` has parsed.

    Returns:
        The preset's name, and the config.

    Raises:
        UsageError: a value is not accepted, or the config file cannot be read.
    """
    named, file = given["preset"], given["config"]
    if named and file:
        raise UsageError("--config: a config file leaves no room for --preset; give one of them")
    told = {name: value for name, value in given.items() if name not in ("preset", "config")}
    values = absolute((read_config(Path(file)) if file else {}) | told)
    preset = named or preset_for(values.get("data"))
    if preset not in PRESETS:
        raise UsageError(f"--preset: unknown preset {preset!r}; it takes one of {', '.join(PRESETS)}")
    return preset, replace(PRESETS[preset], **values)


def read_config(file: Path) -> dict[str, Any]:
    """The values in a config file: JSON by name, as in a run's `config.json`; all fields or some.

    Raises:
        UsageError: the file is no such; the message names what is wrong with it.
    """
    try:
        values = json.loads(file.read_text())
    except OSError as error:
        raise UsageError(f"--config: cannot read {file}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"--config: {file} is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise UsageError(f'--config: {file} holds no config; it takes fields by name, such as {{"lam": 0.4}}')
    specs = {spec.name: spec for spec in fields(Config)}
    for name, value in values.items():
        if name not in specs:
            raise UsageError(f"--config: {file}: unknown field {name!r}; the fields are the options of a run")
        kind, may_lack = specs[name].metadata["kind"], "None" in str(specs[name].type)
        whole = kind is float and type(value) is int
        if type(value) is not kind and not whole and not (value is None and may_lack):
            raise UsageError(f"--config: {file}: {name}: {value!r} is no {kind.__name__}")
    return values


def describes(arguments: Sequence[str] | None = None) -> bool:
    """Whether the command line asks for a description of the data instead of a training.

    Raises:
        UsageError: as `parse`.
    """
    return bool(_parser().parse_args(arguments).describe)


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is a `UsageError`."""

    def error(self, message: str) -> Any:
        """Raises it."""
        raise UsageError(f"{message.removeprefix('argument ')} (--help lists all options)")


def _parser() -> argparse.ArgumentParser:
    """The options: those of the config, and what is not part of a run."""
    parser = Parser(
        prog="train/main.py",
        description="Trains a network for average precision that survives an attack, and a baseline beside it; "
        "evaluates both, clean and attacked, on test data; writes figures, a SavedModel and results.json.",
        epilog="Without arguments it finds one handwritten digit among ten. The same command again continues a "
        "run that was interrupted, and prints the results of one that is finished.",
    )
    parser.add_argument(
        "--describe",
        action="store_true",
        help="train nothing: print the examples, the share of positives and the image size of each split, draw a few",
    )
    parser.add_argument("--out", metavar="DIR", help="run folder (runs/PRESET-POSITIVE-METHOD-seedSEED)")
    parser.add_argument(
        "--baseline",
        default=argparse.SUPPRESS,
        metavar="METHOD",
        help="method to train beside it, on the same network, data and attack; none for no other "
        f"({', '.join(BASELINES)}: ce; others: none)",
    )
    add_config_options(parser)
    return parser


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """The options that a config comes from."""
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help=f"recipe: {', '.join(PRESETS)} (digits; with --data, the first that is for it)",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="values by name in JSON, as a search's best.json; other options overrule it"
    )
    for spec in fields(Config):
        _add_option(parser, spec.name, **spec.metadata)


def _add_option(
    parser: argparse.ArgumentParser, name: str, help: str, check: Check | None, kind: type, result: bool
) -> None:
    """The option of a field; absent from what is parsed if it is not given, so that the preset's value stays."""
    presets: dict[str, list[str]] = {}
    for preset, config in PRESETS.items():
        value = getattr(config, name)
        if value not in (None, False):
            presets.setdefault(f"{value:.4g}" if isinstance(value, float) else str(value), []).append(preset)
    text = f"{help}; {check.words}" if check else help
    if presets:
        everywhere = [*presets.values()] == [list(PRESETS)]
        text += f" ({'; '.join(v if everywhere else f'{v} in {chr(44).join(p)}' for v, p in presets.items())})"
    add_option(parser, name, kind, text)


def add_options(parser: argparse.ArgumentParser, kind: type) -> None:
    """An option for each field of a config class, with its default in the help."""
    for spec in fields(kind):
        help, check = spec.metadata["help"], spec.metadata["check"]
        text = f"{help}; {check.words}" if check else help
        shown = spec.default not in (None, False, MISSING)
        add_option(parser, spec.name, spec.metadata["kind"], f"{text} ({spec.default})" if shown else text)


def add_option(parser: argparse.ArgumentParser, name: str, kind: type, text: str) -> None:
    """An option that is absent from what is parsed if it is not given, so that a default stays."""
    if kind is bool:
        parser.add_argument(flag(name), action="store_true", default=argparse.SUPPRESS, help=text)
    else:
        metavar = kind.__name__.upper().replace("STR", "NAME")
        parser.add_argument(flag(name), type=kind, default=argparse.SUPPRESS, metavar=metavar, help=text)

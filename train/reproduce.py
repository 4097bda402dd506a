"""The commands that would give a run, or an evaluation, again."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from train.config import Config
from train.errors import UsageError
from train.fields import flag
from train.presets import PRESETS, preset_for
from train.settings import Settings
from train.stored import StoredRun


def commands(config: Config, folder: StoredRun, name: str) -> list[str]:
    """The command lines of a run: of the run that it starts from, if that can be found, and its own.

    Args:
        config: the run's.
        folder: where it lies.
        name: what the new folder under `runs/` is to be called.
    """
    lender = lender_of(config, folder)
    if lender is None:
        return [command(config, name)]
    return [command(lender.read_config(), lender.name), command(replace(config, init_from=f"runs/{lender.name}"), name)]


def lender_of(config: Config, folder: StoredRun) -> StoredRun | None:
    """The run folder whose network a run starts from; None if it starts from none, or that is gone."""
    if config.init_from is None:
        return None
    for path in (Path(config.init_from), folder.path.parent / Path(config.init_from).name):
        try:
            lender = StoredRun(str(path))
            lender.read_config()
            return lender
        except UsageError:
            continue
    return None


def command(config: Config, name: str) -> str:
    """The command line that trains with a config, in options that differ from the nearest preset."""
    preset = nearest_preset(config)
    given = options(config.resolved(), PRESETS[preset].resolved())
    words = ["python", "train/main.py", "--preset", preset, *given, "--baseline", "none", "--out", f"runs/{name}"]
    return shlex.join(words)


def nearest_preset(config: Config) -> str:
    """The preset from which the fewest options lead to a config; of equals, the one that its data have by themselves.

    No option leads back to "not given", so not every preset will do; of the recipes for the user's own data every
    one does.
    """
    own, first = config.resolved(), preset_for(config.data)

    def distance(preset: str) -> tuple[int, bool]:
        return len(options(own, PRESETS[preset].resolved())), preset != first

    return min((name for name in PRESETS if _leads(PRESETS[name].resolved(), own)), key=distance)


def _leads(preset: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    return all(preset[name] is value for name, value in own.items() if value is None or value is False)


def options(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """The options, as words of a command line, of all values that are not the defaults."""
    words: list[str] = []
    for name, value in values.items():
        if value is None or value is False or value == defaults.get(name):
            continue
        text = str(value)
        if value is True:
            words.append(flag(name))
        else:  # a value with a dash in front would pass for an option
            words += [f"{flag(name)}={text}"] if text.startswith("-") else [flag(name), text]
    return words


def evaluation_command(settings: Mapping[str, Any], paths: Sequence[str], out: Path) -> str:
    """The command line of an evaluation."""
    defaults = {spec.name: spec.default for spec in fields(Settings)}
    known = {name: value for name, value in settings.items() if name in defaults}
    return shlex.join(["python", "train/evaluate.py", *paths, *options(known, defaults), "--out", str(out)])

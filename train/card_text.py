"""The model card for people: `model_card.md`, from what `model_card.json` holds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def card_text(card: Mapping[str, Any]) -> str:
    """The card in Markdown."""
    sections = [_what(card), *_precision(card), *_thresholds(card), *_threats(card), *_origin(card)]
    return "\n\n".join(sections) + "\n"


def _what(card: Mapping[str, Any]) -> str:
    taken, tasks = card["input"], ", ".join(card["tasks"])
    shape = "×".join(map(str, taken["shape"]))
    what = f"images of {shape}" if taken["kind"] == "image" else f"{shape} features"
    method, data = card["method"]["name"], card["data"]["name"]
    return f"# {card['name']}\n\nScores {what}, a logit for each of: {tasks}. Trained by {method} on {data}."


def _precision(card: Mapping[str, Any]) -> list[str]:
    rows = [
        (task, threat, f"{of['ap']:.4f}", f"{of['low']:.4f} to {of['high']:.4f}", f"{card['prevalence'][task]:.4f}")
        for threat, tasks in card["ap"].items()
        for task, of in tasks.items()
    ]
    interval = f"{card['confidence']:.0%} interval"
    return ["## Average precision on test data", _table(("task", "threat", "AP", interval, "share of positives"), rows)]


def _thresholds(card: Mapping[str, Any]) -> list[str]:
    if not card["thresholds"]:
        return []
    rows = [
        (each["task"], f"{each['at']} {each['level']:g}", f"{each['threshold']:.6g}", *map(_share, _given(each)))
        for each in card["thresholds"]
    ]
    heads = ("task", "asked for", "logit from", "precision", "recall", "precision under pgd", "recall under pgd")
    return ["## Thresholds", "Chosen on validation data, measured on test data.", _table(heads, rows)]


def _given(threshold: Mapping[str, Any]) -> list[float | None]:
    return [threshold[threat][name] for threat in ("clean", "pgd") for name in ("precision", "recall")]


def _share(share: float | None) -> str:
    return "none" if share is None else f"{share:.4f}"


def _threats(card: Mapping[str, Any]) -> list[str]:
    rows = [
        (name, *("none" if value is None else value for value in attack.values()))
        for name, attack in card["threat"].items()
        if attack
    ]
    heads = ("of", "attack", "ε", "steps", "step size", "norm", "ε of positives", "ε of negatives", "mask")
    changeable = card["input"].get("changeable")
    words = [] if changeable is None else [f"An adversary can change: {', '.join(changeable)}."]
    return ["## Threats", *words, _table(heads, rows)]


def _origin(card: Mapping[str, Any]) -> list[str]:
    splits = [(name, part["examples"], part["positives"]) for name, part in card["data"]["splits"].items()]
    hyperparameters, versions = card["method"]["hyperparameters"], card["versions"]
    return [
        "## Data",
        _table(("split", "examples", "positives"), splits),
        "## Training",
        _table(("hyperparameter", "value"), hyperparameters.items()),
        _table(("package", "version"), versions.items()),
    ]


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)

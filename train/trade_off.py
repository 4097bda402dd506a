"""Robust against clean AP over runs or trials: `python train/trade_off.py --help`."""

import sys
from pathlib import Path

if not __package__:  # run as a file: its folder is on the path, and the project's has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import train  # noqa: F401, I001  # before TensorFlow

import argparse
import contextlib
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import tensorflow as tf

from train import figures
from train.command import ended
from train.config import Config
from train.errors import UsageError
from train.fields import flag
from train.options import Parser
from train.run_folder import RunFolder, replacing
from train.sources import DataOptions
from train.summaries import write_charts, write_image

SOURCES = {
    "test": "test data, selected epoch",
    "validation": "validation data, selected epoch",
    "last": "validation data, last epoch",
}
"""Which APs of a run are compared, and on what they are."""

SYMBOLS = {"lam": "λ", "gamma1": "γ1", "gamma2": "γ2", "learning_rate": "learning rate"}
PER_UNIT = 10_000  # steps on TensorBoard's axis for a clean AP of 1
APART = ("seed", "split_seed", "init_from")  # fields in which runs of one setting may differ

CHARTS = {"trade-off": {f"robust AP to be had at a clean AP of at least step/{PER_UNIT:,}": ["trade_off/.*"]}}


@dataclass(frozen=True)
class Point:
    """A setting, and what it gives: means over its runs.

    Attributes:
        method: the method's name.
        name: what tells the setting from others of the method, such as "λ 0.4"; empty if there are no others.
        clean: AP of clean data.
        robust: AP of attacked data.
        runs: how many there are, which differ in their seed alone.
    """

    method: str
    name: str
    clean: float
    robust: float
    runs: int = 1


def front(points: Sequence[Point]) -> list[bool]:
    """Which points are on the Pareto front: no other is as good in both APs and better in one."""
    return [
        not any(
            other.clean >= point.clean
            and other.robust >= point.robust
            and (other.clean, other.robust) != (point.clean, point.robust)
            for other in points
        )
        for point in points
    ]


def points_of(folders: Sequence[RunFolder], source: str = "test") -> list[Point]:
    """A point for each setting of some runs; runs that differ in their seed alone are one setting.

    Args:
        folders: the runs'.
        source: which of their APs, a name in `SOURCES`.

    Raises:
        UsageError: a folder holds no finished run, or runs are of different data or threats.
    """
    found = [(folder.config_values(), aps(folder, source)) for folder in folders]
    check_comparable(folders)
    settings: dict[tuple[Any, ...], list[tuple[float, float]]] = defaultdict(list)
    for config, of_run in found:
        settings[setting_of(config)].append(of_run)
    names = names_of(list(settings))
    means = [np.mean(runs, axis=0) for runs in settings.values()]
    return [
        Point(method, name, float(clean), float(robust), len(runs))
        for (method, name), (clean, robust), runs in zip(names, means, settings.values(), strict=True)
    ]


def aps(folder: RunFolder, source: str) -> tuple[float, float]:
    """Clean and robust AP of a run.

    Raises:
        UsageError: it is not finished.
    """
    results = folder.of_finished()
    if source == "test":
        return results["test"]["clean"]["ap"], results["test"]["pgd"]["ap"]
    row = results["selected"] if source == "validation" else folder.history()[-1]
    return row["clean_ap"], row["robust_ap"]


def check_comparable(folders: Sequence[RunFolder]) -> None:
    """Makes sure that the APs of runs mean the same.

    Raises:
        UsageError: they are of other data, or attacked otherwise.
    """
    first = folders[0].config_values()
    for folder in folders[1:]:
        if name := difference(folders[0], folder):
            values = f"{folder.config_values().get(name)} and {first.get(name)}"
            raise UsageError(
                f"{folder.path}: {flag(name)} differs from that of {folders[0].path} ({values}): their APs cannot be "
                "compared; name runs of the same data and threat"
            )


def difference(one: RunFolder, other: RunFolder) -> str | None:
    """The first option in which two runs differ so that their APs cannot be compared, else None."""
    own, others = one.config_values(), other.config_values()
    data = [spec.name for spec in fields(DataOptions) if spec.metadata["result"] and spec.name not in APART]
    names = [*data, "validation_examples", "eps", "eval_steps", "eval_step_size"]
    if (found := next((name for name in names if own.get(name) != others.get(name)), None)) is not None:
        return found
    same_split = all(own.get(name) == others.get(name) for name in APART[:2])
    parts = ("validation", "test")
    changed = any(one.fingerprints().get(part) != other.fingerprints().get(part) for part in parts)
    return "data_dir" if same_split and changed else None


def setting_of(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """The values of a run's config that can change its result, but for its seed."""
    known = {spec.name: spec.default for spec in fields(Config) if spec.metadata["result"] and spec.name not in APART}
    idle = Config(**{spec.name: config.get(spec.name, spec.default) for spec in fields(Config)}).idle
    return tuple(None if name in idle else config.get(name, default) for name, default in known.items())


def names_of(settings: Sequence[tuple[Any, ...]]) -> list[tuple[str, str]]:
    """Method and name of each setting: the values in which those of its method differ."""
    fields_ = [spec.name for spec in fields(Config) if spec.metadata["result"] and spec.name not in APART]
    method = fields_.index("method")
    found = []
    for setting in settings:
        others = [other for other in settings if other[method] == setting[method]]
        told = [
            f"{symbol(name)} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value, *all_values in zip(fields_, setting, *others, strict=True)
            if len(set(all_values)) > 1
        ]
        found.append((setting[method], ", ".join(told)))
    return found


def symbol(name: str) -> str:
    """What a field is called where values are told apart."""
    return SYMBOLS.get(name, name.replace("_", " "))


def write(points: Sequence[Point], folder: Path, step: int, of: str = SOURCES["validation"]) -> None:
    """Draws points, as `trade_off.png` and for TensorBoard.

    Scalars have the clean AP on the axis of steps. A curve there says which robust AP a method, or any of them, has at
    a clean AP of at least so much; since it begins at 0, TensorBoard shows it in place of what stood there before.

    Args:
        points: what there is by now; nothing is written if there are none.
        folder: where both go; made if need be.
        step: of the image, a number that grows.
        of: what the APs are of.
    """
    if not points:
        return
    folder.mkdir(parents=True, exist_ok=True)
    png = io.BytesIO()
    figures.trade_off(points, front(points), of, png)
    with replacing(folder / "trade_off.png") as part:
        part.write_bytes(png.getvalue())
    with tf.summary.create_file_writer(str(folder)).as_default(step=step):
        write_charts(CHARTS)
        write_image("trade_off", png)
        for name in sorted({point.method for point in points}):
            write_curve(name, [point for point in points if point.method == name])
        write_curve("front", points)


def write_curve(name: str, points: Sequence[Point]) -> None:
    """Writes by the default writer the robust AP that points have at a clean AP of at least so much."""
    for clean in sorted({0, *(int(point.clean * PER_UNIT) for point in points)}):
        robust = max(point.robust for point in points if int(point.clean * PER_UNIT) >= clean)
        tf.summary.scalar(f"trade_off/{name}", robust, step=clean)


def write_beside(run: RunFolder) -> None:
    """Draws a run among those in the folder that holds it: the finished ones of the same data and threat.

    It goes to `trade_off` there, and nowhere if there is but one setting.
    """
    found = []
    for path in sorted(run.path.parent.glob("*/config.json")):
        with contextlib.suppress(UsageError):  # another's damage is no reason to fail
            other = RunFolder(path.parent)
            if other.finished() and not difference(run, other) and points_of([other]):
                found.append(other)
    points = points_of(found)
    if len(points) > 1:
        config = run.config_values()
        name = "-".join(str(config[key]) for key in ("data", "positive") if config[key])
        write(points, run.path.parent / "trade_off" / f"{name}-eps{config['eps']:.3g}", len(found), SOURCES["test"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    return ended(lambda: drawn_and_told(arguments), "nothing was written")


def drawn_and_told(arguments: Sequence[str] | None) -> None:
    """All that the command does.

    Raises:
        UsageError: the user's mistake.
    """
    given = _parser().parse_args(arguments)
    folders = [RunFolder(Path(path)) for path in given.runs]
    points = points_of(folders, given.ap)
    out = Path(given.out).resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: cannot write {out}: {error.strerror}; give a folder") from None
    write(points, out, len(folders), SOURCES[given.ap])
    print(f"AP on {SOURCES[given.ap]}; * is on the Pareto front\n{table(points)}")
    print(f"{'figure':<12}{out / 'trade_off.png'}\n{'TensorBoard':<12}tensorboard --logdir {out}")


def table(points: Sequence[Point]) -> str:
    """A line a point, those with the highest robust AP first."""
    width = max(len("setting"), *(len(point.name) for point in points)) + 2
    lines = [f"{'method':<12}{'setting':<{width}}{'runs':>5}{'clean':>9}{'robust':>9}"]
    for point, best in sorted(zip(points, front(points), strict=True), key=lambda pair: -pair[0].robust):
        numbers = f"{point.runs:>5}{point.clean:>9.4f}{point.robust:>9.4f}"
        lines.append(f"{point.method:<12}{point.name:<{width}}{numbers}{' *' if best else ''}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="train/trade_off.py",
        description="Draws robust against clean AP of finished runs, of which those that differ in their seed alone "
        "are one point, and marks the Pareto front; for TensorBoard too.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders of the same data and threat")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the figure and TensorBoard's events")
    parser.add_argument(
        "--ap",
        default="test",
        choices=SOURCES,
        help=f"which AP: {'; '.join(f'{name}: {what}' for name, what in SOURCES.items())} (test)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

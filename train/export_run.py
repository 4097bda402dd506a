"""A finished run as a SavedModel with a model card, ready to be served: `python train/export_run.py --help`."""

import sys
from pathlib import Path

if not __package__:  # run as a file: its folder is on the path, and the project's has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import train  # noqa: F401, I001  # before TensorFlow

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from adap_tf import export_saved_model
from adap_tf.data import Features
from adap_tf.export import onnx_model
from train import stored
from train.card import CARD, TEXT, card
from train.card_text import card_text
from train.command import ended, make_deterministic
from train.errors import UsageError, reason
from train.fields import RATE, check_value
from train.options import Parser
from train.records import Record, read
from train.run_folder import read_json, replacing, replacing_folder, write_json, write_text
from train.stored import ANY, KEPT, NUMBER
from train.subjects import load_subject
from train.thresholds import Level, thresholds

FEATURES = {ANY: {"low": NUMBER, "high": NUMBER, "changeable": bool}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    return ended(lambda: exported_and_told(arguments), "nothing was written")


def exported_and_told(arguments: Sequence[str] | None) -> None:
    """All that the command does.

    Raises:
        UsageError: the user's mistake.
    """
    given = _parser().parse_args(arguments)
    levels = [*checked("precision", given.at_precision), *checked("recall", given.at_recall)]
    out = Path(given.out).expanduser().resolve()
    onnx = None if given.onnx is None else checked_onnx(Path(given.onnx).expanduser().resolve())
    (record,) = read([given.run])
    record.folder.of_finished()
    check_out(out, record)
    make_deterministic()
    subject, features = load_subject(given.run), features_of(record)
    about = card(record, taken(subject.network, features), thresholds(subject, levels, record.scores))
    model = None if onnx is None else converted(subject.network, features)
    write(out, lambda part: export_saved_model(subject.network, part, features), about)
    if onnx is not None and model is not None:
        write_onnx(onnx, model)
    report(about, out, onnx)


def checked(at: str, levels: Sequence[float]) -> list[Level]:
    """The levels that are asked for, each once.

    Raises:
        UsageError: one is no share.
    """
    for level in levels:
        check_value(f"at_{at}", level, RATE)
    return [(at, level) for level in dict.fromkeys(levels)]


def checked_onnx(path: Path) -> Path:
    """The same path, to which an ONNX file can go.

    Raises:
        UsageError: it cannot, or what converts is not installed.
    """
    if path.suffix != ".onnx" or path.is_dir():
        raise UsageError(f"--onnx: {path} is no name for an ONNX file; give one that ends in .onnx")
    if importlib.util.find_spec("tf2onnx") is None:
        raise UsageError("--onnx: needs a package that is not installed: pip install tf2onnx")
    return path


def check_out(out: Path, record: Record) -> None:
    """Makes sure, before the work, that an export can go there.

    Raises:
        UsageError: something else is there.
    """
    if not out.exists() or out == record.folder.export or (out.is_dir() and not any(out.iterdir())):
        return
    earlier = read_json(out / CARD) if (out / CARD).is_file() else None
    if earlier is None or "format" not in earlier or not (out / "saved_model.pb").is_file():
        raise UsageError(f"--out: {out} exists and is no earlier export; give a new folder, or an export to replace")


def features_of(record: Record) -> Features | None:
    """The columns of a run on a table.

    Raises:
        UsageError: the file that tells them is damaged.
    """
    path = record.folder.features
    return Features.of(stored.read_json(path, FEATURES)) if path.exists() else None


def taken(network: keras.Model, features: Features | None) -> dict[str, Any]:
    """What the card says of the input; `kind` is the name that it has in `serving_default`."""
    shape = list(network.input_shape[1:])
    if features is None:
        return {"kind": "image", "shape": shape}
    changeable = [name for name, free in zip(features.names, features.changeable, strict=True) if free]
    return {"kind": "features", "shape": shape, "columns": list(features.names), "changeable": changeable}


def converted(network: keras.Model, features: Features | None) -> bytes:
    """The ONNX model.

    Raises:
        UsageError: there is none of this network.
    """
    try:
        return onnx_model(network, features)
    except Exception as error:  # of many types, for what the converter does not know
        raise UsageError(f"--onnx: this network cannot be converted: {reason(error)}; leave --onnx out") from None


def write(out: Path, export: Callable[[Path], None], about: Mapping[str, Any]) -> None:
    """Writes the folder, whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        with replacing_folder(out) as part:
            export(part)
            write_json(part / CARD, about)
            write_text(part / TEXT, card_text(about))
    except OSError as error:
        raise UsageError(f"--out: cannot write {out}: {error.strerror or error}") from None


def write_onnx(path: Path, model: bytes) -> None:
    """Writes the ONNX file, which may lie in the folder.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_bytes(model)
    except OSError as error:
        raise UsageError(f"--onnx: cannot write {path}: {error.strerror or error}") from None


def report(about: Mapping[str, Any], out: Path, onnx: Path | None) -> None:
    """A line a threshold, and where everything lies."""
    for each in about["thresholds"]:
        given = ", ".join(f"{threat} " + " and ".join(shares(each[threat])) for threat in KEPT)
        print(
            f"{each['task']}: {each['at']} {each['level']:g} from logit {each['threshold']:.6g} on; test data: {given}"
        )
    print(f"{'SavedModel':<12}{out}\n{'card':<12}{out / TEXT}")
    if onnx is not None:
        print(f"{'ONNX':<12}{onnx}")


def shares(given: Mapping[str, float | None]) -> list[str]:
    """What a threshold gives, in words."""
    return [f"{name} {'unknown' if share is None else format(share, '.4f')}" for name, share in given.items()]


def _parser() -> Parser:
    parser = Parser(
        prog="train/export_run.py",
        description="A finished run's network as a SavedModel that takes images of any size, encoded images, or a "
        "table's own units, and needs none of this code; beside it a model card: AP with intervals, the threats, and "
        "thresholds.",
        epilog="Thresholds are chosen on the run's validation data, which have to be there, and measured on its test "
        "scores. What they are and how to serve the network stands in docs/serving.md.",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder to write, as models/NAME/1; an earlier export is replaced"
    )
    for at, what in (("precision", "threshold of the highest recall"), ("recall", "highest threshold")):
        parser.add_argument(
            f"--at-{at}",
            type=float,
            action="append",
            default=[],
            metavar="SHARE",
            help=f"add to the card the {what} whose {at} is at least this; several times for several",
        )
    parser.add_argument("--onnx", metavar="FILE", help="an ONNX file too (pip install tf2onnx)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

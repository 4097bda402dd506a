"""The set-up files agree, imports go one way, and only the table of methods knows a method's name."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]

# Low to high: a module imports only what stands before it.
ORDER = (
    "adap_tf.data.problems",
    "adap_tf.data.pixels",
    "adap_tf.data.images",
    "adap_tf.data.files",
    "adap_tf.data.archives",
    "adap_tf.data.examples",
    "adap_tf.data.sources",
    "adap_tf.data.digits",
    "adap_tf.data.prepared",
    "adap_tf.data.cifar10",
    "adap_tf.data.cifar100",
    "adap_tf.data.any_tfds",
    "adap_tf.data.celeba",
    "adap_tf.data.bdd100k",
    "adap_tf.data.npz",
    "adap_tf.data.folder",
    "adap_tf.data.columns",
    "adap_tf.data.table",
    "adap_tf.data.splits",
    "adap_tf.data.sampler",
    "adap_tf.data.augmentations",
    "adap_tf.data.pipeline",
    "adap_tf.data",
    "adap_tf.losses",
    "adap_tf.replicas",
    "adap_tf.finite",
    "adap_tf.spread",
    "adap_tf.weights",
    "adap_tf.scored",
    "adap_tf.estimators",
    "adap_tf.terms",
    "adap_tf.methods",
    "adap_tf.noise",
    "adap_tf.geometry",
    "adap_tf.attacks.ascent",
    "adap_tf.attacks.base",
    "adap_tf.attacks.steps",
    "adap_tf.attacks.apgd",
    "adap_tf.attacks.square",
    "adap_tf.attacks",
    "adap_tf.convolutions",
    "adap_tf.lean",
    "adap_tf.passes",
    "adap_tf.exact",
    "adap_tf.adversary",
    "adap_tf.backbones",
    "adap_tf.metrics",
    "adap_tf.resampling",
    "adap_tf.budget",
    "adap_tf.diagnosis",
    "adap_tf.evaluation",
    "adap_tf.model",
    "adap_tf.export",
    "adap_tf",
    "train",
    "train.errors",
    "train.networks",
    "train.fields",
    "train.sources",
    "train.identity",
    "train.config",
    "train.presets",
    "train.options",
    "train.command",
    "train.checkpoints",
    "train.run_folder",
    "train.summaries",
    "train.monitor",
    "train.figures",
    "train.ranking_figures",
    "train.describe",
    "train.workers",
    "train.building",
    "train.loop",
    "train.trade_off",
    "train.main",
    "train.settings",
    "train.subjects",
    "train.threats",
    "train.measures",
    "train.evaluation",
    "train.evaluate",
    "train.stored",
    "train.evaluated",
    "train.inline",
    "train.parts",
    "train.records",
    "train.reproduce",
    "train.tables",
    "train.origins",
    "train.pictures",
    "train.report",
    "train.thresholds",
    "train.card",
    "train.card_text",
    "train.export_run",
    "train.served",
    "train.inputs",
    "train.listing",
    "train.predict",
    "tuning",
    "tuning.space",
    "tuning.objectives",
    "tuning.hypermodel",
    "tuning.early",
    "tuning.oracles",
    "tuning.search_folder",
    "tuning.trials",
    "tuning.tuner",
    "tuning.settings",
    "tuning.search",
    "experiments",
    "experiments.published",
    "experiments.scales",
    "experiments.cells",
    "experiments.entries",
    "experiments.store",
    "experiments.measures",
    "experiments.study",
    "experiments.work",
    "experiments.sheet",
    "experiments.gather",
    "experiments.without_runs",
    "experiments.drawings",
    "experiments.estimate",
    "experiments.command",
    "experiments.keep",
    "experiments.orderings",
    "experiments.recorded",
    "experiments.checks",
    "experiments.learning",
    "experiments.results",
    "experiments.__main__",
)
ORDERED = ("adap_tf", "train", "tuning", "experiments")
OURS = (*ORDERED, "benchmarks", "tests")

METHOD_NAMES = {"ce", "ap", "pgd", "trades", "mart", "adap_mm", "adap_pz", "adap_lz", "adap_ln", "adap_lpn"}

SOURCES = sorted(path for top in ORDERED for path in (ROOT / top).rglob("*.py") if not path.match("*_test.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


# Dependencies


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def asked() -> dict[str, Requirement]:
    """The ranges of the base, of TensorFlow's one wheel and of the tools, by canonical name."""
    extras = pyproject()["optional-dependencies"]
    lines = [*pyproject()["dependencies"], *extras["gpu"], *extras["dev"], *extras["docs"]]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_pins_and_ranges_name_the_same_packages():
    assert sorted(pins()) == sorted(asked())


def test_every_pin_is_within_its_range():
    outside = {name: pin for name, pin in pins().items() if not asked()[name].specifier.contains(pin)}
    assert not outside


def test_both_wheels_of_tensorflow_have_the_same_range():
    extras = pyproject()["optional-dependencies"]
    (cpu,), (gpu,) = map(Requirement, extras["cpu"]), map(Requirement, extras["gpu"])
    assert (cpu.name, gpu.name) == ("tensorflow-cpu", "tensorflow")
    assert cpu.specifier == gpu.specifier


def test_contributing_gives_each_dependency_a_row():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.-]+)` \|", text, re.MULTILINE)
    assert sorted(map(canonicalize_name, rows)) == sorted(asked())


# Files


def test_no_file_names_a_folder_of_somebodys_machine():
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    machine = re.compile(rb"(?<![\w.-])/(root|work)/")
    files = [ROOT / name for name in names if name and (ROOT / name).is_file()]
    assert files
    assert not [str(file) for file in files if machine.search(file.read_bytes())]


# Imports


def owner(name: str) -> str:
    """The longest beginning of `name` that is a module of ours, else `name`."""
    parts = name.split(".")
    beginnings = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((b for b in beginnings if b in MODULES), name)


def base_of(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The absolute name of what stands between `from` and `import`."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *filter(None, [node.module])])


def imported(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """The modules of ours that `source`, as the text of `module`, imports anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = base_of(node, module, is_package)
            names = [f"{base}.{alias.name}" for alias in node.names]
        yield from (owner(name) for name in names if name.split(".")[0] in OURS)


def upward(source: str, module: str, is_package: bool = False) -> list[str]:
    """What `module` imports and must not, given the order."""
    return [name for name in imported(source, module, is_package) if name not in ORDER[: ORDER.index(module)]]


@pytest.mark.parametrize(
    ("source", "module", "wrong"),
    [
        ("from adap_tf.losses import pair_loss", "adap_tf.terms", []),
        ("from adap_tf.terms import Term", "adap_tf.losses", ["adap_tf.terms"]),
        ("from adap_tf import losses, terms", "adap_tf.losses", ["adap_tf.losses", "adap_tf.terms"]),
        ("from .terms import Term", "adap_tf.losses", ["adap_tf.terms"]),
        ("from . import terms as t", "adap_tf.losses", ["adap_tf.terms"]),
        ("from ..model import AdversarialModel", "adap_tf.data.digits", ["adap_tf.model"]),
        ("import adap_tf.model", "adap_tf.data.digits", ["adap_tf.model"]),
        ("def f():\n    import adap_tf", "adap_tf.export", ["adap_tf"]),
        ("from train.config import Config", "adap_tf.model", ["train.config"]),
        ("from tuning import search", "train.main", ["tuning.search"]),
        ("from train import config, loop", "train.main", []),
        ("import numpy\nfrom scipy import special", "adap_tf.losses", []),
        ("", "adap_tf.losses", []),
    ],
)
def test_upward_import_is_seen(source, module, wrong):
    assert upward(source, module) == wrong


def test_relative_import_of_a_package_starts_in_it():
    assert upward("from . import digits\nfrom ..terms import Term", "adap_tf.data", is_package=True) == [
        "adap_tf.terms"
    ]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downward(module):
    assert module in ORDER, f"{module} has no place yet: add it to ORDER in {Path(__file__).name}"
    path = MODULES[module]
    wrong = upward(path.read_text(encoding="utf-8"), module, is_package=path.stem == "__init__")
    assert not wrong, f"{module} must not import {', '.join(wrong)}: see ORDER in {Path(__file__).name}"


def test_order_lists_no_module_that_is_gone():
    assert not set(ORDER) - set(MODULES)


# Names of methods


def literals(node: ast.expr) -> Iterator[object]:
    """The constants that an operand is or lists."""
    if isinstance(node, ast.Constant):
        yield node.value
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        for element in node.elts:
            yield from literals(element)


def branches_on_method(source: str) -> list[int]:
    """The lines that compare with a method's name, or match it."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        operands: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            operands = [node.value]
        found = [value for operand in operands for value in literals(operand) if isinstance(value, str)]
        lines += [operands[0].lineno] if METHOD_NAMES.intersection(found) else []
    return lines


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('if method == "ce":\n    pass', [1]),
        ('x = 1\ny = 2 if "mart" != name else 3', [2]),
        ('robust = name not in ("ce", "ap")', [1]),
        ('match name:\n    case "trades" | "pgd":\n        pass', [2, 2]),
        ('PRESETS = {"adap_lpn": 0.5}\nuse(method="ap")', []),
        ('if threat == "clean":\n    pass', []),
        ("", []),
    ],
)
def test_branch_on_a_method_is_seen(source, lines):
    assert branches_on_method(source) == lines


def test_every_method_of_the_table_is_watched():
    from adap_tf.methods import METHODS

    assert set(METHODS) <= METHOD_NAMES


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"adap_tf.methods"}))
def test_nothing_but_the_table_branches_on_a_method(module):
    lines = branches_on_method(MODULES[module].read_text(encoding="utf-8"))
    assert not lines, f"{MODULES[module].name}:{lines[0]} branches on a method's name: make it a column of the table"

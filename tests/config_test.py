"""The command line and the config: what is accepted, what is refused and in which words."""

import dataclasses
import json
from pathlib import Path

import pytest

from adap_tf import APGD, FGSM, METHODS, PGD
from adap_tf.attacks import ATTACKS
from adap_tf.data import bdd100k, cifar100
from adap_tf.methods import HYPERPARAMETERS
from train.config import Config
from train.errors import UsageError
from train.fields import flag
from train.options import parse
from train.presets import PRESETS

GIVEN = {
    "data": "cifar10",
    "data_dir": "/data",
    "download": True,
    "labels": "labels.csv",
    "image_size": "32x48",
    "changeable": "a,b",
    "bounds": "/bounds.json",
    "skip_bad_examples": True,
    "split_seed": 9,
    "positive": "3",
    "train_examples": 500,
    "validation_examples": 100,
    "augmentation": "crop_flip",
    "method": "adap_ln",
    "lam": 0.4,
    "gamma1": 0.9,
    "gamma2": 0.2,
    "margin": 0.5,
    "ap_score": "identity",
    "list_score": "sigmoid",
    "temperature": 0.3,
    "divergence": "js",
    "start": "zero",
    "prevalence": "dataset",
    "peek": True,
    "sampling": "separate",
    "init_from": "runs/other",
    "epochs": 7,
    "batch_size": 32,
    "positives_per_batch": 8,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 0.5,
    "backbone": "mlp",
    "precision": "bfloat16",
    "seed": 5,
    "eps": 0.2,
    "attack": "apgd",
    "attack_steps": 2,
    "attack_step_size": 0.11,
    "eval_steps": 3,
    "eval_step_size": 0.07,
    "replicas": 2,
    "checkpoint_minutes": 0.5,
    "skip_nonfinite": True,
}
"""A value other than the preset's for every option."""
FREE = ("data_dir", "download", "replicas", "checkpoint_minutes", "skip_nonfinite")
"""What cannot change a result."""


def words(name, value):
    return [flag(name)] if value is True else [flag(name), str(value)]


def test_every_option_changes_its_field():
    arguments = [word for name, value in GIVEN.items() for word in words(name, value)]
    runs = parse(["--preset", "digits", "--out", "there", "--baseline", "none", *arguments])
    assert runs == [(Config(**GIVEN), Path("there").resolve())]
    preset = PRESETS["digits"].resolved()
    assert [name for name, value in GIVEN.items() if value == preset[name]] == []


def test_without_options_it_is_the_preset_and_a_baseline():
    digits = PRESETS["digits"]
    beside = dataclasses.replace(digits, method="ce")
    assert parse([]) == [
        (digits, Path("runs/digits-8-adap_lpn-seed0")),
        (beside, Path("runs/digits-8-ce-seed0")),
    ]
    there = Path("there").resolve()
    assert parse(["--out", "there/"]) == [(digits, there), (beside, there.with_name("there-ce"))]
    here = Path.cwd()
    assert [path for _, path in parse(["--out", "."])] == [here, here.with_name(f"{here.name}-ce")]
    assert [run.method for run, _ in parse(["--method", "ce"])] == ["ce"]  # not itself
    assert [run.method for run, _ in parse(["--baseline", "adap_ln"])] == ["adap_lpn", "adap_ln"]
    assert parse(["--preset", "cifar10-mini", "--seed", "2"]) == [
        (dataclasses.replace(PRESETS["cifar10-mini"], seed=2), Path("runs/cifar10-mini-automobile-adap_lpn-seed2"))
    ]


@pytest.fixture
def config_file(tmp_path):
    """Writes a config file; its path."""

    def write(content):
        path = tmp_path / "best.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def test_a_config_file_is_a_run_and_options_overrule_it(config_file):
    whole = config_file(GIVEN)
    assert parse(["--config", whole, "--baseline", "none", "--out", "there"])[0][0] == Config(**GIVEN)
    ((config, _),) = parse(["--config", whole, "--baseline", "none", "--lam", "7", "--data-dir", "/x"])
    assert config == Config(**{**GIVEN, "lam": 7.0, "data_dir": "/x"})
    some = config_file({"data": "cifar10", "lam": 3, "train_examples": None})
    assert parse(["--config", some])[0][0] == dataclasses.replace(PRESETS["cifar10"], lam=3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no JSON"),
        ([1], "holds no config; it takes fields by name"),
        ({"lamda": 1}, "unknown field 'lamda'"),
        ({"lam": "1"}, "lam: '1' is no float"),
        ({"epochs": 1.5}, "epochs: 1.5 is no int"),
        ({"epochs": True}, "epochs: True is no int"),
        ({"lam": None}, "lam: None is no float"),
        ({"lam": -1}, "--lam: -1 is not accepted"),
    ],
)
def test_what_is_no_config_file(config_file, content, words):
    with pytest.raises(UsageError) as caught:
        parse(["--config", config_file(content)])
    assert words in str(caught.value)


def test_a_config_file_that_is_missing_or_not_alone(config_file):
    with pytest.raises(UsageError, match="--config: cannot read nowhere: No such file"):
        parse(["--config", "nowhere"])
    with pytest.raises(UsageError, match="leaves no room for --preset"):
        parse(["--config", config_file({}), "--preset", "digits"])


def test_a_method_that_starts_from_another_one_has_that_trained_first():
    (ap, ap_path), (ce, ce_path) = parse(["--method", "ap"])  # the baseline of digits, and so not twice
    assert (ap.init_from, ce.init_from) == (str(ce_path), None)
    assert (str(ap_path), str(ce_path)) == ("runs/digits-8-ap-seed0", "runs/digits-8-ce-seed0")
    runs = parse(["--preset", "cifar10-mini", "--method", "ap", "--out", "there"])
    there = Path("there").resolve()
    assert [(run.method, path) for run, path in runs] == [("ap", there), ("ce", there.with_name("there-ce"))]
    runs = parse(["--method", "adap_ln", "--baseline", "ap"])
    assert [run.method for run, _ in runs] == ["adap_ln", "ap", "ce"]
    assert [run.init_from for run, _ in runs] == [None, "runs/digits-8-ce-seed0", None]
    given = parse(["--method", "ap", "--baseline", "pgd", "--init-from", "other"])
    assert [(run.method, run.init_from) for run, _ in given] == [("ap", "other"), ("pgd", None)]


def test_what_to_start_from_reaches_those_that_need_it(tmp_path):
    (asked, _), (baseline, _) = parse(["--method", "ap", "--init-from", "there"])
    assert (asked.init_from, baseline.method, baseline.init_from) == ("there", "ce", None)
    (asked, _), (baseline, _) = parse(["--method", "pgd", "--baseline", "ap", "--init-from", "there"])
    assert (asked.init_from, baseline.init_from) == ("there", "there")


def test_cifar10_is_the_papers_recipe():
    config = PRESETS["cifar10"]
    assert (config.backbone, config.augmentation, config.precision) == ("resnet18", "crop_flip", "float32")
    assert (config.epochs, config.batch_size, config.weight_decay) == (60, 128, 2e-4)
    assert config.learning_rate in (1e-3, 1e-4, 1e-5)
    grids = dict(METHODS[config.method].grids)
    assert all(getattr(config, name) in values for name, values in grids.items())
    assert (config.optimizer, config.attack, config.start, config.prevalence) == ("adam", "pgd", "first_visit", "batch")
    assert (config.ap_score, config.list_score, config.temperature, config.divergence) == ("sigmoid", "tanh", 1, "kl")
    assert config.margin == 0.6
    assert config.training_attack == PGD(eps=8 / 255, step_size=0.01, steps=6, start=0.001)
    assert config.threat == PGD(eps=8 / 255, step_size=0.007, steps=10, start=0.001)
    mini = PRESETS["cifar10-mini"]
    changed = {name for name, value in mini.resolved().items() if value != config.resolved()[name]}
    assert changed == {"train_examples", "validation_examples", "split_seed", "epochs", "backbone"}
    assert (mini.train_examples, mini.validation_examples, mini.epochs) == (20_000, 5_000, 12)


@pytest.mark.parametrize(
    ("preset", "data", "positive", "augmentation", "size"),
    [
        ("celeba-gray-hair", "celeba", "Gray_Hair", "affine_flip", None),
        ("celeba-mustache", "celeba", "Mustache", "affine_flip", None),
        *((f"bdd100k-{task}", "bdd100k", task, "resized_crop", (224, 224)) for task in bdd100k.PAPER_TASKS),
    ],
)
def test_the_large_data_sets_have_the_papers_recipe(preset, data, positive, augmentation, size):
    config = PRESETS[preset]
    assert (config.data, config.positive, config.augmentation, config.size) == (data, positive, augmentation, size)
    assert (config.epochs, config.weight_decay, config.batch_size, config.backbone) == (32, 1e-5, 128, "resnet18")
    small = PRESETS["cifar100"]
    assert (small.data, small.positive, small.augmentation) == ("cifar100", cifar100.PAPER_TASKS[0], "crop_flip")
    assert (small.epochs, small.weight_decay) == (60, 2e-4)


def test_the_recipe_follows_from_the_data_if_nobody_names_one():
    for data, preset in {
        "digits": "digits",
        "cifar10": "cifar10",
        "celeba": "celeba-gray-hair",
        "bdd100k": "bdd100k-tunnel",
        "folder": "images",
        "npz": "images",
        "csv": "table",
        "parquet": "table",
        "tfds:mnist": "images",
    }.items():
        (config, path), *_ = parse(["--data", data, "--data-dir", "there/mine.zip"])
        assert config == dataclasses.replace(PRESETS[preset], data=data, data_dir=str(Path("there/mine.zip").resolve()))
        name = "mine.zip" if preset in ("images", "table") and ":" not in data else data.replace(":", "_")
        assert path.name.startswith(name)
    assert parse(["--data", "folder", "--preset", "cifar10-mini"])[0][0].epochs == 12


def test_paths_of_data_hold_for_any_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").touch()
    given = ["--data", "folder", "--data-dir", "photos/", "--bounds", "bounds.json"]
    config, _ = parse([*given, "--labels", "labels.csv"])[0]
    assert [config.data_dir, config.bounds, config.labels] == [
        str(tmp_path / name) for name in ("photos", "bounds.json", "labels.csv")
    ]
    assert parse([*given, "--labels", "inside.csv"])[0][0].labels == "inside.csv"
    (_, path), *_ = parse(["--data", "folder", "--data-dir", "a b.tar.gz", "--positive", "x/y,z"])
    assert path == Path("runs/a_b.tar.gz-x_y,z-adap_lpn-seed0")
    assert parse(["--data", "bdd100k", "--positive", "rainy"])[0][1].name == "bdd100k-rainy-adap_lpn-seed0"
    long = parse(["--data", "celeba", "--positive", "a" * 300])[0][1].name
    assert len(long) < 120
    assert long != parse(["--data", "celeba", "--positive", "a" * 301])[0][1].name


def test_image_sizes():
    for text, size in {"64": (64, 64), "218x178": (218, 178), "1": (1, 1)}.items():
        assert parse(["--image-size", text])[0][0].size == size
    assert PRESETS["digits"].size is None
    for text in ("0", "64x", "x64", "64x0", "-1", "12345", "64 x 64", "big"):
        with pytest.raises(UsageError, match=r"^--image-size: .* is not accepted; it takes pixels, as 64 or HEIGHTxW"):
            parse([f"--image-size={text}"])


def test_fair_sampling_is_that_of_the_ap_methods():
    for method in METHODS:
        assert parse(["--method", method, "--sampling", "fair"])[0][0].sampled_by == "positives"
    assert parse(["--method", "ce"])[0][0].sampled_by == "shuffle"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_accepted(method):
    assert parse(["--method", method])[0][0].method == method


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lam", 0),
        ("gamma1", 1),
        ("gamma2", 1e-9),
        ("weight_decay", 0),
        ("epochs", 1),
        ("seed", 0),
        ("seed", 2147483647),
    ],
)
def test_the_ends_of_a_range_are_accepted(name, value):
    assert getattr(parse([flag(name), str(value)])[0][0], name) == value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--method sgd", "--method: 'sgd' is not accepted; it takes one of ce, ap, pgd, trades, mart, adap_mm"),
        ("--preset imagenet", "--preset: unknown preset 'imagenet'; it takes one of digits, cifar10, cifar10-mini"),
        ("--data faces", "--data: 'faces' is not accepted; it takes one of digits, cifar10, cifar100, celeba"),
        (
            "--backbone vgg",
            "--backbone: 'vgg' is not accepted; it takes one of resnet18, resnet18_cifar, small_cnn, mlp",
        ),
        ("--precision int8", "--precision: 'int8' is not accepted; it takes one of float32, bfloat16, float16"),
        ("--augmentation blur", "--augmentation: 'blur' is not accepted; it takes one of none, crop_flip"),
        ("--download yes", "unrecognized arguments: yes"),
        (
            "--baseline sgd",
            "--baseline: unknown method 'sgd'; it takes one of ce, ap, pgd, trades, mart, adap_mm, adap_pz",
        ),
        ("--lam", "--lam: expected one argument"),
        ("--lamda 3", "unrecognized arguments: --lamda 3"),
        ("digits", "unrecognized arguments: digits"),
    ],
)
def test_unknown_names_are_refused(arguments, words):
    with pytest.raises(UsageError) as caught:
        parse(arguments.split())
    assert words in str(caught.value)


ABOVE_0 = (
    ("margin", "learning-rate", "eps", "attack-step-size", "eval-step-size", "checkpoint-minutes"),
    "a number above 0",
)
FROM_0 = (("lam", "weight-decay"), "a number of at least 0")
RATE = (("gamma1", "gamma2"), "a number above 0 and up to 1")
COUNT = (
    (
        "epochs",
        "batch-size",
        "positives-per-batch",
        "attack-steps",
        "eval-steps",
        "replicas",
        "train-examples",
        "validation-examples",
    ),
    "a whole number of at least 1",
)
SEED = (("seed", "split-seed"), "a whole number from 0 to 2147483647")


@pytest.mark.parametrize(
    ("options", "values"),
    [
        (ABOVE_0, "nan inf -inf 0 -1"),
        (FROM_0, "nan inf -inf -0.1"),
        (RATE, "nan inf 0 -0.5 1.001"),
        (COUNT, "0 -1"),
        (SEED, "-1 2147483648"),
    ],
)
def test_numbers_out_of_range_are_refused(options, values):
    names, accepted = options
    for option in names:
        for value in values.split():
            with pytest.raises(UsageError) as caught:
                parse([f"--{option}={value}"])
            assert str(caught.value).startswith(f"--{option}: ")
            assert str(caught.value).endswith(f"is not accepted; it takes {accepted}")


@pytest.mark.parametrize("options", [ABOVE_0, FROM_0, RATE, COUNT, SEED])
@pytest.mark.parametrize("word", ["two", "", "1,5"])
def test_words_for_numbers_are_refused(options, word):
    for option in options[0]:
        with pytest.raises(UsageError) as caught:
            parse([f"--{option}={word}"])
        assert str(caught.value).startswith(f"--{option}: ")
        assert repr(word) in str(caught.value)


@pytest.mark.parametrize("value", ["1.5", "nan", "1e3"])
def test_counts_are_whole(value):
    for option in (*COUNT[0], *SEED[0]):
        with pytest.raises(UsageError, match=f"^--{option}: "):
            parse([f"--{option}={value}"])


def test_a_config_checks_itself_without_a_command_line():
    with pytest.raises(UsageError, match="--gamma1: 2 is not accepted"):
        dataclasses.replace(PRESETS["digits"], gamma1=2)


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in ("preset", "out", "baseline", *GIVEN):
        assert f"\n  {flag(name)} " in text
    assert "%" not in text.replace("50%", "").replace("75%", "")  # nothing left unformatted


def test_options_and_fields_are_the_same():
    assert list(GIVEN) == [field.name for field in dataclasses.fields(Config)]


def test_a_config_can_be_read_back():
    stored = json.loads(json.dumps(Config(**GIVEN).resolved()))
    assert Config(**stored) == Config(**GIVEN)
    assert Config(**GIVEN).differing(stored) is None


@pytest.mark.parametrize("name", GIVEN)
def test_a_difference_is_named_unless_it_cannot_change_the_result(name):
    stored = PRESETS["digits"].resolved()
    wanted = None if name in (*FREE, "peek") else name  # no joint term is ascended here, so nobody peeks
    assert PRESETS["digits"].differing(stored | {name: "other"}) == wanted
    del stored[name]  # by a version that did not have it, and so as if it had its default
    young = {spec.name for spec in dataclasses.fields(Config) if spec.default is not dataclasses.MISSING}
    assert PRESETS["digits"].differing(stored) == (None if name in young - {"data", "positive"} else wanted)


def test_what_the_method_does_not_look_at_makes_no_difference():
    ce = dataclasses.replace(PRESETS["digits"], method="ce")
    idle = HYPERPARAMETERS | {"attack", "attack_steps", "attack_step_size", "positives_per_batch"}
    assert ce.idle == idle
    for name in idle:
        assert ce.differing(ce.resolved() | {name: 1}) is None
    for name in ("eps", "eval_steps", "weight_decay", "epochs"):
        assert ce.differing(ce.resolved() | {name: 1}) == name
    assert PRESETS["digits"].idle == {"peek"}
    assert dataclasses.replace(PRESETS["digits"], method="adap_lz").idle == set()
    assert dataclasses.replace(PRESETS["digits"], attack="fgsm").idle == {"peek", "attack_steps", "attack_step_size"}
    assert dataclasses.replace(PRESETS["digits"], attack="apgd").idle == {"peek", "attack_step_size"}
    assert dataclasses.replace(ce, sampling="positives").idle == idle - {"positives_per_batch"}


def test_attacks_follow_the_options():
    config = Config(**GIVEN)
    attacks = {name: dataclasses.replace(config, attack=name).training_attack for name in ATTACKS}
    assert attacks == {
        "pgd": PGD(eps=0.2, steps=2, step_size=0.11),
        "fgsm": FGSM(eps=0.2),
        "apgd": APGD(eps=0.2, steps=2),
    }
    threat = config.threat
    assert (threat.eps, threat.steps, threat.step_size) == (0.2, 3, 0.07)

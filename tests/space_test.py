"""What is searched: the paper's grids, ranges, and what the user asks for."""

from dataclasses import replace

import keras_tuner
import pytest

from adap_tf.methods import METHODS
from train.errors import UsageError
from train.presets import PRESETS
from tuning.space import Range, declare, paper, read_grid, wide

SMALL, LARGE = (0.1, 0.4, 0.8, 1, 4, 8, 10), (1, 4, 8, 10, 40, 80, 100)  # Section 5.1
LAMBDA = {"trades": LARGE, "mart": SMALL, "adap_pz": LARGE, "adap_lz": SMALL, "adap_ln": SMALL, "adap_lpn": SMALL}
GAMMA1 = {"ap", "adap_mm", "adap_pz", "adap_lz", "adap_ln", "adap_lpn"}
GAMMA2 = {"adap_lz", "adap_ln", "adap_lpn"}


@pytest.mark.parametrize("name", METHODS)
def test_the_grids_are_the_papers(name):
    wanted = {"learning_rate": (1e-3, 1e-4, 1e-5)}
    wanted |= {"lam": LAMBDA[name]} if name in LAMBDA else {}
    wanted |= {"gamma1": (0.1, 0.9)} if name in GAMMA1 else {}
    wanted |= {"gamma2": (0.1, 0.9)} if name in GAMMA2 else {}
    assert paper(METHODS[name]) == wanted
    ranges = wide(METHODS[name])
    assert set(ranges) == set(wanted)
    for hyperparameter, values in wanted.items():
        assert ranges[hyperparameter].low <= min(values)
        assert ranges[hyperparameter].high >= max(values)


def test_values_and_ranges_are_declared():
    hp = keras_tuner.HyperParameters()
    found = declare(hp, {"lam": (4.0, 1.0), "gamma1": Range(0.1, 0.4)})
    assert found == {"lam": 4.0, "gamma1": 0.1}
    assert list(found) == list(keras_tuner.HyperParameters.from_proto(hp.to_proto()).values)  # in another process too
    drawn = [next(p for p in hp.space if p.name == "gamma1").random_sample(seed) for seed in range(400)]
    assert all(0.1 <= value <= 0.4 for value in drawn)
    assert sum(value < 0.2 for value in drawn) == pytest.approx(200, abs=50)  # half of a log-uniform range


def test_a_grid_is_read():
    config = PRESETS["digits"]
    texts = ["lam=0.1,1", "learning-rate=0.001:0.1", "batch_size=32, 64"]
    found = read_grid(texts, config)
    assert found == {"lam": (0.1, 1.0), "learning_rate": Range(0.001, 0.1), "batch_size": (32, 64)}
    assert isinstance(found["batch_size"][0], int)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lam", "--grid: 'lam' is not understood; it takes NAME=VALUE"),
        ("lam=", "is not understood"),
        ("lam=1,-2", "--grid: lam: '-2' is not accepted; it takes a number of at least 0"),
        ("gamma1=1.5", "--grid: gamma1: '1.5' is not accepted; it takes a number above 0 and up to 1"),
        ("lam=x", "'x' is not accepted"),
        ("lam=nan", "'nan' is not accepted"),
        ("lam=1,1.0", "names a value twice"),
        ("lam=1:0.1", "a range is of numbers, LOW:HIGH"),
        ("lam=0:1", "a range is of numbers, LOW:HIGH"),
        ("batch_size=8:64", "a range is of numbers, LOW:HIGH"),
        ("eps=0.1", "'eps' cannot be searched; it takes lam, "),
        ("seed=1,2", "'seed' cannot be searched"),
        ("mystery=1", "'mystery' cannot be searched"),
    ],
)
def test_what_is_no_grid_is_refused(text, words):
    with pytest.raises(UsageError) as caught:
        read_grid([text], PRESETS["digits"])
    assert words in str(caught.value)


def test_what_the_method_does_not_look_at_is_not_searched():
    with pytest.raises(UsageError, match="method pgd does not look at gamma1"):
        read_grid(["gamma1=0.1"], replace(PRESETS["digits"], method="pgd"))

"""What travels between replicas in a step, counted in its graph."""

import json

import pytest

from adap_tf import METHODS
from benchmarks import communication

JOINT = [name for name, method in METHODS.items() if method.attack is not None and method.attack.joint]


@pytest.fixture
def count(capsys):
    """Bytes of a step by purpose."""

    def count(method, **options):
        given = {"backbone": "mlp", "batch-size": 8, "tasks": 2, "rows": 20, **options}
        flags = [text for name, value in given.items() for text in (f"--{name}", str(value))]
        communication.main(["--method", method, "--json", *flags])
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return count


def test_scores_labels_rows_estimates_and_the_gradient_by_the_scores(count):
    found = count("adap_lpn")
    assert found[communication.EXAMPLES] == 8 * 2 * (2 * 4 + 2 + 8 + 2 * 4 + 2 * 4)
    assert found[communication.ATTACK] == 0


SOON = ("ce", "adap_lz", "adap_lpn")


@pytest.mark.parametrize("method", [pytest.param(m, marks=() if m in SOON else pytest.mark.slow) for m in METHODS])
def test_at_most_64_bytes_an_example_and_task(count, method):
    found = count(method)
    assert 0 < found[communication.EXAMPLES] + found[communication.ATTACK] <= 64 * 8 * 2
    assert (found[communication.ATTACK] > 0) == (method in JOINT)


@pytest.mark.parametrize("method", ["adap_lpn", "adap_mm"])
def test_it_grows_with_batch_and_tasks_and_not_with_the_table(count, method):
    found, more = count(method), count(method, **{"batch-size": 24, "tasks": 6, "rows": 20_000})
    for purpose in (communication.EXAMPLES, communication.ATTACK):
        assert more[purpose] == 9 * found[purpose]
    assert more[communication.SIZES] == found[communication.SIZES]


@pytest.mark.parametrize("method", JOINT)
def test_an_attack_on_a_joint_term_tells_the_scores_of_each_step(count, method):
    assert count(method)[communication.ATTACK] == 6 * 4 * 8 * 2


def test_gradients_of_all_weights_and_sums_of_batchnorm(count):
    found = count("ce", backbone="small_cnn", tasks=3)
    channels, weights = 16 + 32 + 64 + 128, 98_067
    assert found[communication.WEIGHTS] == 2 * 4 * weights
    assert found[communication.NETWORK] == 2 * 4 * (3 + 2) * channels  # sums, squares and counts; gradients of two


def test_the_pass_that_is_made_again_tells_sums_of_batchnorm_once_more(count):
    found = count("adap_lpn", backbone="small_cnn", tasks=3)
    channels = 16 + 32 + 64 + 128
    assert found[communication.NETWORK] == 2 * 4 * (2 * (3 + 2) + 3) * channels

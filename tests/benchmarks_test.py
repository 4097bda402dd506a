"""Benchmarks run and print what they promise; how fast they are is not asserted."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from adap_tf.data import Source
from adap_tf.methods import find_method
from adap_tf.scored import ADVERSARIAL, CLEAN, Scored
from adap_tf.weights import Population
from benchmarks import attack, memory, metric, overhead, pipeline, predict, startup, step, timing

SMALL = ["--backbone", "mlp", "--batch-size", "8", "--repeats", "2", "--json"]


def test_a_step_is_timed(capsys):
    step.main(["--method", "ce", *SMALL])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["seconds"] > 0
    assert found["repeats"] == 2


def test_two_variants_are_timed_in_turn(capsys):
    step.main(["--tasks", "3", "--versus", "--tasks 1 --precision bfloat16", *SMALL])
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    assert found["ratio"] > 0
    assert "ratio" in printed


def test_a_step_on_two_replicas_with_a_larger_table_is_timed(capsys):
    step.main(["--replicas", "2", "--rows", "5", "--versus", "--rows 20000", *SMALL])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ratio"] > 0


def test_variants_are_taken_in_turn_and_the_first_ones_left_out():
    taken = []
    seconds = timing.timed([lambda: taken.append("a"), lambda: taken.append("b")], 4)
    assert taken == ["a", "b"] * (timing.WARM_UP + 4)
    assert [len(found) for found in seconds] == [4, 4]


def test_the_ratio_is_of_pairs(capsys):
    timing.report([[1.0, 4.0, 9.0], [1.0, 2.0, 3.0]], as_json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ratio"] == 2


def test_an_attack_is_timed(capsys):
    attack.main(
        ["--backbone", "mlp", "--images", "12", "--batch-size", "5", "--steps", "2", "--repeats", "2", "--json"]
    )
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["seconds"] > 0
    assert found["repeats"] == 2


@pytest.mark.parametrize("peer", ["foolbox", "art"])
def test_a_peer_is_timed_beside_it_and_finds_as_much(peer, capsys):
    pytest.importorskip(peer)
    attack.main(["--backbone", "mlp", "--images", "12", "--steps", "2", "--repeats", "2", "--peer", peer])
    assert "ratio" in capsys.readouterr().out


def test_a_peer_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(SystemExit, match=r"pip install foolbox"):
        attack.main(["--backbone", "mlp", "--images", "4", "--peer", "foolbox"])


def test_prediction_is_timed_beside_the_bare_network(capsys):
    predict.main(["--images", "12", *SMALL])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["ratio"] > 0
    assert found["repeats"] == 2


def test_batches_from_files_are_timed(capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "DIFFERENT", 10)
    pipeline.main(["--images", "200", "--batch-size", "16", "--steps", "2", "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["images_per_second"] > 0
    assert found["added_mebibytes"] >= 0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files():
    command = [sys.executable, "-m", "benchmarks.pipeline", "--images", "20000", "--steps", "20", "--json"]
    found = subprocess.run(command, cwd=Path(pipeline.__file__).parents[1], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout.splitlines()[-1])["added_mebibytes"] < 1024  # 20,000 images are 2,220 MiB


def test_waiting_for_input_is_measured(capsys, monkeypatch):
    source = Source.of_classes(np.zeros((40, 32, 32, 3), np.uint8), np.arange(40) % 10 == 0, ("other", "automobile"))
    monkeypatch.setattr(pipeline.cifar10, "load", lambda data_dir: {"train": source})
    pipeline.main(["--data-dir", "there", "--backbone", "mlp", "--batch-size", "8", "--steps", "3", "--json"])
    assert 0 < json.loads(capsys.readouterr().out.splitlines()[-1])["waiting_share"] < 1


# The peer in PyTorch


@pytest.fixture
def torch_peer():
    torch = pytest.importorskip("torch", reason="the peer is PyTorch's")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # its threads would wait for TensorFlow's
    yield importlib.import_module("benchmarks.torch_peer")
    torch.set_num_threads(threads)


def ours(name):
    """A method's objective on one task, and the estimators that it moves."""
    method = find_method(name)
    estimators = method.estimators(Population((9,)), "float32")

    def objective(h, h_adv, label, row):
        rows = np.full(label.shape, -1)
        rows[label == 1] = row
        columns = [tf.constant(x[:, None]) for x in (h, h_adv, label, rows)]
        batch = Scored.of({CLEAN: columns[0], ADVERSARIAL: columns[1]}, *columns[2:])
        signals, slopes = method.objective(batch, estimators)
        return [float(signals["loss"]), *(slope.numpy()[:, 0] for slope in slopes.values())]

    return objective


def theirs(torch_peer):
    """The peer's value of `adap_ln` and its gradient by both views."""
    ranking = torch_peer.Ranking(9)

    def objective(h, h_adv, label, row):
        leaves = [torch_peer.torch.tensor(x, requires_grad=True) for x in (h, h_adv)]
        value, carrier = ranking(*leaves, *map(torch_peer.torch.tensor, (label, row)))
        carrier.backward()
        return [float(value), *(leaf.grad.numpy() for leaf in leaves)]

    return objective


@pytest.mark.parametrize("scale", [0.1, 1, 20])
def test_the_peers_ranking_loss_and_its_gradient_are_ours(torch_peer, rng, scale):
    mine, peers = ours("adap_ln"), theirs(torch_peer)
    label = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0], np.float32)
    for row in ([0, 1, 2, 3], [2, 8, 0, 5], [8, 0, 1, 7]):  # new rows, and such that have moved
        h, h_adv = rng.normal(scale=scale, size=(2, 9)).astype(np.float32)
        for one, other in zip(mine(h, h_adv, label, row), peers(h, h_adv, label, row), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["ce", "pgd"])
def test_the_peers_cross_entropy_is_ours(torch_peer, rng, name):
    torch = torch_peer.torch
    h, label = rng.normal(size=8).astype(np.float32), (np.arange(8) < 4).astype(np.float32)
    expected, slope = ours(name)(h, h, label, np.arange(4))
    leaf = torch.tensor(h, requires_grad=True)
    value, carrier = torch_peer.of_clean(lambda image: image, (leaf[:, None], torch.tensor(label), None), None)
    carrier.backward()
    np.testing.assert_allclose(float(value.detach()), expected, rtol=1e-6)
    np.testing.assert_allclose(leaf.grad.numpy(), slope, rtol=1e-5)


def test_the_peers_attack_stays_in_the_ball_and_raises_the_loss(torch_peer):
    torch = torch_peer.torch
    network, image = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1)), torch.rand(4, 3, 2, 2)
    label = torch.tensor([1.0, 0.0, 1.0, 0.0])
    perturbed = torch_peer.attacked(network, image, label)
    assert (perturbed - image).abs().max() <= torch_peer.EPS + 1e-6
    assert 0 <= perturbed.min() <= perturbed.max() <= 1
    assert (((network(perturbed) - network(image))[:, 0]) * (1 - 2 * label) > 0).all()
    assert network.training


def test_the_peers_network_has_as_many_weights(torch_peer):
    assert sum(weight.numel() for weight in torch_peer.resnet18().parameters()) == 11_177_025


@pytest.mark.slow
@pytest.mark.parametrize("method", step.RELEASED)
def test_pytorchs_step_is_timed_beside_it(torch_peer, method, capsys):
    step.main(["--method", method, "--peer", "torch", *SMALL])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ratio"] > 0


def test_a_missing_pytorch_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit, match=r"pip install torch"):
        step.main(["--peer", "torch", *SMALL])


def test_the_peer_refuses_what_it_has_not(monkeypatch):
    monkeypatch.setattr(step.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(SystemExit, match="ce, pgd, adap_ln"):
        step.main(["--method", "mart", "--peer", "torch", *SMALL])


def test_a_peer_counts_if_it_is_as_fast_as_the_released_code():
    assert " within 10%" in step.compared(1.05, 1.12, 1.24)
    assert "NOT within 10%" in step.compared(1.0, 1.12, 1.24)
    assert "NOT within 10%" in step.compared(1.4, 1.12, 1.24)


# What ranking, the metric and a start cost


@pytest.mark.parametrize("method", ["adap_mm", "adap_lpn"])
def test_the_terms_of_a_step_are_timed_alone(method, capsys):
    overhead.main(["--method", method, *SMALL])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["bound"] > 0
    assert found["terms_share"] > 0


def test_the_metric_is_timed_and_has_scikit_learns_value(capsys, monkeypatch):
    metric.main(["--scores", "1000", "--repeats", "2", "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ratio"] > 0
    monkeypatch.setattr(metric, "average_precision", lambda scores, labels: np.array([0.5]))
    with pytest.raises(SystemExit, match="differ"):
        metric.main(["--scores", "1000"])


@pytest.mark.slow
def test_a_start_is_timed(capsys):
    startup.main(["--repeats", "1", "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["seconds"] > 0


@pytest.mark.slow
def test_memory_is_compared_process_by_process(capsys):
    memory.main(["adap_lpn", "--backbone", "mlp", "--batch-size", "8", "--repeats", "1", "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["adap_lpn"] > 0

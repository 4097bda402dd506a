"""Benchmarks run and print what they promise; how fast they are is not asserted."""

import argparse
import contextlib
import importlib
import json
import re
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
from benchmarks import attack, evaluate, input, limit, memory, metric, overhead, predict, startup, step, table, timing

SMALL = ["--backbone", "mlp", "--batch-size", "8", "--repeats", "2", "--json"]


@pytest.fixture(autouse=True)
def _small_products(monkeypatch):
    monkeypatch.setattr(limit, "SIDE", 64)


def test_a_step_is_timed_beside_its_limit(capsys):
    step.main(["--method", "ce", *SMALL])
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    assert found["seconds"] > 0
    assert found["repeats"] == 2
    assert found["limit_seconds"] > 0
    assert found["times_limit"] > 0
    assert printed.count("limit  ") == 1
    assert "s, step takes" in printed


def test_two_variants_are_timed_in_turn(capsys):
    step.main(["--tasks", "3", "--versus", "--tasks 1 --precision bfloat16", *SMALL])
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    assert found["ratio"] > 0
    assert "ratio" in printed
    assert printed.count("limit  ") == 2


def test_the_operations_of_a_step_are_those_of_all_examples_and_passes():
    found = step.need(
        argparse.Namespace(method="adap_ln", backbone="mlp", tasks=2, precision="bfloat16", batch_size=10)
    )
    assert found == (2 * (3072 * 128 + 128 * 128 + 128 * 2) * 10 * 18, "bfloat16")


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


def test_the_distance_to_the_limit_is_of_turns_too(capsys):
    limits = [[0.5, 4.0, 1.0], [1.0, 1.0, 1.0]]
    timing.report([[1.0, 4.0, 9.0], [1.0, 2.0, 3.0]], as_json=True, limits=limits, more={"else": 5.0})
    *printed, last = capsys.readouterr().out.splitlines()
    assert "limit            1 s, step takes 2 times as long, 1 to 9" in printed
    assert "limit            1 s, versus takes 2 times as long, 1 to 3" in printed
    found = json.loads(last)
    assert (found["limit_seconds"], found["times_limit"], found["else"]) == (1, 2, 5)


def test_nothing_but_the_named_options_changes_in_the_other_variant():
    parser = argparse.ArgumentParser()
    parser.add_argument("--a", type=int, default=1)
    timing.add_versus(parser)
    timing.add_repeats(parser, 7)
    one, other = timing.variants(parser, parser.parse_args(["--repeats", "3", "--versus", "--a 2"]))
    assert (one.a, one.repeats, other.a, other.repeats) == (1, 3, 2, 3)
    assert len(timing.variants(parser, parser.parse_args([]))) == 1


def test_a_table_of_each_size_is_paired_with_the_smallest(capsys, monkeypatch):
    taken = []
    monkeypatch.setattr(table, "stepper", lambda given: lambda: taken.append(given.rows))
    table.main(["--rows", "5", "50", "500", *SMALL])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert taken == [5, 50] * (timing.WARM_UP + 2) + [5, 500] * (timing.WARM_UP + 2)
    assert found["repeats"] == 2
    assert list(found["ratios"]) == ["50", "500"]


def test_steps_with_tables_are_timed(capsys):
    table.main(["--rows", "5", "20000", "--method", "adap_mm", "--replicas", "2", *SMALL])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["seconds"] > 0
    assert found["ratios"]["20000"] > 0


def test_a_table_of_one_size_is_timed_alone(capsys):
    table.main(["--rows", "5", *SMALL])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["seconds"] > 0
    assert found["ratios"] == {}


@pytest.mark.parametrize("threat", evaluate.THREATS)
def test_an_evaluation_is_timed_beside_its_limit(threat, capsys):
    evaluate.main(["--threat", threat, "--images", "12", *SMALL])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["seconds"] > 0
    assert found["images_per_second"] == pytest.approx(12 / found["seconds"])
    assert found["repeats"] == 2
    assert found["times_limit"] > 0


def test_evaluations_are_timed_in_turn(capsys):
    other = "--threat clean --replicas 2 --precision bfloat16 --tasks 3"
    evaluate.main(["--images", "12", "--versus", other, *SMALL])
    printed = capsys.readouterr().out
    assert json.loads(printed.splitlines()[-1])["ratio"] > 0
    assert printed.count("images a second") == 2


def test_the_operations_of_an_evaluation_are_those_of_all_images_and_passes():
    given = argparse.Namespace(threat="pgd", backbone="mlp", tasks=1, precision="float32", images=10)
    assert evaluate.need(given).operations == 2 * (3072 * 128 + 128 * 128 + 128) * 10 * 21


def test_an_attack_is_timed(capsys):
    attack.main(
        ["--backbone", "mlp", "--images", "12", "--batch-size", "5", "--steps", "2", "--repeats", "2", "--json"]
    )
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["seconds"] > 0
    assert found["repeats"] == 2
    assert found["times_limit"] > 0


def test_two_attacks_are_timed_in_turn(capsys):
    attack.main(
        ["--backbone", "mlp", "--images", "12", "--steps", "4", "--versus", "--steps 1", "--repeats", "2", "--json"]
    )
    rises = re.findall(r"rise of the loss (\S+)", out := capsys.readouterr().out)
    assert float(rises[0]) > float(rises[1]) > 0
    assert json.loads(out.splitlines()[-1])["ratio"] > 0


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
    monkeypatch.setattr(input, "DIFFERENT", 10)
    input.main(["--images", "200", "--batch-size", "16", "--steps", "2", "--repeats", "3", "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["repeats"] == 3
    assert found["images_per_second"] == pytest.approx(2 * 16 / found["seconds"])
    assert found["added_mebibytes"] >= 0


def test_batches_are_timed_in_turn(capsys, monkeypatch):
    monkeypatch.setattr(input, "DIFFERENT", 10)
    other = "--augmentation none --batch-size 8"
    input.main(["--images", "200", "--batch-size", "16", "--steps", "2", "--versus", other, "--repeats", "2", "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ratio"] > 0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files():
    command = [sys.executable, "-m", "benchmarks.input", "--images", "20000", "--json"]
    found = subprocess.run(command, cwd=Path(input.__file__).parents[1], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout.splitlines()[-1])["added_mebibytes"] < 1024  # 20,000 images are 2,220 MiB


def test_waiting_for_input_is_measured(capsys, monkeypatch):
    source = Source.of_classes(np.zeros((40, 32, 32, 3), np.uint8), np.arange(40) % 10 == 0, ("other", "automobile"))
    monkeypatch.setattr(input.cifar10, "load", lambda data_dir: {"train": source})
    input.main(["--data-dir", "there", "--steps", "3", "--versus", "--augmentation none", *SMALL])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < found["waiting_share"] < 1
    assert found["step_seconds"] == pytest.approx(found["seconds"] / 3)
    assert found["ratio"] > 0


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


def test_our_step_has_its_limit_beside_a_peer_too(monkeypatch, capsys):
    taken = []
    monkeypatch.setattr(step, "torch_step", lambda given: contextlib.nullcontext(lambda: taken.append("torch")))
    step.main(["--method", "ce", "--peer", "torch", *SMALL])
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    assert len(taken) == timing.WARM_UP + 2
    assert found["ratio"] > 0
    assert found["times_limit"] > 0
    assert printed.count("limit  ") == 1


def test_a_missing_pytorch_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit, match=r"pip install torch"):
        step.main(["--peer", "torch", *SMALL])


def test_the_peer_refuses_what_it_has_not(monkeypatch):
    monkeypatch.setattr(step.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(SystemExit, match="ce, pgd, adap_ln"):
        step.main(["--method", "mart", "--peer", "torch", *SMALL])


def test_a_peer_counts_if_it_is_as_fast_as_the_released_code():
    assert " within 10%" in step.judged(1.05, 1.12, 1.24)
    assert "NOT within 10%" in step.judged(1.0, 1.12, 1.24)
    assert "NOT within 10%" in step.judged(1.4, 1.12, 1.24)


# What ranking, the metric and a start cost


@pytest.mark.parametrize("method", ["adap_mm", "adap_lpn"])
def test_the_terms_of_a_step_are_timed_alone(method, capsys):
    overhead.main(["--method", method, *SMALL])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["seconds"] > 0
    assert found["repeats"] == 2
    assert found["bound"] > 0
    assert found["terms_share"] > 0


def test_the_metric_is_timed_and_has_scikit_learns_value(capsys, monkeypatch):
    metric.main(["--scores", "1000", "--repeats", "2", "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["seconds"] > 0
    assert found["repeats"] == 2
    assert found["ratio"] > 0
    monkeypatch.setattr(metric, "average_precision", lambda scores, labels: np.array([0.5]))
    with pytest.raises(SystemExit, match="differ"):
        metric.main(["--scores", "1000"])


def test_starts_are_timed_in_turn(capsys, monkeypatch):
    taken = []
    monkeypatch.setattr(startup, "start", lambda *words: taken.append(words))
    startup.main(["--versus", "--method ce", "--repeats", "2", "--json"])
    assert taken == [(), ("--method", "ce")] * (1 + 2)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["repeats"] == 2


@pytest.mark.slow
def test_a_start_is_timed(capsys):
    startup.main(["--repeats", "1", "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["seconds"] > 0


@pytest.mark.slow
def test_memory_is_compared_process_by_process(capsys):
    memory.main(["adap_lpn", "--backbone", "mlp", "--batch-size", "8", "--repeats", "1", "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["adap_lpn"] > 0

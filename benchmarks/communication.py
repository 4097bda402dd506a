"""What the replicas tell each other in a step: `python -m benchmarks.communication --method adap_lpn --tasks 3`."""

import argparse
import json
from collections.abc import Iterator, Sequence

import tensorflow as tf
from tensorflow.python.ops import cond_v2  # the branches of a graph have no public name

from adap_tf import adversary, finite, replicas
from adap_tf.model import NORM
from benchmarks.step import add_options, prepared
from benchmarks.timing import add_json

WEIGHTS, NETWORK = "gradients of the weights", "sums of BatchNorm"
FINITE, GRADIENT = "whether all is finite", "norm of the gradient"
EXAMPLES, ATTACK, SIZES = "examples", "examples, in the attack", "sizes, before each gather"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.communication",
        description="Counts the collectives in the graph of a training step and the bytes that a replica sends for "
        "them in a ring of many: as many as a gather's result has, twice as many as a sum's. It runs no step.",
    )
    add_options(parser)
    parser.set_defaults(replicas=2)
    add_json(parser)
    given = parser.parse_args(arguments)
    found = communicated(given)
    print(f"{'':<28}{'collectives':>12}{'bytes':>12}{'an example and task':>22}")
    for purpose, sizes in found.items():
        each = sum(sizes) / given.batch_size / given.tasks
        print(f"{purpose:<28}{len(sizes):>12}{sum(sizes):>12}{each:>22.1f}")
    if given.json:
        print(json.dumps({purpose: sum(sizes) for purpose, sizes in found.items()}))


def communicated(given: argparse.Namespace) -> dict[str, list[int]]:
    """The bytes that a replica sends for each collective of a step, by purpose."""
    model, batch, strategy = prepared(given)
    step = tf.function(lambda batch: strategy.run(model.train_step, args=(batch,)))
    graph = step.get_concrete_function(batch).graph
    found: dict[str, list[int]] = {
        purpose: [] for purpose in (EXAMPLES, ATTACK, SIZES, FINITE, GRADIENT, WEIGHTS, NETWORK)
    }
    for op in operations(graph):
        if op.type.startswith("Collective") and op.device.endswith(":0"):  # those of the first replica
            found[purpose_of(op, model.optimizer.name)].append(sent(op, given.replicas))
    return found


def operations(graph: tf.Graph) -> Iterator[tf.Operation]:
    """Those of a graph and of the branches in it."""
    for op in graph.get_operations():
        yield op
        for branch in cond_v2.get_func_graphs(op) if op.type in ("If", "StatelessIf") else ():
            yield from operations(branch)


def purpose_of(op: tf.Operation, optimizer: str) -> str:
    """What a collective is for, by the names in the graph; what has no name of its own is a gradient of BatchNorm's."""
    scopes = {scope.split("_")[0] for scope in op.name.split("/")}
    if "Gather" in op.type and op.inputs[0].dtype == tf.int32:
        return SIZES
    if finite.SCOPE in scopes:
        return FINITE
    if NORM in op.name:
        return GRADIENT
    if replicas.SCOPE in scopes:
        return ATTACK if adversary.SCOPE in scopes else EXAMPLES
    return WEIGHTS if optimizer in op.name.split("/") else NETWORK


def sent(op: tf.Operation, count: int) -> int:
    """Bytes of a gather's result, or twice those of a sum."""
    tensor = op.inputs[0]
    if not tensor.shape.is_fully_defined():  # padded to the largest part, and all are of one size
        tensor = tensor.op.inputs[0]
    size = tensor.shape.num_elements() * tensor.dtype.size
    return size * (count if "Gather" in op.type else 2)


if __name__ == "__main__":
    main()

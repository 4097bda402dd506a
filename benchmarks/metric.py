"""Average precision of many scores beside scikit-learn's: `python -m benchmarks.metric`."""

import argparse
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import average_precision_score

from adap_tf.metrics import average_precision
from benchmarks.timing import add_repeats, report, timed


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.metric",
        description="Times the average precision of random scores, one in twenty of a positive, beside scikit-learn's "
        "own function on the same arrays, in turn, with the ratio pair by pair. Both have to give the same value.",
    )
    parser.add_argument("--scores", type=int, default=10**7, help="(%(default)s)")
    add_repeats(parser, 8)
    given = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    label = (rng.uniform(size=given.scores) < 0.05).astype(np.float32)
    score = rng.normal(size=given.scores).astype(np.float32) + label
    runs = [lambda: average_precision(score, label), lambda: average_precision_score(label, score)]
    ours, theirs = float(runs[0]()[0]), float(runs[1]())
    print(f"{'value':<10} {ours!r}, scikit-learn's {theirs!r}")
    if ours != theirs:
        raise SystemExit("the values differ")
    report(timed(runs, given.repeats, warm_up=0), given.json, ("adap_tf", "sklearn"))


if __name__ == "__main__":
    main()

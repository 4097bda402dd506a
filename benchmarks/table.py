"""Whether a training step depends on the rows of its table: `python -m benchmarks.table --backbone mlp`."""

import argparse
import json
import statistics
from collections.abc import Sequence

from benchmarks.step import add_options, stepper
from benchmarks.timing import add_repeats, changed, ratios, show, timed

ROWS = tuple(10**power for power in range(3, 9))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table",
        description="Times the steps of benchmarks.step with tables of several sizes, whose drawn rows lie anywhere: "
        "each size in turn with the first one, with the ratio to that pair by pair.",
        conflict_handler="resolve",  # one option of the step's is a list here
    )
    add_options(parser)
    add_repeats(parser, 12, "pairs of steps")
    sizes = " ".join(map(str, ROWS))
    parser.add_argument(
        "--rows", type=int, nargs="+", default=ROWS, help=f"positives of each task, each size ({sizes})"
    )
    given = parser.parse_args(arguments)
    first, *others = given.rows
    step, seconds, its_seconds, to_first = stepper(changed(given, rows=first)), [], {}, {}
    for rows in others:
        found, its_own = timed([step, stepper(changed(given, rows=rows))], given.repeats)
        seconds += found
        its_seconds[rows], to_first[rows] = its_own, ratios(its_own, found)
        show(f"{rows} rows", its_own, "s")
        show(f"to {first} rows", to_first[rows])
    if not others:
        (seconds,) = timed([step], given.repeats)
    show(f"{first} rows", seconds, "s")
    if given.json:
        medians = {"ratios": to_first, "seconds_by_rows": {first: seconds, **its_seconds}}
        summary = {
            name: {rows: statistics.median(each) for rows, each in found.items()} for name, found in medians.items()
        }
        print(json.dumps({"seconds": statistics.median(seconds), "repeats": given.repeats, **summary}))


if __name__ == "__main__":
    main()

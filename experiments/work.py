"""Does what is to be done, alone or beside other processes: runs, evaluations, the last epoch's networks."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
from filelock import Timeout

from experiments.cells import Entry
from experiments.measures import MEASURES
from experiments.store import Run
from experiments.study import Study
from train.errors import NonFiniteError, UsageError
from train.evaluate import evaluated_and_reported
from train.evaluated import read_evaluation
from train.loop import Training
from train.main import run as train_run
from train.run_folder import RunFolder, replacing, write_json
from train.settings import parse
from train.sources import load_splits
from train.workers import make_workers

PAUSE = 1.0  # seconds between looks at what other processes are at
THREATS, THREATS_LAST = "clean,pgd,apgd", "clean,pgd"


@dataclass(frozen=True)
class Job:
    """Something that one process does.

    Attributes:
        what: it is, in words.
        folder: the run that it is done to.
        done: whether it has been.
        do: does it.
    """

    what: str
    folder: RunFolder
    done: Callable[[], bool]
    do: Callable[[], object]


def complete(study: Study, entry: Entry) -> None:
    """Trains and evaluates whatever an entry lacks.

    Raises:
        UsageError: a mistake that the user can mend.
    """
    for runs in study.stages(entry):
        check_same(runs)
        finish([training(run) for run in runs])
    finish(evaluations(study, entry))


def evaluations(study: Study, entry: Entry, anyway: bool = False) -> list[Job]:
    """The evaluations of the runs that an entry shows, unless they were given up.

    Args:
        study: the runs.
        entry: the table or figure.
        anyway: whether to count those too whose data are missing.
    """
    measure = MEASURES[entry.measure]
    runs = study.shown(entry, anyway) if measure.threat else []
    return [evaluation(run, measure.last) for run in runs if measure.given_up(run) is None]


def check_same(runs: Sequence[Run]) -> None:
    """Makes sure that what lies in the store under a run's name is that run.

    Raises:
        UsageError: it is another, as of an earlier version.
    """
    for run in runs:
        if run.folder.config.exists() and (name := run.differing()):
            raise UsageError(
                f"--store: {run.folder.path} holds a run with another {name}; remove it, or give another --store"
            )


def finish(jobs: Sequence[Job]) -> None:
    """Does jobs until all are done; what another process is at is left to it."""
    left = [job for job in jobs if not job.done()]
    while left:
        taken = False
        for number, job in enumerate(left, 1):
            with contextlib.suppress(Timeout), job.folder.alone().acquire(timeout=0):
                if not job.done():
                    print(f"{job.what} ({number} of {len(left)}): {job.folder.path.name}", flush=True)
                    job.do()
                    assert job.done(), job
                    taken = True
                    keras.backend.clear_session()  # or the run's graphs would stay
        left = [job for job in left if not job.done()]
        if left and not taken:
            time.sleep(PAUSE)


def training(run: Run) -> Job:
    """The training of a run, and its test; one whose numbers are not finite is given up."""

    def do() -> None:
        try:
            train_run(run.config, run.folder, make_workers(run.config.replicas))
        except NonFiniteError as error:
            write_json(run.folder.stopped, {"reason": str(error)})

    return Job("run", run.folder, lambda: run.over, do)


def evaluation(run: Run, last: bool) -> Job:
    """The evaluation of a run: of the network that was selected, or of the last epoch's.

    There is no black-box attack on the attacker itself, and none from one that was given up.
    """
    out, lender = run.home(last), run.attacker
    lends = lender is not None and lender.path != run.folder.path and not lender.stopped.exists()
    attacker = str(lender.path) if lender and lends else None
    black_box = ["--attacker", attacker] if attacker else []
    options = ["--out", str(out), "--threats", THREATS_LAST if last else THREATS, "--quick", *black_box]
    asked, *_ = parse([str(run.folder.path), *options])

    def done() -> bool:
        if not (out / "results.json").exists():
            return False
        found = read_evaluation(out).results["settings"]
        own = run.beside(found.get("attacker"))
        # one with an attacker serves those who asked for none
        return {**found, "attacker": own} == {**asked.resolved(), "attacker": attacker or own}

    def do() -> None:
        evaluated_and_reported([str(last_network(run) if last else run.folder.path), *options])

    return Job("evaluation", run.folder, done, do)


def last_network(run: Run) -> Path:
    """The file of the last epoch's network, made of the run's newest checkpoint if need be."""
    path = run.folder.path / "last" / "network.keras"
    if not path.exists():
        config = run.config
        splits = load_splits(config, config.seed, config.train_examples, config.validation_examples)
        network = Training(config, splits, run.folder, make_workers(config.replicas)).model.network
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as part:
            network.save(part)
    return path


@contextlib.contextmanager
def helpers(count: int, arguments: Sequence[str], store: Path) -> Iterator[None]:
    """Processes that run the same command beside this one, all with an equal share of the cores; they end with it.

    Where there are any, TensorFlow must not have begun in this process, which would have all cores otherwise.

    Args:
        count: of them.
        arguments: the command's.
        store: folder for what they print.
    """
    share = str(max(1, (os.cpu_count() or 1) // (count + 1)))
    if count:
        os.environ.update(TF_NUM_INTRAOP_THREADS=share, TF_NUM_INTEROP_THREADS=share)
    command = [sys.executable, "-m", "experiments", *arguments, "--helper"]
    with contextlib.ExitStack() as stack:
        started = []
        for number in range(count):
            log = stack.enter_context((store / f"helper-{number + 1}.log").open("w"))
            started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        try:
            yield
        finally:
            for process in started:
                process.terminate()
                process.wait()

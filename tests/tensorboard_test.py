"""A real TensorBoard over what runs and a trade-off write: what it lists, and what its pages show."""

import contextlib
import dataclasses
import io
import json
import re
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

import browser
import made_up
from report_test import differing, with_browser
from train import trade_off
from train.presets import PRESETS
from train.run_folder import RunFolder
from train.summaries import Summaries

pytestmark = pytest.mark.slow

PATIENCE = 60  # seconds for it to start, and for what it reads later
RUNS = {"first": {"lam": 4.0}, "other": {"method": "ce", "train_examples": 500}}  # each has an option of its own
NAMES = [f"{name}/tensorboard" for name in RUNS]
POINTS = [trade_off.Point("adap_lpn", "", 0.9, 0.5), trade_off.Point("ce", "", 0.95, 0.1)]
NUMBERS = ("P", "learning_rate", "gradient_norm", "rows_visited", "u_ratio", "row_age", "images_per_second")
SELECTED = {"clean_ap": 0.75, "robust_ap": 0.25}


def write_run(path, changes):
    """The events of three epochs."""
    config, label = dataclasses.replace(PRESETS["digits"], **changes), made_up.labels(1)
    with Summaries.of(RunFolder(path), config, ["8"]) as summaries:
        for row in made_up.history(3):
            step = 10 * int(row.pop("epoch"))
            scores = made_up.scores(label, step, ("clean", "robust"))
            summaries.epoch(step, {**row, **dict.fromkeys(NUMBERS, step / 10)}, label, scores)
        png = tf.io.encode_png(np.full([8, 8, 3], 200, np.uint8)).numpy()
        summaries.image(30, "perturbed", io.BytesIO(png))
        summaries.selected(30, SELECTED)


@contextlib.contextmanager
def served(folder, log):
    """The address of a TensorBoard over a folder; it is ended whatever happens."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--host", "127.0.0.1", "--port", "0"]
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            yield address(process, log)
        finally:
            process.kill()


def address(process, log):
    """What it says once it listens."""
    until = time.monotonic() + PATIENCE
    while (found := re.search(r"at (http://\S+/) ", log.read_text())) is None:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)
    return found[1]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, changes in RUNS.items():
        write_run(folder / name, changes)
    trade_off.write(POINTS, folder / "trade-off", len(POINTS))
    with served(folder, tmp_path_factory.mktemp("log") / "log.txt") as found:
        yield found


def answer(url, path, asked=None):
    """The JSON of a GET, or of a POST of what is asked."""
    body = None if asked is None else json.dumps(asked).encode()
    request = urllib.request.Request(f"{url}data/{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return json.load(response)


def soon(ask, wanted):
    """Waits for an answer, since event files are read after the start."""
    until = time.monotonic() + PATIENCE
    while (found := ask()) != wanted and time.monotonic() < until:
        time.sleep(0.1)
    assert found == wanted


def listed(url, plugin):
    """The tags of a plugin by run."""
    return {run: set(tags) for run, tags in answer(url, f"plugin/{plugin}/tags").items()}


def test_plugins_with_data(url):
    wanted = "timeseries scalars custom_scalars images distributions histograms text pr_curves hparams"

    def enabled():
        return {name for name, plugin in answer(url, "plugins_listing").items() if plugin["enabled"]}

    soon(enabled, set(wanted.split()))


def test_scalars_stand_in_groups(url):
    groups = {
        "terms": {"loss", "P"},
        "optimizer": {"learning_rate", "gradient_norm", "steps_skipped"},
        "estimators": {"rows_visited", "u_ratio", "row_age"},
        "speed": {"images_per_second"},
        "validation": {"clean_ap", "robust_ap"},
        "selected": {"clean_ap", "robust_ap"},
    }
    of_run = {f"{group}/{name}" for group, names in groups.items() for name in names}
    front = {"trade_off/adap_lpn", "trade_off/ce", "trade_off/front"}
    soon(lambda: listed(url, "scalars"), {**dict.fromkeys(NAMES, of_run), "trade-off": front})


TAGS = {
    "histograms": {f"scores/{kind}/{threat}" for kind in ("positives", "negatives") for threat in ("clean", "robust")},
    "pr_curves": {f"pr_curves/{threat}/pr_curves" for threat in ("clean", "robust")},
    "text": {"config"},
}


@pytest.mark.parametrize("plugin", TAGS)
def test_tags_of_runs(url, plugin):
    tags = TAGS[plugin]
    soon(lambda: listed(url, plugin), dict.fromkeys(NAMES, tags))


def test_images(url):
    first, other = NAMES
    wanted = {first: {"perturbed"}, other: {"perturbed"}, "trade-off": {"trade_off"}}
    soon(lambda: listed(url, "images"), wanted)


def test_hparams_have_both_objectives_and_the_options_of_all_runs(url):
    def columns():
        found = answer(url, "plugin/hparams/experiment", {})
        options = [option["name"] for option in found["hparamInfos"]]
        return [metric["displayName"] for metric in found["metricInfos"]], options[:5], "train_examples" in options

    soon(columns, (["clean_ap", "robust_ap"], ["gamma1", "gamma2", "lam", "learning_rate", "method"], True))


def test_hparams_of_each_run(url):
    def rows():
        asked = {"colParams": [], "allowedStatuses": ["STATUS_UNKNOWN"], "startIndex": 0, "sliceSize": 10}
        groups = answer(url, "plugin/hparams/session_groups", asked)["sessionGroups"]
        return {
            group["sessions"][0]["name"]: (
                group["hparams"]["method"],
                group["hparams"].get("lam"),
                *(metric["value"] for metric in group["metricValues"]),
            )
            for group in groups
        }

    wanted = [("adap_lpn", 4, *SELECTED.values()), ("ce", None, *SELECTED.values())]
    soon(rows, dict(zip(NAMES, wanted, strict=True)))


def test_charts_of_runs_and_of_the_trade_off(url):
    def charts():
        found = answer(url, "plugin/custom_scalars/layout")
        return {chart["title"]: chart["multiline"]["tag"] for each in found["category"] for chart in each["chart"]}

    wanted = {
        "average precision": ["validation/clean_ap", "validation/robust_ap"],
        "objective and terms": ["terms/.*"],
        "speed": ["speed/.*"],
        "robust AP to be had at a clean AP of at least step/10,000": ["trade_off/.*"],
    }
    soon(charts, wanted)


SHOWN = {
    "timeseries": (*NAMES, "/row_age", "perturbed", "trade_off", "30"),
    "scalars": (*NAMES, "estimators/row_age", "optimizer/gradient_norm", "trade_off"),
    "custom_scalars": (*NAMES, "average precision", "Matches (4)", "robust AP to be had", "Matches (3)", "8k"),
    "pr_curves": (*NAMES, "pr_curves/clean/pr_curves", "pr_curves/robust/pr_curves", "step 30"),
    "images": (*NAMES, "perturbed", "trade_off"),
    "hparams": ("lam", "4.0000", "adap_lpn", "ce", "0.75000", "0.25000"),
}
"""What stands on a page when its data are there; 8k is a place on the trade-off's axis."""


@with_browser
@pytest.mark.parametrize("page", SHOWN)
def test_pages_are_shown_without_errors(url, tmp_path, page):
    with browser.opened(f"{url}#{page}", width=1400, height=1000) as shown:
        shown.wait_for(*SHOWN[page])
        shown.photo(tmp_path / "page.png")
        assert shown.errors == []
    assert 0.1 < differing(tmp_path / "page.png")[0] < 0.9

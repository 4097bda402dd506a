"""The report: numbers as in the files, everything escaped, what differs marked, and clear words for what is wrong."""

import dataclasses
import html
import json
import re
import shlex
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import browser
import made_up
from adap_tf.resampling import bootstrap, interval
from train import evaluate, main, parts, report
from train.evaluated import read_evaluation
from train.inline import inline
from train.options import parse
from train.presets import PRESETS
from train.records import read
from train.reproduce import command, commands
from train.stored import ANY, NUMBER, StoredRun, fits

with_browser = pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium")


class Page(HTMLParser):
    """A page's tables by caption, texts, ids and headings."""

    VOID = ("meta", "link", "br", "img")

    def __init__(self, text):
        super().__init__()
        self.tables, self.ids, self.open, self.titles = {}, [], [], []
        self.text = self.caption = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag not in self.VOID:
            self.open.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "table":
            self.rows = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            assert tag == "td" or given["scope"] in ("col", "row")
            self.rows[-1].append("")
        elif tag == "caption":
            self.caption = ""

    def handle_startendtag(self, tag, attributes):
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self.caption] = self.rows

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if "caption" in self.open:
            self.caption += data
        elif "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += f" {data}" if "small" in self.open else data
        elif "h2" in self.open:
            self.titles.append(data)

    def table(self, caption):
        """The rows of the table whose caption begins so, each by the names of the columns."""
        head, *rows = next(rows for text, rows in self.tables.items() if text.startswith(caption))
        return [dict(zip(head, row, strict=True)) for row in rows]


def reported(tmp_path, *arguments):
    """The page of a report, and its text."""
    out = tmp_path / "report.html"
    assert report.main([*map(str, arguments), "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    return Page(text), text


def failed(capsys, *arguments):
    """The one line that a mistake gives."""
    assert report.main(list(map(str, arguments))) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error


@pytest.fixture
def quick(monkeypatch):
    """Leaves out the drawing, which takes most of the time."""
    monkeypatch.setattr(parts, "inline", lambda draw, key, text: f'<svg id="{key}-axes_1"></svg>')


@pytest.fixture
def runs(tmp_path):
    """Three runs, the last not finished."""
    return [
        made_up.run(tmp_path / "first"),
        made_up.run(tmp_path / "second", seed=1, method="ce", learning_rate=0.02),
        made_up.run(tmp_path / "third", finished=False, method="adap_ln"),
    ]


def ap_and_interval(ap, ends):
    return f"{ap:.4f} {ends[0]:.4f} to {ends[1]:.4f}"


def test_numbers_of_runs_that_were_not_evaluated_come_from_their_scores(runs, tmp_path, quick):
    page, _ = reported(tmp_path, *runs)
    rows = page.table("AP, below it the 95% interval")
    assert [row["run"] for row in rows] == ["first", "second", "third"]
    assert [row["method"] for row in rows] == ["adap_lpn", "ce", "adap_ln"]
    for path, row in zip(runs[:2], rows, strict=False):
        test = json.loads((path / "results.json").read_text())["test"]
        scores = dict(np.load(path / "scores.npz"))
        label = scores.pop("label")
        samples = bootstrap(scores, label)
        for threat in ("clean", "pgd"):
            ap = test[threat]["ap"]
            low, high = interval(samples[threat], ap)
            assert row[threat] == ap_and_interval(ap, (max(low, 0), min(high, 1)))
        assert row["selected epoch"] == "2 of 3"
        assert row["numbers from"] == "the run's scores.npz, 1000 resamples"
    pairs = page.table("Differences")
    assert [(pair["runs"], pair["threat"]) for pair in pairs] == [
        ("first minus second", "clean"),
        ("first minus second", "pgd"),
    ]
    aps = [json.loads((path / "results.json").read_text())["test"]["pgd"]["ap"] for path in runs[:2]]
    assert pairs[1]["difference of AP"] == f"{aps[0] - aps[1]:+.4f}".replace("-", "−")


def test_a_run_that_is_not_finished_says_so(runs, tmp_path, quick):
    page, _ = reported(tmp_path, *runs)
    assert page.table("AP, below")[2]["selected epoch"] == "not finished 2 of 3 epochs"
    assert "third is not finished: 2 of 3 epochs are done" in page.text
    alone, _ = reported(tmp_path, runs[2])
    assert alone.titles == ["Summary", "Learning curves", "Configs", "How to reproduce"]
    (runs[2] / "metrics.csv").unlink()
    begun, _ = reported(tmp_path, runs[2])
    assert begun.titles == ["Summary", "Configs", "How to reproduce"]


def test_an_evaluation_is_reported_as_it_stands(runs, tmp_path, quick):
    found = made_up.evaluation(runs[0] / "evaluation", runs[:2], warnings=["square is stronger"])
    page, _ = reported(tmp_path, *runs)
    for row in page.table("AP, below it the 90% interval")[:2]:
        for threat in ("clean", "pgd", "apgd", "worst"):
            measures = found["runs"][row["run"]]["threats"][threat]
            assert row[threat] == ap_and_interval(measures["ap"], measures["interval"])
        assert row["numbers from"] == "first/evaluation, the test split"
    for row in page.table("Every measure"):
        measures = found["runs"][row["run"]]["threats"][row["threat"]]
        assert row["precision at recall 0.9"] == f"{measures['precision_at_recall']['0.9']:.4f}"
        assert row["AP at 1% positives"] == f"{measures['ap_at_prevalence']['0.01']:.4f}"
        assert row["AP with twice the steps"] == ("0.1234" if row["threat"] == "apgd" else "–")
    pairs = {pair["threat"]: pair for pair in page.table("Differences")}
    for pair in found["differences"]:
        shown = f"{pair['difference']:+.4f}".replace("-", "−")
        assert pairs[pair["threat"]]["difference of AP"] == shown
    assert "warning, first: square is stronger" in page.text
    assert "Budget curves" in page.titles


def test_evaluations_elsewhere_and_of_moved_runs_are_found(runs, tmp_path, quick):
    made_up.evaluation(runs[0] / "evaluation", runs[:2])
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in runs[:2]:
        shutil.move(path, moved / path.name)
    records = read([str(moved / "second"), str(moved / "first")])
    assert [record.evaluated.name for record in records] == ["second", "first"]
    shutil.move(moved / "first" / "evaluation", tmp_path / "elsewhere")
    assert [record.evaluated for record in read([str(moved / "first")])] == [None]
    made_up.edited(
        tmp_path / "elsewhere" / "results.json", lambda found: found["runs"]["first"].update(path=str(moved / "first"))
    )
    (record,) = read([str(moved / "first")], [str(tmp_path / "elsewhere")])
    assert record.evaluated.name == "first"


def test_the_evaluation_of_most_runs_is_taken(runs):
    made_up.evaluation(runs[1] / "evaluation", runs[1:2])
    made_up.evaluation(runs[0] / "evaluation", runs[:2])
    records = read([str(runs[1]), str(runs[0])])
    assert {record.evaluated.evaluation.folder for record in records} == {runs[0] / "evaluation"}
    assert read_evaluation(runs[1] / "evaluation").paths == {"second": runs[1]}


def test_what_differs_comes_first_and_is_marked(runs, tmp_path, quick):
    page, text = reported(tmp_path, *runs[:2])
    rows = {row["option"]: row for row in page.table("Options that differ")}
    assert set(rows) == {"--method", "--learning-rate", "--seed"}
    assert rows["--learning-rate"] == {"option": "--learning-rate", "first": "0.001", "second": "0.02"}
    assert '<td class="differs">0.02</td>' in text
    equal = {row["option"]: row["value"] for row in page.table("Options that are equal")}
    assert equal["--batch-size"] == "64"
    assert equal["--data-dir"] == "–"
    assert len(equal) + len(rows) == len(dataclasses.fields(PRESETS["digits"]))
    alone, _ = reported(tmp_path, runs[1])
    assert {row["option"]: row["preset digits"] for row in alone.table("Options that differ")}["--method"] == "adap_lpn"


def test_several_tasks_stand_one_by_one(tmp_path):
    tasks = ("3", "8", "a$b$_c")
    paths = [made_up.run(tmp_path / name, tasks, seed=seed) for seed, name in enumerate(("one", "two"))]
    made_up.evaluation(paths[0] / "evaluation", paths[:1], tasks)
    page, text = reported(tmp_path, *paths)
    assert "Mean AP over 3 tasks" in text
    entry = json.loads((paths[0] / "evaluation" / "results.json").read_text())["runs"]["one"]["threats"]
    own = json.loads((paths[1] / "results.json").read_text())["test"]
    for row in page.table("AP by task"):
        found = entry if row["run"] == "one" else own
        assert row["pgd"] == f"{found['pgd']['ap_by_task'][row['task']]:.4f}"
        assert row["apgd"] == (f"{entry['apgd']['ap_by_task'][row['task']]:.4f}" if row["run"] == "one" else "–")
    assert "the same name and settings only" in page.text
    assert sum(key.endswith("-axes_1") and key.startswith("budget") for key in page.ids) == 3


def test_whatever_is_given_is_escaped(tmp_path):
    name, task = '_<script>alert("x")</script> $a^$ &amp; \x07', "<img src=x onerror=alert(1)>"
    path = made_up.run(tmp_path / name.replace("/", "∕"), (task,))
    made_up.evaluation(path / "evaluation", [path], (task,), warnings=["<b>bold</b>"])
    page, text = reported(tmp_path, path)
    for tag in ("<script", "<img", "<b>", "\x07"):
        assert tag not in text
    assert html.escape(task) in text
    assert "<b>bold</b>" in page.text
    assert page.table("AP, below")[0]["run"] == path.name.replace("\x07", "\ufffd")


def test_the_page_needs_nothing_else_and_is_the_same_each_time(runs, tmp_path):
    made_up.evaluation(runs[0] / "evaluation", runs[:2])
    page, text = reported(tmp_path, *runs)
    assert text == reported(tmp_path, *runs)[1]
    assert len(set(page.ids)) == len(page.ids)
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*", text)
    assert not re.findall(r"url\((?!#)|@import|<script", text)
    assert '<html lang="en">' in text
    assert text.count("<figure>") == text.count('role="img" aria-label=') == text.count("<figcaption>")
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]*)', text))
    assert used <= set(page.ids)


def test_figures_take_the_pages_colours():
    from matplotlib import pyplot as plt

    def draw(path):
        figure, axes = plt.subplots()
        axes.plot([0, 1], label="$x <y>")
        axes.legend()
        figure.savefig(path)
        plt.close(figure)

    found = inline(draw, "key", 'what "it" shows')
    assert "var(--c0, #1f77b4)" in found
    assert "#000000" not in found
    assert "#ffffff" not in found
    assert "$x &lt;y&gt;" in found
    assert 'aria-label="what &quot;it&quot; shows"' in found
    assert set(re.findall(r'\bid="(\w+)-', found)) == {"key"}


CHANGES = [
    {},
    {"method": "ce", "epochs": 4, "lam": 0.1 + 0.2},
    {"peek": True, "sampling": "fair", "replicas": 2, "positives_per_batch": 7},
    {"data": "cifar10", "positive": "-x's", "seed": 5, "backbone": None},
    {"data": "bdd100k", "image_size": None, "positive": "rainy"},
    {"data": "csv", "data_dir": "/some where/a.csv", "labels": "a,b", "positive": None, "skip_nonfinite": True},
]


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_command_leads_to_the_very_config(preset, changes):
    config = dataclasses.replace(PRESETS[preset], **changes)
    words = shlex.split(command(config, "new name"))
    assert words[:2] == ["python", "train/main.py"]
    ((found, out),) = parse(words[2:])
    assert found == config
    assert out.parts[-2:] == ("runs", "new name")


def test_commands_are_short_and_those_of_a_start_come_first(runs, tmp_path, quick):
    lender = made_up.run(tmp_path / "lender", method="ce")
    borrower = made_up.run(tmp_path / "borrower", method="ap", init_from=str(lender))
    folder = StoredRun(str(borrower))
    assert commands(folder.read_config(), folder, "x") == [
        "python train/main.py --preset digits --method ce --epochs 3 --baseline none --out runs/lender",
        "python train/main.py --preset digits --method ap --init-from runs/lender --epochs 3 --baseline none --out "
        "runs/x",
    ]
    page, _ = reported(tmp_path, *runs[:1])
    assert "python train/main.py --preset digits --epochs 3 --baseline none --out runs/first" in page.text
    origin = page.table("Origin")[0]
    assert origin["versions"] == "python 3.11.7, tensorflow 2.21.0"
    assert (origin["train data"], origin["test data"]) == ("1111", "3333")


def test_runs_of_one_name_are_told_apart(tmp_path, quick):
    paths = [made_up.run(tmp_path / parent / "run") for parent in ("a", "b")]
    assert [record.name for record in read(list(map(str, paths)))] == ["a/run", "b/run"]


def test_differences_need_the_same_test_examples_and_the_same_attack(runs, tmp_path, quick):
    (runs[1] / "data.json").write_text(json.dumps({**made_up.PRINTS, "test": "other"}))
    page, _ = reported(tmp_path, *runs[:2])
    assert "Paired differences" not in page.titles
    harder = made_up.run(tmp_path / "harder", seed=2, eps=0.2)
    page, _ = reported(tmp_path, runs[0], harder)
    assert [pair["threat"] for pair in page.table("Differences")] == ["clean"]


def test_the_trade_off_is_of_runs_that_were_tested_alike(runs, tmp_path, quick):
    harder = made_up.run(tmp_path / "harder", seed=2, eps=0.2)
    page, _ = reported(tmp_path, *runs, harder)
    points = page.table("Points")
    assert [(point["method"], point["setting"], point["runs"]) for point in points] == [
        ("adap_lpn", "–", "1"),
        ("ce", "–", "1"),
    ]
    assert "Left out, for they were tested otherwise than first: harder." in page.text
    again = made_up.run(tmp_path / "again", seed=3)
    assert "Trade-off" not in reported(tmp_path, runs[0], again)[0].titles  # two seeds are one point


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"positive": "3"}, "--positive 3 and not 8"), ({"data": "cifar10"}, "--data cifar10 and not digits")],
)
def test_runs_of_other_data_are_refused(runs, tmp_path, capsys, changes, words, quick):
    other = made_up.run(tmp_path / "other", **changes)
    message = failed(capsys, runs[0], other, "--out", tmp_path / "x.html")
    assert "a run of other data" in message
    assert words in message


def test_own_data_are_what_lies_at_their_path(tmp_path, capsys, quick):
    one, other = (
        made_up.run(tmp_path / name, data="npz", data_dir=f"/{name}.npz", augmentation="none") for name in "ab"
    )
    reported(tmp_path, one, other)  # moved: the fingerprints are the same
    (other / "data.json").write_text(json.dumps({**made_up.PRINTS, "train": "4444"}))
    assert "--data-dir /b.npz and not /a.npz" in failed(capsys, one, other, "--out", tmp_path / "x.html")


def test_mistakes_are_one_line(runs, tmp_path, capsys, quick):
    run, out = runs[0], ["--out", tmp_path / "out" / "x.html"]
    assert "nothing: no such folder" in failed(capsys, tmp_path / "nothing", *out)
    (tmp_path / "empty").mkdir()
    assert "empty: no run folder, it holds no config.json" in failed(capsys, tmp_path / "empty", *out)
    assert "no such folder" in failed(capsys, run / "config.json", *out)
    assert "is given twice" in failed(capsys, run, f"{run}/../first", *out)
    assert "is a folder; give a file" in failed(capsys, run, "--out", tmp_path)
    assert "config.json is no folder" in failed(capsys, run, "--out", run / "config.json" / "x.html")
    assert "results.json exists and is no page" in failed(capsys, run, "--out", run / "results.json")
    assert "cannot be read" in failed(capsys, run, "--evaluation", tmp_path / "empty", *out)
    made_up.evaluation(tmp_path / "others", runs[1:2])
    assert "others speaks of none of the runs" in failed(capsys, run, "--evaluation", tmp_path / "others", *out)
    assert "no such folder" in failed(capsys, "x" * 300, *out)
    assert "--out: cannot write" in failed(capsys, run, "--out", tmp_path / ("x" * 300))
    assert "--out" in failed(capsys, run)
    assert "RUN" in failed(capsys, *out)
    assert not (tmp_path / "out").exists()
    assert report.main([str(run), *map(str, out)]) == 0  # the folder is made
    assert (tmp_path / "out" / "x.html").exists()


DAMAGE = {
    "config.json": ["{", "[]", '{"model": "bert"}', '{"data": 3}', '{"data": "digits", "download": null}'],
    "data.json": ["[1]", "\x00"],
    "metrics.csv": ["epoch,loss\n1,2\n", "x\n", "epoch,loss,clean_ap,robust_ap\n1,1\n"],
    "results.json": ["", "{}", '{"test": 3}'],
    "scores.npz": ["", "text"],
    "evaluation/results.json": ["{}", "["],
    "evaluation/scores-first.npz": ["PK"],
}


@pytest.mark.parametrize(("name", "content"), [(name, text) for name, texts in DAMAGE.items() for text in texts])
def test_damaged_files_are_named(runs, tmp_path, capsys, name, content, quick):
    made_up.evaluation(runs[0] / "evaluation", runs[:1])
    (runs[0] / name).write_text(content)
    assert str(runs[0] / name) in failed(capsys, *runs, "--out", tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


DAMAGED = [
    ("results.json", lambda found: found.update(tasks=[])),
    ("results.json", lambda found: found["splits"]["test"].update(examples=0)),
    ("evaluation/results.json", lambda found: found["runs"]["first"]["threats"]["pgd"].update(budget=3)),
    ("evaluation/results.json", lambda found: found["runs"]["first"]["threats"]["pgd"]["budget"]["8"].update(ap=[])),
    ("evaluation/results.json", lambda found: found["runs"]["first"]["threats"]["pgd"].update(theorem_1={"8": {}})),
    ("evaluation/results.json", lambda found: found["settings"].update(norm=[])),
    ("evaluation/results.json", lambda found: found["differences"][0].update(runs=[])),
]


@pytest.mark.parametrize(("name", "change"), DAMAGED)
def test_numbers_of_another_shape_are_named(runs, tmp_path, capsys, name, change, quick):
    made_up.evaluation(runs[0] / "evaluation", runs[:2])
    made_up.edited(runs[0] / name, change)
    assert f"{runs[0] / name} is damaged" in failed(capsys, *runs, "--out", tmp_path / "x.html")


def test_files_that_do_not_belong_together_are_named(runs, tmp_path, capsys, quick):
    shutil.copy(runs[1] / "scores.npz", runs[0] / "scores.npz")
    assert "they are of different runs" in failed(capsys, *runs, "--out", tmp_path / "x.html")
    (runs[0] / "scores.npz").unlink()
    assert "scores.npz is missing" in failed(capsys, *runs, "--out", tmp_path / "x.html")


def test_shapes_of_json():
    assert fits({"a": 1, "b": 2}, {ANY: NUMBER})
    assert not fits({"a": 1, "b": "2"}, {ANY: NUMBER})
    assert not fits([], {ANY: NUMBER})
    assert not fits({"a": 1}, {"a": int, "b": int})
    assert fits([], [int])
    assert not fits(3, lambda value: value > 3)


def differing(path):
    """How much of an image is not of its most common colour."""
    pixels = np.asarray(Image.open(path).convert("L"))
    counts = np.bincount(pixels.ravel(), minlength=256)
    return 1 - counts.max() / pixels.size, counts.argmax()


@pytest.mark.slow
@with_browser
def test_it_is_shown_and_printed_without_errors(runs, tmp_path):
    made_up.evaluation(runs[0] / "evaluation", runs[:2], warnings=["weak"])
    reported(tmp_path, *runs)
    url = (tmp_path / "report.html").as_uri()
    for dark, background in ((False, 255), (True, 22)):
        assert browser.screenshot(url, tmp_path / "page.png", dark) == []
        drawn, colour = differing(tmp_path / "page.png")
        assert 0.02 < drawn < 0.6
        assert abs(int(colour) - background) < 4
    assert browser.printed(url, tmp_path / "page.pdf", dark=True) == []
    unfolded = tmp_path / "unfolded.html"
    unfolded.write_text((tmp_path / "report.html").read_text().replace("<details>", "<details open>"))
    assert browser.printed(unfolded.as_uri(), tmp_path / "unfolded.pdf") == []
    sizes = [(tmp_path / name).stat().st_size for name in ("page.pdf", "unfolded.pdf")]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


@with_browser
def test_it_fits_a_small_window_and_asks_for_nothing(runs, tmp_path):
    reported(tmp_path, *runs)
    with browser.opened((tmp_path / "report.html").as_uri(), width=360) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []


@with_browser
def test_the_browser_tells_of_errors(tmp_path):
    (tmp_path / "bad.html").write_text("<p>text<script>console.warn('a'); console.error('b', 1); none.x</script>")
    found = browser.screenshot((tmp_path / "bad.html").as_uri(), tmp_path / "bad.png")
    assert found[0] == "b 1"
    assert found[1].startswith("ReferenceError: none is not defined")
    assert len(found) == 2


@pytest.mark.slow
def test_a_real_run(tmp_path):
    run = tmp_path / "run"
    assert main.main(["--epochs", "2", "--backbone", "mlp", "--out", str(run)]) == 0
    assert evaluate.main([str(run), str(tmp_path / "run-ce"), "--bootstrap", "50", "--attacker", f"{run}-ce"]) == 0
    page, _ = reported(tmp_path, run, tmp_path / "run-ce")
    results = json.loads((run / "evaluation" / "results.json").read_text())
    for row in page.table("AP, below"):
        for threat, measures in results["runs"][row["run"]]["threats"].items():
            assert row[threat] == ap_and_interval(measures["ap"], measures["interval"])
    assert len(page.table("Differences")) == 5

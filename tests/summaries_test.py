"""TensorBoard's events, read back."""

import io

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from train.presets import PRESETS
from train.run_folder import RunFolder
from train.summaries import Summaries


@pytest.fixture
def written(tmp_path):
    """What a run of two tasks wrote, by tag: the step, the value and the plugin's own data."""
    folder = RunFolder(tmp_path)
    label = np.array([[1, 0], [1, 0], [0, 0], [np.nan, 0]])
    scores = {"clean": np.array([[3.0, 0], [1, 0], [2, 0], [9, 0]]), "robust": np.zeros([4, 2])}
    with Summaries.of(folder, PRESETS["digits"], ["a", "b"]) as summaries:
        numbers = {"loss": -0.25, "P": -0.5, "gradient_norm": 0.1, "robust_ap": 1 / 3}
        summaries.epoch(20, numbers, label, scores)
        png = tf.io.encode_png(np.full([2, 3, 3], 7, np.uint8)).numpy()
        summaries.image(20, "perturbed", io.BytesIO(png))
        summaries.selected(20, {"clean_ap": 0.75, "robust_ap": 0.5})
    return read(folder.tensorboard)


def read(folder):
    found = {}
    for file in sorted(folder.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                found[value.tag] = event.step, tf.make_ndarray(value.tensor), value.metadata.plugin_data.content
    return found


def test_scalars_stand_in_groups(written):
    wanted = {
        "terms/loss": -0.25,
        "terms/P": -0.5,
        "optimizer/gradient_norm": 0.1,
        "validation/robust_ap": 1 / 3,
        "selected/clean_ap": 0.75,
        "selected/robust_ap": 0.5,
    }
    for tag, value in wanted.items():
        step, found, _ = written[tag]
        assert (step, float(found)) == (20, pytest.approx(value))


def test_a_pr_curve_for_each_task_that_has_positives(written):
    curves = {tag for tag in written if tag.startswith("pr_curves/")}
    assert curves == {f"pr_curves/a/{threat}/pr_curves" for threat in ("clean", "robust")}
    tp, fp, tn, fn, precision, recall = written["pr_curves/a/clean/pr_curves"][1]
    np.testing.assert_array_equal(tp + fn, 2)  # the unknown one is left out
    np.testing.assert_array_equal(fp + tn, 1)
    np.testing.assert_allclose(precision[[0, -1]], [2 / 3, 1])
    np.testing.assert_allclose(recall[[0, -1]], [1, 0.5])


def test_histograms_of_positives_and_negatives(written):
    def count(tag):
        return written[tag][1][:, 2].sum()

    assert [count(f"scores/{kind}/clean") for kind in ("positives", "negatives")] == [2, 5]


def test_an_image(written):
    width, height, png = written["perturbed"][1]
    assert (int(width), int(height)) == (3, 2)
    assert (tf.io.decode_png(png).numpy() == 7).all()


def test_the_config_is_text_and_what_hparams_compares(written):
    assert "| `lam` | 1.0 |" in written["config"][1].item().decode()
    data = plugin_data_pb2.HParamsPluginData.FromString(written["_hparams_/session_start_info"][2])
    hparams = data.session_start_info.hparams
    assert hparams["method"].string_value == "adap_lpn"
    assert hparams["lam"].number_value == 1
    data = plugin_data_pb2.HParamsPluginData.FromString(written["_hparams_/experiment"][2])
    assert [each.name.tag for each in data.experiment.metric_infos] == ["selected/clean_ap", "selected/robust_ap"]
    assert {each.name for each in data.experiment.hparam_infos} == set(PRESETS["digits"].resolved())  # of any method


def test_charts_of_scalars_that_belong_together(written):
    layout = layout_pb2.Layout.FromString(written["custom_scalars__config__"][1].item())
    charts = {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}
    assert charts["average precision"] == ["validation/clean_ap", "validation/robust_ap"]


def test_another_worker_writes_nothing(tmp_path):
    folder = RunFolder(tmp_path)
    with Summaries.of(folder, PRESETS["digits"], ["a"], silent=True) as summaries:
        summaries.selected(20, {"clean_ap": 0.75, "robust_ap": 0.5})
    assert not folder.tensorboard.exists()

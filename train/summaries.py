"""What TensorBoard shows of a run: scalars by group, PR curves, scores, perturbed images, the config, HParams."""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalars
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.pr_curve import summary as pr_curves

from train.config import Config
from train.run_folder import RunFolder

GROUPS = {
    "learning_rate": "optimizer",
    "gradient_norm": "optimizer",
    "steps_skipped": "optimizer",
    "rows_visited": "estimators",
    "u_ratio": "estimators",
    "row_age": "estimators",
    "images_per_second": "speed",
    "clean_ap": "validation",
    "robust_ap": "validation",
}
"""Where a number of an epoch stands; what is not named here is a term."""

OBJECTIVES = ("clean_ap", "robust_ap")
TOLD = ("method", "lam", "gamma1", "gamma2", "learning_rate")
"""Options that HParams shows before any is ticked: there is room for five."""

CURVES = 10  # tasks that have PR curves of their own
THRESHOLDS = 201

Charts = Mapping[str, Mapping[str, Sequence[str]]]
"""Tags that are drawn in one chart, by title, by category."""

RUN_CHARTS: Charts = {
    "validation": {"average precision": ["validation/clean_ap", "validation/robust_ap"]},
    "training": {"objective and terms": ["terms/.*"], "speed": ["speed/.*"]},
}


class Summaries:
    """Writes a run's events.

    Args:
        folder: the run's.
        config: the run.
        tasks: their names.
        silent: whether it writes nothing, because another worker does.
    """

    def __init__(self, folder: RunFolder, config: Config, tasks: Sequence[str], silent: bool = False):
        self._config, self._tasks = config, tasks
        self._writer = (
            tf.summary.create_noop_writer() if silent else tf.summary.create_file_writer(str(folder.tensorboard))
        )

    @classmethod
    @contextlib.contextmanager
    def of(cls, *arguments: Any, **options: Any) -> Iterator["Summaries"]:
        """Summaries that are closed whatever happens; they begin with what is known before the first step."""
        summaries = cls(*arguments, **options)
        try:
            summaries._introduce()
            yield summaries
        finally:
            summaries._writer.close()

    def _introduce(self) -> None:
        """The config as text and for HParams, and how scalars are put together."""
        known = {name: value for name, value in self._config.resolved().items() if value is not None}
        rows = [f"| `{name}` | {value} |" for name, value in known.items()]
        decisive = {name: value for name, value in known.items() if name not in self._config.idle}
        with self._writer.as_default(step=0):
            tf.summary.text("config", "\n".join(["| option | value |", "| --- | --- |", *rows]))
            write_columns(list(self._config.resolved()))
            hparams.hparams(decisive)
            write_charts(RUN_CHARTS)

    def epoch(
        self, step: int, numbers: Mapping[str, float], label: np.ndarray, scores: Mapping[str, np.ndarray]
    ) -> None:
        """Writes an epoch.

        Args:
            step: steps that have been taken.
            numbers: by name.
            label: of the validation data, `[n, C]`, 0, 1 or NaN.
            scores: logits `[n, C]` of the validation data by threat.
        """
        with self._writer.as_default(step=step):
            for name, value in numbers.items():
                tf.summary.scalar(f"{GROUPS.get(name, 'terms')}/{name}", value)
            for threat, logits in scores.items():
                for kind, value in (("positives", 1), ("negatives", 0)):
                    tf.summary.histogram(f"scores/{kind}/{threat}", logits[label == value])
                for number, task in enumerate(self._tasks[:CURVES]):
                    name = threat if len(self._tasks) == 1 else f"{task}/{threat}"
                    write_pr_curve(name, label[:, number], logits[:, number], step)
        self._writer.flush()

    def image(self, step: int, name: str, png: io.BytesIO) -> None:
        """Writes a figure."""
        with self._writer.as_default(step=step):
            write_image(name, png)

    def selected(self, step: int, row: Mapping[str, float]) -> None:
        """Writes what HParams compares: both objectives of the epoch that was selected."""
        with self._writer.as_default(step=step):
            for name in OBJECTIVES:
                tf.summary.scalar(f"selected/{name}", row[name])


def write_image(name: str, png: io.BytesIO) -> None:
    """Writes a PNG by the default writer."""
    tf.summary.image(name, tf.io.decode_png(png.getvalue(), channels=3)[None])


def write_columns(names: Sequence[str]) -> None:
    """Tells HParams, by the default writer, which options and metrics are columns of its table.

    It takes the columns that any one of the runs names: all of them have to name the same.

    Args:
        names: of all options.
    """
    options = [api_pb2.HParamInfo(name=name, differs=name in TOLD) for name in names]  # what differs comes first
    metrics = [hparams.Metric(f"selected/{name}", display_name=name).as_proto() for name in OBJECTIVES]
    experiment = api_pb2.Experiment(hparam_infos=options, metric_infos=metrics)
    data = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(experiment=experiment))
    tf.summary.write(metadata.EXPERIMENT_TAG, tf.zeros([0]), metadata=data)


def write_charts(charts: Charts) -> None:
    """Tells the custom-scalar dashboard, by the default writer, which scalars are drawn together."""
    layout = layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=category,
                chart=[
                    layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=tags))
                    for title, tags in of_category.items()
                ],
            )
            for category, of_category in charts.items()
        ]
    )
    tf.summary.experimental.write_raw_pb(custom_scalars.pb(layout).SerializeToString())


def write_pr_curve(name: str, label: np.ndarray, logits: np.ndarray, step: int) -> None:
    """Writes the PR curve of a task, unless it has no positives.

    The dashboard's thresholds are evenly spaced in [0, 1]. What they are compared with is the share of positives that
    an example is not below, so that they are evenly spaced in recall whatever the scores are.

    Args:
        name: of the curve.
        label: `[n]`, 0, 1 or NaN for unknown.
        logits: `[n]`.
        step: steps that have been taken.
    """
    known = np.isfinite(label)
    y, s = label[known] == 1, logits[known]
    if not y.any():
        return
    share = np.searchsorted(np.sort(s[y]), s, side="right") / y.sum()
    curve = pr_curves.pb(f"pr_curves/{name}", y, share, THRESHOLDS, display_name=name, description=_THRESHOLD)
    tf.summary.experimental.write_raw_pb(curve.SerializeToString(), step)


_THRESHOLD = "A threshold is a share of positives: those below it are missed."

"""What figures show: images and perturbations in their units, lines that can be told apart, titles."""

import numpy as np
import pytest

from train import figures, ranking_figures


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """The figures that were saved, still open to be looked at."""
    found = []
    for module in (figures, ranking_figures):
        monkeypatch.setattr(module, "save", lambda figure, *_: found.append(figure))
    return found


def shown(figure):
    """The images of a figure, row by row `[3, k, ...]`."""
    images = [cell.get_images()[0].get_array().data for cell in figure.axes]
    return np.reshape(images, (3, len(images) // 3, *images[0].shape))


@pytest.mark.parametrize("eps", [0.1, None, 0.0])
def test_images_of_bytes_are_shown_as_images(rng, drawn, tmp_path, eps):
    clean = rng.integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
    moved = np.where(rng.uniform(size=clean.shape) < 0.5, 0.05, -0.05) * (eps != 0)
    attacked = np.clip(clean / 255 + moved, 0, 1).astype(np.float32)
    figures.perturbations(clean, attacked, np.zeros(4), np.zeros(4), eps, "cat", tmp_path / "x.png")
    first, middle, last = shown(drawn[0])
    np.testing.assert_allclose(first, clean / 255, atol=1e-6)
    np.testing.assert_allclose(last, attacked)
    widest = {0.1: 0.1, None: np.abs(attacked - clean / 255).max(), 0.0: 1.0}[eps]
    np.testing.assert_allclose(middle, 0.5 + (attacked - clean / 255) / (2 * widest), atol=1e-5)


def test_lines_of_one_run_differ_in_colour_and_those_of_several_in_style_too(drawn, tmp_path):
    curve = {threat: np.array([0.9, 0.5]) for threat in ("fgsm", "pgd", "apgd", "square", "worst")}
    for runs in ({"a": curve}, {"a": curve, "b": curve}):
        ranking_figures.budget_curves(runs, "cat", tmp_path / "x.png")
    one, two = (figure.axes[0] for figure in drawn)
    assert len({line.get_color() for line in one.lines}) == 5
    assert {line.get_linestyle() for line in one.lines} == {"-"}
    assert len({line.get_color() for line in two.lines}) == 2
    assert one.get_title() == "Task 'cat'"


def test_a_figure_is_as_high_as_its_legend(drawn, tmp_path):
    history = [{"epoch": 1.0, "loss": 1.0, "clean_ap": 0.9, "robust_ap": 0.5}]
    for count in (2, 20):
        figures.training_curves({f"run {number}": history for number in range(count)}, tmp_path / "x.png")
    assert [len(figure.legends[0].get_texts()) for figure in drawn] == [4, 40]
    assert drawn[0].get_figheight() == pytest.approx(3.6)
    for figure in drawn:
        figure.canvas.draw()
        assert figure.legends[0].get_window_extent().y0 >= 0


def test_a_figure_has_room_beside_its_legend(drawn, tmp_path):
    curve = {"pgd": np.array([0.9, 0.5])}
    for name in ("a", "a run with a name as long as all of its options " * 4):
        ranking_figures.budget_curves({name: curve}, "cat", tmp_path / "x.png")
    for figure in drawn:
        figure.canvas.draw()  # matplotlib warns of axes without room
    assert [figure.axes[0].get_window_extent().width > 200 for figure in drawn] == [True, True]
    assert drawn[0].get_figwidth() == 8.5


def test_figures_of_ranks_say_whose_they_are(rng, drawn, tmp_path):
    label, clean = (np.arange(40) % 4 == 0).astype(float), rng.normal(size=40)
    for draw in (ranking_figures.score_shift, ranking_figures.ranked_list):
        draw(label, clean, clean - label, "pgd", "run, task 'cat'", tmp_path / "x.png")
    assert [figure.get_suptitle() for figure in drawn] == ["run, task 'cat'"] * 2

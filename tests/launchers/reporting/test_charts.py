"""The charts of a sweep's report: which lines they have, and how they are drawn."""

import re
from pathlib import Path

import pytest

from launchers.reporting.chart import Chart, Line, Point, as_svg, legend
from launchers.reporting.figures import charts
from tests.helpers.report_folders import (
    evaluation,
    planned,
    read_sweep,
    write,
    write_metrics,
    write_run,
    write_sweep,
)


def chart_of(folder: Path, title: str) -> Chart:
    (found,) = [chart for chart in charts(read_sweep(folder)) if chart.title == title]
    assert isinstance(found, Chart)
    return found


def points_of(folder: Path, title: str) -> list[tuple[float, float]]:
    """The points of a chart's only line."""
    (line,) = chart_of(folder, title).lines
    return [(point.x, round(point.y, 6)) for point in line.points]


def test_kept_checkpoints_make_a_curve_over_epochs(tmp_path: Path) -> None:
    run = planned(4, 256, 0, None, evaluations=["linear"])
    folder = tmp_path / "runs" / run["name"]
    write_run(folder, linear=0.5)
    for epoch in (5, 10):
        name = f"linear-epoch-{epoch:04d}"
        write(folder / f"eval/{name}.json", evaluation("linear", 5 * epoch, top1=epoch / 100))
    figure = {"title": "Longer", "x": "epoch", "y": "linear.top1", "series": None, "log_x": False}
    write_sweep(tmp_path, [run], figures=[figure])
    assert points_of(tmp_path, "Longer") == [(5, 0.05), (10, 0.1), (20, 0.5)]


def test_a_long_curve_is_thinned(tmp_path: Path) -> None:
    run = planned(4, 256, 0)
    write_metrics(tmp_path / "runs" / run["name"], 30_000, 30_000, 20, level=1)
    line, *_ = chart_of(write_sweep(tmp_path, [run]), "loss while training").lines
    assert len(line.points) == 150


def test_the_mean_curve_goes_to_the_longest_seed(tmp_path: Path) -> None:
    runs = [planned(4, 256, seed) for seed in range(2)]
    for run, done in zip(runs, (400, 200), strict=True):
        write_metrics(tmp_path / "runs" / run["name"], 400, done, 20, level=1, seed=done)
    title = "kNN top-1 while training"
    points = [(4, 0.28), (8, 0.36), (12, 0.44), (16, 0.52), (20, 0.6)]
    assert points_of(write_sweep(tmp_path, runs), title) == points
    (line,) = chart_of(tmp_path, title).lines
    assert [point.count for point in line.points] == [2, 2, 1, 1, 1]
    assert [len(seed) for seed in line.seeds] == [5, 2]
    assert line.label == "K=4, alpha=256 (2 to 1 seeds)"


def test_many_lines_are_spread_over_charts_of_one_scale(tmp_path: Path) -> None:
    runs = [planned(k, alpha, 0, None) for k in (4, 16) for alpha in range(1, 11)]
    for run in runs:
        run["values"]["method"] = "MoCo" if run["values"]["eqco_alpha"] % 2 else "SiMo"
        write_run(tmp_path / "runs" / run["name"], linear=run["values"]["eqco_alpha"] / 20)
    figure = {"title": "Accuracy", "x": "num_negatives", "y": "linear.top1", "series": "method"}
    axes = ["method", "num_negatives", "eqco_alpha", "seed"]
    found = charts(read_sweep(write_sweep(tmp_path, runs, figures=[figure], axes=axes)))[:2]
    assert [chart.title for chart in found] == ["Accuracy: MoCo", "Accuracy: SiMo"]
    first, second = (chart for chart in found if isinstance(chart, Chart))
    assert [line.label for line in first.lines] == [f"MoCo, eqco alpha {k}" for k in (1, 3, 5, 7, 9)]
    assert (first.y_range, second.y_range) == ((0.05, 0.5), (0.05, 0.5))


def test_single_points_are_shown(tmp_path: Path) -> None:
    runs = [planned(4, 256, 0, None), planned(16, 256, 0, None), planned(16, 65536, 0, None)]
    for run in runs:
        write_run(tmp_path / "runs" / run["name"], linear=0.5)
    lines = chart_of(write_sweep(tmp_path, runs, scale="tiny"), "Accuracy over K").lines
    assert {line.label: [point.x for point in line.points] for line in lines} == {
        "eqco alpha 256": [4, 16],
        "eqco alpha 65536": [16],
    }


def test_a_chart_is_drawn_in_the_page_s_colors(whole: Path) -> None:
    chart = chart_of(whole, "Accuracy over K")
    svg = as_svg(chart)
    assert svg.startswith('<svg viewBox="0 0 440 270">')
    assert not re.search(r"#[0-9a-f]{6}\b", svg)
    assert [text for *_, text in legend(chart)] == [
        "eqco alpha 256",
        "eqco alpha 256, paper",
        "eqco alpha 65536",
    ]
    for word in ("num negatives", ">4<", ">1024<"):
        assert word in svg
    assert svg == as_svg(chart)


@pytest.mark.parametrize("epochs", [2, 3, 5, 200])
def test_epochs_under_curves_are_whole(epochs: int) -> None:
    points = [Point(x=x, y=1 / x, low=1 / x, high=1 / x) for x in (1, epochs)]
    svg = as_svg(Chart(title="", x_label="epoch", y_label="loss", lines=[Line(label="", points=points)]))
    (axis,) = re.findall(r'<g id="matplotlib\.axis_1">.*?(?=<g id="matplotlib\.axis_2">)', svg, re.S)
    ticks = re.findall(r"<text[^>]*>([^<]+)</text>", axis)
    assert ticks.pop() == "epoch"
    assert len(ticks) >= 2
    assert all(tick.isdecimal() for tick in ticks), ticks

"""Charts of a sweep of tasks, from folders that the test writes."""

import math
from pathlib import Path
from typing import Any

import pytest

from launchers.report import main as report
from launchers.reporting.chart import Chart, as_svg
from launchers.reporting.figures import charts
from launchers.reporting.heat_map import HeatMap, heat_map_svg
from launchers.reporting.table import columns_of
from launchers.sweeps.task import Mode, PlannedTask, task_to_plan
from tests.helpers.report_folders import evaluation, read_sweep, write, write_run, write_sweep

LABELS = (100, 1000, 10_000)
GAIN = {"rotation": 0.1, "vae": -0.15, "cmc": 0.3}
FIGURES = [
    {"title": "Accuracy", "x": "labels", "y": "classification.top1", "kind": "labels"},
    {"title": "Utility", "x": "labels", "y": "classification.top1", "kind": "utility"},
]
CURVES = {"series": "pretext", "panel": "images", "where": {"network": "resnet9"}, "modes": ["finetune"]}


def accuracy(labels: int, seed: int) -> float:
    """From scratch, 0.2 per factor of ten."""
    return 0.2 + 0.2 * math.log10(labels / 100) + 0.02 * seed


def planned(name: str, values: dict[str, Any], tasks: list[PlannedTask], trained: bool) -> dict[str, Any]:
    about = {"row": name.partition("-s")[0], "evaluations": [], "trained": trained}
    return {"name": name, "values": values, **about, "tasks": [task_to_plan(task) for task in tasks]}


def write_result(folder: Path, run: str, task: PlannedTask, value: float) -> None:
    """The result of a transfer in its own folder, and the copy in the encoder's."""
    result = evaluation(task.task, 50, top1=value, fingerprints=["0c", task.images])
    write(folder / "runs" / run / "transfer" / task.result / "eval/classification+labels=1.json", result)
    write(folder / "runs" / run / "eval/classification+labels=1.json", result)


def write_utility(folder: Path) -> Path:
    """Two seeds of three pretexts; at 10,000 labels, cmc is better than anything from scratch."""
    runs = []
    for seed in (0, 1):
        for pretext, gain in {"scratch": 0.0, **GAIN}.items():
            trained, name = pretext != "scratch", f"{pretext}-s{seed}"
            mode: Mode = "finetune" if trained else "scratch"
            tasks = [PlannedTask(task="classification", labels=labels, mode=mode) for labels in LABELS]
            values = {"network": "resnet9", "images": "single-1111", "pretext": pretext, "seed": seed}
            runs.append(planned(name, values, tasks, trained))
            if trained:
                write_run(folder / "runs" / name)
            for task in tasks:
                write_result(folder, name, task, accuracy(task.labels, seed) + gain)
    axes = ["network", "images", "pretext", "seed"]
    return write_sweep(folder, runs, axes=axes, figures=[each | CURVES for each in FIGURES])


def test_utility_over_labels_per_seed_with_bounds(tmp_path: Path) -> None:
    accuracies, utilities, *_ = charts(read_sweep(write_utility(tmp_path)))
    assert isinstance(accuracies, Chart)
    assert isinstance(utilities, Chart)
    found = {line.label: line.points for line in accuracies.lines}
    assert [*found] == [*GAIN, "scratch"]  # colors are those of the utilities
    for labels, point in zip(LABELS, found["rotation"], strict=True):
        assert (point.x, point.count) == (labels, 2)
        assert point.y == pytest.approx(accuracy(labels, 0) + 0.11)
    lines = {line.label: line.points for line in utilities.lines}
    assert lines.keys() == GAIN.keys()
    saved = 10**0.5 - 1
    assert [(point.y, point.bound) for point in lines["rotation"]] == [
        (pytest.approx(saved), ""),
        (pytest.approx(saved), ""),
        (0.0, "lower"),
    ]
    assert [(point.y, point.bound) for point in lines["vae"]] == [
        (0.0, "upper"),
        (pytest.approx(10**-0.75 - 1), ""),
        (pytest.approx(10**-0.75 - 1), ""),
    ]
    assert [point.bound for point in lines["cmc"]] == ["", "lower", "lower"]
    svg = as_svg(utilities)
    assert svg.startswith("<svg")
    assert "var(--c2)" in svg


def test_the_report_tells_bounds_and_leaves_the_table_to_the_figures(tmp_path: Path) -> None:
    sweep = read_sweep(write_utility(tmp_path))
    assert not sweep.damaged
    assert not any("labels" in column.title for column in columns_of(sweep))
    assert {run.row for run in sweep.runs} == {"scratch", *GAIN}  # one seed's images are the other's
    report([str(tmp_path)])
    text = (tmp_path / "report.md").read_text()
    assert "| cmc | 10000 | at least 0 |  | 2 |" in text
    assert "| vae | 100 | at most 0 |  | 2 |" in text
    assert "Open markers with arrows are bounds" in (tmp_path / "report.html").read_text()


NAMES = ("single-0000", "single-0010", "single-1111")


def write_cross(folder: Path, left_out: str = "") -> Path:
    runs = []
    for row, name in enumerate(NAMES):
        tasks = [
            PlannedTask(task="classification", labels=labels, mode="finetune", images=images, where="x")
            for images in NAMES
            for labels in (250, 1000)
        ]
        runs.append(planned(f"{name}-s0", {"images": name, "seed": 0}, tasks, True))
        write_run(folder / "runs" / f"{name}-s0")
        for task in tasks:
            loss = 0.03 * abs(row - NAMES.index(task.images)) * (2 if task.labels == 250 else 1)
            if f"{name} {task.result}" != left_out:
                write_result(folder, f"{name}-s0", task, 0.5 - loss)
    figure = {"title": "Cross", "x": "labels", "y": "classification.top1", "kind": "heat map"}
    more = {"series": "images", "modes": ["finetune"]}
    return write_sweep(folder, runs, axes=["images", "seed"], figures=[figure | more])


def test_a_heat_map_of_changes_against_the_task_s_own_images(tmp_path: Path) -> None:
    found, *_ = charts(read_sweep(write_cross(tmp_path / "whole")))
    assert isinstance(found, HeatMap)
    assert (found.rows, found.columns) == (NAMES, NAMES)
    rows = [[0, -4.5, -9], [-4.5, 0, -4.5], [-9, -4.5, 0]]  # mean of 0.03 and 0.06 per step, in percent
    for cells, expected in zip(found.cells, rows, strict=True):
        assert cells == pytest.approx(expected)
    assert ">-4.5</text>" in heat_map_svg(found)
    assert "<image" not in heat_map_svg(found)  # a page that loads nothing shows none
    report([str(tmp_path / "whole")])
    assert "| single-0000 | 0.00 | -4.50 | -9.00 |" in (tmp_path / "whole/report.md").read_text()
    missing = "single-0000 classification+labels=250+mode=finetune@single-1111"
    part, *_ = charts(read_sweep(write_cross(tmp_path / "part", missing)))
    assert isinstance(part, HeatMap)
    assert part.cells[0][2] is None
    assert "<svg" in heat_map_svg(part)

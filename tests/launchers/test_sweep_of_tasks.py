"""A sweep whose runs are transferred to a task: a short pre-training, and training from scratch."""

import json
from pathlib import Path

import pytest

from fastssl.recipes import quickstart
from launchers.reporting.chart import Chart
from launchers.reporting.figures import charts
from launchers.reporting.results import read_sweep
from launchers.studies import STUDIES
from launchers.sweep import main as sweep
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.study import Figure, PlannedRun, Scale, Study
from launchers.sweeps.task import Mode, PlannedTask
from tests.helpers.runs import SMALL, write_images

LABELS = (16, 32)
SHORT = {"steps": 2, "batch_size": 16, "epoch_images": 32, "size": 32, "test_images": 16}


def planned(name: str, mode: Mode) -> PlannedRun:
    return PlannedRun(
        name=name,
        config=quickstart(),
        values={"pretext": name},
        row=name,
        evaluations=(),
        tasks=tuple(
            PlannedTask(
                task="classification",
                labels=labels,
                mode=mode,
                images="single-1111",
                where="scenes:single-1111,images=40",
                options=SHORT,
            )
            for labels in LABELS
        ),
        trained=mode != "scratch",
    )


def study(scale: Scale) -> Study:
    figure = Figure(title="U", x="labels", y="classification.top1", series="pretext", kind="utility")
    runs = planned("moco", "finetune"), planned("scratch", "scratch")
    return Study(
        name="tasks", title="T", about="", axes=("pretext",), runs=runs, figures=(figure,), scale=scale
    )


def test_tasks_follow_their_runs_and_make_utility(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "sweep"
    write_images(data / "train", 40, seed=0)
    write_images(data / "test", 10, seed=1)
    monkeypatch.setitem(STUDIES, "tasks", study)
    small = dict(zip(SMALL[1::2], SMALL[2::2], strict=True)) | {"--epochs": "1"}
    settings = [f"{name.removeprefix('--')}={value}" for name, value in small.items()]
    words = ["tasks", "--cluster", "debug", "--set", *settings, "--data", str(data), "--out", str(out)]
    assert sweep(words) == 0
    folder = SweepFolder(out)
    assert not folder.run("scratch-s0").joinpath("summary.json").exists()
    found = read_sweep(out)
    assert [run.missing for run in found.runs] == [[], []]
    for run, mode in zip(found.runs, ("finetune", "scratch"), strict=True):
        assert {
            f"classification.top1+labels={labels}+mode={mode}@single-1111" for labels in LABELS
        } <= run.results.keys()
    scratch = folder.transfer("scratch-s0", "classification+labels=16+mode=scratch@single-1111")
    (result,) = (scratch / "eval").glob("*.json")
    encoder = json.loads(result.read_text())["encoder"]
    assert encoder["from_scratch"]
    assert encoder["architecture"]["kind"] == "resnet9"  # that of the sweep's config
    utilities = [chart for chart in charts(found) if chart.title == "U"]
    assert isinstance(utilities[0], Chart)
    assert [point.x for point in utilities[0].lines[0].points] == [*LABELS]
    capsys.readouterr()
    assert sweep(words) == 0  # nothing is left
    assert "2 finished" in capsys.readouterr().err

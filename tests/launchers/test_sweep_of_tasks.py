"""A sweep whose runs are transferred to a task: a short pre-training, and training from scratch."""

import dataclasses
import json
from pathlib import Path

import pytest

from fastssl.models import ResNet
from fastssl.recipes import quickstart
from launchers.reporting.chart import Chart
from launchers.reporting.figures import charts
from launchers.studies import STUDIES
from launchers.sweep import main as sweep
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.study import Figure, PlannedRun, Scale, Study
from launchers.sweeps.task import Mode, PlannedTask
from tests.helpers.report_folders import read_sweep
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


def anchored(scale: Scale) -> Study:
    """One run is transferred with the norms of another, which is trained after it."""
    config = quickstart()
    experiment = dataclasses.replace(config.experiment, backbone=ResNet.Config(depth=18))
    config = dataclasses.replace(config, experiment=experiment)
    task = PlannedTask(
        task="scenes-segmentation",
        images="scenes",
        where="scenes:multi-1111,images=8",
        options={"steps": 2, "batch_size": 2, "test_images": 2, "precise_bn": 1, "threads": 1},
        variant="norm_rescale=anchor",
        anchor="anchor",
    )
    runs = tuple(
        PlannedRun(name=name, config=config, values={"run": name}, row=name, evaluations=(), tasks=tasks)
        for name, tasks in (("rescaled", (task,)), ("anchor", ()))
    )
    return Study(name="anchored", title="T", about="", axes=("run",), runs=runs, scale=scale)


def words_of(name: str, tmp_path: Path, **changes: str) -> list[str]:
    """A sweep in this process, of small runs on few images."""
    write_images(tmp_path / "data/train", 40, seed=0)
    write_images(tmp_path / "data/test", 10, seed=1)
    small = dict(zip(SMALL[1::2], SMALL[2::2], strict=True)) | {"--epochs": "1"}
    small |= {f"--{option}": value for option, value in changes.items()}
    settings = [f"{option.removeprefix('--')}={value}" for option, value in small.items()]
    places = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "sweep")]
    return [name, "--cluster", "debug", "--set", *settings, *places]


@pytest.mark.slow
def test_a_transfer_takes_the_norms_of_a_run_that_is_trained_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STUDIES, "anchored", anchored)
    width = {"backbone.width": "0.125"}  # torch crashes at 1/16: 1x1 convolution of 4 channels, stride 2
    assert sweep(words_of("anchored", tmp_path, **width)) == 0
    folder = SweepFolder(tmp_path / "sweep")
    transferred = folder.transfer("rescaled-s0", "scenes_segmentation+norm_rescale=anchor@scenes")
    (path,) = (transferred / "eval").glob("*.json")
    found = json.loads(path.read_text())
    assert found["settings"]["norm_rescale"] == str(folder.run("anchor-s0"))
    assert found["run"] == str(folder.run("rescaled-s0"))
    assert [run.missing for run in read_sweep(folder.path).runs] == [[], []]


def test_tasks_follow_their_runs_and_make_utility(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    monkeypatch.setitem(STUDIES, "tasks", study)
    words = words_of("tasks", tmp_path)
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

"""``--columns``: what is measured of a study, dense transfers among it, from the plan to the report."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from fastssl.models import ResNet
from fastssl.transfer.options import parse
from launchers.clusters.debug import Debug
from launchers.options import parse as parse_sweep
from launchers.report import main as report
from launchers.reporting.figures import curves
from launchers.studies import STUDIES
from launchers.sweep import main as sweep
from launchers.sweep import sweep as run_sweep
from launchers.sweeps.columns import DENSE, dense_metric, with_columns
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.plan import planned_jobs, planned_results
from launchers.sweeps.study import Scale, Study, to_plan, with_seeds
from launchers.sweeps.transfer import left_out, with_transfer_data
from pipelines.command.errors import UserError
from tests.helpers.report_folders import PAPER, evaluation, planned, read_sweep, write, write_run, write_sweep


def chosen(study: str, *words: str, scale: Scale = "paper") -> Study:
    return with_columns(STUDIES[study](scale), words)


def test_dense_columns_are_measured_where_they_are_asked_for() -> None:
    study = STUDIES["moco-ladder"]("paper")
    assert with_columns(study, ()) is study
    assert not any(run.tasks for run in study.runs)
    some = chosen("moco-ladder", "linear,voc07", "cityscapes")
    for run in some.runs:
        assert (run.evaluations, run.transfer) == (("linear",), ())
        assert [task.task for task in run.tasks] == ["voc07-c4", "cityscapes-deeplab"]
    assert list(left_out(some)) == [
        "voc07_c4@voc07 is left out: name the images by --transfer-data voc07=WHERE to measure it",
        "cityscapes_deeplab@cityscapes is left out: name the images by --transfer-data cityscapes=WHERE to "
        "measure it",
    ]
    told = with_transfer_data(some, ["voc07=VOCdevkit"], lambda where: f"/d/{where}")
    assert told.runs[0].results == ["linear", "voc07_c4@voc07"]
    assert [line.partition(" ")[0] for line in left_out(told)] == ["cityscapes_deeplab@cityscapes"]
    assert chosen("moco-ladder", "linear@cifar100").runs[0].transfer == ("linear@cifar100",)


def test_the_job_of_a_column_is_a_transfer_of_the_run(tmp_path: Path) -> None:
    study = with_transfer_data(chosen("norm-rescale", "voc07,voc07-rescaled"), ["voc07=/d/voc"], str)
    plan = json.loads(json.dumps(to_plan(study)))
    folder = SweepFolder(tmp_path)
    names = ["voc07_c4@voc07", "voc07_c4+norm_rescale=constant@voc07"]
    assert planned_results(plan["runs"][1]) == names
    jobs = {job.name: job.arguments() for job in planned_jobs(folder, plan) if job.task}
    module, words = jobs[f"byol-lars.{names[1]}"]
    assert module == "fastssl.transfer"
    assert words[:4] == ["voc07-c4", str(folder.run("byol-lars")), "--norm-rescale", "constant=0.1"]
    assert words[-2:] == ["--data", "/d/voc"]


def test_norms_of_another_run_are_those_of_its_seed(tmp_path: Path) -> None:
    word = "voc07-rescaled-by-byol-sgd"
    study = with_transfer_data(chosen("norm-rescale", word), ["voc07=/d/voc"], str)
    plan = json.loads(json.dumps(to_plan(with_seeds(study, 2))))
    folder = SweepFolder(tmp_path)
    found = {job.run: job for job in planned_jobs(folder, plan) if job.task}
    assert [*found] == ["byol-lars-s0", "byol-lars-s1"]
    assert {job.evaluation for job in found.values()} == {"voc07_c4+norm_rescale=byol_sgd@voc07"}
    _, words = found["byol-lars-s1"].arguments()
    assert words[words.index("--norm-rescale") + 1] == str(folder.run("byol-sgd-s1"))
    with pytest.raises(UserError, match=f"--columns {word}"):
        chosen("symmetric", word)


class Marked(Debug):
    """Writes down what it is given, and marks it as done."""

    def __init__(self) -> None:
        super().__init__()
        self.driven: list[list[str]] = []

    def drive(self, folder: SweepFolder, jobs: Sequence[Job], job_id: str) -> int:
        self.driven.append([job.name for job in jobs])
        for job in jobs:
            own = job.own_folder
            assert own
            write(own / "eval/a.json" if job.task else own / "summary.json", {"status": "finished"})
        return 0


Marked.kind = Debug.kind


def test_a_transfer_waits_for_the_run_whose_norms_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    column = ["--columns", "voc07-rescaled-by-byol-sgd", "--scale", "tiny", "--cluster", "debug"]
    words = ["norm-rescale", *column, "--out", str(tmp_path / "sweep")]
    waits = "byol-lars-s0.scenes_detection+norm_rescale=byol_sgd@scenes"
    cluster = Marked()
    options, _ = parse_sweep([*words, "--only", "byol-lars-s0"])
    assert run_sweep(options, cluster, words) == 0
    assert cluster.driven[0] == ["byol-lars-s0"]
    assert not any(waits in names for names in cluster.driven)
    assert f"{waits} is left until byol-lars-s0 and byol-sgd-s0 are trained" in capsys.readouterr().err
    cluster.driven.clear()
    options, _ = parse_sweep(words)
    assert run_sweep(options, cluster, words) == 0
    assert cluster.driven == [["byol-sgd-s0"], [waits]]
    assert "is left" not in capsys.readouterr().err


@pytest.mark.parametrize("scale", ["paper", "tiny"])
def test_the_transfer_command_takes_what_a_column_says(scale: Scale) -> None:
    for column in DENSE.values():
        task, *words = column.planned(scale).words
        config = parse([task, "RUN", *words, "--data", "WHERE", "--out", "OUT"])
        assert config.name == task == (column.task if scale == "paper" else column.tiny)
        assert vars(config.task)["norm_rescale"] == column.options.get("norm_rescale", "")
        assert config.options.searched_rates == column.options.get("searched_rates", ())


def test_kept_checkpoints_are_transferred_too(tmp_path: Path) -> None:
    study = with_transfer_data(chosen("epochs", "voc07"), ["voc07=/d/voc"], str)
    (run,) = (run for run in study.runs if run.name == "byol-e300")
    assert run.results[:2] == ["voc07_c4@voc07", "voc07_c4-epoch-0050@voc07"]
    assert len(run.results) == 6
    jobs = {job.name: job for job in planned_jobs(SweepFolder(tmp_path), to_plan(study))}
    _, words = jobs["byol-e300.voc07_c4-epoch-0050@voc07"].arguments()
    assert words[:2] == ["voc07-c4", str(tmp_path / "runs/byol-e300/checkpoints/epoch-0050.pt")]


def test_a_column_that_is_none_is_one_line() -> None:
    with pytest.raises(
        UserError, match=r"--columns voc7 \(did you mean voc07\?\): msbreg has the columns knn"
    ):
        chosen("msbreg", "linear,voc7")


def test_scenes_stand_in_for_all_at_the_tiny_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = chosen("symmetric", "voc07,coco-c4,cityscapes", scale="tiny")
    tasks = study.runs[0].tasks
    assert [(task.words, task.where) for task in tasks] == [
        (["scenes-detection", "--test-images", "300"], "scenes:multi-0101"),
        (["scenes-segmentation", "--test-images", "300"], "scenes:multi-0101"),
    ]
    assert study.runs[0].evaluations == ()
    runs = {run.row: run.config.experiment for run in chosen("architectures", "voc07", scale="tiny").runs}
    backbone = runs["backbone=resnet18 x0.125, method=BYOL-SGD"].backbone
    assert backbone == ResNet.Config(depth=18, width=0.125)  # detectors need a ResNet
    words = ["symmetric", "--scale", "tiny", "--columns", "linear,voc07", "--dry-run", "--out", str(tmp_path)]
    assert sweep(words) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "6 evaluations of them" in said.out


SEVEN = ("voc07", "voc0712", "coco-c4", "coco-fpn", "cityscapes")
TABLES = {  # columns of each study's table of detection and segmentation
    **dict.fromkeys(("moco-ladder", "crossover", "symmetric", "taxonomies"), SEVEN),
    **dict.fromkeys(("epochs", "class-share", "augmentations"), SEVEN),
    "architectures": ("voc07", "voc0712"),
    "norm-rescale": (
        *("voc07", "voc07-rescaled", "voc07-searched", "voc0712", "voc0712-rescaled", "voc0712-searched"),
        *("coco-c4", "coco-c4-searched"),
        *(f"{word}-rescaled-by-byol-sgd" for word in ("voc07", "voc0712", "coco-c4")),
    ),
    "msbreg-coco": ("coco-fpn-msbreg",),
    "simo-coco": ("coco-fpn-simo",),
}


@pytest.mark.parametrize("name", TABLES)
def test_studies_have_the_columns_of_their_tables(name: str) -> None:
    """The paper's numbers beside each, and at the tiny scale a transfer to scenes in place of each."""
    words = TABLES[name]
    paper, tiny = chosen(name, *words), chosen(name, *words, scale="tiny")
    published = {metric for run in paper.runs if run.paper for metric, _ in run.paper.results}
    for word in words:
        metrics = {f"{DENSE[word].title} {metric}" for metric in DENSE[word].metrics}
        assert metrics & published, word
    for study in (paper, tiny):
        results = {result for run in study.runs for result in run.results}
        for run in study.runs:
            columns = [DENSE[word] for word in words if DENSE[word].anchor != run.name]
            expected = {column.planned(study.scale).result for column in columns}
            assert expected <= {task.result for task in run.tasks}
        drawn = {figure.y for figure in study.figures if "@" in figure.y and "linear" not in figure.y}
        assert drawn
        assert {re.sub(r"\.\w+", "", result, count=1) for result in drawn} <= results | left_of(study)
    assert all(task.where == "scenes:multi-0101" for run in tiny.runs for task in run.tasks)
    assert all(isinstance(run.config.experiment.backbone, ResNet.Config) for run in tiny.runs)


def left_of(study: Study) -> set[str]:
    """Results whose images nobody named."""
    return {line.partition(" is left out")[0] for line in left_out(study)}


def test_results_have_the_papers_names() -> None:
    """A column measures whatever a study has of a paper, but for rescaling by other weights."""
    published = {
        metric
        for study in STUDIES.values()
        for run in study("paper").runs
        if run.paper
        for metric, _ in run.paper.results
        if metric.startswith(("VOC", "COCO", "CityScapes"))
    }
    measured = {
        dense_metric(f"{column.task}.{ours}{variant}@{column.images}-0a1b2c3d")
        for column in DENSE.values()
        for variant in [f"+{column.variant}" if column.variant else ""]
        for ours in column.metrics.values()
    }
    told = ("by MoCo v2", "by a supervised model")
    assert len(published) > 40
    assert not [metric for metric in published - measured if not metric.endswith(told)]
    assert dense_metric("voc07_c4.AP50@voc07") == "VOC07 AP50"
    assert dense_metric("voc07-c4.AP50@other-0a1b2c3d") is None
    assert dense_metric("voc07_c4.AP50+steps=10@voc07") is None
    assert dense_metric("linear.top1") is None


def test_the_report_has_our_numbers_beside_the_paper_s(tmp_path: Path) -> None:
    results = [["linear top-1", 0.7], ["VOC07 AP50", 0.765], ["VOC07 AP50, NormRescale by a constant", 0.761]]
    words = ["voc07-c4"]
    names = ["voc07_c4@voc07", "voc07_c4+norm_rescale=constant@voc07"]
    tasks = [{"result": name, "words": words, "images": "voc07", "where": "/d/voc"} for name in names]
    run = planned(4, 256, 0) | {"paper": {**PAPER, "results": results}, "tasks": tasks}
    folder = tmp_path / "runs" / run["name"]
    write_run(folder, linear=0.6, knn=0.5)
    for name, number in zip(names, (0.75, 0.74), strict=True):
        metrics = {"AP50": number, "AP": 0.5, "paper": {"AP50": 0.765}}
        path = folder / "transfer" / name / "eval" / "voc07_c4@devkit-12345678.json"
        write(path, evaluation("voc07_c4", 100, **metrics))
    report([str(write_sweep(tmp_path, [run]))])
    lines = [line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("| ")]
    head, _, row = (line.strip("| ").split(" | ") for line in lines[:3])
    assert list(zip(head, row, strict=True))[1:-1] == [
        ("linear top-1", "0.600"),
        ("paper", "0.700"),
        ("VOC07 AP50", "0.750"),
        ("paper", "0.765"),
        ("VOC07 AP50, NormRescale by a constant", "0.740"),
        ("paper", "0.761"),
        ("kNN top-1 k20", "0.510"),
        ("kNN top-1 k200", "0.500"),
    ]
    report([str(tmp_path), "--columns", "voc07_c4.AP"])
    (first, *_) = [line for line in (tmp_path / "report.md").read_text().splitlines() if line[:2] == "| "]
    assert first.strip("| ").split(" | ")[1:-1] == ["VOC07 AP, NormRescale by a constant", "VOC07 AP"]


def test_transfers_of_kept_checkpoints_are_a_curve(tmp_path: Path) -> None:
    """The run of 20 epochs has 100 steps; the last weights' transfer is the curve's end."""
    names = {"voc07_c4@voc07": (100, 0.7), "voc07_c4-epoch-0010@voc07": (50, 0.6)}
    tasks = [{"result": name, "words": ["voc07-c4"], "images": "voc07", "where": "/d"} for name in names]
    run = planned(4, 256, 0, evaluations=()) | {"tasks": tasks}
    folder = tmp_path / "runs" / run["name"]
    write_run(folder)
    for name, (step, number) in names.items():
        result = evaluation("voc07_c4", step, AP50=number)
        write(folder / "transfer" / name / "eval" / "voc07_c4@devkit-12345678.json", result)
    found = read_sweep(write_sweep(tmp_path, [run]))
    (line,) = curves(found, {"x": "epoch", "y": "voc07_c4.AP50@voc07"}).lines
    assert [(point.x, point.y) for point in line.points] == [(10, 0.6), (20, 0.7)]

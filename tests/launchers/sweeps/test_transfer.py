"""Evaluations on other images than the training's: planned where these are named, found, and reported."""

import dataclasses
import json
from pathlib import Path

import pytest

from fastssl.evaluate.__main__ import parse
from fastssl.evaluate.result_name import changed_options
from fastssl.recipes import quickstart
from launchers.report import main as report
from launchers.studies import STUDIES
from launchers.sweep import main as sweep
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.plan import planned_jobs, planned_results
from launchers.sweeps.study import PlannedRun, Study, to_plan
from launchers.sweeps.transfer import left_out, with_transfer_data
from pipelines.command.errors import UserError
from tests.helpers.report_folders import PAPER, evaluation, planned, write, write_run, write_sweep

PLAIN = Study(
    name="plain",
    title="",
    about="",
    axes=(),
    runs=(
        PlannedRun(
            name="a", config=quickstart(), values={}, row="a", transfer=("linear@cifar100", "knn@stl")
        ),
        PlannedRun(name="b", config=quickstart(), values={}, row="b"),
    ),
)


def test_what_is_on_named_images_is_planned_and_the_rest_told() -> None:
    assert PLAIN.runs[0].results == ["knn", "linear"]
    study = with_transfer_data(PLAIN, ["cifar100=c"], lambda where: f"/d/{where}")
    assert [run.results for run in study.runs] == [["knn", "linear", "linear@cifar100"], ["knn", "linear"]]
    plan = to_plan(study)
    assert json.loads(json.dumps(plan)) == plan
    assert [planned_results(run) for run in plan["runs"]] == [run.results for run in study.runs]
    assert list(left_out(study)) == [
        "knn@stl is left out: name the images by --transfer-data stl=WHERE to measure it"
    ]


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("cifar100", "--transfer-data cifar100: give NAME=WHERE"),
        ("cifar100=", "give NAME=WHERE"),
        ("cifar=c", r"plain measures nothing on such images \(these are cifar100, stl\)"),
    ],
)
def test_mistakes_are_one_line(setting: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        with_transfer_data(PLAIN, [setting], str)
    alone = dataclasses.replace(PLAIN, runs=PLAIN.runs[1:])
    with pytest.raises(UserError, match=r"it has no transfer|give NAME=WHERE"):
        with_transfer_data(alone, [setting], str)


def test_its_job_reads_those_images_and_finds_its_result(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    study = with_transfer_data(PLAIN, ["cifar100=/d/c100"], str)
    (job,) = (job for job in planned_jobs(folder, to_plan(study)) if job.evaluation == "linear@cifar100")
    module, words = job.arguments()
    assert (module, words) == ("fastssl.evaluate", ["linear", str(folder.run("a")), "--data", "/d/c100"])
    assert not job.is_done()
    write(folder.run("a") / "eval/linear.json", {"data_name": "stl-12345678"})
    assert not job.is_done()
    write(folder.run("a") / "eval/linear@c100-12345678.json", {})
    assert job.result() == folder.run("a") / "eval/linear@c100-12345678.json"


def test_options_of_an_evaluation_stand_in_its_name(tmp_path: Path) -> None:
    job = Job(sweep=tmp_path, run="a", data="d", evaluation="longtail+factor=50.0+encoder=tuned-epoch-0002")
    checkpoint = job.folder.run("a") / "checkpoints/epoch-0002.pt"
    words = ["longtail", str(checkpoint), "--factor=50.0", "--encoder=tuned", "--data", "d"]
    assert job.arguments() == ("fastssl.evaluate", words)
    options = parse(words)[1]["longtail"]
    assert changed_options(options) == "factor=50.0+encoder=tuned"


def test_the_report_has_a_column_of_its_name_beside_the_paper_s_number(tmp_path: Path) -> None:
    run = planned(4, 256, 0) | {
        "paper": {**PAPER, "results": [["linear top-1", 0.7], ["linear top-1 on CIFAR-100", 0.8]]},
        **{"transfer": ["linear@cifar100"], "transfer_data": {"cifar100": "/d/c100"}},
    }
    folder = tmp_path / "runs" / run["name"]
    write_run(folder, linear=0.6, knn=0.5)
    write(folder / "eval/linear@c100-12345678.json", evaluation("linear", 100, top1=0.75))
    report([str(write_sweep(tmp_path, [run])), "--columns", "linear"])
    lines = [line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("| ")]
    head, _, row = (line.strip("| ").split(" | ") for line in lines[:3])
    assert list(zip(head, row, strict=True))[1:-1] == [
        ("linear top-1", "0.600"),
        ("paper", "0.700"),
        ("linear top-1, on cifar100", "0.750"),
        ("paper", "0.800"),
    ]


def test_the_studies_name_what_their_figures_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(run.transfer == ("linear@cifar100",) for run in STUDIES["moco-ladder"]("paper").runs)
    assert all("alignment" in run.evaluations for run in STUDIES["uniformity"]("tiny").runs)
    monkeypatch.chdir(tmp_path)
    words = ["moco-ladder", "--scale", "tiny", "--only", "moco-v2-s0", "--dry-run"]
    assert sweep(words) == 0
    said = capsys.readouterr()
    assert said.err == (
        "linear@cifar100 is left out: name the images by --transfer-data cifar100=WHERE to measure it\n"
    )
    assert "knn linear\n" in said.out
    assert sweep([*words, "--transfer-data", "cifar100=images"]) == 0
    said = capsys.readouterr()
    assert not said.err
    assert "knn linear linear@cifar100\n" in said.out
    with pytest.raises(UserError, match=r"no such folder or file: .*images; say with --transfer-data"):
        sweep([*words[:-1], "--transfer-data", "cifar100=images"])

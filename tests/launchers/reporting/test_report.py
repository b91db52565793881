"""The report's numbers and words, from sweep folders that the tests write."""

import csv
import io
import json
import math
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from launchers.report import main, report
from launchers.reporting.estimate import estimate, number
from launchers.reporting.several import read_folders
from launchers.reporting.table_files import results_csv
from launchers.sweeps.attempts import Outcome, begin, end
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.state import Submission, write_submission
from pipelines.command.errors import UserError
from tests.helpers import ROOT
from tests.helpers.report_folders import (
    ABOUT,
    PAPER,
    evaluation,
    markdown,
    planned,
    read_sweep,
    table,
    write,
    write_metrics,
    write_run,
    write_sweep,
)


def test_the_interval_is_scipy_s() -> None:
    values = [0.681, 0.677, 0.69, 0.684]
    found = estimate(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)
    assert str(found) == f"0.683 ± {high - found.mean:.3f}"
    assert str(estimate([0.5])) == "0.500"


def test_two_seeds_have_a_range() -> None:
    """Their t interval would be 12.7 standard errors wide, and reach above 1."""
    found = estimate([0.97, 0.99])
    assert (found.low, found.high) == (0.97, 0.99)
    assert str(found) == "0.980 (0.970 to 0.990)"


def test_bars_of_an_accuracy_end_at_1(tmp_path: Path) -> None:
    runs = [planned(4, 256, seed, None) for seed in range(3)]
    for run, linear in zip(runs, (0.9, 0.95, 0.99), strict=True):
        write_run(tmp_path / "runs" / run["name"], linear=linear)
    (line,) = table(markdown(write_sweep(tmp_path, runs)), "Accuracy over K")
    assert line["interval"].endswith(" to 1")


def test_one_report_over_several_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows stand side by side, under the names of their sweeps, and links lead to each sweep's files."""
    for name, linear in (("first", 0.6), ("second", 0.7)):
        run = planned(4, 256, 0, None)
        write_run(tmp_path / name / "runs" / run["name"], linear=linear, knn=0.5)
        write_sweep(tmp_path / name, [run])
    assert main([str(tmp_path / "first"), str(tmp_path / "second")]) == 0
    assert capsys.readouterr().out.split()[1] == str(tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# first, second\n")
    rows = table(text, "Results")
    assert [(row["row"].partition(": ")[0], row["linear top-1"]) for row in rows] == [
        ("first", "0.600"),
        ("second", "0.700"),
    ]
    assert "](<second/runs/k4-a256-s0>)" in text
    lines = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text())))
    assert [(line["sweep"], line["linear.top1"]) for line in lines] == [("first", "0.6"), ("second", "0.7")]
    assert "configs/ of first and second" in text
    assert not (tmp_path / "first/report.md").exists()
    with pytest.raises(UserError, match="give a sweep folder, or several"):
        main([])


def test_sweeps_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for name in ("a/eqco", "b/eqco"):
        write_sweep(tmp_path / name, [planned(4, 256, 0, None)])
    found = read_folders([tmp_path / "a/eqco", tmp_path / "b/eqco"], tmp_path)
    assert [run.values["sweep"] for run in found.runs] == ["a/eqco", "b/eqco"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.6812, "0.681"),
        (0.0, "0.000"),
        (-1.5234, "-1.523"),
        (0.00012345, "0.00012"),
        (12.34, "12.3"),
        (45678.9, "45,679"),
    ],
)
def test_numbers_for_a_reader(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_has_means_intervals_and_the_paper_beside_its_own_result(tmp_path: Path) -> None:
    runs = [planned(4, 256, seed, 0.665) for seed in range(3)] + [planned(16, 256, 0, None)]
    for run, linear in zip(runs, (0.60, 0.61, 0.62, 0.7), strict=True):
        write_run(tmp_path / "runs" / run["name"], linear=linear, knn=0.5)
    text = markdown(write_sweep(tmp_path, runs))
    first, second = table(text, "Results")
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert first["linear top-1"] == f"0.610 ± {half:.3f}"
    assert first["paper"] == "0.665"
    assert first["runs"] == "3"
    assert first["kNN top-1 k200"] == "0.500 ± 0.000"
    assert list(first).index("paper") == list(first).index("linear top-1") + 1
    assert second["linear top-1"] == "0.700"  # one seed has no interval
    assert second["paper"] == ""
    assert "95 % t interval" in text
    assert f"{PAPER['title']}: figure 2." in text


def test_runs_that_are_not_through_are_listed_and_not_averaged(whole: Path) -> None:
    text = markdown(whole)
    (failed,) = table(text, "Failed runs")
    assert failed["run"] == "k1024-a65536-s2"
    assert failed["error"] == "the loss is not finite at step 40: lower --optimizer.base-lr"
    waiting = {line["run"]: line for line in table(text, "Not finished")}
    assert waiting["k1024-a65536-s1"]["status"] == "running"
    assert waiting["k1024-a65536-s1"]["epochs"] == "12.0"
    assert waiting["k4096-a256-s0"]["status"] == "waiting"
    assert waiting["k256-a65536-s2"]["note"] == "no knn and no linear yet"
    rows = {line["row"]: line for line in table(text, "Results")}
    assert rows["K=1024, alpha=65536"]["runs"] == "1 of 3"
    assert "±" not in rows["K=1024, alpha=65536"]["linear top-1"]
    assert rows["K=4096, alpha=256"]["linear top-1"] == ""


def test_figures_hold_the_last_value_of_a_metric_and_the_paper(tmp_path: Path) -> None:
    runs = [planned(k, 256, seed, 0.6 + k / 100) for k in (4, 16) for seed in range(2)]
    for run in runs:
        folder = tmp_path / "runs" / run["name"]
        write_run(folder, linear=0.5 + run["values"]["seed"] / 10)
        write_metrics(folder, 100, 100, 20, level=math.log(run["values"]["num_negatives"]))
    text = markdown(write_sweep(tmp_path, runs))
    assert [(line["num negatives"], line["MI bound"]) for line in table(text, "MI bound over K")] == [
        ("4", "1.386"),
        ("16", "2.773"),
    ]
    ours = [line for line in table(text, "Accuracy over K") if "paper" not in line["series"]]
    theirs = [line for line in table(text, "Accuracy over K") if "paper" in line["series"]]
    assert ours[0]["linear top-1"] == "0.55"
    assert (ours[0]["interval"], ours[0]["seeds"]) == ("0.5 to 0.6", "2")
    assert [line["linear top-1"] for line in theirs] == ["0.64", "0.76"]


def test_other_axes_are_not_averaged_away(tmp_path: Path) -> None:
    """A figure over K without a series has a line an alpha all the same."""
    runs = [planned(4, alpha, 0) for alpha in (256, 65536)]
    for run, linear in zip(runs, (0.4, 0.8), strict=True):
        write_run(tmp_path / "runs" / run["name"], linear=linear)
    figure = {"title": "Accuracy", "x": "num_negatives", "y": "linear.top1", "series": None, "log_x": False}
    lines = table(markdown(write_sweep(tmp_path, runs, figures=[figure], scale="tiny")), "Accuracy")
    assert [line["linear top-1"] for line in lines] == ["0.4", "0.8"]


def test_further_protocols_join_by_their_files(tmp_path: Path) -> None:
    run = planned(4, 256, 0, None, evaluations=["knn"])
    folder = tmp_path / "runs" / run["name"]
    write_run(folder, knn=0.5)
    write(folder / "eval/uniformity.json", evaluation("uniformity", 100, uniform=-3.8, align={"views": 0.36}))
    (line,) = table(markdown(write_sweep(tmp_path, [run])), "Results")
    assert line["uniformity uniform"] == "-3.800"
    assert line["uniformity align views"] == "0.360"
    assert not {"linear train loss", "uniformity step", "uniformity train images"} & line.keys()


def test_results_on_other_data_and_with_other_options_are_columns_of_their_own(tmp_path: Path) -> None:
    run = planned(4, 256, 0, 0.66, evaluations=["linear"])
    folder = tmp_path / "runs" / run["name"]
    write_run(folder, linear=0.5)
    other = {"data": "/data/stl10", "fingerprints": ["0c", "0d"], "top1": 0.7}
    write(folder / "eval/linear@stl10-12345678.json", evaluation("linear", 100, **other))
    write(folder / "eval/linear+epochs=10.json", evaluation("linear", 100, top1=0.4))
    (line,) = table(markdown(write_sweep(tmp_path, [run])), "Results")
    assert line["linear top-1"] == "0.500"
    assert line["linear top-1, on stl10-12345678"] == "0.700"
    assert line["linear top-1, epochs=10"] == "0.400"
    assert list(line).count("paper") == 1
    assert list(line).index("paper") == list(line).index("linear top-1") + 1


def test_results_of_different_data_are_never_averaged(tmp_path: Path) -> None:
    """Two of a row's seeds were measured on other images, under the name of the run's own."""
    runs = [planned(4, 256, seed) for seed in range(5)] + [planned(16, 256, 0)]
    for run, level in zip(runs, (0.2, 0.8, 0.2, 0.8, None, 0.3), strict=True):
        write_run(tmp_path / "runs" / run["name"])
        data = {"data": "/a/stl", "fingerprints": ["0a", "0b"]}
        if level == 0.8:
            data = {"data": "/b/cifar", "fingerprints": ["0c", "0d"]}
        if level is not None:
            path = tmp_path / "runs" / run["name"] / "eval/linear.json"
            write(path, evaluation("linear", 100, top1=level, **data))
    text = markdown(write_sweep(tmp_path, runs))
    lines = {line["row"]: line for line in table(text, "Results")}
    stl, sixteen, cifar = sorted(lines, key=lambda row: lines[row]["linear top-1"])
    assert stl.startswith("K=4, alpha=256, on stl-")
    assert lines[stl]["linear top-1"] == "0.200 (0.200 to 0.200)"
    assert lines[stl]["runs"] == "3"  # with the seed that was not measured
    assert sixteen.startswith("K=16, alpha=256, on stl-")
    assert cifar.startswith("K=4, alpha=256, on cifar-")
    assert lines[cifar]["linear top-1"] == "0.800 (0.800 to 0.800)"
    points = table(text, "Accuracy over K")
    assert not {"0.5", "0.4"} & {line["linear top-1"] for line in points}


def test_the_same_data_under_two_names_are_one_row(tmp_path: Path) -> None:
    runs = [planned(4, 256, seed, None) for seed in range(2)]
    for run, where in zip(runs, ("/here/stl", "/there/stl10"), strict=True):
        write_run(tmp_path / "runs" / run["name"])
        path = tmp_path / "runs" / run["name"] / "eval/linear.json"
        write(path, evaluation("linear", 100, top1=0.5, data=where, fingerprints=["0a", "0b"]))
    (line,) = table(markdown(write_sweep(tmp_path, runs)), "Results")
    assert line["row"] == "K=4, alpha=256"
    assert line["runs"] == "2"


def test_results_of_an_earlier_checkpoint_are_left_out_and_named(tmp_path: Path) -> None:
    run = planned(4, 256, 0, None, evaluations=["linear"])
    folder = tmp_path / "runs" / run["name"]
    write_run(folder)
    write(folder / "eval/linear.json", evaluation("linear", 60, top1=0.123))
    text = markdown(write_sweep(tmp_path, [run]))
    assert "0.123" not in text
    (line,) = table(text, "Not finished")
    assert line["note"] == "linear is of an earlier checkpoint and was left out; no linear yet"


def test_each_published_number_stands_beside_its_own_result(tmp_path: Path) -> None:
    run = planned(4, 256, 0)
    published = [["linear top-1", 0.68], ["kNN top-1", 0.6], ["uniformity", -2.95]]
    write_run(tmp_path / "runs" / run["name"], linear=0.5, knn=0.4)
    text = markdown(write_sweep(tmp_path, [run | {"paper": {**PAPER, "results": published}}]))
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    head, _, row = lines[:3]
    assert list(zip(head, row, strict=True))[1:-1] == [
        ("kNN top-1 k200", "0.400"),
        ("paper", "0.600"),
        ("linear top-1", "0.500"),
        ("paper", "0.680"),
        ("kNN top-1 k20", "0.410"),
        ("uniformity, paper", "-2.950"),
    ]


def test_a_sweep_that_has_not_begun(tmp_path: Path) -> None:
    text = markdown(write_sweep(tmp_path, [planned(4, 256, 0)]))
    assert "1 waiting" in text
    assert "linear top-1, paper" in text
    assert "## Figures" not in text
    assert "## Throughput" not in text


def test_the_docstring_is_shown_once_with_its_table_kept(whole: Path) -> None:
    text = markdown(whole)
    assert text.count(ABOUT.splitlines()[0].rstrip(".")) == 1
    assert "    linear  66.5  68.1  68.0" in text


def test_the_csv_has_what_varies_and_every_metric(tmp_path: Path) -> None:
    runs = [planned(k, 256, 0) for k in (4, 16)]
    for run in runs:
        write_run(tmp_path / "runs" / run["name"], linear=0.5, knn=0.4, mi_bound=1.5)
        experiment = {"epochs": 20, "method": {"loss": {"num_negatives": run["values"]["num_negatives"]}}}
        config = {"recipe": "moco", "experiment": experiment}
        write(tmp_path / "runs" / run["name"] / "config.json", {"config": config})
    lines = list(csv.DictReader(io.StringIO(results_csv(read_sweep(write_sweep(tmp_path, runs))))))
    assert [line["run"] for line in lines] == [run["name"] for run in runs]
    assert [line["experiment.method.loss.num_negatives"] for line in lines] == ["4", "16"]
    assert "experiment.epochs" not in lines[0]
    assert (lines[0]["linear.top1"], lines[0]["knn.top1_k200"], lines[0]["mi_bound"]) == ("0.5", "0.4", "1.5")


def test_every_run_has_a_line_with_links_to_its_files(tmp_path: Path) -> None:
    run = planned(4, 256, 0)
    write_run(tmp_path / "runs" / run["name"], linear=0.5)
    write(tmp_path / "configs" / f"{run['name']}.json", {})
    write_attempt(write_sweep(tmp_path, [run]), run["name"], "", "finished", "")
    page, text, _ = report(tmp_path)
    (line,) = table(text.read_text(), "Runs")
    assert (line["run"], line["status"], line["attempts"]) == (run["name"], "finished", "1")
    assert line["hosts"] == socket.gethostname()
    assert line["files"] == f"[folder](<runs/{run['name']}>), [config](<configs/{run['name']}.json>)"
    assert f'<a href="runs/{run["name"]}">folder</a>' in page.read_text()


def test_pixels_and_the_untrained_encoder_stand_beside_knn(tmp_path: Path) -> None:
    run = planned(4, 256, 0, None)
    folder = tmp_path / "runs" / run["name"]
    write_run(folder, linear=0.5, knn=0.4)
    summary = json.loads((folder / "summary.json").read_text())
    write(folder / "summary.json", summary | {"knn_top1_pixels": 0.235, "knn_top1_untrained": 0.177})
    (line,) = table(markdown(write_sweep(tmp_path, [run])), "Results")
    assert line["kNN top-1 pixels"] == "0.235"
    assert line["kNN top-1 untrained"] == "0.177"
    names = list(line)
    assert names.index("kNN top-1 k200") < names.index("kNN top-1 pixels") < names.index("linear top-1")


@pytest.mark.parametrize(
    ("images", "more", "shown"),
    [
        (1_281_167, {}, True),
        (1_281_160, {}, True),  # of a copy that lacks damaged ones
        (50_000, {}, False),
        (128_000, {"class_share": 0.1}, True),
    ],
)
def test_the_paper_s_number_goes_where_the_data_is_not_the_paper_s(
    tmp_path: Path, images: int, more: dict[str, float], shown: bool
) -> None:
    run = planned(4, 256, 0, 0.665)
    write_run(tmp_path / "runs" / run["name"], linear=0.5)
    config = {"recipe": "moco-v2-imagenet", "experiment": more}
    write(tmp_path / "runs" / run["name"] / "config.json", {"config": config, "data": {"images": images}})
    text = markdown(write_sweep(tmp_path, [run]))
    assert ("0.665" in text) == shown
    assert ("left out where a run did not train on the paper's data" in text) != shown


def write_attempt(sweep: Path, run: str, evaluation: str, outcome: Outcome, error: str) -> None:
    """As a local driver leaves it that is gone."""
    folder = SweepFolder(sweep)
    job = Job(sweep=sweep, run=run, data="", evaluation=evaluation)
    folder.jobs.mkdir(exist_ok=True)
    write_submission(folder, Submission(job, "local", "local-1"))
    end(folder.attempts(job.name), begin(folder.attempts(job.name), "local-1", 0), outcome, 1, error)


def test_what_became_of_the_jobs(tmp_path: Path) -> None:
    """A run that was killed says "running" for ever: the record of its job knows better."""
    runs = [planned(4, 256, seed) for seed in range(3)]
    for run in runs[:2]:
        write_run(tmp_path / "runs" / run["name"], status="running", done=30)
    write_run(tmp_path / "runs" / runs[2]["name"], knn=0.4)
    write_sweep(tmp_path, runs)
    write_attempt(tmp_path, runs[0]["name"], "", "crashed", "killed by SIGKILL (out of memory?)")
    write_attempt(tmp_path, runs[1]["name"], "", "interrupted", "")
    write_attempt(tmp_path, runs[2]["name"], "linear", "mistake", "error: no such folder: /data")
    text = markdown(tmp_path)
    failed = {line["run"]: line["error"] for line in table(text, "Failed runs")}
    assert failed == {
        runs[0]["name"]: "killed by SIGKILL (out of memory?)",
        f"{runs[2]['name']}, linear": "error: no such folder: /data",
    }
    statuses = {line["run"]: line["status"] for line in table(text, "Not finished")}
    assert statuses == {runs[1]["name"]: "interrupted", runs[2]["name"]: "finished"}
    assert "1 finished, 1 interrupted, 1 failed" in text


def test_far_from_its_cluster_run_folders_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = planned(4, 256, 0)
    write_run(tmp_path / "runs" / run["name"], status="running", done=30)
    write_sweep(tmp_path, [run])
    write(tmp_path / "jobs" / f"{run['name']}.json", {"job_id": "12", "cluster": "slurm"})
    monkeypatch.setenv("PATH", str(tmp_path))  # no squeue
    assert "1 running" in markdown(tmp_path)


def test_reports_and_status_do_without_torch() -> None:
    """Which takes seconds to import, and half a gigabyte."""
    program = "import sys, launchers.report, launchers.status; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0

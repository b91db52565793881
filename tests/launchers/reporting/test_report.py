"""The report's numbers and words, from sweep folders that the tests write."""

import csv
import io
import json
import math
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from launchers.report import main, report
from launchers.reporting.chart import Chart, Line, Point, as_svg, legend
from launchers.reporting.estimate import estimate, number
from launchers.reporting.figures import charts
from launchers.reporting.results import read_sweep
from launchers.reporting.results_csv import results_csv
from launchers.reporting.several import read_folders
from launchers.reporting.text import as_markdown, tell
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
    planned,
    write,
    write_metrics,
    write_run,
    write_sweep,
    write_whole,
)


def markdown(folder: Path) -> str:
    return as_markdown(tell(read_sweep(folder)))


def table(text: str, section: str) -> list[dict[str, str]]:
    """The Markdown table of a section, a dictionary a line."""
    part = text.partition(f"# {section}\n")[2]
    assert part, f"no section {section}"
    part = re.split(r"^#", part, maxsplit=1, flags=re.M)[0]
    lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return [dict(zip(lines[0], [cell.strip() for cell in line], strict=False)) for line in lines[2:]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whole(tmp_path_factory.mktemp("report") / "sweep")


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


def test_a_sweep_that_has_not_begun(tmp_path: Path) -> None:
    text = markdown(write_sweep(tmp_path, [planned(4, 256, 0)]))
    assert "1 waiting" in text
    assert "linear top-1, paper" in text
    assert "## Figures" not in text
    assert "## Throughput" not in text


def test_a_metrics_file_whose_last_line_was_cut(tmp_path: Path) -> None:
    run = planned(4, 256, 0)
    folder = tmp_path / "runs" / run["name"]
    write_run(folder, status="running", done=50)
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 51, "epo')
    assert "loss while training" in report(write_sweep(tmp_path, [run]))[0].read_text()


def test_a_long_curve_is_thinned(tmp_path: Path) -> None:
    run = planned(4, 256, 0)
    write_metrics(tmp_path / "runs" / run["name"], 30_000, 30_000, 20, level=1)
    line, *_ = chart_of(write_sweep(tmp_path, [run]), "loss while training").lines
    assert len(line.points) == 150


def test_what_was_not_a_number_is_left_out(tmp_path: Path) -> None:
    run = planned(4, 256, 0)
    folder = tmp_path / "runs" / run["name"]
    write_run(folder, linear=math.nan, knn=0.4)
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text() + json.dumps({"step": 101, "epoch": 20.2, "loss": math.nan}) + "\n")
    for file in report(write_sweep(tmp_path, [run])):
        assert "nan" not in file.read_text().lower().replace("dominant", "")


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    run = planned(4, 256, 0) | {"row": "a | b <script>alert(1)</script>"}
    write_run(tmp_path / "runs" / run["name"], linear=0.5, status="failed", error="<img src=x> | y")
    page, text, _ = report(write_sweep(tmp_path, [run], title="T <script>"))
    for path in (page, text):
        assert "<script" not in path.read_text()
        assert "<img" not in path.read_text()
    assert r"a \| b &lt;script&gt;" in text.read_text()


def test_links_and_markup_of_names_are_letters_in_markdown(tmp_path: Path) -> None:
    run = planned(4, 256, 0) | {"row": "[x](javascript:1) `a` *b*"}
    write_run(tmp_path / "runs" / run["name"], linear=0.5)
    assert r"\[x\](javascript:1) \`a\` \*b\*" in markdown(write_sweep(tmp_path, [run]))
    indented = "First.\n\n    code <b>\n\n<b>text</b>"
    text = markdown(write_sweep(tmp_path, [run], about=indented))
    assert "\n    code <b>\n" in text  # in a block of code, tags are letters
    assert "&lt;b&gt;text" in text


def test_a_dollar_in_a_name_is_no_formula(tmp_path: Path) -> None:
    runs = [planned(k, 256, 0, None) for k in (4, 16)]
    for run, name in zip(runs, ("$\\frac{1}$ <b>", "$x$"), strict=True):
        run["values"]["num_negatives"] = name
        write_run(tmp_path / "runs" / run["name"], linear=0.5)
    page = report(write_sweep(tmp_path, runs))[0].read_text()
    assert ">$x$</text>" in page
    assert "$\\frac{1}$ &lt;b&gt;" in page


def test_the_docstring_is_shown_once_with_its_table_kept(whole: Path) -> None:
    text = markdown(whole)
    assert text.count(ABOUT.splitlines()[0].rstrip(".")) == 1
    assert "    linear  66.5  68.1  68.0" in text


DAMAGE = ["{broken", "[1]", "\xff", "", "[" * 100_000]


@pytest.mark.parametrize("content", DAMAGE)
def test_a_damaged_plan_is_one_line(tmp_path: Path, content: str) -> None:
    write_sweep(tmp_path, [planned(4, 256, 0)])
    (tmp_path / "sweep.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        report(tmp_path)
    assert str(tmp_path / "sweep.json") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("spoil", ["summary.json", "eval/linear.json", "config.json"])
@pytest.mark.parametrize("content", DAMAGE)
def test_a_damaged_file_is_one_line_and_the_report_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: str, content: str
) -> None:
    runs = [planned(4, 256, 0), planned(16, 256, 0)]
    for run in runs:
        write_run(tmp_path / "runs" / run["name"], linear=0.5)
    path = tmp_path / "runs" / runs[0]["name"] / spoil
    path.write_bytes(content.encode("latin-1"))
    text = report(write_sweep(tmp_path, runs))[1].read_text()
    (told,) = capsys.readouterr().err.splitlines()
    assert str(path) in told
    assert "delete it" in told
    assert str(path) in text.partition("## Damaged files")[2]
    rows = {line["row"]: line for line in table(text, "Results")}
    assert rows["K=16, alpha=256"]["linear top-1"] == "0.500"


@pytest.mark.parametrize(
    "value", [None, True, "x", [1], {"a": 1}, -5, 10**400], ids=lambda value: repr(value)[:9]
)
def test_values_of_another_type_are_left_out(tmp_path: Path, value: Any) -> None:
    run = planned(4, 256, 0)
    folder = tmp_path / "runs" / run["name"]
    write_run(folder, linear=0.5)
    sweep = write_sweep(tmp_path, [run])

    def check() -> None:
        """The row is there, and what is no number is not in it."""
        (row,) = table(markdown(sweep), "Results")
        assert "K=4, alpha=256" in row.values()
        assert value == -5 or not [cell for cell in row.values() if str(value) in cell]

    summary = json.loads((folder / "summary.json").read_text())
    for name in summary:
        write(folder / "summary.json", summary | {name: value})
        check()
    row = {"step": 1, "epoch": 0.5, "loss": 1.0, "knn_top1": 0.5}
    for name in row:
        (folder / "metrics.jsonl").write_text(json.dumps(row | {name: value}) + "\n")
        check()
    result = json.loads((folder / "eval/linear.json").read_text())
    for name in result:
        write(folder / "eval/linear.json", result | {name: value})
        check()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../../etc"},
        {"name": 5},
        {"values": {"num_negatives": [1]}},
        {"row": 5},
        {"paper": {"title": "t"}},
        {"paper": {"title": "t", "place": "p", "results": [["linear top-1", "high"]]}},
        {"evaluations": ["a/b"]},
        {"checkpoints": ["x"]},
    ],
)
def test_a_plan_with_a_wrong_run_is_one_line(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"sweep\.json is damaged \(runs\)"):
        report(write_sweep(tmp_path, [planned(4, 256, 0) | wrong]))


def test_a_folder_that_is_no_sweep_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "launchers.report", str(tmp_path / "nowhere")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "no sweep folder" in done.stderr


def test_the_command_names_what_it_wrote(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(whole)]) == 0
    names = ("report.html", "report.md", "results.csv")
    assert capsys.readouterr().out.split() == [str(whole / name) for name in names]


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


def chart_of(folder: Path, title: str) -> Chart:
    (found,) = [chart for chart in charts(read_sweep(folder)) if chart.title == title]
    assert isinstance(found, Chart)
    return found


def points_of(folder: Path, title: str) -> list[tuple[float, float]]:
    """The points of a chart's only line."""
    (line,) = chart_of(folder, title).lines
    return [(point.x, round(point.y, 6)) for point in line.points]


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


def test_reports_and_status_do_without_torch() -> None:
    """Which takes seconds to import, and half a gigabyte."""
    program = "import sys, launchers.report, launchers.status; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0

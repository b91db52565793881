"""Files that are cut, damaged, of other types or of odd names never break the report."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from launchers.report import report
from pipelines.command.errors import UserError
from tests.helpers.commands import run_command
from tests.helpers.report_folders import markdown, planned, table, write, write_run, write_sweep


def test_a_metrics_file_whose_last_line_was_cut(tmp_path: Path) -> None:
    run = planned(4, 256, 0)
    folder = tmp_path / "runs" / run["name"]
    write_run(folder, status="running", done=50)
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 51, "epo')
    assert "loss while training" in report(write_sweep(tmp_path, [run]))[0].read_text()


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


TASK = {"result": "pose", "words": ["pose"], "images": "", "where": ""}


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
        *({"tasks": [TASK | {field: 5}]} for field in TASK),
        {"tasks": [{"result": "pose"}]},
    ],
)
def test_a_plan_with_a_wrong_run_is_one_line(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"sweep\.json is damaged \(runs\)"):
        report(write_sweep(tmp_path, [planned(4, 256, 0) | wrong]))


def test_a_folder_that_is_no_sweep_is_one_line(tmp_path: Path) -> None:
    done = run_command("launchers.report", tmp_path / "nowhere")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "no sweep folder" in done.stderr

"""The report over run folders of no sweep: one table of all protocols, as a page, CSV and LaTeX."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from fastssl.config_values import to_dict
from fastssl.recipes import find_recipe
from fastssl.recipes.variant import with_changes
from launchers.report import main
from launchers.reporting.estimate import estimate
from launchers.reporting.table import paper_metric_is, result_title
from pipelines.command.errors import UserError
from tests.helpers.report_folders import evaluation, planned, write, write_run, write_sweep


def write_lone(
    folder: Path, recipe: str, seed: int, linear: float, images: int = 1_281_167, **changes: Any
) -> Path:
    """A finished run folder of a recipe, with changed fields."""
    config = find_recipe(recipe)
    experiment = with_changes(config.experiment, {"seed": seed, **changes})
    config = dataclasses.replace(config, experiment=experiment)
    write_run(folder, linear=linear, knn=linear - 0.1)
    data = {"images": images, "fingerprint": f"{images}"}
    write(folder / "config.json", {"config": to_dict(config), "data": data})
    return folder


def add_result(folder: Path, name: str, protocol: str, **values: Any) -> None:
    write(folder / f"eval/{name}.json", evaluation(protocol, 100, **values))


def write_runs(folder: Path) -> list[str]:
    """Three seeds of MoCo v2+, one of them at other epochs, BYOL, and foreign weights."""
    runs = [
        write_lone(folder / f"plus-{seed}", "moco-v2-plus-imagenet", seed, 0.7 + 0.01 * seed)
        for seed in range(3)
    ]
    runs.append(write_lone(folder / "short", "moco-v2-plus-imagenet", 0, 0.6, epochs=100.0))
    runs.append(write_lone(folder / "byol", "byol-imagenet", 0, 0.72))
    for place, run in enumerate(runs):
        add_result(run, "linear@cifar100-1a2b3c4d", "linear", top1=0.5 + 0.01 * place)
        add_result(run, "longtail@cifar10-1a2b3c4d", "longtail", top1=0.4 + 0.02 * place**2)
    weights = folder / "r50-0a0b0c0d"
    write(weights / "weights.json", {"file": "r50.pth", "layout": "torchvision"})
    add_result(weights, "linear@imagenet-1a2b3c4d", "linear", top1=0.75)
    return [str(run) for run in (*runs, weights)]


def read_csv(path: Path) -> dict[str, dict[str, str]]:
    with path.open() as file:
        return {line["row"]: line for line in csv.DictReader(file)}


def test_one_table_has_all_protocols_of_any_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*write_runs(tmp_path), "--csv", "--latex"]) == 0
    names = ["report.html", "report.md", "results.csv", "table.csv", "table.tex"]
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in names]
    rows = read_csv(tmp_path / "table.csv")
    plus, short = "moco-v2-plus-imagenet, epochs 200.0", "moco-v2-plus-imagenet, epochs 100.0"
    plus, short = (next(row for row in rows if row.startswith(name[:-2])) for name in (plus, short))
    assert list(rows) == [plus, short, "byol-imagenet", "r50-0a0b0c0d"]
    expected = estimate([0.7, 0.71, 0.72])
    found = [float(rows[plus][f"linear.top1 {part}"]) for part in ("mean", "low", "high", "seeds")]
    assert found == pytest.approx([expected.mean, expected.low, expected.high, 3])
    assert rows[plus]["linear top-1, paper"] == "0.72"
    assert rows["byol-imagenet"]["linear top-1, paper"] == "0.724"
    (head, *_) = csv.reader((tmp_path / "results.csv").read_text().splitlines())
    assert len(head) == len(set(head))
    assert rows[short]["linear top-1, paper"] == ""  # 100 epochs are no row of the paper
    assert float(rows["r50-0a0b0c0d"]["linear.top1@imagenet-1a2b3c4d mean"]) == 0.75
    assert float(rows[short]["linear.top1@cifar100-1a2b3c4d mean"]) == pytest.approx(0.53)
    tex = (tmp_path / "table.tex").read_text().splitlines()
    assert tex[0].startswith(r"\begin{tabular}{lr")
    assert tex[-1] == r"\end{tabular}"
    assert {line.count("&") for line in tex if "&" in line} == {tex[2].count("&")}
    assert any(r"0.710 $\pm$ 0.025" in line for line in tex)


@pytest.mark.parametrize(
    ("metric", "result", "title"),
    [
        ("alignment", "alignment.alignment", "alignment"),
        ("uniformity", "alignment.uniformity", "uniformity"),
        (
            "linear top-1 on CIFAR-100",
            "linear.top1@cifar-100-1a2b3c4d",
            "linear top-1, on cifar-100-1a2b3c4d",
        ),
        ("linear top-1 on CIFAR-100", "linear.top1@cifar100", "linear top-1, on cifar100"),
    ],
)
def test_papers_metrics_are_results_of_a_protocol_on_its_images(metric: str, result: str, title: str) -> None:
    assert paper_metric_is(metric, result)
    assert not paper_metric_is("linear top-1", result)
    assert result_title(result) == title


def test_columns_are_chosen(tmp_path: Path) -> None:
    runs = write_runs(tmp_path)
    assert main([*runs, "--csv", "--columns", "longtail", "linear.top1"]) == 0
    (head, *_) = csv.reader((tmp_path / "table.csv").read_text().splitlines())
    means = [name for name in head if name.endswith(("mean", "paper"))]
    assert means == [
        "longtail.top1@cifar10-1a2b3c4d mean",
        "linear.top1 mean",
        "linear top-1, paper",
        "linear.top1@cifar100-1a2b3c4d mean",
        "linear.top1@imagenet-1a2b3c4d mean",
    ]
    with pytest.raises(UserError, match=r"--columns lin: there is no such result; there are linear\.top1"):
        main([*runs, "--columns", "lin"])


def test_longtail_results_are_drawn_over_linear_ones_with_a_line(tmp_path: Path) -> None:
    assert main(write_runs(tmp_path)) == 0
    text = (tmp_path / "report.md").read_text()
    part = text.partition("### longtail top-1, on cifar10-1a2b3c4d over linear top-1\n")[2].partition("#")[0]
    lines = [line for line in part.splitlines() if line.startswith("| moco") or line.startswith("| byol")]
    assert len(lines) == 5
    assert sum("(slope " in line for line in lines) == 4  # one run of BYOL has no line
    page = (tmp_path / "report.html").read_text()
    assert "95 % confidence band" in page


def test_a_run_and_a_sweep_stand_side_by_side(tmp_path: Path) -> None:
    run = planned(4, 256, 0, None)
    write_run(tmp_path / "sweep/runs" / run["name"], linear=0.6, knn=0.5)
    write_sweep(tmp_path / "sweep", [run])
    lone = write_lone(tmp_path / "lone", "byol-imagenet", 0, 0.7, images=1000)
    assert main([str(tmp_path / "sweep"), str(lone), "--csv"]) == 0
    rows = read_csv(tmp_path / "table.csv")
    assert list(rows) == ["sweep: K=4, alpha=256", "runs: byol-imagenet"]
    assert "linear top-1, paper" not in rows["runs: byol-imagenet"]  # on other images than the paper's
    assert "did not train on the paper's data" in (tmp_path / "report.md").read_text()


def test_a_folder_of_neither_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a is no sweep folder and no run folder \(no sweep\.json"):
        main([str(tmp_path / "a")])
    assert not list(tmp_path.iterdir())


def test_the_report_of_one_run_lies_in_its_folder_and_damage_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_lone(tmp_path / "a", "byol-imagenet", 0, 0.7)
    (run / "eval/knn.json").write_text("{")
    assert main([str(run)]) == 0
    said = capsys.readouterr()
    assert said.out.split()[0] == str(run / "report.html")
    assert len(said.err.splitlines()) == 1
    assert "knn.json is damaged" in said.err
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    assert "0.700" in (run / "report.md").read_text()

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import report
from benchmarks.result import Result, read_result, result_of, write_result
from pipelines.command.errors import UserError


def row(contender: str, output: str, views: int, cost: float, **more: Any) -> dict[str, Any]:
    return {
        "contender": contender,
        "output": output,
        "views": views,
        "threads": 1,
        "core_us_per_image": cost,
        "core_us_quartiles": [cost, cost],
        "images_per_s": 1e6 / cost,
        "views_per_s": views * 1e6 / cost,
        "peak_mb": 512.4,
        **more,
    }


def result(piece: str, rows: list[dict[str, Any]]) -> Result:
    command = f"python -m benchmarks.{piece} --data ../images/birds --json r.json"
    return Result(
        machine="A computer", versions={}, commit="0123456789abcdef-dirty", command=command, rows=rows
    )


LOADER = [
    row("fastssl", "views", 1, 1000.0),
    row("fastssl", "crops", 1, 800.0),
    row("dali", "views", 1, 3456.7),
    row("ffcv", "crops", 1, 1600.0),
    row("fastssl", "views", 2, 1250.0),
    row("dali", "views", 2, 5000.0),
]


def test_a_table_of_loaders() -> None:
    assert report.markdown(result("loader", LOADER)) == (
        "`python -m benchmarks.loader --data ../images/birds --json r.json` "
        "(A computer; commit 0123456789-dirty), core-us per image of K views; in brackets: times fastssl's:\n"
        "\n"
        "| contender | output | K = 1 | K = 2 | peak MB, K = 2 |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| fastssl | views | 1,000 | 1,250 | 512 |\n"
        "| fastssl | crops | 800 |  |  |\n"
        "| dali | views | 3,457 (3.5) | 5,000 (4.0) | 512 |\n"
        "| ffcv | crops | 1,600 (2.0) |  |  |"
    )


def test_with_more_threads_there_is_a_table_of_images_a_second() -> None:
    rows = [row("fastssl", "views", 1, 500.0, threads=2, images_per_s=3999.6)]
    assert "| fastssl | views | 4,000 | 512 |" in report.markdown(result("loader", rows))


def test_backends_have_images_a_second_and_are_not_in_the_chart() -> None:
    backend = row("backend", "dali", 1, 90.0, device="cuda", images_per_s=9876.5)
    table = report.markdown(result("loader", [*LOADER, backend]))
    assert "| backend | dali on a GPU | 90 |  |" in table
    assert "| backend | dali on a GPU | 9,876 |  |" in table.partition("Images per second:")[2]
    assert report.chart([result("loader", [*LOADER, backend])]) == report.chart([result("loader", LOADER)])


def test_a_table_of_limits_shows_shares() -> None:
    rows = [
        row("fastssl", "decode", 2, 700.0, share_of_bound=1.0),
        row("fastssl", "views", 2, 1000.0, share_of_bound=0.7),
        row("stubbed", "views", 2, 33.0, threads=16),
    ]
    table = report.markdown(result("limits", rows))
    assert "| fastssl | views | 1,000 (70%) | 512 |" in table
    assert "| stubbed | views | 33 | 512 |" in table


def test_tables_of_steps_and_of_scenes() -> None:
    table = report.markdown(result("render", [{"step": "+ blur", "core_us_per_view": 65.0}]))
    assert table.endswith("| step | core-us |\n| --- | --- |\n| + blur | 65.0 |")
    table = report.markdown(result("scenes", [{"images": "scenes:single-0000", "core_us_per_image": 1234.6}]))
    assert table.endswith("| images | core-us |\n| --- | --- |\n| scenes:single-0000 | 1,235 |")


def test_the_chart_is_a_small_picture_and_always_the_same() -> None:
    chart = report.chart([result("loader", LOADER)])
    assert chart == report.chart([result("loader", LOADER)])
    assert len(chart) < 200_000
    with Image.open(io.BytesIO(chart)) as image:
        pixels = np.array(image.convert("RGB"))
    assert (pixels[0] == 255).all()
    assert pixels.shape[1] > 600


def test_the_command_prints_tables_and_draws_loaders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decode = result("decode", [row("fastssl", "decode", 1, 700.0)])
    for name, made in {"a": result("loader", LOADER), "b": decode}.items():
        write_result(tmp_path / f"{name}.json", made)
    chart = tmp_path / "chart.png"
    assert report.main([str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--chart", str(chart)]) == 0
    printed = capsys.readouterr().out
    assert printed == f"{report.markdown(result('loader', LOADER))}\n\n{report.markdown(decode)}\n"
    assert chart.read_bytes() == report.chart([result("loader", LOADER)])


def test_a_result_says_where_it_was_made_and_reads_as_it_was_written(tmp_path: Path) -> None:
    made = result_of("loader", ["--data", "my images", "--views", "1"], LOADER)
    assert made["command"] == "python -m benchmarks.loader --data 'my images' --views 1"
    assert {"python", "numpy", "torch"} <= made["versions"].keys()
    assert "cores" in made["machine"]
    path = tmp_path / "result.json"
    write_result(path, made)
    assert read_result(path) == made
    assert set(json.loads(path.read_text())) == {"machine", "versions", "commit", "command", "rows"}


@pytest.mark.parametrize("content", [None, "{", "[]", '{"rows": []}'])
def test_other_files_are_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"other\.json"):
        report.main([str(path)])


def test_without_results_it_says_how_to_make_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    with pytest.raises(UserError, match="no results"):
        report.main([])

import json
from pathlib import Path

import pytest

from launchers.report import report
from launchers.searching.definition import VERSION
from launchers.sweeps.plan import VERSION as PLAN_VERSION
from pipelines.command.errors import UserError

ROWS = [  # trial, rate, temperature, epoch, metric, state
    ("trial-0000", 1e-4, 0.1, 20, 0.3, "paused"),
    ("trial-0001", 1e-3, 0.2, 100, 0.6, "finished"),
    ("trial-0002", 1e-2, 0.1, 60, 0.5, "paused"),
    ("trial-0003", 5e-2, 0.1, None, None, "failed"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = [
        {
            "trial": trial,
            "values": {"optimizer.base_lr": rate, "method.loss.temperature": temperature},
            "epoch": epoch,
            "metric": metric,
            "state": state,
            "error": "RuntimeError: <b>" if state == "failed" else "",
        }
        for trial, rate, temperature, epoch, metric, state in ROWS
    ]
    found = {
        "version": VERSION,
        "space": {"optimizer.base_lr": "log:1e-4:1e-1", "method.loss.temperature": "0.1,0.2"},
        **{"metric": "knn_top1", "minimize": False, "reduction": 3, "rungs": [20, 60, 100]},
        **{"best": "trial-0001", "table": table},
    }
    (tmp_path / "search.json").write_text(json.dumps(found))
    runs = [{"name": trial, "values": {"base_lr": rate}} for trial, rate, *_ in ROWS]
    plan = {"version": PLAN_VERSION, "study": "quickstart-search", "axes": ["base_lr"], "runs": runs}
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    return tmp_path


def test_a_search_folder_has_its_own_section(folder: Path) -> None:
    page, markdown, _ = report(folder)
    text, html = markdown.read_text(), page.read_text()
    assert "## Search" in text
    assert "Trials are compared at epoch 20, 60, 100" in text
    assert text.index("trial-0001 (best)") > text.index("## Search")
    assert "Trials in parallel coordinates" in html
    assert "knn_top1 over trials" in html
    assert "RuntimeError: &lt;b&gt;" in html
    svg = html[html.index("Trials in parallel coordinates") :].partition("</svg>")[0]
    for label in ("base lr", "temperature", "0.0001", "0.1", "knn top1", "0.6"):
        assert f">{label}<" in svg, label


def test_a_damaged_search_is_one_line(folder: Path) -> None:
    (folder / "search.json").write_text('{"space": {"a": 3}}')
    with pytest.raises(UserError, match=r"search\.json is damaged"):
        report(folder)

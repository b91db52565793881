"""benchmarks.batch_norm: its cases, their table, and on a GPU their measurement."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import batch_norm
from benchmarks.batch_norm import SETTINGS, SHAPES, SHAPES_OF_SETTINGS
from benchmarks.report import markdown
from benchmarks.result import result_of


def test_settings_are_tried_at_shapes_that_are_measured() -> None:
    assert set(SHAPES_OF_SETTINGS) <= set(SHAPES)
    assert len(set(batch_norm.cases())) == len(list(batch_norm.cases()))


def test_works_stand_side_by_side() -> None:
    row: dict[str, Any] = {"channels": 64, "size": 56, "images": 256, "copied_gb_per_s": 2500.0}
    row |= {"contender": "fused", "setting": "as it is"}
    rows = [
        row | {"work": "forward", "us": 200.04, "share_of_bound": 0.7},
        row | {"work": "forward and backward", "us": 500.0, "share_of_bound": 0.714},
        row | {"work": "forward and backward", "us": 600.0, "share_of_bound": 0.6, "setting": "TILE=1"},
    ]
    table = markdown(result_of("batch_norm", [], rows))
    assert "| 64 | 56 | fused | as it is | 200.0 (70%) | 500.0 (71%) |" in table
    assert "| 64 | 56 | fused | TILE=1 |  | 600.0 (60%) |" in table
    assert table.endswith("256 images, bfloat16; the GPU copies at 2,500 GB/s.")


@pytest.mark.gpu
def test_contenders_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_norm, "SHAPES", SHAPES_OF_SETTINGS[-1:])
    monkeypatch.setattr(batch_norm, "SETTINGS", SETTINGS[:1])
    path = tmp_path / "batch_norm.json"
    assert batch_norm.main(["--images", "2", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [row["contender"] for row in rows] == ["torch", "fused"] * 2 + ["fused"]
    assert all(row["us"] > 0 for row in rows)

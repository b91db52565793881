"""benchmarks.tune: settings, batch_norm's too, are constants that exist, and are put back."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import batch_norm, tune
from benchmarks.report import markdown
from benchmarks.result import result_of
from benchmarks.tune import SETTINGS, applied


@pytest.mark.parametrize("setting", [*SETTINGS, *batch_norm.SETTINGS], ids=str)
def test_settings_replace_constants_and_put_them_back(setting: tune.Setting) -> None:
    module = import_module(setting.module)
    before = {name: getattr(module, name) for name, _ in setting.values}
    with applied(setting):
        assert all(getattr(module, name) == value for name, value in setting.values)
    assert before == {name: getattr(module, name) for name, _ in setting.values}
    assert setting.values == () or dict(setting.values) != before  # else it is measured twice


def test_the_table_names_settings() -> None:
    rows = [{"kernels": "renderer", "setting": SETTINGS[0].name, "us": 4.05, "us_quartiles": (4.0, 4.1)}]
    assert "| renderer | as it is | 4.05 |" in markdown(result_of("tune", [], rows))


@pytest.mark.gpu
def test_settings_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "SETTINGS", SETTINGS[:1])
    path = tmp_path / "tune.json"
    assert tune.main(["--images", "2", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text())["rows"]
    assert row["us"] > 0

"""Properties of every task, in its small form."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from fastssl.transfer import TASKS
from fastssl.transfer.task import find_task
from fastssl.transfer.trainer import transfer
from pipelines.command.errors import UserError
from pipelines.views import ViewSpec
from tests.helpers.small_transfers import (
    TEST,
    assert_same_transfer,
    result,
    rows,
    run_small,
    small_config,
    stopped_before,
    use_held_scenes,
    weights,
)


@pytest.fixture(autouse=True)
def _scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    use_held_scenes(monkeypatch)


FAST = ("classification", "depth", "voc07-c4", "cityscapes-deeplab")  # one of each kind of network
ALL = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in TASKS]


@pytest.mark.parametrize("name", ALL)
def test_stopped_and_resumed_is_the_same_to_the_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_small(name, tmp_path / "whole") == 0
    with stopped_before(1, monkeypatch):
        assert run_small(name, tmp_path / "run") == 143
    assert "stopped at step 2" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    assert not (tmp_path / "run" / "eval").exists()
    assert run_small(name, tmp_path / "run") == 0
    assert "resumed at step 2" in capsys.readouterr().err
    assert_same_transfer(tmp_path / "whole", tmp_path / "run")

    found = result(tmp_path / "run")
    assert found["task"] == name
    assert found["test_images"] == TEST
    assert found["encoder"]["from_scratch"] is True
    assert find_task(name).leading in found
    assert found["settings"] == {**vars(small_config(name, tmp_path).task), **found["settings"]}
    assert found["cost"]["device"] == "cpu"
    assert (tmp_path / "run" / "predictions.png").stat().st_size > 1000
    assert {row["step"] for row in rows(tmp_path / "run")} == set(range(1, len(rows(tmp_path / "run"))))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [row for row in map(json.loads, lines) if "loss" in row]
    assert all(0 < row["step_seconds"] < 60 and 100 < row["memory_mb"] < 10_000 for row in steps)

    assert run_small(name, tmp_path / "run") == 0  # once more
    assert "is finished" in capsys.readouterr().out


@pytest.mark.parametrize("name", TASKS)
def test_defaults_give_rates_and_views(name: str) -> None:
    task = find_task(name)()
    length = task.length(5000)
    assert 0 <= task.rate(0, length) <= task.learning_rate
    assert task.rate(length.steps // 2, length) > 0
    assert task.train_view(ViewSpec())
    assert task.test_view(ViewSpec())


def test_another_seed_is_another_training(tmp_path: Path) -> None:
    run_small("classification", tmp_path / "a")
    with pytest.raises(UserError, match=r"options.seed \(0 became 1\)"):
        _with_seed(tmp_path / "a", 1)
    _with_seed(tmp_path / "b", 1)
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert not torch.equal(a["classifier.weight"], b["classifier.weight"])


def _with_seed(out: Path, seed: int) -> None:
    config = small_config("classification", out)
    transfer(dataclasses.replace(config, task=dataclasses.replace(config.task, seed=seed)))

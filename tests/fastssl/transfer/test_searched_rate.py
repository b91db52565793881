"""The best of several learning rates, by images that are held out of the training."""

import dataclasses
import json
from pathlib import Path

import pytest

from fastssl.transfer.searched_rate import transfer_at_best_rate
from fastssl.transfer.tasks.pixels import Depth
from pipelines.command.errors import UserError
from tests.helpers.small_transfers import result, small_config, use_held_scenes


def test_the_best_of_three_rates_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One changes nothing, one learns the mean depth, one diverges."""
    use_held_scenes(monkeypatch)
    config = small_config("depth", tmp_path / "best", searched_rates=(1e-9, 0.03, 1e12))
    assert isinstance(config.task, Depth)
    task = dataclasses.replace(config.task, optimizer="sgd", end_learning_rate=0.0, epochs=6, precise_bn=2)
    config = dataclasses.replace(config, task=task)
    assert transfer_at_best_rate(config) == 0
    trials = [result(tmp_path / f"best-rate-{rate}") for rate in ("1e-09", "0.03")]
    assert trials[0]["RMSE"] > trials[1]["RMSE"]
    assert "taking 0.03" in capsys.readouterr().out
    summary = json.loads((tmp_path / "best-rate-1e+12" / "summary.json").read_text())
    assert summary["status"] == "failed"
    found = result(tmp_path / "best")
    assert found["settings"]["learning_rate"] == 0.03
    assert (found["train_images"], found["test_images"]) == (16, 4)
    assert trials[0]["test_images_are"] == "held-out 10% of the training images"

    diverging = dataclasses.replace(config.options, searched_rates=(1e12,), out=str(tmp_path / "none"))
    with pytest.raises(UserError, match="diverges at each of --searched-rates"):
        transfer_at_best_rate(dataclasses.replace(config, options=diverging))

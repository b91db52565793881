"""A run that diverges names the step and its images, keeps its last good checkpoint, and takes it again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fastssl import train
from fastssl.run.divergence import DIVERGED, LossWatch, read_divergence
from fastssl.run.folder import BEST, LAST
from fastssl.run.metrics import read_metrics
from pipelines.command.errors import UserError
from tests.fastssl.test_bad_input import SMALL, cats_and_dogs

# a loss that is NaN at its 7th step: steps count from 0 in a method
DIVERGES = """
from dataclasses import dataclass, replace
from fastssl.methods import BYOL
from fastssl.recipes import quickstart

class Diverges(BYOL):
    @dataclass(frozen=True, kw_only=True)
    class Config(BYOL.Config):
        kind = "diverges"

    def forward(self, batch, step):
        loss, metrics = super().forward(batch, step)
        factor = float("nan") if step == 6 else 1.0
        return loss * factor, {**metrics, "loss": metrics["loss"] * factor}

def recipe():
    config = quickstart()
    return replace(config, experiment=replace(config.experiment, method=Diverges.Config()))
"""


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run folder of 32 images in steps of 8, and the line that its command ended with."""
    folder = tmp_path_factory.mktemp("diverged")
    (folder / "mine.py").write_text(DIVERGES)
    cats_and_dogs(folder / "data")
    words = [f"{folder}/mine.py:recipe", *("--data", f"{folder}/data"), *("--out", f"{folder}/run")]
    words += ["--epochs", "3", "--batch-size", "8", "--views.0.spec.size", "16", "--backbone.width", "0.0625"]
    words += ["--threads", "1", "--workers", "1", "--monitor-every", "0", "--log-every", "100"]
    with pytest.raises(UserError) as error:
        train.main(words)
    return folder / "run", str(error.value)


def test_it_stops_at_the_step_and_keeps_the_checkpoint_before(diverged: tuple[Path, str]) -> None:
    run, words = diverged
    assert words.startswith("the loss is not finite at step 7, ")  # though nothing is logged before the end
    assert words.endswith(f"--replay {run / DIVERGED} takes that step again")
    state = torch.load(run / LAST, weights_only=True)
    assert state["step"] == 4
    assert all(bool(value.isfinite().all()) for value in state["method"].values())
    assert json.loads((run / "summary.json").read_text())["status"] == "failed"


def test_it_names_the_images_of_the_step(diverged: tuple[Path, str]) -> None:
    run, _ = diverged
    found = read_divergence(run / DIVERGED)
    assert found["step"] == 7
    assert len(set(found["sample_ids"])) == 8
    assert all(Path(name).is_file() for name in found["images"])


def test_the_step_is_taken_again(diverged: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = diverged
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert train.main(["--replay", str(run / DIVERGED)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{run}: step 7, from the weights after step 4, on cpu"
    assert said[1].count(".jpg") == 8
    assert said[2].startswith("loss nan, alignment ")
    assert said[3].startswith("gradient is not finite: student.")  # the views and embeddings are well
    assert said[-1].startswith("weights after the step: ")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_step_that_is_well_says_so(
    diverged: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = diverged
    other = run / "other.json"
    other.write_text(json.dumps(read_divergence(run / DIVERGED) | {"step": 5}))
    assert train.main(["--replay", str(other)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("all is finite here: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"step": 3}, "step 3 is not between step 4 of checkpoints/last.pt and the end"),
        ({"step": 99}, "step 99 is not between"),
        ({"fingerprint": "another"}, "holds other images than the run saw"),
        ({"step": "7"}, "it is damaged"),
    ],
)
def test_what_cannot_be_taken_again_is_told(
    diverged: tuple[Path, str], changes: dict[str, Any], words: str
) -> None:
    other = diverged[0] / "other.json"
    other.write_text(json.dumps(read_divergence(diverged[0] / DIVERGED) | changes))
    with pytest.raises(UserError, match=words):
        train.main(["--replay", str(other)])


def test_replay_asks_for_its_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--replay comes first: .*RUN/diverged\.json"):
        train.main(["quickstart", "--replay", "x"])
    with pytest.raises(UserError, match="no such file"):
        train.main(["--replay", str(tmp_path / DIVERGED)])


def test_the_first_loss_that_is_not_finite_is_found_once() -> None:
    watch = LossWatch()
    assert watch.first_not_finite() is None
    for step, losses in ((1, (0.5, 0.4)), (2, (0.3, float("inf"))), (3, (float("nan"), 1.0))):
        for loss in losses:  # of micro-batches
            watch.add(step, torch.tensor(loss))
    assert watch.first_not_finite() == 2
    assert watch.first_not_finite() is None
    for step in range(LossWatch.MOST):
        assert not watch.is_full
        watch.add(step, torch.tensor(1.0))
    assert watch.is_full


def test_the_best_checkpoint_is_chosen_on_held_out_images(tmp_path: Path) -> None:
    for split in ("train", "test"):
        cats_and_dogs(tmp_path / "data" / split)
    words = [*SMALL, "--monitor-every", "0.5", "--keep-best", "--log-every", "1"]
    out = tmp_path / "run"
    assert train.main([*words, "--data", str(tmp_path / "data"), "--out", str(out)]) == 0
    rows = read_metrics(out / "metrics.jsonl")
    measured = {row["step"]: row["knn_top1"] for row in rows if "knn_top1" in row}
    best = torch.load(out / BEST, weights_only=True)
    assert sorted(measured) == [2, 4]
    assert best["step"] == max(measured, key=lambda step: (measured[step], -step))
    assert best["knn"]["knn_top1_best"] == measured[best["step"]] == max(measured.values())
    assert json.loads((out / "summary.json").read_text())["knn_top1_best"] == max(measured.values())
    for name in ("step_seconds", "data_seconds", "evaluation_seconds", "checkpoint_seconds"):
        assert all(row[name] >= 0 for row in rows), name
        assert sum(row[name] for row in rows) > 0, name


def test_the_best_checkpoint_asks_for_held_out_images(tmp_path: Path) -> None:
    cats_and_dogs(tmp_path / "data")
    words = [*SMALL, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--keep-best"]
    with pytest.raises(UserError, match="--keep-best chooses by kNN on images held out of training"):
        train.main(words)

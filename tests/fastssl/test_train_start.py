"""Starts of runs and their words: resumed by folder, from the weights of another, measured elsewhere."""

from pathlib import Path

import pytest

from fastssl import train
from fastssl.run.metrics import read_metrics
from fastssl.run.summary import read_summary
from pipelines.command.errors import UserError
from tests.fastssl.test_bad_input import SMALL, cats_and_dogs, images


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cats_and_dogs(tmp_path_factory.mktemp("labeled"))


@pytest.fixture(scope="module")
def first(labeled: Path) -> Path:
    """A run on images without labels, measured on others that have some."""
    out, data = labeled.parent / "first", images(labeled.parent / "unlabeled", 20)
    words = [*SMALL, "--data", str(data), "--out", str(out), "--monitor-data", str(labeled)]
    assert train.main(words) == 0
    return out


def test_a_run_is_measured_on_labeled_images_of_another_place(first: Path) -> None:
    found = read_summary(first)
    assert isinstance(found["knn_top1"], float)
    assert found["verdict"].startswith(f"kNN top-1 {found['knn_top1']:.3f} of ")
    assert "the untrained encoder (" in found["verdict"]
    assert "raw pixels (" in found["verdict"]


def test_a_folder_is_resumed_by_its_name(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main([str(first)]) == 0
    assert capsys.readouterr().out == f"{first} is finished: 2 steps, {read_summary(first)['verdict']}\n"
    with pytest.raises(UserError, match=r"so is its schedule: epochs .*--init \S+ --out NEW$"):
        train.main([str(first), "--epochs", "2"])


def test_a_run_starts_from_the_weights_of_another(
    first: Path, labeled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, "--data", str(labeled), "--out", str(tmp_path / "next"), "--init", str(first)]
    assert train.main([*words, "--monitor-every", "0"]) == 0
    said = capsys.readouterr().err.splitlines()
    (line,) = (line for line in said if line.startswith("init: all "))
    assert line.endswith(f"tensors of the method, of {first}/checkpoints/last.pt, step 2")
    assert said[1] == "data: 32 images of 2 classes (cat, dog)"
    assert any(line.startswith("1/4  epoch 0.2  loss ") for line in said)  # at once, and not in metrics.jsonl
    assert not any("kNN monitor" in line for line in said)
    assert read_summary(tmp_path / "next")["knn_top1"] is None
    assert [row["step"] for row in read_metrics(tmp_path / "next/metrics.jsonl")] == [4]

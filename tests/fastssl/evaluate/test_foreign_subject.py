"""``python -m fastssl.evaluate --weights FILE``: protocols on encoders of no run."""

import json
from pathlib import Path

import pytest
import torch

from fastssl.evaluate.__main__ import main
from fastssl.models.wide_resnet import WideResNet
from pipelines.command.errors import UserError
from tests.helpers.image_folder import write_colors


@pytest.fixture
def weights(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of MoCo, a narrow ResNet-18 with CIFAR's stem, beside images in ``data``."""
    monkeypatch.chdir(tmp_path)
    for seed, split in enumerate(("train", "test")):
        write_colors(tmp_path / "data" / split, 4 - seed, seed=seed)
    torch.manual_seed(0)
    state = WideResNet(18, 0.125, "cifar", False).state_dict()
    path = tmp_path / "moco_v2.pth.tar"
    torch.save({"state_dict": {f"module.encoder_q.{name}": value for name, value in state.items()}}, path)
    return path


def test_results_and_features_have_a_folder_of_their_own(weights: Path) -> None:
    assert main(["knn,logistic", "--weights", str(weights), "--data", "data", "--k", "3"]) == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("moco_v2-")
    assert {path.name.partition("@")[0] for path in (folder / "eval").iterdir()} == {"knn+k=3", "logistic"}
    assert len(list((folder / "features").iterdir())) == 2
    about = json.loads((folder / "weights.json").read_text())
    assert (about["layout"], about["architecture"], about["file"]) == (
        "moco",
        "resnet18 0.125x",
        str(weights),
    )
    assert about["view"]["size"] == 32
    (knn,) = (folder / "eval").glob("knn*")
    assert json.loads(knn.read_text())["train_images"] == 12


def test_they_are_fine_tuned_too(weights: Path) -> None:
    words = ["finetune", "--weights", str(weights), "--data", "data", "--epochs", "1", "--batch-size", "4"]
    assert main(words) == 0
    (path,) = Path("runs").glob("moco_v2-*/eval/finetune*")
    result = json.loads(path.read_text())
    assert 0 <= result["top1"] <= 1
    assert result["settings"]["encoder_rate"] == 0.01  # a tenth of the classifier's
    assert not list(Path("runs").glob("*/unfinished"))


def test_other_weights_of_the_same_name_overwrite_nothing(weights: Path) -> None:
    words = ["knn", "--weights", str(weights), "--layout", "moco", "--data", "data"]
    assert main(words) == 0
    content = torch.load(weights)
    content["state_dict"]["module.encoder_q.bn1.bias"] += 1
    torch.save(content, weights)
    assert main(words) == 0
    assert len(list(Path("runs").glob("moco_v2-*/eval/knn@data-*.json"))) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["knn", "--weights", "moco_v2.pth.tar"], "--data WHERE"),
        (["knn", "--weights", "absent.pth", "--data", "data"], "absent.pth does not exist"),
        (["knn", "--weights", "moco_v2.pth.tar", "--layout", "moko", "--data", "data"], "did you mean moco"),
        (["knn", "--weights", "moco_v2.pth.tar", "--layout", "timm", "--data", "data"], "but in moco"),
        (["knn", "run", "--layout", "moco", "--data", "data"], "tells of --weights"),
        (["classifier", "--weights", "moco_v2.pth.tar", "--data", "data"], "of no run, whose"),
        (["knn", "--weights", "moco_v2.pth.tar", "--data", "data", "--workers", "-1"], "--workers"),
        (["knn", "--weights", "data/train/red/000.jpg", "--data", "data"], "no file of weights"),
    ],
)
def test_mistakes_are_one_line(weights: Path, words: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as error:
        main(words)
    assert "\n" not in str(error.value)
    assert not list(Path("runs").glob("*/eval"))

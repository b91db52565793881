"""``python -m fastssl.diagnostics NAME --weights FILE``: diagnostics of encoders of no run."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fastssl.diagnostics.__main__ import main
from fastssl.models.wide_resnet import WideResNet
from pipelines.command.errors import UserError, run_command
from tests.helpers.image_folder import write_colors


@pytest.fixture
def weights(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state_dict of a narrow ResNet-18 with CIFAR's stem, beside images in ``data``."""
    monkeypatch.chdir(tmp_path)
    for seed, split in enumerate(("train", "test")):
        write_colors(tmp_path / "data" / split, 4, seed=seed)
    torch.manual_seed(0)
    torch.save(WideResNet(18, 0.125, "cifar", False).state_dict(), tmp_path / "own.pth")
    return tmp_path / "own.pth"


def result(name: str) -> dict[str, Any]:
    (path,) = Path("runs").glob(f"own-*/diagnostics/{name}*.json")
    assert path.with_name(f"{path.stem}.png").exists()
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_results_have_a_folder_of_their_own(weights: Path) -> None:
    assert main(["norms", "--weights", str(weights)]) == 0  # reads no images
    assert len(next(iter(result("norms")["convolutions_3x3"].values()))) == 17
    words = ["--data", "data", "--workers", "1"]
    assert main(["map", "--weights", str(weights), *words, "--projection", "tsne", "--perplexity", "3"]) == 0
    found = result("map+projection=tsne+perplexity=3.0@data-")
    assert len(found["points"]) == 12
    assert found["kl_divergence"] >= 0
    (about,) = found["runs"]
    assert (about["weights"], about["layout"]) == (str(weights), "torchvision")
    assert (Path(about["run"]) / "weights.json").exists()
    assert main(["cka", "--weights", str(weights), str(weights), *words, "--images", "12"]) == 0
    assert result("cka")["pooled_cka"] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["spectrum", "--weights", "own.pth"], "--data WHERE"),
        (["spectrum", "--weights", "absent.pth", "--data", "data"], "absent.pth does not exist"),
        (["norms", "--weights", "own.pth", "--layout", "moko"], "did you mean moco"),
        (["norms", "own.pth", "--layout", "moco"], "--layout moco tells of --weights FILE"),
        (["spectrum", "--weights", "own.pth", "own.pth", "--data", "data"], "spectrum takes 1 run, not 2"),
        (["gradients", "--weights", "own.pth", "--data", "data"], "this encoder is of no run"),
        (["map", "--weights", "own.pth", "--data", "data", "--projection", "tsne"], "--perplexity 30 needs"),
        (
            ["map", "--weights", "own.pth", "--data", "data", "--perplexity", "3"],
            "tells of --projection tsne",
        ),
    ],
)
def test_mistakes_are_one_line(
    weights: Path, words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=reason):
        main(words)
    with pytest.raises(SystemExit) as ended:
        run_command(functools.partial(main, words))
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1

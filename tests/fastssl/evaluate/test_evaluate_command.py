"""``python -m fastssl.evaluate`` on a run folder that was put together by hand."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastssl.config import Config, Machine, to_dict
from fastssl.evaluate.__main__ import main
from fastssl.methods import MoCo, build_method
from fastssl.models import ResNet9
from fastssl.recipes import quickstart
from fastssl.run import checkpoint
from fastssl.run.folder import claim
from pipelines.command.errors import run_command
from pipelines.files.atomic import write_json
from pipelines.views import ViewGroup, ViewSpec
from tests.helpers.image_folder import write_colors
from tests.helpers.methods import narrow


def save_checkpoint(run: Path, config: Config, name: str, step: int) -> None:
    method = build_method(
        config.experiment.method,
        config.experiment.backbone,
        seed=0,
        total_steps=10,
        num_classes=3,
    )
    state = {"config": to_dict(config), "step": step, "encoder": method.encoder.state_dict()}
    checkpoint.save(run / "checkpoints" / name, state)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder of an untrained encoder, whose data have a test split."""
    monkeypatch.setenv("FASTSSL_CACHE", str(tmp_path / "cache"))
    for seed, split in enumerate(("train", "test")):
        write_colors(tmp_path / "data" / split, 12 - 6 * seed, seed=seed)
    experiment = replace(
        quickstart().experiment,
        backbone=ResNet9.Config(width=0.125),
        method=narrow(MoCo, {"loss.num_negatives": 16}, hidden_dim=8, out_dim=4),
        views=(ViewGroup(spec=ViewSpec(size=16), num_views=2),),
        batch_size=4,
    )
    config = replace(quickstart(), experiment=experiment, machine=Machine(data=str(tmp_path / "data")))
    folder = tmp_path / "run"
    folder.mkdir()
    claim(folder, config, {"images": 36, "fingerprint": "abc"})
    save_checkpoint(folder, config, "last.pt", 9)
    save_checkpoint(folder, config, "epoch-0001.pt", 3)
    return folder


def results(run: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "eval" / f"{name}.json").read_text())
    return found


def test_knn_writes_its_result_with_its_settings(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(run / "summary.json", {"knn_top1_pixels": 0.125, "knn_top1_untrained": 0.25})
    assert main(["knn", str(run)]) == 0
    found = results(run, "knn")
    assert found["protocol"] == "knn"
    assert found["step"] == 9
    assert (found["train_images"], found["test_images"]) == (36, 18)
    assert found["test_images_are"] == "test split"
    assert found["settings"]["temperature"] == 0.07
    for key in ("top1_k20", "top1_k200"):
        assert found[key] * 18 == pytest.approx(round(found[key] * 18))  # a share of the test images
    assert len(set(found["fingerprints"])) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(run / "eval" / "knn.json")
    table = {line[:17].strip(): line.split()[2:] for line in lines[1:4]}
    assert table["raw pixels"] == ["0.125"]
    assert table["untrained encoder"] == ["0.250"]
    assert table["trained encoder"] == [f"{found[key]:.3f}" for key in ("top1_k20", "top1_k200")]


def test_a_checkpoint_has_a_result_of_its_own(run: Path) -> None:
    assert main(["knn", str(run / "checkpoints" / "epoch-0001.pt")]) == 0
    assert main(["knn", str(run / "checkpoints" / "last.pt")]) == 0
    assert {path.name for path in (run / "eval").iterdir()} == {"knn-epoch-0001.json", "knn.json"}
    assert results(run, "knn-epoch-0001")["step"] == 3


def test_other_data_may_be_given(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(run / "summary.json", {"knn_top1_pixels": 0.125, "knn_top1_untrained": 0.25})
    write_colors(tmp_path / "other", 20, names=("red", "blue"))
    assert main(["knn", str(run), "--data", str(tmp_path / "other")]) == 0
    found = results(run, "knn")
    assert found["train_images"] + found["test_images"] == 40
    assert found["test_images_are"].startswith("held-out 20%")
    assert "untrained" not in capsys.readouterr().out  # those figures are of the training's data


def test_linear_takes_the_setting_of_the_optimizer(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["linear", str(run), "--epochs", "10"]) == 0
    found = results(run, "linear")
    assert found["settings"]["setting"] == "sgd"
    assert found["settings"]["drops"] == [6, 8]
    assert found["epochs"] == 10
    assert found["batch_size"] == 36
    assert found["augmentation"] == "flip"
    assert 0 <= found["top1"] <= 1
    assert "(sgd setting, flip, 10 epochs)" in capsys.readouterr().out


def test_linear_by_another_setting(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["linear", str(run), "--setting", "lars", "--augmentation", "crop", "--seed", "3"]) == 0
    found = results(run, "linear")
    assert found["settings"]["setting"] == "lars"
    assert found["settings"]["learning_rate"] == 0.8
    assert found["settings"]["seed"] == 3
    assert found["epochs"] == 80
    assert "(lars setting, crop, 80 epochs)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (lambda run: ["linear", str(run), "--epochs", "-1"], "--epochs"),
        (lambda run: ["knn", str(run), "--workers", "-1"], "--workers must not be negative, not -1"),
        (lambda run: ["knn", str(run), "--data", str(run / "absent")], "no such folder"),
        (lambda run: ["knn", str(run.parent / "data" / "train" / "red")], "train the run first"),
        (lambda run: ["knn", str(run), "--dtaa", "x"], "--data"),
        (lambda run: ["knnn", str(run)], "knn"),
        (lambda run: ["knn"], "run folder, or one of its checkpoints"),
    ],
)
def test_mistakes_end_with_status_2(
    run: Path,
    words: Callable[[Path], list[str]],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: main(words(run)))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert reason in said
    assert "Traceback" not in said
    assert not (run / "eval").exists()


def test_help_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["knn", "--help"], ["linear", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    assert "--setting {auto,sgd,lars}" in capsys.readouterr().out

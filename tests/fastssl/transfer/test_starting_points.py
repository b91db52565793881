"""Transfers from a run, from a file of weights and from fresh ones, and what is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fastssl.config_values import to_dict
from fastssl.methods import MoCo
from fastssl.models import ResNet, ResNet9
from fastssl.models.lab_halves import LabHalves
from fastssl.recipes import find_recipe
from fastssl.transfer.options import TransferOptions, parse
from fastssl.transfer.starting_point import open_starting_point
from fastssl.transfer.tasks.classification import Classification
from fastssl.transfer.trainer import transfer
from pipelines.command.errors import UserError
from pipelines.views import LAB_MEAN, LAB_STD, ViewSpec
from tests.fastssl.evaluate.conftest import VIEW, write_run
from tests.helpers.methods import narrow
from tests.helpers.small_transfers import (
    result,
    run_small,
    small_config,
    use_held_scenes,
    weights,
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder of an untrained encoder, on 36 images of three classes."""
    monkeypatch.setenv("FASTSSL_CACHE", str(tmp_path / "cache"))
    return write_run(tmp_path, narrow(MoCo, {"loss.num_negatives": 16}, hidden_dim=8, out_dim=4))


def words(run: Path, *more: str) -> list[str]:
    return [
        *("classification", str(run), "--data", str(run.parent / "data"), "--batch-size", "8"),
        *("--epoch-images", "16", "--epochs", "2", "--workers", "1", "--threads", "1", "--device", "cpu"),
        *more,
    ]


def encoder_of(network: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    names = [name for name in network if name.startswith("encoder.")]
    return {name.removeprefix("encoder."): network[name] for name in names}


def test_the_result_of_a_run_is_in_its_folder_too(run: Path) -> None:
    assert transfer(parse(words(run))) == 0
    (path,) = (run / "eval").glob("classification*.json")
    found = json.loads(path.read_text())
    out = Path(found["transfer"])
    assert out.parent == run / "transfer"
    assert found == result(out)
    assert found["run"] == str(run)
    assert found["step"] == 9
    assert found["encoder"]["digest"]
    assert not found["encoder"]["from_scratch"]
    assert found["settings"]["mode"] == "finetune"


def test_linear_leaves_the_encoder_as_it_was(run: Path, tmp_path: Path) -> None:
    before = torch.load(run / "checkpoints/last.pt", weights_only=True)["encoder"]
    transfer(parse(words(run, "--mode", "linear", "--out", str(tmp_path / "linear"))))
    transfer(parse(words(run, "--out", str(tmp_path / "tuned"))))
    transfer(parse(words(run, "--mode", "scratch", "--seed", "1", "--out", str(tmp_path / "scratch"))))
    linear, tuned, scratch = (encoder_of(weights(tmp_path / name)) for name in ("linear", "tuned", "scratch"))
    assert all(torch.equal(linear[name], before[name]) for name in before)
    weight = "linear.weight" if "linear.weight" in before else next(iter(before))
    distances = [(each[weight] - before[weight]).norm() for each in (tuned, scratch)]
    assert 0 < distances[0] < distances[1]
    assert result(tmp_path / "scratch")["encoder"]["from_scratch"] is True


def test_weights_of_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_held_scenes(monkeypatch)
    monkeypatch.chdir(tmp_path)
    encoder = ResNet(ResNet.Config(depth=18, width=0.125))
    torch.save(encoder.state_dict(), tmp_path / "other.pth")
    config = small_config("classification", tmp_path)
    options = dataclasses.replace(config.options, encoder="", weights=tmp_path / "other.pth", out="")
    task = Classification(mode="linear", labels=12, epoch_images=16, batch_size=8, epochs=2, size=32)
    assert transfer(dataclasses.replace(config, task=task, options=options)) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("other-")
    (path,) = (folder / "eval").glob("classification+*.json")
    trained = encoder_of(weights(Path(json.loads(path.read_text())["transfer"])))
    assert torch.equal(trained["conv1.weight"], encoder.conv1.weight)


def test_fresh_weights_are_the_seed_s() -> None:
    options = TransferOptions(encoder="scratch", backbone="resnet9", width=0.125, data="x")
    first, again, other = (open_starting_point(options, fresh=True, seed=seed).encoder for seed in (0, 0, 1))
    same = [
        torch.equal(left, right) for left, right in zip(first.parameters(), again.parameters(), strict=True)
    ]
    assert all(same)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_scratch_is_like_a_recipe_or_the_config_of_a_run(tmp_path: Path) -> None:
    config = find_recipe("cmc-tiny")
    experiment = dataclasses.replace(config.experiment, backbone=ResNet9.Config(width=0.25))
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": to_dict(dataclasses.replace(config, experiment=experiment))}))
    for like, label in (("cmc-tiny", "resnet9 0.125x"), (str(path), "resnet9 0.25x")):
        options = TransferOptions(encoder="scratch", like=like, data="x")
        start = open_starting_point(options, fresh=True, seed=0)
        assert isinstance(start.encoder, ResNet9)
        assert start.about["architecture"]["label"] == label
        assert "halves" not in start.about
        assert (start.view.color_space, start.view.size) == ("lab", 32)


def test_halves_are_those_that_cmc_trains() -> None:
    options = TransferOptions(encoder="scratch", like="cmc-tiny", data="x", halves=True)
    start = open_starting_point(options, fresh=True, seed=0)
    assert isinstance(start.encoder, LabHalves)
    assert start.about["halves"]
    views = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        features = start.encoder(views)
        views[:, 1:] += 1
        lightness, colors = (start.encoder(views) != features).chunk(2, 1)
    assert not lightness.any()
    assert colors.any()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "give a task first"),
        (["clasification", "scratch", "--data", "x"], "did you mean classification"),
        (["classification", "--data", "x"], "give a run folder"),
        (["classification", "scratch"], "name the labeled images: --data WHERE"),
        (["classification", "scratch", "--data", "x", "--layout", "timm"], "--layout timm tells of"),
        (["classification", "runs/a", "--data", "x", "--like", "cmc-tiny"], "--like cmc-tiny tells of"),
        (["classification", "scratch", "--data", "x", "--halves"], "--halves tells of scratch --like RECIPE"),
        (["classification", "scratch", "--data", "x", "--lables", "3"], "--labels"),
        (["classification", "scratch", "--data", "x", "--labels", "-3"], "--labels must be at least 0"),
        (["depth", "scratch", "--data", "x", "--mode", "both"], "invalid choice 'both' for --mode"),
        (
            ["depth", "scratch", "--data", "x", "--end-learning-rate", "1"],
            "--end-learning-rate 1 is above --learning-rate 0.001",
        ),
    ],
)
def test_words_that_do_not_fit_are_refused(argv: list[str], says: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(argv)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


CHANGES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("classification", {"labels": 17}, {}, "--labels 17: scenes:single-1011 has 16 training images"),
    ("classification", {}, {"data": "scenes:multi-1111"}, "classification needs one class per image"),
    ("pose", {}, {"data": "scenes:single-1011"}, "pose needs images labeled by pose"),
    ("classification", {"batch_size": 64}, {}, "the batch of 64 is larger than the 16 training images"),
    ("voc07-c4", {}, {"backbone": "resnet9"}, "is built on a ResNet of 18, 50 or 101 layers"),
    ("voc07-c4", {}, {"like": "cmc-tiny"}, "Voc07C4 shows RGB images, and this encoder takes lab"),
    ("classification", {"learning_rate": 1e12, "optimizer": "sgd"}, {}, "not finite at step"),
    ("classification", {}, {"width": 0.5, "backbone": "denseresnet"}, "has one width"),
    ("classification", {}, {"encoder": "nowhere"}, "nowhere does not exist"),
]


@pytest.mark.parametrize(("name", "task", "options", "says"), CHANGES)
def test_what_does_not_fit_is_said_in_one_line_and_claims_nothing(
    name: str,
    task: dict[str, Any],
    options: dict[str, Any],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_held_scenes(monkeypatch)
    config = small_config(name, tmp_path / "out", **options)
    config = dataclasses.replace(config, task=dataclasses.replace(config.task, **task))
    with pytest.raises(UserError) as refused:
        transfer(config)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    diverged = "not finite" in says
    assert (tmp_path / "out" / "config.json").exists() == diverged
    assert not (tmp_path / "out" / "eval").exists()
    if diverged:
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["status"] == "failed"


def test_the_folder_of_something_else_is_refused(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_held_scenes(monkeypatch)
    with pytest.raises(UserError, match="is not the folder of a transfer"):
        run_small("classification", run)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"it holds notes\.txt"):
        run_small("classification", tmp_path / "other")
    assert {path.name for path in (tmp_path / "other").iterdir()} <= {"lock", "notes.txt"}


def test_views_keep_the_colors_of_the_encoder() -> None:
    lab = dataclasses.replace(VIEW, color_space="lab", mean=LAB_MEAN, std=LAB_STD)
    task = small_config("segmentation", Path("x")).task
    for view in (task.train_view(lab), task.test_view(lab)):
        assert isinstance(view, ViewSpec)
        assert (view.color_space, view.mean, view.std, view.size) == ("lab", LAB_MEAN, LAB_STD, 32)
    assert task.train_view(lab).cutout.size == 0
    assert small_config("classification", Path("x")).task.train_view(lab).cutout.size == 0.25
    depth = small_config("depth", Path("x")).task.train_view(lab)
    assert (depth.cutout.size, depth.shift.padding) == (0, 0)
    assert small_config("pose", Path("x")).task.train_view(lab).flip.p == 0

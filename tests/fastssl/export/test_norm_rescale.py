"""NormRescale: norms from the anchor, directions as they were; and what a constant does to features."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fastssl
from fastssl.export.__main__ import main
from fastssl.export.encoder_file import save_encoder
from fastssl.export.norm_rescale import Which, rescale
from fastssl.models import ResNet, ResNet9
from fastssl.models.backbone import build_backbone
from fastssl.models.wide_resnet import WideResNet
from pipelines.command.errors import UserError
from tests.fastssl.export.test_encoder_file import save, with_backbone
from tests.fastssl.foreign.test_foreign_encoder import with_statistics
from tests.helpers.image_folder import write_colors

NARROW = ResNet.Config(depth=18, width=0.125)
STATISTICS = ("running_mean", "running_var")


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return with_statistics(build_backbone(NARROW))


def assert_rescaled(after: dict[str, Tensor], before: dict[str, Tensor], norms: dict[str, Tensor]) -> None:
    """Each tensor has the norm of one and the direction of the other."""
    for name, value in after.items():
        torch.testing.assert_close(value.norm(), norms[name].norm(), msg=name)
        direction = before[name] / before[name].norm()
        torch.testing.assert_close(value / value.norm().clamp_min(1e-30), direction, msg=name)


@pytest.mark.parametrize("which", ["weights-and-biases", "all"])
def test_norms_are_the_anchor_s_and_directions_stay(which: Which) -> None:
    encoder, anchor = network(0), network(1)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    done = rescale(encoder, anchor.state_dict(), which)
    changed = {name: value for name, value in encoder.state_dict().items() if value.is_floating_point()}
    if which != "all":
        for name in [name for name in changed if name.endswith(STATISTICS)]:
            assert torch.equal(changed.pop(name), before[name])
    assert_rescaled(changed, before, anchor.state_dict())
    assert (done.tensors, done.zeros) == (len(changed), 0)
    assert 0 < done.smallest < 1 < done.largest
    assert {name: value for name, value in encoder.state_dict().items() if "batches" in name}.keys() == {
        name for name in before if "batches" in name
    }


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_a_constant_multiplies_the_features_where_batch_norms_are_recalibrated(factor: float) -> None:
    """With statistics of the batch and next to no eps, each layer hands on ``factor`` times its map."""
    encoder = network(0).double().train()
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 1e-30  # torch takes no 0
    views = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        maps = [*encoder.stages(views), encoder(views)]  # type: ignore[operator]
        rescale(encoder, factor, "weights-and-biases")
        for ours, before in zip([*encoder.stages(views), encoder(views)], maps, strict=True):  # type: ignore[operator]
            torch.testing.assert_close(ours, factor * before, rtol=1e-8, atol=1e-8)


def test_tensors_of_norm_zero_stay() -> None:
    layer = nn.Linear(2, 2)
    nn.init.zeros_(layer.bias)
    done = rescale(layer, {"weight": torch.ones(2, 2), "bias": torch.ones(2)}, "all")
    assert (done.tensors, done.zeros) == (1, 1)
    assert layer.weight.norm().item() == pytest.approx(2)
    assert not layer.bias.any()


def write_anchor(folder: Path, kind: str) -> tuple[Path, dict[str, Tensor]]:
    """A network of the same architecture as the file or run that may anchor."""
    if kind == "run":
        anchor, _ = save(folder / "anchor", ResNet9.Config(width=0.125))
        for part in anchor.parameters():
            part.data.mul_(5)
        save_encoder(folder / "anchor", anchor, with_backbone(ResNet9.Config(width=0.125)), 7)
        return folder / "anchor", anchor.state_dict()
    state = network(1).state_dict()
    prefix = "module.encoder_q." if kind == "moco" else ""
    path = folder / "anchor.pth.tar"
    torch.save({"state_dict": {prefix + name: value for name, value in state.items()}}, path)
    return path, state


def cka_by_hand(first: np.ndarray, second: np.ndarray) -> float:
    """HSIC of centered Gram matrices over the root of both own ones, in float64."""
    grams = []
    for rows in (first.astype(float), second.astype(float)):
        centered = rows - rows.mean(0)
        grams.append(centered @ centered.T)
    one, other = grams
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


@pytest.mark.parametrize("kind", ["run", "moco", "torchvision"])
def test_the_command_takes_runs_and_checkpoints_as_anchors(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # embed in float32 here too, as the command does
    anchor, norms = write_anchor(tmp_path, kind)
    if kind == "run":
        own = save(tmp_path / "own", ResNet9.Config(width=0.125))[0].state_dict()
    else:
        own = network(0).state_dict()
        torch.save(own, tmp_path / "own")
    out = tmp_path / "a.safetensors"
    words = [str(tmp_path / "own"), str(out), "--to", "safetensors", "--norm-rescale", str(anchor)]
    write_colors(tmp_path / "images", 3)
    assert main([*words, "--data", str(tmp_path / "images")]) == 0
    after = dict(fastssl.load_encoder(out).named_parameters())
    filled = {name: value.detach() for name, value in after.items() if own[name].any()}
    assert_rescaled(filled, own, norms)
    about = json.loads((tmp_path / "a.json").read_text())
    told = about["origin"]["norm_rescale"]
    assert (told["anchor"], told["tensors"]) == (str(anchor), "weights-and-biases")
    pair = [fastssl.embed(path, tmp_path / "images", workers=1) for path in (tmp_path / "own", out)]
    assert told["cka"] == pytest.approx(cka_by_hand(*pair), abs=1e-5)
    assert (told["images"], told["data"]) == (9, str(tmp_path / "images"))
    said = capsys.readouterr().out
    assert f"NormRescale by {anchor}: {len(filled)} tensors, their norms times" in said
    assert f"of the features before and after: {told['cka']:.4f}, 9 images of {tmp_path / 'images'}" in said


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--norm-rescale", "constant=0"], "a positive number, such as constant=0.1"),
        (["--norm-rescale", "constant=much"], "a positive number"),
        (["--norm-rescale", "constant=inf"], "a positive number"),
        (["--norm-rescale", "absent"], "absent does not exist"),
        (["--norm-rescale", "wider.pth"], "the anchor has another architecture .60 of 60 tensors"),
        (["--tensors", "all"], "--tensors tells of --norm-rescale"),
        (["--data", "images"], "--data tells of --norm-rescale"),
        (["--norm-rescale", "constant=0.1", "--data", "absent"], "absent"),
        (["--norm-rescale", "constant=0.1", "--tensors", "some"], "--tensors"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, words: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(WideResNet(18, 0.125, "imagenet", False).state_dict(), "own.pth")
    torch.save(WideResNet(18, 0.25, "imagenet", False).state_dict(), "wider.pth")
    with pytest.raises(UserError, match=reason) as error:
        main(["own.pth", "a.safetensors", "--to", "safetensors", *words])
    assert "\n" not in str(error.value)
    assert not Path("a.safetensors").exists()

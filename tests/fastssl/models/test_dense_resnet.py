"""The networks of Newell and Deng against torchvision's parts and the sizes of their public code."""

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from fastssl.models import AMDIMEncoder, Backbone, DenseResNet, ResNet9
from fastssl.models.amdim_encoder import LocalHead
from fastssl.models.backbone import build_backbone
from fastssl.models.lab_halves import LabHalves


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# counted on models/resnet.py of the authors' code: resnet9, resnet50, and is_half with 1 and 2 channels
@pytest.mark.parametrize(
    ("config", "whole", "halves"),
    [
        (ResNet9.Config(), 6_699_328, (3_322_176, 3_322_752)),
        (DenseResNet.Config(), 24_032_576, (6_027_456, 6_030_592)),
        (DenseResNet.Config(feature_dim=512, dilated=True), 24_557_120, (6_158_656, 6_161_792)),
    ],
    ids=lambda value: value.label if isinstance(value, Backbone.Config) else "",
)
def test_sizes_are_the_authors(config: Backbone.Config, whole: int, halves: tuple[int, int]) -> None:
    with torch.device("meta"):
        assert count(build_backbone(config)) == whole
        both = LabHalves(config)
    assert (count(both.lightness), count(both.colors)) == halves


@pytest.mark.parametrize("dilated", [False, True])
def test_it_is_torchvisions_without_pooling_and_with_a_linear_layer(dilated: bool) -> None:
    torch.manual_seed(0)
    ours: Any = build_backbone(DenseResNet.Config(feature_dim=8, dilated=dilated)).eval()
    theirs = torchvision.models.resnet50(replace_stride_with_dilation=[False, False, dilated]).eval()
    weights = {name: value for name, value in ours.state_dict().items() if not name.startswith("linear.")}
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["fc.weight", "fc.bias"], [])
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        maps = theirs.relu(theirs.bn1(theirs.conv1(images)))
        for layer, stage in zip(("layer1", "layer2", "layer3", "layer4"), ours.stages(images), strict=False):
            maps = theirs.get_submodule(layer)(maps)
            torch.testing.assert_close(stage, maps)
        pooled = ours.linear(maps.mean((2, 3)))  # a mean and a linear layer may change places
        torch.testing.assert_close(ours(images), pooled, rtol=1e-4, atol=1e-4)
        side = ours.stages(images)[-1].shape[3]
    assert side == (4 if dilated else 2)


def test_halves_see_their_own_channels() -> None:
    torch.manual_seed(0)
    halves = LabHalves(ResNet9.Config(width=0.125)).eval()
    images = torch.randn(2, 3, 16, 16)
    features = halves(images)
    other = images.clone()
    other[:, 0] += 1
    changed = (halves(other) != features).any(0)
    assert changed[: halves.lightness.feature_dim].any()
    assert not changed[halves.lightness.feature_dim :].any()
    assert [stage.shape[2] for stage in halves.stages(images)] == [16, 8, 4, 2, 2]


# counted on amdim-public's Encoder (ndf 64, n_rkhs 512, n_depth 3), less its batch norms that are not used
@pytest.mark.parametrize(("size", "parameters"), [(32, 3_959_552), (64, 12_864_256), (128, 12_904_256)])
def test_amdims_encoders_have_the_authors_sizes_and_maps(size: int, parameters: int) -> None:
    with torch.device("meta"):
        encoder: Any = build_backbone(AMDIMEncoder.Config(size=size))  # type: ignore[arg-type]
        images = torch.zeros(2, 3, size, size)
        assert [stage.shape[2] for stage in encoder.stages(images)[1:]] == [7, 5, 3, 1]
        assert encoder(images).shape == (2, 512)
        assert count(encoder) == parameters
        assert count(LocalHead(512, 512)) == 787_968


def test_amdims_units_start_as_means_of_patches() -> None:
    torch.manual_seed(0)
    encoder: Any = build_backbone(AMDIMEncoder.Config().small())
    images = torch.rand(2, 3, 32, 32)
    stem, seven, *_ = encoder.stages(images)
    means = stem.unfold(2, 4, 2).unfold(3, 4, 2).mean((4, 5)).unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    torch.testing.assert_close(seven[:, : stem.shape[1]], means)
    assert (seven[:, stem.shape[1] :] == 0).all()
    maps = torch.randn(2, 4, 3, 3)
    head = LocalHead(4, 6).eval()
    nn.init.zeros_(head.get_parameter("shortcut.bias"))
    torch.testing.assert_close(head(maps)[:, :4], maps, rtol=0, atol=0.1)  # near the identity

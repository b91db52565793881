from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from fastssl.models import BACKBONES, Backbone, ResNet, ResNet9
from fastssl.models.backbone import build_backbone
from pipelines.command.errors import UserError


def resnet(name: str, **fields: Any) -> Backbone.Config:
    """The config of ``resnet9``, which has one stem, or of torchvision's."""
    if name == "resnet9":
        return ResNet9.Config(**{key: value for key, value in fields.items() if key != "stem"})
    return ResNet.Config(depth=int(name.removeprefix("resnet")), **fields)  # type: ignore[arg-type]


def randomise_batch_norms(module: nn.Module) -> None:
    """Statistics and weights that leave nothing at 0 or 1."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet101"])
def test_torchvision_weights_load_and_give_torchvision_features(name: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name)
    randomise_batch_norms(theirs)
    ours = build_backbone(resnet(name))
    weights = {key: value for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    ours.load_state_dict(weights, strict=True)
    theirs.fc = nn.Identity()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))
        stem = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        maps = ours.stages(images)
        for layer, stage in zip(
            (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4), maps, strict=True
        ):
            stem = layer(stem)
            torch.testing.assert_close(stage, stem)
        assert ours.feature_dim == maps[-1].shape[1]


@pytest.mark.parametrize("name", ["resnet9", "resnet18", "resnet50"])
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_width_scales_every_channel(name: str, stem: str) -> None:
    with torch.device("meta"):
        whole = build_backbone(resnet(name, stem=stem))
        half = build_backbone(resnet(name, stem=stem, width=0.5))
    assert half.feature_dim == whole.feature_dim // 2
    for (key, wide), (other, narrow) in zip(whole.named_parameters(), half.named_parameters(), strict=True):
        assert key == other
        expected = [size if axis > 1 or size == 3 else size // 2 for axis, size in enumerate(wide.shape)]
        assert list(narrow.shape) == expected, key


@pytest.mark.parametrize(("width", "millions"), [(1, 23.5), (2, 94), (4, 375)])
def test_wide_resnet50_has_the_published_number_of_parameters(width: int, millions: float) -> None:
    with torch.device("meta"):
        backbone = build_backbone(ResNet.Config(depth=50, width=width))
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize(("stem", "sides"), [("imagenet", [16, 8, 4, 2]), ("cifar", [64, 32, 16, 8])])
def test_the_stem_decides_the_sides_of_the_maps(stem: str, sides: list[int]) -> None:
    backbone = build_backbone(ResNet.Config(depth=18, width=0.125, stem=stem))  # type: ignore[arg-type]
    maps = backbone.stages(torch.randn(2, 3, 64, 64))
    assert [list(stage.shape) for stage in maps] == [
        [2, channels, side, side] for channels, side in zip((8, 16, 32, 64), sides, strict=True)
    ]


def resnet9_by_hand(images: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    """The maps of ResNet-9 in evaluation mode, from its description."""

    def conv(x: Tensor, name: str) -> Tensor:
        return functional.conv2d(x, weights[f"{name}.weight"], padding=1)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            weights[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def celu(x: Tensor) -> Tensor:
        return x.clamp(min=0) + (0.075 * ((x / 0.075).exp() - 1)).clamp(max=0)

    def conv_pool(x: Tensor, name: str) -> Tensor:
        x = conv(x, f"{name}.0")
        x = torch.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(0)
        return celu(norm(x, f"{name}.2"))

    def block(x: Tensor, name: str) -> Tensor:
        inner = norm(conv(x, f"{name}.conv1"), f"{name}.bn1").clamp(min=0)
        return (x + norm(conv(inner, f"{name}.conv2"), f"{name}.bn2")).clamp(min=0)

    stem = norm(conv(images, "conv1"), "bn1").clamp(min=0)
    first = block(conv_pool(stem, "layer1.0"), "layer1.1")
    second = conv_pool(first, "layer2")
    third = block(conv_pool(second, "layer3.0"), "layer3.1")
    last = (
        torch.einsum("oc,bchw->bohw", weights["linear.weight"], third) + weights["linear.bias"][:, None, None]
    )
    return [stem, first, second, third, last]


def test_resnet9_is_the_one_described() -> None:
    torch.manual_seed(0)
    backbone = build_backbone(ResNet9.Config(width=0.25)).double().eval()
    randomise_batch_norms(backbone)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = resnet9_by_hand(images, backbone.state_dict())
        for stage, by_hand in zip(backbone.stages(images), expected, strict=True):
            torch.testing.assert_close(stage, by_hand)
        torch.testing.assert_close(backbone(images), expected[-1].mean((2, 3)))
    assert [tuple(stage.shape[1:]) for stage in expected] == [
        (16, 32, 32),
        (32, 16, 16),
        (64, 8, 8),
        (128, 4, 4),
        (64, 4, 4),
    ]
    assert backbone.feature_dim == 64


@pytest.mark.parametrize("name", ["resnet9", "resnet18", "resnet50"])
def test_zero_init_residual_makes_blocks_the_identity(name: str) -> None:
    for zero in (True, False):
        config = resnet(name, width=0.25, zero_init_residual=zero)
        backbone = build_backbone(config)
        block = backbone.get_submodule("layer1.1")
        x = torch.rand(2, block.get_parameter("conv1.weight").shape[1], 8, 8)
        assert torch.equal(block(x), x) == zero


@pytest.mark.parametrize("name", ["resnet9", "resnet18", "resnet50"])
def test_bf16_keeps_channels_last_and_is_finite(name: str) -> None:
    torch.manual_seed(0)
    config = resnet(name, width=0.125, stem="cifar")
    backbone = build_backbone(config).to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        maps = backbone.stages(images)
        features = backbone(images)
    for stage in maps:
        assert stage.is_contiguous(memory_format=torch.channels_last)
        assert stage.dtype == torch.bfloat16
    features.float().square().mean().backward()
    assert features.shape == (4, backbone.feature_dim)
    assert features.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())


@pytest.mark.parametrize("field", [{"depth": 34}, {"stem": "none"}])
def test_bad_values_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        ResNet.Config(**field)


@pytest.mark.parametrize("backbone_class", BACKBONES)
def test_every_backbone_in_small_gives_its_features_and_stages(backbone_class: type[Backbone]) -> None:
    config = backbone_class.Config().small()
    torch.manual_seed(0)
    backbone = build_backbone(config).to(memory_format=torch.channels_last)
    torch.manual_seed(0)
    again = build_backbone(config)
    assert all(torch.equal(a, b) for a, b in zip(backbone.parameters(), again.parameters(), strict=True))
    backbone.check_size(32)
    images = torch.randn(3, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    features = backbone(images)
    assert features.shape == (3, backbone.feature_dim)
    assert all(len(stage) == 3 and stage.ndim == 4 for stage in backbone.stages(images))
    assert backbone_class.Config().label
    features.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())

import pytest
import torch
from torch import nn

from fastssl.diagnostics.layers import Kind, find_layers, layer_grams
from fastssl.evaluate.features import FeatureConfig
from fastssl.models import ResNet, ResNet9
from fastssl.models.backbone import build_backbone
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.views import ViewSpec

CONFIG = FeatureConfig(
    spec=ViewSpec(size=32), device=torch.device("cpu"), bad_images=BadImages(None, 1), precision="fp32"
)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("stages", ["stem", "layer1", "layer2", "layer3", "layer4"]),
        ("blocks", ["stem", *(f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2))]),
    ],
)
def test_layers_are_the_stem_and_the_stages_or_blocks(kind: Kind, names: list[str]) -> None:
    encoder = build_backbone(ResNet.Config(depth=18, width=1 / 16)).eval()
    layers = find_layers(encoder, kind)
    assert list(layers) == names
    views = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    grams = layer_grams(encoder, layers, views, CONFIG)
    assert grams.shape == (len(names) + 1, 5, 5)
    with torch.no_grad():
        pooled = encoder(views)
        last = encoder.stages(views)[-1].flatten(1)
    for found, rows in ((grams[-1], pooled), (grams[-2], last)):
        centered = (rows - rows.mean(0)).double()
        torch.testing.assert_close(found, centered @ centered.T, rtol=1e-4, atol=1e-5)
    assert not any(module._forward_hooks for module in encoder.modules())


def test_a_linear_layer_after_the_stages_is_one_more() -> None:
    encoder = build_backbone(ResNet9.Config(width=0.125))
    assert list(find_layers(encoder, "stages")) == ["stem", "layer1", "layer2", "layer3", "linear"]


def test_an_encoder_of_unknown_parts_is_one_line() -> None:
    with pytest.raises(UserError, match="Sequential has no parts layer1"):
        find_layers(nn.Sequential(nn.Linear(3, 3)), "stages")

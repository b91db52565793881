import pytest
import torch
from torch import nn

from fastssl.evaluate.encoder_layers import encoder_layers
from fastssl.evaluate.fine_tuning_setting import FineTuningSetting, OptimizerName, build_optimizer
from fastssl.models import ResNet, ResNet9
from fastssl.models.backbone import Backbone, build_backbone
from fastssl.optim.optimizer import set_learning_rate


def names_of(encoder: nn.Module) -> list[set[str]]:
    """First parts of the names of each layer's parameters."""
    names = {id(parameter): name for name, parameter in encoder.named_parameters()}
    layers = encoder_layers(encoder)
    held = [id(parameter) for layer in layers for parameter in layer]
    assert sorted(held) == sorted(names)
    return [{names[id(parameter)].partition(".")[0] for parameter in layer} for layer in layers]


@pytest.mark.parametrize(
    ("config", "last"),
    [(ResNet.Config(depth=18, width=0.125), "layer4"), (ResNet9.Config(width=0.125), "linear")],
)
def test_layers_of_resnets_are_stem_and_stages(config: Backbone.Config, last: str) -> None:
    names = names_of(build_backbone(config))
    assert names == [{"conv1", "bn1"}, {"layer1"}, {"layer2"}, {"layer3"}, {last}]


def test_layers_of_a_transformer_are_embedding_and_blocks() -> None:
    pytest.importorskip("timm")
    from fastssl.models.timm import Timm

    encoder = build_backbone(Timm.Config(name="test_vit", image_size=32))
    names = {id(parameter): name for name, parameter in encoder.named_parameters()}
    layers = [[names[id(parameter)] for parameter in layer] for layer in encoder_layers(encoder)]
    assert sorted(name for layer in layers for name in layer) == sorted(names.values())
    assert "network.pos_embed" in layers[0]
    blocks = [{name.split(".")[2] for name in layer if ".blocks." in name} for layer in layers]
    assert [block for block in blocks if block] == [{str(number)} for number in range(6)]


@pytest.mark.parametrize("optimizer", ["sgd", "lars", "adamw"])
def test_each_layer_has_its_share_of_the_rate(optimizer: OptimizerName) -> None:
    encoder, classifier = build_backbone(ResNet9.Config(width=0.125)), nn.Linear(32, 3)
    setting = FineTuningSetting(
        epochs=1,
        batch_size=4,
        learning_rate=0.5,
        encoder_rate=0.1,
        nesterov=optimizer == "sgd",
        drops=(),
        weight_decay=0.25,
        optimizer=optimizer,
        layer_decay=0.5,
    )
    built = build_optimizer(encoder, classifier, setting)
    set_learning_rate(built, 1.0)
    rates = {id(p): group["lr"] for group in built.param_groups for p in group["params"]}
    expected = [0.1 * 0.5**above / 0.5 for above in (4, 3, 2, 1, 0)]
    for layer, rate in zip(encoder_layers(encoder), expected, strict=True):
        assert [rates[id(parameter)] for parameter in layer] == [pytest.approx(rate)] * len(layer)
    assert {rates[id(parameter)] for parameter in classifier.parameters()} == {1.0}
    decays = {id(p): group["weight_decay"] for group in built.param_groups for p in group["params"]}
    assert decays[id(classifier.weight)] == 0.25
    assert decays[id(classifier.bias)] == (0.25 if optimizer == "sgd" else 0.0)


def test_an_encoder_that_does_not_move_is_in_no_group() -> None:
    encoder, classifier = build_backbone(ResNet9.Config(width=0.125)).requires_grad_(False), nn.Linear(32, 3)
    setting = FineTuningSetting(
        epochs=1, batch_size=4, learning_rate=0.5, encoder_rate=0.0, nesterov=True, drops=()
    )
    built = build_optimizer(encoder, classifier, setting)
    held = [p for group in built.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in classifier.parameters()}
    assert isinstance(built, torch.optim.SGD)

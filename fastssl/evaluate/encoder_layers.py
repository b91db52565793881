"""Layers of an encoder, for rates that fall from its last layer to its first."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def encoder_layers(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters of each layer, first to last; each parameter is in one.

    A layer is a part that the encoder is made of, such as a stage of a ResNet, with the batch norm behind
    it. Encoders of timm tell their layers themselves: a transformer's are its embedding and its blocks.
    """
    if hasattr(network := getattr(encoder, "network", encoder), "group_matcher"):
        return _timm_layers(network)
    layers: list[list[nn.Parameter]] = []
    for part in encoder.children():
        parameters = list(part.parameters())
        if isinstance(part, _BatchNorm) and layers:
            layers[-1] += parameters
        elif parameters:
            layers.append(parameters)
    return layers


def _timm_layers(network: nn.Module) -> list[list[nn.Parameter]]:
    from timm.models import group_parameters

    by_name = dict(network.named_parameters())
    names = group_parameters(network, network.group_matcher(coarse=False))  # type: ignore[operator]
    return [[by_name[name] for name in names[layer] if name in by_name] for layer in sorted(names)]

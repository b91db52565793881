"""The ResNet that a network starts from: a copy of an encoder, all of it trained."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FrozenBatchNorm2d

from fastssl.models import Backbone, ResNet
from pipelines.command.errors import UserError


def resnet_copy(encoder: Backbone, network: str, *, frozen_norms: bool = False) -> ResNet:
    """A copy of an encoder in training mode, on its device.

    Args:
        encoder: any ResNet that takes RGB; it is left as it is.
        network: name of the network that is built from it, for messages.
        frozen_norms: batch norms keep their statistics, weights and biases.

    Raises:
        UserError: the encoder is none.
    """
    if not isinstance(encoder, ResNet) or encoder.conv1.in_channels != 3:
        raise UserError(
            f"{network} is built on a ResNet of 18, 50 or 101 layers that takes RGB, not on a "
            f"{type(encoder).__name__}: give the encoder of a run with --backbone resnet"
        )
    found = copy.deepcopy(encoder).train()
    for parameter in found.parameters():
        parameter.requires_grad_(True)
    if frozen_norms:
        freeze_norms(found)
    return found


def channels(resnet: ResNet) -> tuple[int, int, int, int]:
    """Channels of the four stages' maps."""
    last = [getattr(resnet, f"layer{stage}")[-1] for stage in (1, 2, 3, 4)]
    one, two, three, four = (getattr(block, "conv3", block.conv2).out_channels for block in last)
    return one, two, three, four


def strides(resnet: ResNet) -> tuple[int, int, int, int]:
    """Pixels of the image between neighbors on the four stages' maps."""
    first = resnet.conv1.stride[0] * (1 if isinstance(resnet.maxpool, nn.Identity) else 2)
    return first, 2 * first, 4 * first, 8 * first


def freeze_norms(module: nn.Module) -> None:
    """Replace batch norms by layers of the same output in evaluation mode, whose values are not trained."""
    for name, part in module.named_children():
        if isinstance(part, _BatchNorm):
            frozen = FrozenBatchNorm2d(part.num_features, part.eps)
            for value in ("weight", "bias", "running_mean", "running_var"):
                setattr(frozen, value, getattr(part, value).detach().clone())
            setattr(module, name, frozen)
        else:
            freeze_norms(part)

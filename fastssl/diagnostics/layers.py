"""The layers of an encoder that diagnostics look into: its stem, and its stages or residual blocks."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fastssl.evaluate.features import FeatureConfig, encode
from fastssl.metrics.cka import gram
from pipelines.command.errors import UserError

Kind = Literal["stages", "blocks"]
_STAGE = re.compile(r"layer\d+|stages|blocks")


def find_layers(encoder: nn.Module, kind: Kind) -> dict[str, nn.Module]:
    """The stem and the stages or blocks of an encoder by name, in their order.

    By the names that torchvision and timm share: stages are ``layer1`` to ``layer4``, or the parts of
    ``stages`` or ``blocks``; the stem is whatever comes before the first, and a layer after the last is one
    more stage. The blocks of a stage are those of its parts that have parts themselves.

    Raises:
        UserError: it has no such parts.
    """
    parts = [(name, part) for name, part in getattr(encoder, "network", encoder).named_children()]
    starts = [place for place, (name, _) in enumerate(parts) if _STAGE.fullmatch(name)]
    if not starts:
        raise UserError(
            f"{type(encoder).__name__} has no parts layer1, stages or blocks: its layers are not known"
        )
    found: dict[str, nn.Module] = {"stem": parts[starts[0] - 1][1]} if starts[0] else {}
    for name, part in (parts[place] for place in starts):
        found |= _inside(name, part) if name in ("stages", "blocks") or kind == "blocks" else {name: part}
    found |= {name: part for name, part in parts[starts[-1] + 1 :] if isinstance(part, nn.Linear)}
    return found


def _inside(name: str, part: nn.Module) -> dict[str, nn.Module]:
    blocks = {f"{name}.{inner}": block for inner, block in part.named_children() if any(block.children())}
    return blocks or {name: part}


def layer_grams(
    encoder: nn.Module, layers: dict[str, nn.Module], views: Tensor, config: FeatureConfig
) -> Tensor:
    """Gram matrices of the layers' outputs and of the pooled features, float64 [P + 1, N, N], on the CPU.

    Of views [N, 3, S, S], by an encoder in evaluation mode. One map is held at a time.
    """
    grams: dict[str, Tensor] = {}
    with ExitStack() as hooks, torch.inference_mode():
        for name, layer in layers.items():

            def keep(_: nn.Module, __: Any, output: Tensor, name: str = name) -> None:
                grams[name] = gram(output)

            hooks.callback(layer.register_forward_hook(keep).remove)
        pooled = gram(encode(encoder, views, config))
    return torch.stack([*(grams[name] for name in layers), pooled])

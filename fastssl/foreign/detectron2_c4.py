"""Names of detectron2's R50-C4 detector, where the fourth stage lies in the head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fastssl.foreign.layouts import COUNTER, LAYOUTS
from pipelines.command.errors import UserError

_HEAD = {  # ours to theirs, ahead of the name of a tensor
    "norm.": "roi_heads.res5.norm.",
    "proposals.head.conv.0.0.": "proposal_generator.rpn_head.conv.",
    "proposals.head.cls_logits.": "proposal_generator.rpn_head.objectness_logits.",
    "proposals.head.bbox_pred.": "proposal_generator.rpn_head.anchor_deltas.",
    "boxes.": "roi_heads.box_predictor.",
    "masks.": "roi_heads.mask_head.",
}
_ENCODER, _BACKBONE, _RES5 = "encoder.", "backbone.", "roi_heads.res5."


def c4_name(ours: str) -> str:
    """The name that detectron2 gives to a tensor of ``fastssl.transfer.networks.faster_rcnn_c4``."""
    if ours.startswith(_ENCODER):
        theirs = LAYOUTS["detectron2"].rename(ours.removeprefix(_ENCODER))
        return _RES5 + theirs.removeprefix("res5.") if theirs.startswith("res5.") else _BACKBONE + theirs
    start = next(start for start in _HEAD if ours.startswith(start))
    return _HEAD[start] + ours.removeprefix(start)


def load_c4(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> bool:
    """Load detectron2's weights into a ``FasterRCNNC4``.

    Args:
        network: of the same layers and classes.
        tensors: those of a trained detector (``backbone.``, ``roi_heads.``), or of an encoder ahead of its
            training (``stem.``, ``res2.`` to ``res5.``), as MoCo's and torchvision's converters write them.
        path: of the file, for messages.

    Returns:
        True if the head was loaded too, False if the file has an encoder alone.

    Raises:
        UserError: tensors are missing or have another shape; the network is left as it was.
    """
    whole = any(name.startswith(_RES5) for name in tensors)
    names = {ours: c4_name(ours) for ours in network.state_dict() if whole or ours.startswith(_ENCODER)}
    if not whole:
        prefix = _BACKBONE if any(name.startswith(_BACKBONE) for name in tensors) else ""
        names = {
            ours: prefix + theirs.removeprefix(_BACKBONE).replace(_RES5, "res5.")
            for ours, theirs in names.items()
        }
    own = network.state_dict()
    astray = [
        theirs
        for ours, theirs in names.items()
        if not ours.endswith(COUNTER) and getattr(tensors.get(theirs), "shape", None) != own[ours].shape
    ]
    if astray:
        raise UserError(
            f"{path} is no such R-CNN C4 of detectron2: {len(astray)} of {len(names)} tensors are missing or "
            f"have another shape, first {astray[0]}; depth, classes, masks and norm must be the same"
        )
    with torch.no_grad():
        for ours, theirs in names.items():
            if theirs in tensors:
                own[ours].copy_(tensors[theirs])
    return whole


def with_res5_in_the_backbone(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A C4 detector's tensors with the whole encoder under ``backbone.``; other tensors as they are."""
    if not any(name.startswith(_RES5) for name in tensors):
        return tensors
    return {
        name.replace(_RES5, _BACKBONE + "res5."): value
        for name, value in tensors.items()
        if not name.startswith(_RES5 + "norm.")
    }

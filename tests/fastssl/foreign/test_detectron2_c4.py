"""Weights of detectron2's R50-C4, before and after its training, under the names that its code gives them."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastssl.foreign.detectron2_c4 import c4_name, load_c4
from fastssl.foreign.encoder import foreign_encoder
from fastssl.models import ResNet
from fastssl.models.backbone import build_backbone
from fastssl.transfer.networks.detector_settings import DetectorSettings
from fastssl.transfer.networks.faster_rcnn_c4 import FasterRCNNC4
from pipelines.command.errors import UserError
from tests.fastssl.foreign.test_foreign_encoder import detectron2
from tests.helpers.dense_batches import CLASSES, encoder

PATH = Path("model_final.pth")


def network(seed: int, classes: int = CLASSES) -> Any:
    backbone = encoder(seed)
    torch.manual_seed(seed)
    found: Any = FasterRCNNC4(backbone, classes, replace(DetectorSettings().small(), masks=True))
    torch.nn.init.normal_(found.norm.bias)
    return found.eval()


def detector_file(trained: FasterRCNNC4) -> dict[str, Tensor]:
    """The state_dict of a trained detector in detectron2."""
    state = trained.state_dict()
    converted = detectron2({k[8:]: v for k, v in state.items() if k.startswith("encoder.")})["model"]
    found = {}
    for name, value in converted.items():
        room = "roi_heads." if name.startswith("res5") else "backbone."
        if not name.endswith("num_batches_tracked"):
            found[room + name] = torch.from_numpy(value)
    for part in ("weight", "bias", "running_mean", "running_var"):
        found[f"roi_heads.res5.norm.{part}"] = state[f"norm.{part}"]
    for part in ("weight", "bias"):
        found[f"proposal_generator.rpn_head.conv.{part}"] = state[f"proposals.head.conv.0.0.{part}"]
        found[f"proposal_generator.rpn_head.objectness_logits.{part}"] = state[
            f"proposals.head.cls_logits.{part}"
        ]
        found[f"proposal_generator.rpn_head.anchor_deltas.{part}"] = state[f"proposals.head.bbox_pred.{part}"]
        found[f"roi_heads.box_predictor.cls_score.{part}"] = state[f"boxes.cls_score.{part}"]
        found[f"roi_heads.box_predictor.bbox_pred.{part}"] = state[f"boxes.bbox_pred.{part}"]
        found[f"roi_heads.mask_head.deconv.{part}"] = state[f"masks.deconv.{part}"]
        found[f"roi_heads.mask_head.predictor.{part}"] = state[f"masks.predictor.{part}"]
    found["proposal_generator.anchor_generator.cell_anchors.0"] = torch.zeros(12, 4)
    return found


def test_a_trained_detector() -> None:
    trained, fresh = network(1), network(2)
    assert load_c4(fresh, detector_file(trained), PATH)
    expected = trained.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in fresh.state_dict().items())


def test_the_pre_trained_encoder_of_mocos_converter() -> None:
    pretrained, fresh = encoder(1), network(2)
    before = copy.deepcopy(fresh.state_dict())
    model = detectron2(pretrained.state_dict())["model"]
    assert not load_c4(fresh, {name: torch.from_numpy(value) for name, value in model.items()}, PATH)
    after = fresh.state_dict()
    assert all(
        torch.equal(value, after[f"encoder.{name}"]) for name, value in pretrained.state_dict().items()
    )
    heads = [name for name in after if not name.startswith("encoder.")]
    assert all(torch.equal(before[name], after[name]) for name in heads)


def test_names_of_r50() -> None:
    """Every name has one of the forms in detectron2's checkpoints of R50-C4, and no two are the same."""
    with torch.device("meta"):
        names = list(map(c4_name, FasterRCNNC4(build_backbone(ResNet.Config()), 20).state_dict()))
    norm = r"norm\.(weight|bias|running_mean|running_var|num_batches_tracked)"
    block = rf"\d\.((conv[123]|shortcut)\.(weight|{norm}))"
    forms = [
        rf"backbone\.stem\.conv1\.(weight|{norm})",
        rf"backbone\.res[234]\.{block}",
        rf"roi_heads\.res5\.({block}|{norm})",
        r"proposal_generator\.rpn_head\.(conv|objectness_logits|anchor_deltas)\.(weight|bias)",
        r"roi_heads\.box_predictor\.(cls_score|bbox_pred)\.(weight|bias)",
    ]
    assert not [name for name in names if not re.fullmatch("|".join(forms), name)]
    assert len(set(names)) == len(names)


def test_a_detector_of_other_classes_is_refused_and_nothing_is_loaded() -> None:
    fresh = network(2)
    before = copy.deepcopy(fresh.state_dict())
    with pytest.raises(UserError, match=r"first roi_heads\.box_predictor\.cls_score\.weight; depth, classes"):
        load_c4(fresh, detector_file(network(1, classes=CLASSES + 1)), PATH)
    assert all(torch.equal(before[name], value) for name, value in fresh.state_dict().items())


def test_the_encoder_of_a_detector(tmp_path: Path) -> None:
    """It is found under both prefixes, and evaluated as any other."""
    trained = network(1)
    path = tmp_path / "model_final.pth"
    torch.save({"model": detector_file(trained), "iteration": 24_000}, path)
    found = foreign_encoder(path)
    assert found.layout == "detectron2"
    expected = trained.encoder.state_dict()
    state = found.encoder.state_dict()
    assert all(torch.equal(expected[name], state[name]) for name in state if "tracked" not in name)

"""COCO detection and instance segmentation by Mask R-CNN, 90,000 steps of 16 images ("1x")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from fastssl.transfer.scores.coco_ap import CocoAp
from fastssl.transfer.tasks.detection import Detection
from pipelines.command.ranges import Count, CountOrZero, Positive, SharesWithinOne
from pipelines.targets import TargetKind


@dataclass(frozen=True, kw_only=True)
class CocoC4(Detection):
    """COCO: Mask R-CNN C4, as in MoCo's code (He et al., 2020) and Huang et al. (2022)."""

    needs: ClassVar[frozenset[TargetKind]] = frozenset({"boxes", "masks"})
    masks: ClassVar[bool] = True
    published_steps: ClassVar[int] = 90_000
    paper: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "MoCo v2": {"AP": 0.388, "mask_AP": 0.340},
        "MoCo v2+": {"AP": 0.394, "mask_AP": 0.345},
        "BYOL, LARS": {"AP": 0.353, "mask_AP": 0.311},
    }

    def evaluator(self, class_names: Sequence[str]) -> CocoAp:
        """COCO's AP of boxes and masks."""
        return CocoAp(class_names, masks=True)


@dataclass(frozen=True, kw_only=True)
class CocoFpn(CocoC4):
    """COCO: Mask R-CNN FPN, as in MoCo's code (He et al., 2020) and Huang et al. (2022)."""

    pyramid: ClassVar[bool] = True
    paper: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "MoCo v2": {"AP": 0.395, "mask_AP": 0.358},
        "MoCo v2+": {"AP": 0.403, "mask_AP": 0.365},
        "BYOL, LARS": {"AP": 0.408, "mask_AP": 0.369},
    }


@dataclass(frozen=True, kw_only=True)
class CocoFpnMSBReg(CocoFpn):
    """COCO: Mask R-CNN FPN with the rate and warm-up of Moon et al. (2022)."""

    paper: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "MoCo": {"AP": 0.404, "mask_AP": 0.364},
        "BYOL": {"AP": 0.416, "mask_AP": 0.372},
        "MSBReg": {"AP": 0.418, "mask_AP": 0.378},
    }

    learning_rate: Positive = 0.05
    """Peak of the learning rate, at this batch size."""
    warmup_steps: CountOrZero = 50
    """Steps in which the rate rises, from a thousandth."""


@dataclass(frozen=True, kw_only=True)
class CocoFpnSiMo(CocoFpn):
    """COCO: Mask R-CNN FPN for 12 epochs, as Zhu et al. (EqCo, SiMo; 2021) train.

    They give a rate of .2 and no batch; .2 fits 160 images where .02 fits 16, which is the default.
    """

    paper: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "random": {"AP": 0.314, "AP50": 0.494, "AP75": 0.340},
        "supervised": {"AP": 0.390, "AP50": 0.591, "AP75": 0.426},
        "MoCo v2": {"AP": 0.391, "AP50": 0.592, "AP75": 0.425},
        "SiMo": {"AP": 0.390, "AP50": 0.592, "AP75": 0.423},
    }

    epochs: Count = 12
    """Passes over the images."""
    drops: SharesWithinOne = (7 / 12, 11 / 12)
    """Drops of the rate to a tenth, as shares of the training."""

    def paper_steps(self, images: int) -> int:
        """Steps of the epochs."""
        return self.epochs * images // self.batch_size

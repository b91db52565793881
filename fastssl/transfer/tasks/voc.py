"""PASCAL VOC detection by Faster R-CNN C4, as in MoCo's code (He et al., 2020) and Huang et al. (2022).

VOC07 is ``--data VOCdevkit/VOC2007``; VOC07+12 is ``--data VOCdevkit/VOC2007 --data
VOCdevkit/VOC2012:trainval --test-data VOCdevkit/VOC2007``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from fastssl.transfer.scores.voc_ap import VocAp
from fastssl.transfer.tasks.detection import Detection
from pipelines.command.ranges import CountOrZero, Counts, SharesWithinOne


@dataclass(frozen=True, kw_only=True)
class Voc07C4(Detection):
    """VOC07 detection: Faster R-CNN C4, 9,000 steps on trainval2007, measured on test2007."""

    published_steps: ClassVar[int] = 9000
    paper: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "MoCo v2": {"AP50": 0.765},
        "MoCo v2+": {"AP50": 0.771},
        "BYOL, LARS": {"AP50": 0.717, "AP": 0.388, "AP75": 0.370},
    }

    drops: SharesWithinOne = (18 / 24, 22 / 24)
    """Drops of the rate to a tenth, as shares of the training."""
    warmup_steps: CountOrZero = 100
    """Steps in which the rate rises, from a thousandth."""
    short_sides: Counts = tuple(range(480, 801, 32))
    """Short side of a training image, pixels, one of these by chance."""

    def evaluator(self, class_names: Sequence[str]) -> VocAp:
        """VOC's AP."""
        return VocAp(class_names)


@dataclass(frozen=True, kw_only=True)
class Voc0712C4(Voc07C4):
    """VOC07+12 detection: Faster R-CNN C4, 24,000 steps on both trainvals, measured on test2007."""

    published_steps: ClassVar[int] = 24_000
    paper: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "MoCo v2": {"AP50": 0.822},
        "MoCo v2+": {"AP50": 0.827},
        "BYOL, LARS": {"AP50": 0.791, "AP": 0.487, "AP75": 0.517},
    }

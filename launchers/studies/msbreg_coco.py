"""Detection and instance segmentation on COCO from MSBReg and its rivals.

Moon, Buracas, Park, Kim, Canny, "An embedding-dynamic approach to self-supervised learning" (2022),
supplement, table 2: ResNet-50, Mask R-CNN with FPN, box and mask AP. Expected, %: SimCLR 39.7, 35.8; MoCo
40.4, 36.4; BYOL 41.6, 37.2; Barlow Twins 40.0, 36.7; MSBReg (K 4) 41.8, 37.8. VICReg (39.4, 36.4), SwAV
(41.6, 37.8) and OBoW (40.8, 36.4) have no recipe here. The table does not say how long the others were
trained: here as their own recipes have it.

The transfer is asked for: ``--columns coco-fpn-msbreg --transfer-data coco=DIR``.

Compute: 5 runs of 200 to 1000 epochs of ImageNet, and a transfer of each.
"""

from __future__ import annotations

from launchers.studies.build import recipe_run
from launchers.studies.dense_numbers import dense_figure, with_dense
from launchers.sweeps.study import Scale, Study

_TABLE = "table 2 of MSBReg"
_ROWS = {
    "simclr": ("SimCLR", "simclr-imagenet"),
    "moco-v2": ("MoCo", "moco-v2-imagenet"),
    "byol": ("BYOL", "byol-asymmetric-imagenet"),
    "barlow-twins": ("Barlow Twins", "barlow-twins-imagenet"),
    "msbreg": ("MSBReg", "msbreg-imagenet"),
}


def study(scale: Scale) -> Study:
    """The study at a scale."""
    return Study(
        title="MSBReg and its rivals on COCO",
        axes=("method",),
        runs=tuple(
            recipe_run(
                scale, name, recipe, {"method": method}, row=method, paper=with_dense(None, _TABLE, method)
            )
            for name, (method, recipe) in _ROWS.items()
        ),
        figures=(dense_figure(scale, "coco-fpn-msbreg", "AP", "Box AP on COCO", "method"),),
        scale=scale,
    )

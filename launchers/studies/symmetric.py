"""BYOL, MoCo v2+ and S-MoCo v2+, which has a predictor on both branches, in linear evaluation and transfer.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning"
(2022), table 4: ResNet-50, 200 epochs of ImageNet, all with SGD and BYOL's augmentation. Expected linear
top-1, %: 72.1, 72.4, 71.2; the transfers differ by 0.4 at most. Those of BYOL are not the ones of table 2,
which has 76.2, 82.4, 38.8, 33.9, 39.9, 36.1, 77.5 at the same linear accuracy.

The transfers are asked for: ``--columns linear,voc07,voc0712,coco-c4,coco-fpn,cityscapes --transfer-data
voc07=DIR ...``.

Compute: 3 runs of 200 epochs, 256 M images each, and up to 5 transfers of each.
"""

from __future__ import annotations

from launchers.studies.build import recipe_run
from launchers.studies.dense_numbers import dense_figures
from launchers.sweeps.study import Figure, Scale, Study

_ROWS = {
    "byol": ("BYOL", "byol-sgd-imagenet"),
    "moco-v2-plus": ("MoCo v2+", "moco-v2-plus-complex-imagenet"),
    "s-moco-v2-plus": ("S-MoCo v2+", "s-moco-v2-plus-imagenet"),
}


def study(scale: Scale) -> Study:
    """The study at a scale."""
    return Study(
        title="An asymmetric predictor or a symmetric one: linear evaluation and transfer",
        axes=("model",),
        runs=tuple(
            recipe_run(scale, name, recipe, {"model": model}, row=model, dense=("table 4", model))
            for name, (model, recipe) in _ROWS.items()
        ),
        figures=(
            Figure(title="Linear top-1", x="model", y="linear.top1"),
            *dense_figures(scale, "model"),
        ),
        scale=scale,
    )

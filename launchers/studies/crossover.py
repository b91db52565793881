"""MoCo v2+ and BYOL, each pre-trained with SGD and with LARS, and transferred with SGD.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning"
(2022), table 2: ResNet-50, 200 epochs of ImageNet. Expected linear top-1, %: MoCo v2+ 72.0 (SGD) and 72.5
(LARS), BYOL 72.1 and 72.4. With LARS the networks without a norm of their own on top of the encoder lose:
AP50 on VOC07 77.1 and 62.9, 76.2 and 71.7; Mask R-CNN with FPN does not. The mIoU of BYOL with LARS is 75.2
here and 76.4 in table 1.

The transfers are asked for: ``--columns linear,voc07,voc0712,coco-c4,coco-fpn,cityscapes --transfer-data
voc07=DIR ...``.

Compute: 4 runs of 200 epochs, 256 M images each, and up to 5 transfers of each.
"""

from __future__ import annotations

from launchers.studies.build import recipe_run
from launchers.studies.dense_numbers import dense_figures
from launchers.sweeps.study import Figure, Scale, Study

_CELLS = (
    ("moco-v2-plus-sgd", "MoCo v2+", "SGD", "moco-v2-plus-imagenet"),
    ("moco-v2-plus-lars", "MoCo v2+", "LARS", "moco-v2-plus-lars-imagenet"),
    ("byol-sgd", "BYOL", "SGD", "byol-sgd-imagenet"),
    ("byol-lars", "BYOL", "LARS", "byol-imagenet"),
)


def study(scale: Scale) -> Study:
    """The study at a scale."""
    return Study(
        title="MoCo v2+ and BYOL pre-trained with SGD and with LARS, transferred with SGD",
        axes=("model", "optimizer"),
        runs=tuple(
            recipe_run(
                scale,
                name,
                recipe,
                {"model": model, "optimizer": optimizer},
                row=f"{model}, {optimizer}",
                dense=("table 2", f"{model}, {optimizer}"),
            )
            for name, model, optimizer, recipe in _CELLS
        ),
        figures=(
            Figure(title="Linear top-1", x="optimizer", y="linear.top1", series="model"),
            *dense_figures(scale, "optimizer", "model"),
        ),
        scale=scale,
    )

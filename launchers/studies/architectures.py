"""Both ends of the ladder with other backbones.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning"
(2022), supplement B.3, table 7: ResNet-18 and ResNet-101, 100 epochs of ImageNet, linear top-1. Expected, %:
MoCo v2 51.9 and 65.0, MoCo v2+ 57.3 and 70.8, BYOL with SGD 57.8 and 71.7; AP50, AP and AP75 on VOC07 and
VOC07+12 (``--columns linear,voc07,voc0712``) stand beside.

Compute: 6 runs of 100 epochs, 128 M images each. Tiny: ResNet-9 at two widths.
"""

from __future__ import annotations

from launchers.studies.build import recipe_run
from launchers.studies.dense_numbers import dense_figure
from launchers.sweeps.study import Figure, Scale, Study

_METHODS = {
    "MoCo v2": ("moco-v2", "moco-v2"),
    "MoCo v2+": ("moco-v2-plus", "moco-v2-plus-complex"),
    "BYOL-SGD": ("byol-sgd", "byol-sgd"),
}
_TINY_WIDTHS = {18: 0.125, 101: 0.25}  # in place of these depths


def study(scale: Scale) -> Study:
    """The study at a scale."""
    runs = tuple(
        recipe_run(
            scale,
            f"{short}-resnet{depth}" if scale == "paper" else f"{short}-width-{width:g}",
            f"{recipe}-r{depth}-100ep-imagenet",
            {"backbone": f"resnet{depth}" if scale == "paper" else f"resnet9 x{width:g}", "method": method},
            {} if scale == "paper" else {"backbone.width": width},
            dense=("table 7", f"ResNet-{depth}, {method}") if scale == "paper" else None,
        )
        for depth, width in _TINY_WIDTHS.items()
        for method, (short, recipe) in _METHODS.items()
    )
    return Study(
        title="MoCo v2, MoCo v2+ and BYOL with other backbones",
        axes=("backbone", "method"),
        runs=runs,
        figures=(
            Figure(title="Linear top-1", x="method", y="linear.top1", series="backbone"),
            dense_figure(scale, "voc07", "AP50", "AP50 on VOC07", "method", "backbone"),
        ),
        scale=scale,
    )

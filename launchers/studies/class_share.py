"""Pre-training on a share of the classes, with as many steps as on all.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning"
(2022), supplement B.2, figure 8: 10, 20, 50, 70 and 100 % of ImageNet's classes, all their images, supervised
and self-supervised, linear top-1 on all classes. A plot, and it does not state the epochs: 100 here, those of
table 6, whose numbers stand beside the runs on all classes. Expected: accuracy rises with the share, for
supervised training most steeply; detection and segmentation (``--columns``) are level from 50 % on.

Compute: 15 runs of 100 epochs, 128 M images each.
"""

from __future__ import annotations

from launchers.studies.build import recipe_run
from launchers.studies.dense_numbers import dense_figures
from launchers.sweeps.study import Figure, Scale, Study

SHARES = (0.1, 0.2, 0.5, 0.7, 1.0)
# name, recipe, row of table 6
_METHODS = {
    "supervised": ("supervised", "supervised-imagenet", "1000"),
    "MoCo v2+": ("moco-v2-plus", "moco-v2-plus-complex-100ep-imagenet", "MoCo v2+"),
    "BYOL": ("byol", "byol-sgd-100ep-imagenet", "BYOL"),
}


def study(scale: Scale) -> Study:
    """The study at a scale; the scenes' ten classes have no tenth of which two are left: from 20 % on."""
    runs = tuple(
        recipe_run(
            scale,
            f"{name}-{share:g}",
            recipe,
            {"method": method, "class_share": share},
            {"class_share": share},
            row=f"{method}, {share:.0%} of the classes",
            dense=("table 6", table_row) if share == 1 else None,
        )
        for method, (name, recipe, table_row) in _METHODS.items()
        for share in (SHARES if scale == "paper" else SHARES[1:])
    )
    return Study(
        title="Accuracy over the share of classes that pre-training sees",
        axes=("method", "class_share"),
        runs=runs,
        figures=(
            Figure(title="Linear top-1 over the share", x="class_share", y="linear.top1", series="method"),
            *dense_figures(scale, "class_share", "method", "over the share"),
        ),
        scale=scale,
    )

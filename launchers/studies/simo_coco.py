"""Detection on COCO from SiMo, MoCo v2, supervised pre-training and random weights.

Zhu, Huang, Li, Zhang, Sun, "EqCo: equivalent rules for self-supervised contrastive learning" (2020), table 8:
ResNet-50 with FPN, 12 epochs. Expected box AP, %: random 31.4, supervised 39.0, MoCo v2 39.1, SiMo 39.0;
AP50, AP75 and those of small, medium and large objects stand beside. It does not say which SiMo: here K 256
and alpha 65536, its best at 200 epochs.

The transfer is asked for: ``--columns coco-fpn-simo --transfer-data coco=DIR``.

Compute: 3 runs of 100 or 200 epochs of ImageNet, and 4 transfers.
"""

from __future__ import annotations

from launchers.studies.build import recipe_run
from launchers.studies.dense_numbers import dense_figure, with_dense
from launchers.sweeps.study import Scale, Study

_TABLE = "table 8 of EqCo"
_ROWS = {
    "supervised": ("supervised", "supervised-imagenet"),
    "moco-v2": ("MoCo v2", "moco-v2-k65536-imagenet"),
    "simo": ("SiMo", "simo-k256-a65536-imagenet"),
}


def study(scale: Scale) -> Study:
    """The study at a scale."""
    random = recipe_run(
        scale,
        "random",
        "supervised-imagenet",
        {"pretraining": "random"},
        row="random",
        paper=with_dense(None, _TABLE, "random"),
        evaluations=(),
        trained=False,
    )
    pretrained = (
        recipe_run(
            scale, name, recipe, {"pretraining": method}, row=method, paper=with_dense(None, _TABLE, method)
        )
        for name, (method, recipe) in _ROWS.items()
    )
    return Study(
        title="SiMo, MoCo v2, supervised and random weights on COCO",
        axes=("pretraining",),
        runs=(random, *pretrained),
        figures=(dense_figure(scale, "coco-fpn-simo", "AP", "Box AP on COCO", "pretraining"),),
        scale=scale,
    )

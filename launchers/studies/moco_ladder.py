"""MoCo v2 to MoCo v2+ in single steps, S-MoCo v2+ and BYOL, with SGD and with LARS.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning"
(2022): figure 2 and tables 1, 2 and 4, ResNet-50, 200 epochs of ImageNet. Measured here: linear top-1 and, as
in figure 2, linear top-1 on CIFAR-100 (``--transfer-data cifar100=DIR``; a plot, its settings not stated).
Detection and segmentation are not run; the report has the paper's.

Expected linear top-1, %: MoCo v2 67.2 (their repository); + SyncBN, + predictor: only plotted; SyncBN alone,
without the batch norm that the step puts into the projector: no number; + momentum ascending 70.0 (72.0 less
the 2.0 that section 4.1 gives to the last step); + symmetric loss = MoCo v2+ 72.0; + complex augmentation
72.4; S-MoCo v2+ 71.2; BYOL with SGD 72.1, with LARS 72.4; MoCo v2+ with LARS 72.5.

Compute: 11 runs of 200 epochs, 256 M images each; steps without a symmetric loss cost about two thirds.
"""

from __future__ import annotations

from dataclasses import replace

from fastssl.config import Paper
from fastssl.recipes import find_recipe
from launchers.studies.build import recipe_run
from launchers.sweeps.study import Figure, Scale, Study

_STEPS = (
    ("moco-v2", "MoCo v2", "SGD", "moco-v2-imagenet"),
    ("sync-bn", "+ SyncBN", "SGD", "moco-v2-sync-bn-imagenet"),
    ("sync-bn-alone", "SyncBN alone", "SGD", "moco-v2-sync-bn-alone-imagenet"),
    ("predictor", "+ Asymmetric Predictor", "SGD", "moco-v2-predictor-imagenet"),
    ("momentum-ascending", "+ Momentum Ascending", "SGD", "moco-v2-momentum-ascending-imagenet"),
    ("moco-v2-plus", "+ Symmetric Loss (MoCo v2+)", "SGD", "moco-v2-plus-imagenet"),
    ("complex", "+ More Complex Augmentations", "SGD", "moco-v2-plus-complex-imagenet"),
    ("s-moco-v2-plus", "S-MoCo v2+", "SGD", "s-moco-v2-plus-imagenet"),
    ("byol-sgd", "BYOL", "SGD", "byol-sgd-imagenet"),
    ("byol-lars", "BYOL", "LARS", "byol-imagenet"),
    ("moco-v2-plus-lars", "MoCo v2+", "LARS", "moco-v2-plus-lars-imagenet"),
)
_CIFAR = "cifar100"
_METRICS = (
    *("VOC07 AP50", "VOC07+12 AP50", "COCO C4 box AP", "COCO C4 mask AP"),
    *("COCO FPN box AP", "COCO FPN mask AP", "CityScapes mIoU"),
)
# table, and %: BYOL with LARS has an mIoU of 75.2 in table 2, BYOL with SGD other transfer in table 4
_TRANSFER = {
    "moco-v2": ("table 1", (76.5, 82.2, 38.8, 34.0, 39.5, 35.8, 77.4)),
    "sync-bn": ("table 1", (76.7, 82.0, 38.6, 33.7, 39.7, 35.8, 76.9)),
    "predictor": ("table 1", (76.7, 82.1, 39.0, 34.1, 39.8, 35.9, 77.3)),
    "momentum-ascending": ("table 1", (77.0, 82.3, 39.0, 34.3, 39.7, 35.8, 77.4)),
    "moco-v2-plus": ("table 1", (77.1, 82.7, 39.4, 34.5, 40.3, 36.5, 77.6)),
    "complex": ("table 1", (77.3, 82.7, 39.2, 34.4, 40.4, 36.7, 77.6)),
    "s-moco-v2-plus": ("table 4", (77.1, 82.4, 39.1, 34.2, 40.6, 36.7, 77.2)),
    "byol-sgd": ("table 2", (76.2, 82.4, 38.8, 33.9, 39.9, 36.1, 77.5)),
    "byol-lars": ("table 1", (71.7, 79.1, 35.3, 31.1, 40.8, 36.9, 76.4)),
    "moco-v2-plus-lars": ("table 2", (62.9, 74.4, 32.1, 28.9, 40.0, 36.2, 73.2)),
}


def study(scale: Scale) -> Study:
    """The study at a scale."""
    runs = tuple(
        recipe_run(
            scale,
            name,
            recipe,
            {"model": model, "optimizer": optimizer},
            row=f"{model}, {optimizer}",
            paper=_with_transfer(name, find_recipe(recipe).paper),
            transfer=(f"linear@{_CIFAR}",),
        )
        for name, model, optimizer, recipe in _STEPS
    )
    return Study(
        name="moco-ladder",
        title="From MoCo v2 to MoCo v2+ step by step, and BYOL",
        about=__doc__ or "",
        axes=("model", "optimizer"),
        runs=runs,
        figures=(
            Figure(title="Linear top-1 along the ladder", x="model", y="linear.top1", series="optimizer"),
            Figure(
                title="Linear top-1 on CIFAR-100 along the ladder",
                x="model",
                y=f"linear.top1@{_CIFAR}",
                series="optimizer",
            ),
            Figure(title="kNN top-1 during training", x="epoch", y="knn_top1", series="model"),
        ),
        scale=scale,
    )


def _with_transfer(name: str, paper: Paper | None) -> Paper | None:
    """A recipe's paper with the numbers of transfer, as fractions."""
    if paper is None or name not in _TRANSFER:
        return paper
    table, percents = _TRANSFER[name]
    numbers = tuple((metric, round(each / 100, 3)) for metric, each in zip(_METRICS, percents, strict=True))
    return replace(paper, place=f"{table} (transfer); {paper.place}", results=(*paper.results, *numbers))

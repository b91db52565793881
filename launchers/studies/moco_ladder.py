"""MoCo v2 to MoCo v2+ in single steps, S-MoCo v2+ and BYOL, with SGD and with LARS.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning"
(2022): figure 2 and tables 1, 2 and 4, ResNet-50, 200 epochs of ImageNet. Measured here: linear top-1 and, as
in figure 2, linear top-1 on CIFAR-100 (``--transfer-data cifar100=DIR``; a plot, its settings not stated).
Detection and segmentation, hours on a GPU each: ``--columns
linear,voc07,voc0712,coco-c4,coco-fpn,cityscapes``.

Expected linear top-1, %: MoCo v2 67.2 (their repository); + SyncBN, + predictor: only plotted; SyncBN alone,
without the batch norm that the step puts into the projector: no number; + momentum ascending 70.0 (72.0 less
the 2.0 that section 4.1 gives to the last step); + symmetric loss = MoCo v2+ 72.0; + complex augmentation
72.4; S-MoCo v2+ 71.2; BYOL with SGD 72.1, with LARS 72.4; MoCo v2+ with LARS 72.5.

Compute: 11 runs of 200 epochs, 256 M images each; steps without a symmetric loss cost about two thirds.
"""

from __future__ import annotations

from launchers.studies.build import recipe_run
from launchers.studies.dense_numbers import dense_figures
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
_DENSE = {  # rows of detection and segmentation; the other models are rows of table 1
    "sync-bn-alone": None,
    "s-moco-v2-plus": ("table 4", "S-MoCo v2+"),
    "byol-sgd": ("table 2", "BYOL, SGD"),
    "byol-lars": ("table 1", "BYOL, LARS"),
    "moco-v2-plus-lars": ("table 2", "MoCo v2+, LARS"),
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
            dense=_DENSE.get(name, ("table 1", model)),
            transfer=(f"linear@{_CIFAR}",),
        )
        for name, model, optimizer, recipe in _STEPS
    )
    return Study(
        title="From MoCo v2 to MoCo v2+ step by step, and BYOL",
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
            *dense_figures(scale, "model", "optimizer", "along the ladder"),
        ),
        scale=scale,
    )

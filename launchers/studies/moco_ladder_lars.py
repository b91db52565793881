"""Each step of the ladder trained as BYOL is: with LARS, at a batch of 4096.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning"
(2022), section 3.2: "when training with LARS" MoCo v2+ takes the settings of BYOL. ResNet-50, 200 epochs of
ImageNet. Expected: MoCo v2+ 72.5 % linear top-1 (table 2); the other steps are in no table.

Compute: 8 runs of 200 epochs, 256 M images each; steps without a symmetric loss cost about two thirds.
"""

from __future__ import annotations

import dataclasses

from fastssl.config import Config
from fastssl.recipes.moco import BYOL_LARS, LADDER, moco_v2_plus_imagenet, moco_v2_plus_lars_imagenet
from fastssl.recipes.variant import Recipe, with_changes
from launchers.studies.build import recipe_run
from launchers.sweeps.study import Figure, Scale, Study


def study(scale: Scale) -> Study:
    """The study at a scale."""
    runs = []
    for step in LADDER:
        model = step().recipe.removesuffix("-imagenet")
        config = moco_v2_plus_lars_imagenet() if step is moco_v2_plus_imagenet else _with_lars(step)
        runs.append(recipe_run(scale, f"{model}-lars", config, {"model": model}, row=f"{model}, LARS"))
    return Study(
        title="Each step from MoCo v1 to S-MoCo v2+ with LARS",
        axes=("model",),
        runs=tuple(runs),
        figures=(
            Figure(title="Linear top-1 along the ladder", x="model", y="linear.top1"),
            Figure(title="kNN top-1 during training", x="epoch", y="knn_top1", series="model"),
        ),
        scale=scale,
    )


def _with_lars(step: Recipe) -> Config:
    config = step()
    return dataclasses.replace(config, paper=None, experiment=with_changes(config.experiment, BYOL_LARS))

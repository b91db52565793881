"""MoCo v2 at three batch sizes, its rate in proportion.

Zhu, Huang, Li, Zhang, Sun, "EqCo: equivalent rules for self-supervised contrastive learning" (2020), table 1:
N = 256, 512, 1024 queries a batch under the linear scaling rule, K 65536, 200 epochs of ImageNet. Expected
linear top-1, %: 67.5, 67.5, 67.4. On its 8 GPUs the batch norms of shuffling BN see 32, 64 and 128 images.

Compute: 3 runs of 200 epochs, 256 M images each.
"""

from __future__ import annotations

from fastssl.config import Paper
from fastssl.recipes.papers import EQCO, linear_top1
from launchers.studies.build import recipe_run
from launchers.sweeps.study import Figure, Scale, Study

_GPUS = 8
_NUMBERS = {256: 0.675, 512: 0.675, 1024: 0.674}


def study(scale: Scale) -> Study:
    """The study at a scale; tiny: an eighth of each batch, with 16 images per batch-norm group."""
    runs = []
    for paper_size, number in _NUMBERS.items():
        size = paper_size if scale == "paper" else paper_size // 8
        paper = Paper(title=EQCO, place=f"table 1, N {paper_size}", results=linear_top1(number))
        values = {"batch_size": size}
        changes = values | {"batch_norm_group": size // _GPUS if scale == "paper" else 16}
        recipe = "moco-v2-k65536-imagenet"
        runs.append(recipe_run(scale, f"n{size}", recipe, values, changes, row=f"N {size}", paper=paper))
    return Study(
        title="MoCo v2 over the batch size, under the linear scaling rule",
        axes=("batch_size",),
        runs=tuple(runs),
        figures=(
            Figure(title="Linear top-1 over the batch", x="batch_size", y="linear.top1", log_x=True),
            Figure(title="Images/s over the batch", x="batch_size", y="images_per_s", log_x=True),
        ),
        scale=scale,
    )

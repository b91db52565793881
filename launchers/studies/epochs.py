"""Longer pre-training, and how a run's accuracy evolves: 100 to 500 epochs, and every 50 epochs of 300.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning"
(2022), supplement B.1: figure 6 (supervised, MoCo v2+ and BYOL at 100, 200, 300, 500 epochs) and figure 7
(MoCo v2+ and BYOL at 300 epochs, a checkpoint every 50), both plots, ResNet-50 on ImageNet. MoCo v2+ with
BYOL's augmentation and BYOL with SGD, as in table 4 and 6.

Expected linear top-1, %, where tables have it: MoCo v2+ 69.1 (100 epochs), 72.4 (200); BYOL 69.4, 72.1;
supervised 77.1 (100). It rises with every length. Detection and segmentation (``--columns``), whose numbers
tables 4 and 6 have for 100 and 200 epochs, saturate or fall in the paper, over the length and along a run.

Compute: 12 runs, 3.3 thousand epochs of 1.28 M images.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastssl.recipes import find_recipe
from launchers.studies.build import TINY_EPOCHS, recipe_run
from launchers.studies.dense_numbers import dense_figures
from launchers.sweeps.study import Figure, PlannedRun, Scale, Study, Value

# recipes by epochs; the last one's settings are those of all lengths
_METHODS = {
    "supervised": {100: "supervised-imagenet"},
    "MoCo v2+": {100: "moco-v2-plus-complex-100ep-imagenet", 200: "moco-v2-plus-complex-imagenet"},
    "BYOL": {100: "byol-sgd-100ep-imagenet", 200: "byol-sgd-imagenet"},
}
# of detection and segmentation
_DENSE = {
    ("supervised", 100): ("table 6", "1000"),
    ("MoCo v2+", 100): ("table 6", "MoCo v2+"),
    ("MoCo v2+", 200): ("table 4", "MoCo v2+"),
    ("BYOL", 100): ("table 6", "BYOL"),
    ("BYOL", 200): ("table 4", "BYOL"),
}


def study(scale: Scale) -> Study:
    """The study at a scale; tiny: 2 to 10 epochs, a checkpoint each."""
    return Study(
        title="Accuracy over the length of pre-training, and along it",
        axes=("method", "epochs"),
        runs=tuple(_runs(scale)),
        figures=(
            Figure(title="Linear top-1 over the length", x="epochs", y="linear.top1", series="method"),
            Figure(title="Linear top-1 of kept checkpoints", x="epoch", y="linear.top1", series="method"),
            Figure(title="kNN top-1 during training", x="epoch", y="knn_top1", series="method"),
            *dense_figures(scale, "epochs", "method", "over the length"),
            *dense_figures(scale, "epoch", "method", "of kept checkpoints"),
        ),
        scale=scale,
    )


def _runs(scale: Scale) -> Iterator[PlannedRun]:
    for method, recipes in _METHODS.items():
        for paper_epochs in (100, 200, 300, 500):
            epochs = paper_epochs if scale == "paper" else round(paper_epochs * TINY_EPOCHS)
            every = 50 if scale == "paper" else 1
            followed = paper_epochs == 300 and method != "supervised"  # figure 7
            values: dict[str, Value] = {"method": method, "epochs": epochs}
            yield recipe_run(
                scale,
                f"{method.lower().replace(' ', '-').replace('+', '-plus')}-e{epochs}",
                [*recipes.values()][-1],
                values,
                {"epochs": float(epochs)},
                row=f"{method}, {epochs} epochs",
                paper=find_recipe(recipes[paper_epochs]).paper if paper_epochs in recipes else None,
                dense=_DENSE.get((method, paper_epochs)),
                keep_every=every if followed else None,
                checkpoints=tuple(range(every, epochs, every)) if followed else (),
            )

"""Supervised pre-training with coarser labels, beside self-supervised pre-training without any.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning"
(2022), supplement B.2, table 6: ResNet-50, 100 epochs of ImageNet. Expected linear top-1 on the 1000 classes,
%: supervised with 2 balanced groups (artifact or not) 9.2, 2 imbalanced 0.7, 10: 10.6, 79: 45.4, 127: 53.3,
1000: 77.1; MoCo v2+ 69.1, S-MoCo v2+ 69.3, BYOL 69.4. Detection and segmentation (``--columns``) stand
beside.

`python -m fastssl.classes.taxonomy NAME` prints the rule and the sizes of the groups.

Compute: 9 runs of 100 epochs, 128 M images each. Tiny: groups of the scenes' solids made up for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from launchers.studies.build import recipe_run
from launchers.studies.dense_numbers import dense_figures
from launchers.sweeps.study import Figure, PlannedRun, Scale, Study, Value

_HERE = Path(__file__).resolve().parent
# name, groups as the paper counts them, recipe or taxonomy
_PAPER = (
    ("supervised-2", "2 balanced", "supervised-artifact-imagenet"),
    ("supervised-2-imbalanced", "2 imbalanced", "supervised-up-3-imagenet"),
    ("supervised-10", "10", "supervised-up-2-imagenet"),
    ("supervised-79", "79", "supervised-depth-6-imagenet"),
    ("supervised-127", "127", "supervised-up-1-imagenet"),
    ("supervised-1000", "1000", "supervised-imagenet"),
)
_TINY = (
    ("supervised-2", "2 balanced", str(_HERE / "scenes-2.tsv")),
    ("supervised-2-imbalanced", "2 imbalanced", str(_HERE / "scenes-2-imbalanced.tsv")),
    ("supervised-4", "4", str(_HERE / "scenes-4.tsv")),
    ("supervised-10", "10", "classes"),
)
_WITHOUT_LABELS = (
    ("moco-v2-plus", "MoCo v2+", "moco-v2-plus-complex-100ep-imagenet"),
    ("s-moco-v2-plus", "S-MoCo v2+", "s-moco-v2-plus-100ep-imagenet"),
    ("byol", "BYOL", "byol-sgd-100ep-imagenet"),
)


def study(scale: Scale) -> Study:
    """The study at a scale."""
    return Study(
        title="Supervised pre-training on coarser classes, and self-supervised pre-training",
        axes=("method", "groups"),
        runs=tuple(_runs(scale)),
        figures=(
            Figure(title="Linear top-1", x="groups", y="linear.top1", series="method"),
            *dense_figures(scale, "groups", "method"),
        ),
        scale=scale,
    )


def _runs(scale: Scale) -> Iterator[PlannedRun]:
    for name, groups, source in _PAPER if scale == "paper" else _TINY:
        recipe, changes = (source, {}) if scale == "paper" else ("supervised-imagenet", {"taxonomy": source})
        yield recipe_run(
            scale,
            name,
            recipe,
            {"method": "supervised", "groups": groups},
            changes,
            row=f"supervised, {groups}",
            dense=("table 6", groups) if scale == "paper" else None,
        )
    for name, method, recipe in _WITHOUT_LABELS:
        values: dict[str, Value] = {"method": method, "groups": None}
        yield recipe_run(scale, name, recipe, values, row=method, dense=("table 6", method))

"""Color augmentations taken away one after the other, in the paper's order.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning"
(2022), section 4.3, figure 5: from the augmentation of table 5 first solarization goes, then blur, gray and
color jitter; crop and flip are left. MoCo v2+, S-MoCo v2+ and BYOL (with SGD), 200 epochs of ImageNet. A
plot; with all augmentations table 4 has 72.4, 71.2 and, of BYOL, table 2 72.1 % linear top-1. Expected: the
three lose alike, most where gray goes, in detection and segmentation (``--columns``) too, of which table 4
has numbers.

Compute: 15 runs of 200 epochs, 256 M images each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fastssl.recipes import find_recipe
from launchers.studies.build import at_scale, recipe_run
from launchers.studies.dense_numbers import dense_figures
from launchers.sweeps.study import Figure, PlannedRun, Scale, Study
from pipelines.ops import ColorJitter, GaussianBlur, Grayscale, Solarize

_METHODS = {
    "MoCo v2+": ("moco-v2-plus", "moco-v2-plus-complex-imagenet"),
    "S-MoCo v2+": ("s-moco-v2-plus", "s-moco-v2-plus-imagenet"),
    "BYOL": ("byol", "byol-sgd-imagenet"),
}
_REMOVED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("all", {}),
    ("- solarization", {"solarize": Solarize()}),
    ("- blur", {"blur": GaussianBlur()}),
    ("- gray", {"grayscale": Grayscale()}),
    ("- jitter", {"jitter": ColorJitter()}),
)


def study(scale: Scale) -> Study:
    """The study at a scale."""
    return Study(
        title="Color augmentations taken away one after the other",
        axes=("method", "augmentation"),
        runs=tuple(_runs(scale)),
        figures=(
            Figure(title="Linear top-1", x="augmentation", y="linear.top1", series="method"),
            Figure(title="kNN top-1", x="augmentation", y="knn_top1", series="method"),
            *dense_figures(scale, "augmentation", "method"),
        ),
        scale=scale,
    )


def _runs(scale: Scale) -> Iterator[PlannedRun]:
    for method, (short, recipe) in _METHODS.items():
        (group,) = at_scale(find_recipe(recipe), scale).experiment.views
        spec = group.spec
        for label, removed in _REMOVED:
            spec = replace(spec, **removed)
            yield recipe_run(
                scale,
                f"{short}-{label.replace('- ', 'no-')}",
                recipe,
                {"method": method, "augmentation": label},
                {"views": (replace(group, spec=spec),)},
                row=f"{method}, {label}",
                dense=("table 4", method) if label == "all" else None,
            )

"""Alignment and uniformity of the embeddings of BYOL and MSBReg.

Moon, Buracas, Park, Kim, Canny, "An embedding-dynamic approach to self-supervised learning" (2022),
supplement, table 3: ResNet-18 on ImageNet-100, 300 epochs. Expected linear top-1 (%), alignment, uniformity:
BYOL 71.9, 0.25, -1.52; BYOL + L_uniform 72.1, 0.27, -2.95; BYOL + L_b + L_s 72.8, 0.26, -2.92; MSBReg with 4
views 80.4, 0.36, -3.8. The protocol ``alignment`` measures the last two: two views of each test image through
one network.

Compute: 4 runs of 300 epochs, 38 M images each, of 2 or 4 views.
"""

from __future__ import annotations

from launchers.studies.build import recipe_run
from launchers.sweeps.study import Figure, Scale, Study

_VARIANTS = (
    ("byol", "BYOL", "byol-imagenet100"),
    ("byol-uniformity", "BYOL + L_uniform", "byol-uniformity-imagenet100"),
    ("byol-lb-ls", "BYOL + L_b + L_s", "msbreg-2-views-imagenet100"),
    ("msbreg-4-views", "MSBReg (4 views)", "msbreg-4-views-imagenet100"),
)


def study(scale: Scale) -> Study:
    """The study at a scale."""
    evaluations = ("knn", "linear", "alignment")
    return Study(
        title="Alignment and uniformity of BYOL's and MSBReg's embeddings",
        axes=("method",),
        runs=tuple(
            recipe_run(scale, name, recipe, {"method": method}, row=method, evaluations=evaluations)
            for name, method, recipe in _VARIANTS
        ),
        figures=(
            Figure(title="Alignment", x="method", y="alignment.alignment"),
            Figure(title="Uniformity", x="method", y="alignment.uniformity"),
            Figure(title="Linear top-1", x="method", y="linear.top1"),
            Figure(title="Uniformity during training", x="epoch", y="uniformity", series="method"),
        ),
        scale=scale,
    )

"""BYOL and MSBReg with batch norm and with layer norm in their heads.

Moon, Buracas, Park, Kim, Canny, "An embedding-dynamic approach to self-supervised learning" (2022),
supplement, table 4: ResNet-18 on STL-10, 320 epochs. Expected linear top-1, %: BYOL 89.5; MSBReg 91.4; with
layer norm BYOL 10.6 (it collapses) at a batch of 256 and of 1024, with the Brownian loss alone 75.3, MSBReg
80.7, 82.3 and 78.7 at lambda_b .0005, .005 and .05.

Compute: 8 runs of 320 epochs, 34 M images each, of 2 or 4 views.
"""

from __future__ import annotations

from fastssl.config import Paper
from fastssl.recipes.msbreg import TITLE
from fastssl.recipes.papers import linear_top1
from launchers.studies.build import recipe_run
from launchers.sweeps.study import Figure, Scale, Study

# name, method, norm, batch, lambda_b, recipe, number
_VARIANTS = (
    ("byol-bn", "BYOL", "BN", 256, 0.0, "byol-stl10", 0.895),
    ("msbreg-bn", "MSBReg", "BN", 256, 0.05, "msbreg-stl10", 0.914),
    ("byol-ln", "BYOL", "LN", 256, 0.0, "byol-layer-norm-stl10", 0.106),
    ("byol-lb-ln", "BYOL + L_b", "LN", 256, 0.005, "byol-layer-norm-brownian-stl10", 0.753),
    ("byol-ln-1024", "BYOL", "LN", 1024, 0.0, "byol-layer-norm-stl10", 0.106),
    ("msbreg-ln-5e-4", "MSBReg", "LN", 256, 0.0005, "msbreg-layer-norm-stl10", 0.807),
    ("msbreg-ln-5e-3", "MSBReg", "LN", 256, 0.005, "msbreg-layer-norm-stl10", 0.823),
    ("msbreg-ln-5e-2", "MSBReg", "LN", 256, 0.05, "msbreg-layer-norm-stl10", 0.787),
)


def study(scale: Scale) -> Study:
    """The study at a scale; tiny: a quarter of each batch."""
    runs = []
    for name, method, norm, batch, lambda_b, recipe, number in _VARIANTS:
        place = f"table 4, {method}, {norm}, batch {batch}, lambda_b {lambda_b:g}"
        size = batch if scale == "paper" else batch // 4
        run = recipe_run(
            scale,
            name,
            recipe,
            {"method": method, "norm": norm, "batch_size": size, "lambda_b": lambda_b},
            {"batch_size": size} | ({"method.lambda_b": lambda_b} if lambda_b else {}),
            row=f"{method}, {norm}, batch {size}" + (f", lambda_b {lambda_b:g}" if lambda_b else ""),
            paper=Paper(title=TITLE, place=place, results=linear_top1(number)),
        )
        runs.append(run)
    return Study(
        title="BYOL and MSBReg with batch norm and with layer norm",
        axes=("method", "norm", "batch_size", "lambda_b"),
        runs=tuple(runs),
        figures=(
            Figure(title="Linear top-1 over lambda_b", x="lambda_b", y="linear.top1", series="norm"),
            Figure(title="Spread of the features", x="epoch", y="feature_std", series="method"),
        ),
        scale=scale,
    )

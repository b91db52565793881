"""MSBReg over the number of views and the weights of its two losses.

Moon, Buracas, Park, Kim, Canny, "An embedding-dynamic approach to self-supervised learning" (2022),
supplement, table 5: K in 2, 4, 8, lambda_s in 0, .002, .004, .01, lambda_b in 0, .25, .5, 1, 2; ResNet-18,
ImageNet-100, 300 epochs, LARS, linear top-1. K = 2 without both losses is BYOL.

Expected: all 60 numbers of the table stand in this file; best 72.8 (K 2), 80.4 (K 4, .004, .5), 81.6 (K 8,
.004, .5).

Compute: 60 runs of 300 epochs, 38 M images each, of 2, 4 or 8 views. Tiny: K 2 and 4, each weight at 0 and
its best.
"""

from __future__ import annotations

from fastssl.config import Paper
from fastssl.recipes.msbreg import TITLE
from fastssl.recipes.papers import linear_top1
from launchers.studies.build import recipe_run
from launchers.sweeps.study import Figure, PlannedRun, Scale, Study, Value

# linear top-1, %: by K and lambda_s, over lambda_b
_LAMBDA_B = (0.0, 0.25, 0.5, 1.0, 2.0)
_TABLE_5 = {
    (2, 0.0): (71.9, 72.3, 72.8, 72.3, 71.9),
    (2, 0.002): (72.2, 72.4, 72.4, 72.1, 71.9),
    (2, 0.004): (72.8, 72.8, 72.4, 72.1, 71.2),
    (2, 0.01): (71.1, 71.0, 71.0, 70.7, 70.3),
    (4, 0.0): (78.2, 79.1, 79.7, 79.2, 79.0),
    (4, 0.002): (78.9, 78.8, 79.1, 79.2, 79.2),
    (4, 0.004): (79.7, 80.2, 80.4, 80.1, 79.9),
    (4, 0.01): (79.3, 79.4, 79.2, 79.2, 79.0),
    (8, 0.0): (79.5, 80.1, 80.3, 80.3, 80.2),
    (8, 0.002): (79.8, 80.2, 80.9, 81.1, 80.8),
    (8, 0.004): (80.0, 80.9, 81.6, 81.5, 81.3),
    (8, 0.01): (79.9, 81.2, 81.4, 81.1, 79.8),
}
_RECIPES = {2: "msbreg-2-views-imagenet100", 4: "msbreg-4-views-imagenet100", 8: "msbreg-imagenet100"}


def study(scale: Scale) -> Study:
    """The study at a scale."""
    runs = [
        _run(scale, views, lambda_s, lambda_b, number)
        for (views, lambda_s), numbers in _TABLE_5.items()
        for lambda_b, number in zip(_LAMBDA_B, numbers, strict=True)
        if scale == "paper" or (views < 8 and lambda_s in (0.0, 0.004) and lambda_b in (0.0, 0.5))
    ]
    return Study(
        title="MSBReg over the number of views, lambda_s and lambda_b",
        axes=("num_views", "lambda_s", "lambda_b"),
        runs=tuple(runs),
        figures=(
            Figure(title="Linear top-1 over lambda_b", x="lambda_b", y="linear.top1", series="num_views"),
            Figure(title="Linear top-1 over lambda_s", x="lambda_s", y="linear.top1", series="num_views"),
            Figure(title="Linear top-1 over the views", x="num_views", y="linear.top1", series="lambda_s"),
        ),
        scale=scale,
    )


def _run(scale: Scale, views: int, lambda_s: float, lambda_b: float, number: float) -> PlannedRun:
    values: dict[str, Value] = {"num_views": views, "lambda_s": lambda_s, "lambda_b": lambda_b}
    place = f"table 5, K {views}, lambda_s {lambda_s:g}, lambda_b {lambda_b:g}"
    return recipe_run(
        scale,
        f"k{views}-ls{lambda_s:g}-lb{lambda_b:g}",
        _RECIPES[views],
        values,
        {"method.lambda_s": lambda_s, "method.lambda_b": lambda_b},
        row=f"K {views}, lambda_s {lambda_s:g}, lambda_b {lambda_b:g}",
        paper=Paper(title=TITLE, place=place, results=linear_top1(round(number / 100, 4))),
    )

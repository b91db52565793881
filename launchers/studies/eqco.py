"""EqCo over the number of negatives K and over alpha: MoCo, MoCo v2, SimCLR and SiMo.

Zhu, Huang, Li, Zhang, Sun, "EqCo: equivalent rules for self-supervised contrastive learning" (2020),
ResNet-50 on ImageNet, linear top-1: figures 2 and 3 (with and without EqCo over K: plots, whose tick values
are chosen here; SimCLR could have 2N - 2 = 510 negatives), tables 2, 3, 5, 6, 7 and, beside table 3, table 4.

Expected, %: SiMo at 200 epochs K 16, alpha 256: 68.1; K 256: alpha 256 68.0, 1024 68.1, 4096 68.1, 16384
68.4, 65536 68.5, 262144 68.3; 800 epochs 71.8 (alpha 256) and 72.1 (65536); 100 epochs 64.4, without a
momentum teacher 62.1, with shuffling BN 58.8; ResNet-50 2x 70.2 and 70.5, 4x 71.9 and 72.3 (alpha 256 and
65536). MoCo v2 without EqCo, K 256 to 262144: 67.0 67.1 67.6 67.3 67.5 67.4. MoCo with EqCo at K 256: 60.4,
derived from section 1 (0.2 less than 60.6). Without EqCo small K lose accuracy, with it they hardly do.

Compute: about 60 runs of 200 epochs, 256 M images each; 2x and 4x cost about 4 and 16 times as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastssl.config import Paper
from fastssl.recipes import RECIPES
from fastssl.recipes.papers import EQCO, linear_top1
from launchers.studies.build import recipe_run
from launchers.sweeps.study import Figure, PlannedRun, Scale, Study, Value

# method: recipe, alpha of EqCo, K without EqCo, K with EqCo
_QUEUES = (4, 16, 64, 256, 1024, 4096, 16384, 65536)
_PAPER = {
    "MoCo": ("moco-v1-imagenet", 65536, _QUEUES, _QUEUES[:-1]),
    "MoCo v2": ("moco-v2-k65536-imagenet", 65536, (*_QUEUES, 262144), _QUEUES[:-1]),
    "SimCLR": ("simclr-eqco-imagenet", 256, (4, 16, 64, 256), (4, 16, 64)),
    "SiMo": ("simo-k256-a256-imagenet", 256, (4, 16, 64), (4, 16, 64, 256)),
}
_TINY = {
    "MoCo v2": ("moco-v2-k65536-imagenet", 256, (4, 16, 64, 256), (4, 16, 64)),
    "SiMo": ("simo-k256-a256-imagenet", 63, (2, 4, 16, 63), (2, 4, 16)),
}
# "from 6.1% decrease to 0.2%", of 60.6
_DERIVED = {
    "moco-v1-k256-a65536": Paper(
        title=EQCO, place="section 1, MoCo with EqCo, K 256 (derived)", results=linear_top1(0.604)
    )
}
# recipes of their own at the paper's scale, and the axes in which they differ from K 256, alpha 256
_OTHERS: tuple[tuple[str, dict[str, Value]], ...] = (
    ("simo-k256-a1024-imagenet", {"eqco_alpha": 1024}),
    ("simo-k256-a4096-imagenet", {"eqco_alpha": 4096}),
    ("simo-k256-a16384-imagenet", {"eqco_alpha": 16384}),
    ("simo-k256-a65536-imagenet", {"eqco_alpha": 65536}),
    ("simo-k256-a262144-imagenet", {"eqco_alpha": 262144}),
    ("simo-k256-a256-800ep-imagenet", {"epochs": 800}),
    ("simo-k256-a65536-800ep-imagenet", {"epochs": 800, "eqco_alpha": 65536}),
    ("simo-k256-a256-100ep-imagenet", {"epochs": 100}),
    ("simo-k256-a256-beta-0-100ep-imagenet", {"epochs": 100, "variant": "beta 0"}),
    ("simo-k256-a256-shuffle-bn-100ep-imagenet", {"epochs": 100, "variant": "shuffling BN"}),
    ("simo-k256-a256-r50-2x-imagenet", {"variant": "2x"}),
    ("simo-k256-a65536-r50-2x-imagenet", {"variant": "2x", "eqco_alpha": 65536}),
    ("simo-k256-a256-r50-4x-imagenet", {"variant": "4x"}),
    ("simo-k256-a65536-r50-4x-imagenet", {"variant": "4x", "eqco_alpha": 65536}),
)


def study(scale: Scale) -> Study:
    """The study at a scale; tiny: MoCo v2 and SiMo over K only."""
    lines: dict[str, Any] = {"series": "method", "log_x": True}
    return Study(
        title="EqCo: accuracy over the number of negatives, with and without the rule",
        axes=("method", "num_negatives", "eqco_alpha", "epochs", "variant"),
        runs=tuple(_runs(scale)),
        figures=(
            Figure(title="Linear top-1 over K", x="num_negatives", y="linear.top1", **lines),
            Figure(title="Linear top-1 over alpha", x="eqco_alpha", y="linear.top1", **lines),
            Figure(title="MI bound over K", x="num_negatives", y="mi_bound", **lines),
        ),
        scale=scale,
    )


def _runs(scale: Scale) -> Iterator[PlannedRun]:
    for method, (recipe, alpha, without, using) in (_PAPER if scale == "paper" else _TINY).items():
        for rule, negatives in ((None, without), (alpha, using)):
            for count in negatives:
                yield _run(scale, method, recipe, count, rule)
    if scale == "paper":
        for recipe, differing in _OTHERS:
            usual: dict[str, Value] = {"num_negatives": 256, "eqco_alpha": 256, "epochs": 200, "variant": ""}
            values: dict[str, Value] = {"method": "SiMo with EqCo", **usual, **differing}
            yield recipe_run(scale, recipe.removesuffix("-imagenet"), recipe, values, row=_row(values))


def _run(scale: Scale, method: str, recipe: str, count: int, alpha: int | None) -> PlannedRun:
    short = method.lower().replace(" ", "-")
    short = "moco-v1" if short == "moco" else short
    name = f"{short}-k{count}" + (f"-a{alpha}" if alpha else "")
    label = f"{method} with EqCo" if alpha else method
    epochs = 200 if scale == "paper" else 4
    values: dict[str, Value] = {"method": label, "num_negatives": count, "eqco_alpha": alpha}
    values |= {"epochs": epochs, "variant": ""}
    own = f"{name}-imagenet"
    if scale == "paper" and own in RECIPES:
        return recipe_run(scale, name, own, values, row=_row(values))
    changes: dict[str, Any] = {"method.loss.num_negatives": count, "method.loss.eqco_alpha": alpha}
    paper = _DERIVED.get(name) if scale == "paper" else None
    return recipe_run(scale, name, recipe, values, changes, row=_row(values), paper=paper)


def _row(values: dict[str, Value]) -> str:
    alpha = f", alpha {values['eqco_alpha']}" if values["eqco_alpha"] else ""
    variant = f", {values['variant']}" if values["variant"] else ""
    return f"{values['method']}, K {values['num_negatives']}{alpha}, {values['epochs']} epochs{variant}"

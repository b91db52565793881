"""MoCo v2+ on the built-in scenes with 4 and 256 negatives, without EqCo and with it: minutes on two cores.

A small version of figure 2 of Zhu, Huang, Li, Zhang, Sun, "EqCo: equivalent rules for self-supervised
contrastive learning" (2020), for tutorials and tests of the launchers: the quickstart recipe for 3 of its 7
epochs, 3 min 27 s for all on two cores (``python -m launchers.sweep tiny``, 2026-11-28). It
rebuilds no number.
"""

from __future__ import annotations

from launchers.studies.build import recipe_run
from launchers.sweeps.study import Figure, PlannedRun, Scale, Study

_MANY = 256
_RUNS = ((4, None), (4, _MANY), (_MANY, None))


def study(scale: Scale) -> Study:
    """The study; it is tiny at either scale."""
    return Study(
        title="MoCo v2+ on the scenes: 4 and 256 negatives, without EqCo and with it",
        axes=("num_negatives", "eqco_alpha"),
        runs=tuple(_run(count, alpha) for count, alpha in _RUNS),
        figures=(
            Figure(title="Linear top-1 over K", x="num_negatives", y="linear.top1", series="eqco_alpha"),
            Figure(title="Loss during training", x="epoch", y="loss", series="num_negatives"),
            Figure(title="MI bound during training", x="epoch", y="mi_bound", series="num_negatives"),
        ),
        scale="tiny",
    )


def _run(count: int, alpha: int | None) -> PlannedRun:
    return recipe_run(
        "paper",  # the recipe is small as it is
        f"k{count}" + (f"-a{alpha}" if alpha else ""),
        "quickstart",
        {"num_negatives": count, "eqco_alpha": alpha},
        {"epochs": 3.0, "method.loss.num_negatives": count, "method.loss.eqco_alpha": alpha},
        row=f"K {count}" + (f", alpha {alpha}" if alpha else ", no EqCo"),
    )

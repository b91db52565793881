"""The mutual information bound and the gradients of queries over K, without EqCo and with it.

Zhu, Huang, Li, Zhang, Sun, "EqCo: equivalent rules for self-supervised contrastive learning" (2020): figure 1
(log(1 + K e^(m/tau)) - L_NCE) and figure 4 (mean and variance of |dL/dq|), MoCo v2 with alpha 65536, 200
epochs of ImageNet. Both are plots. Expected: without EqCo bound and gradients grow with K; with EqCo they end
at almost the same value for every K.

Compute: 9 runs of 200 epochs, 256 M images each; the curves are there from the first epochs on. Tiny: SimCLR,
7 runs of 5 epochs of the scenes, K 4 to 256, alpha 256.
"""

from __future__ import annotations

from typing import Any

from fastssl.recipes import quickstart
from launchers.studies.build import recipe_run
from launchers.sweeps.study import Figure, PlannedRun, Scale, Study, Value

# SimCLR, which learns in few steps. 129 images have 256 views of others: K = 256 takes all of them. At the
# temperature 0.3: the rule holds for the mean over draws, and the fewer the draws and the lower the
# temperature, the further a log is from that.
_TINY: dict[str, Any] = {
    "epochs": 5.0,
    "batch_size": 129,
    "optimizer.base_lr": 0.24,
    "method.loss.temperature": 0.3,
    "views": quickstart().experiment.views,  # SimCLR's own are too strong for 32 pixels and minutes
}
_MEAN = ("Mean gradient of a query", "query_gradient_mean")


def study(scale: Scale) -> Study:
    """The study at a scale."""
    sizes, alpha = ((16, 256, 1024, 4096, 65536), 65536) if scale == "paper" else ((4, 16, 64, 256), 256)
    runs = [_run(scale, size, rule) for rule in (None, alpha) for size in sizes if rule != size]
    return Study(
        title="Mutual information bound and query gradients over the number of negatives",
        axes=("num_negatives", "eqco_alpha"),
        runs=tuple(runs),
        figures=(
            Figure(title="MI bound during training", x="epoch", y="mi_bound", series="num_negatives"),
            Figure(title="MI bound over K", x="num_negatives", y="mi_bound", series="eqco_alpha", log_x=True),
            *(
                Figure(title=f"{title} during training", x="epoch", y=y, series="num_negatives")
                for title, y in (_MEAN, ("Theorem 2's bound on it", "query_gradient_bound"))
            ),
            *(
                Figure(title=f"{title} over K", x="num_negatives", y=y, series="eqco_alpha", log_x=True)
                for title, y in (_MEAN, ("Variance of a query's gradient", "query_gradient_variance"))
            ),
        ),
        scale=scale,
    )


def _run(scale: Scale, size: int, alpha: int | None) -> PlannedRun:
    values: dict[str, Value] = {"num_negatives": size, "eqco_alpha": alpha}
    rule = f", EqCo with alpha {alpha}" if alpha else ""
    name, row = f"k{size}" + (f"-a{alpha}" if alpha else ""), f"K {size}{rule}"
    changes = {"method.loss.num_negatives": size, "method.loss.eqco_alpha": alpha}
    recipe = "moco-v2-k65536-imagenet" if scale == "paper" else "simclr-eqco-imagenet"
    if scale == "tiny":
        changes |= _TINY
    return recipe_run(scale, name, recipe, values, changes, row=row, evaluations=("knn",))

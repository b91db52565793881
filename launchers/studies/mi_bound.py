"""The mutual information bound and the gradients of queries over K, without EqCo and with it.

Zhu, Huang, Li, Zhang, Sun, "EqCo: equivalent rules for self-supervised contrastive learning" (2020): figure 1
(log(1 + K e^(m/tau)) - L_NCE) and figure 4 (mean and variance of |dL/dq|), MoCo v2 with alpha 65536, 200
epochs of ImageNet. Both are plots. Expected: without EqCo bound and gradients grow with K; with EqCo they end
at almost the same value for every K.

Compute: 9 runs of 200 epochs, 256 M images each; the curves are there from the first epochs on.
"""

from __future__ import annotations

from launchers.studies.build import recipe_run
from launchers.study import Figure, Run, Scale, Study, Value


def study(scale: Scale) -> Study:
    """The study at a scale."""
    sizes, alpha = ((16, 256, 1024, 4096, 65536), 65536) if scale == "paper" else ((4, 16, 64, 256), 256)
    runs = [_run(scale, size, rule) for rule in (None, alpha) for size in sizes if rule != size]
    return Study(
        name="mi-bound",
        title="Mutual information bound and query gradients over the number of negatives",
        about=__doc__ or "",
        axes=("num_negatives", "eqco_alpha"),
        runs=tuple(runs),
        figures=(
            Figure(title="MI bound during training", x="epoch", y="mi_bound", series="num_negatives"),
            Figure(title="MI bound over K", x="num_negatives", y="mi_bound", series="eqco_alpha", log_x=True),
            Figure(
                title="Mean gradient of a query during training",
                x="epoch",
                y="query_gradient_mean",
                series="num_negatives",
            ),
            Figure(
                title="Mean gradient of a query over K",
                x="num_negatives",
                y="query_gradient_mean",
                series="eqco_alpha",
                log_x=True,
            ),
            Figure(
                title="Variance of a query's gradient over K",
                x="num_negatives",
                y="query_gradient_variance",
                series="eqco_alpha",
                log_x=True,
            ),
        ),
        scale=scale,
    )


def _run(scale: Scale, size: int, alpha: int | None) -> Run:
    values: dict[str, Value] = {"num_negatives": size, "eqco_alpha": alpha}
    rule = f", EqCo with alpha {alpha}" if alpha else ""
    changes = {"method.queue_size": size, "method.eqco_alpha": alpha}
    return recipe_run(
        scale,
        f"k{size}" + (f"-a{alpha}" if alpha else ""),
        "moco-v2-k65536-imagenet",
        values,
        changes,
        row=f"K {size}{rule}",
        evaluations=("knn",),
    )

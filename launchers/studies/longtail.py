"""Long-tailed classification by encoders of three methods, over their linear accuracy on ImageNet.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning"
(2022), figure 4: linear and fine-tuned accuracy on CIFAR-10-LT and CIFAR-100-LT, a regression line per
method. The paper pre-trains "with different hyper-parameters (e.g., learning rate, training epochs, etc.)"
and states neither these nor the factor nor the protocol's settings; here 100, 200 and 300 epochs at the
recipe's rate, and 200 at half and at twice the rate, the factor 100, settings of ``longtail``
(``--transfer-data cifar10=DIR cifar100=DIR``; without these the linear accuracy alone).

Expected, a plot: S-MoCo v2+ above MoCo v2+ above BYOL at equal linear accuracy, in all four panels.

Compute: 15 runs, 3 thousand epochs of 1.28 M images.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastssl.recipes import find_recipe
from launchers.studies.build import at_scale, recipe_run
from launchers.sweeps.study import Figure, PlannedRun, Scale, Study

_METHODS = {
    "S-MoCo v2+": ("s-moco-v2-plus", "s-moco-v2-plus-imagenet"),
    "MoCo v2+": ("moco-v2-plus", "moco-v2-plus-imagenet"),
    "BYOL": ("byol", "byol-sgd-imagenet"),
}
# as multiples of the recipe's
_LENGTHS_AND_RATES = ((0.5, 1.0), (1.0, 1.0), (1.5, 1.0), (1.0, 0.5), (1.0, 2.0))
_TRANSFER = tuple(
    f"longtail{options}@{images}" for images in ("cifar10", "cifar100") for options in ("", "+encoder=tuned")
)


def study(scale: Scale) -> Study:
    """The study at a scale; tiny: 2 to 6 epochs."""
    return Study(
        title="Long-tailed accuracy over linear accuracy",
        axes=("method", "epochs", "rate"),
        runs=tuple(_runs(scale)),
        figures=(Figure(title="Linear top-1 over the length", x="epochs", y="linear.top1", series="method"),),
        scale=scale,
    )


def _runs(scale: Scale) -> Iterator[PlannedRun]:
    for method, (name, recipe) in _METHODS.items():
        usual = at_scale(find_recipe(recipe), scale).experiment
        for length, rate in _LENGTHS_AND_RATES:
            yield recipe_run(
                scale,
                f"{name}-{length:g}x-rate-{rate:g}x",
                recipe,
                {"method": method, "epochs": usual.epochs * length, "rate": rate},
                {"epochs": usual.epochs * length, "optimizer.base_lr": usual.optimizer.base_lr * rate},
                row=f"{method}, {usual.epochs * length:g} epochs, rate {rate:g}x",
                transfer=_TRANSFER,
            )

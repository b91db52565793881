"""BYOL on ImageNet: as the revisited benchmark runs it, and as its own paper does.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning", 2022;
Grill et al., "Bootstrap your own latent: a new approach to self-supervised learning", 2020.
"""

from __future__ import annotations

from functools import partial

from fastssl.config import Config, Experiment, Machine, Paper
from fastssl.methods import BYOL
from fastssl.models import ResNet
from fastssl.models.teacher import Teacher
from fastssl.optim import LARS, SGD, Optimizer
from fastssl.recipes import augmentations
from fastssl.recipes.papers import REVISITED, linear_top1
from fastssl.recipes.variant import variant_recipe
from pipelines.views import ViewGroup


def byol_imagenet() -> Config:
    """BYOL on ImageNet with LARS, as the revisited benchmark runs it: its symmetric augmentation, 200 epochs.

    Batch, learning rate and weight decay are BYOL's own (Grill et al. 2020, appendix J): batch 4096, lr 0.3 x
    batch/256 and teacher momentum 0.99 as at 300 epochs, since neither paper states them for 200.
    """
    return Config(
        recipe="byol-imagenet",
        paper=Paper(title=REVISITED, place="table 2, BYOL, LARS", results=linear_top1(0.724)),
        experiment=Experiment(
            epochs=200,
            batch_size=4096,
            views=(ViewGroup(spec=augmentations.BYOL_SYMMETRIC, num_views=2),),
            backbone=ResNet.Config(depth=50),
            method=BYOL.Config(),
            optimizer=_lars(0.3, 1e-6),
        ),
        machine=Machine(data="imagenet", keep_every=50),
    )


def _own(
    suffix: str,
    epochs: int,
    base_lr: float,
    weight_decay: float,
    teacher_momentum: float,
    place: str,
    number: float,
) -> Config:
    """BYOL on ImageNet by its own paper: appendices B and J, the asymmetric augmentation, LARS.

    Residual branches start at zero, as in its authors' code.
    """
    return Config(
        recipe=f"byol-asymmetric{suffix}-imagenet",
        paper=Paper(
            title="Bootstrap your own latent: a new approach to self-supervised learning (2020)",
            place=place,
            results=linear_top1(number),
        ),
        experiment=Experiment(
            epochs=epochs,
            batch_size=4096,
            views=(
                ViewGroup(spec=augmentations.BYOL_FIRST),
                ViewGroup(spec=augmentations.BYOL_SECOND),
            ),
            backbone=ResNet.Config(depth=50, zero_init_residual=True),
            method=BYOL.Config(teacher=Teacher.Config(momentum=teacher_momentum)),
            optimizer=_lars(base_lr, weight_decay),
        ),
        machine=Machine(data="imagenet", keep_every=50),
    )


def _lars(base_lr: float, weight_decay: float) -> Optimizer.Config:
    return LARS.Config(
        base_lr=base_lr, weight_decay=weight_decay, warmup_epochs=10, exclude_norm_and_bias=True
    )


# MoCo v2+'s settings (section 3.2): lr 0.12 after the warm-up, weight decay on all parameters
_SGD = variant_recipe(
    byol_imagenet,
    "sgd",
    "table 2, BYOL, SGD",
    0.721,
    {"batch_size": 1024, "optimizer": SGD.Config(base_lr=0.03, weight_decay=1e-4, warmup_epochs=10)},
)
_SHORT = "100ep"
RECIPES = (
    byol_imagenet,
    _SGD,
    # tables 6 and 7 of the revisited benchmark
    variant_recipe(_SGD, _SHORT, "table 6, BYOL", 0.694, {"epochs": 100}),
    *(
        variant_recipe(
            _SGD,
            f"r{depth}-{_SHORT}",
            f"table 7, ResNet-{depth}, BYOL-SGD",
            number,
            {"epochs": 100, "backbone.depth": depth},
        )
        for depth, number in ((18, 0.578), (101, 0.717))
    ),
    # BYOL's own paper: suffix, epochs, rate at 256, weight decay, teacher's first momentum, place, number
    partial(_own, "", 300, 0.3, 1e-6, 0.99, "section 5, 300 epochs", 0.725),
    partial(_own, "-1000ep", 1000, 0.2, 1.5e-6, 0.996, "table 1, 1000 epochs", 0.743),
)

"""The MoCo family on ImageNet: one ladder, each recipe the one before it with what one step changes.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning", 2022:
section 3.2 (settings), section 4.1 and figure 2 (the ladder), tables 2, 4, 6 and 7. Figure 2 is a plot: a
step without a number in text or tables has none here. A setting that the paper does not state is that of the
authors' public code.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from fastssl.config import Config, Experiment, Machine, Paper
from fastssl.methods import MoCo
from fastssl.methods.info_nce import InfoNCE
from fastssl.models import ResNet
from fastssl.models.heads import Head
from fastssl.models.teacher import Teacher
from fastssl.optim import LARS, SGD
from fastssl.recipes import augmentations
from fastssl.recipes.papers import EQCO, REVISITED, linear_top1
from fastssl.recipes.variant import Recipe, variant, variant_recipe
from pipelines.views import ViewGroup

# BYOL's own settings (Grill et al. 2020, appendix J), which section 3.2 copies for MoCo v2+ "when training
# with LARS"; the rate is that of 300 epochs, as in the authors' code for 200. Teacher momentum and
# augmentation stay those of the step.
BYOL_LARS: dict[str, Any] = {
    "batch_size": 4096,
    "optimizer": LARS.Config(base_lr=0.3, weight_decay=1e-6, warmup_epochs=10, exclude_norm_and_bias=True),
}


def moco_v1_imagenet() -> Config:
    """MoCo v1 on ImageNet, with its own paper's settings.

    He et al. 2020, section 3.3: batch 256 on 8 GPUs, whose batch norms see 32 images each, lr 0.03, divided
    by 10 at epochs 120 and 160 of 200 epochs, SGD, weight decay 1e-4, temperature 0.07, queue 65536, teacher
    momentum 0.999, shuffling BN; 128-d embeddings by one linear layer. Zhu et al. 2020, section 1, has its
    number.
    """
    return Config(
        recipe="moco-v1-imagenet",
        paper=Paper(title=EQCO, place="section 1, MoCo, K 65536", results=linear_top1(0.606)),
        experiment=Experiment(
            epochs=200,
            batch_size=256,
            batch_norm_group=32,
            views=(ViewGroup(spec=augmentations.MOCO_V1, num_views=2),),
            backbone=ResNet.Config(depth=50),
            method=MoCo.Config(
                projector=Head.Config(layers=1, out_dim=128, norm="none"),
                predictor_on="none",
                teacher=Teacher.Config(momentum=0.999, ascending=False, shuffling_bn=True),
                symmetric_loss=False,
                loss=InfoNCE.Config(temperature=0.07, num_negatives=65536),
            ),
            optimizer=SGD.Config(
                base_lr=0.03,
                weight_decay=1e-4,
                warmup_epochs=0,
                schedule="steps",
                drops=(0.6, 0.8),
            ),
        ),
        machine=Machine(data="imagenet", keep_every=50),
    )


def moco_v2_imagenet() -> Config:
    """MoCo v2 on ImageNet, as the revisited benchmark runs it: v1 with a deeper head and blur.

    Section 3.2: batch 1024, lr 0.12 after 10 epochs of warm-up, cosine, temperature 0.2. The benchmark does
    not state how many images the batch norms of a GPU see: 32, as MoCo's do. Its number is that of the
    authors' repository; the paper plots it.
    """
    return variant(
        moco_v1_imagenet,
        "moco-v2-imagenet",
        "authors' repository (figure 2 plots it), MoCo v2",
        0.672,
        {
            "batch_size": 1024,
            "views": (ViewGroup(spec=augmentations.MOCO_V2, num_views=2),),
            "method.loss.temperature": 0.2,
            "method.projector.layers": 2,
            "method.projector.hidden_dim": 2048,
            "optimizer.warmup_epochs": 10,
            "optimizer.schedule": "cosine",
            "optimizer.drops": (),
        },
        title=REVISITED,
    )


# Each further step: name, place, number, and what it changes.
_STEPS: tuple[tuple[str, str, float | None, dict[str, Any]], ...] = (
    # SyncBN in place of shuffling BN, and a batch norm in the projector's hidden layer
    (
        "moco-v2-sync-bn",
        "figure 2, + SyncBN",
        None,
        {"batch_norm_group": None, "method.teacher.shuffling_bn": False, "method.projector.norm": "batch"},
    ),
    # asymmetric predictor: a second MLP after the student's projector, both as wide as BYOL's by the authors'
    # code for MoCo v2+, where the paper has "similar to projector"
    (
        "moco-v2-predictor",
        "figure 2, + Asymmetric Predictor",
        None,
        {
            "method.predictor_on": "student",
            "method.projector.hidden_dim": 4096,
            "method.projector.out_dim": 256,
        },
    ),
    # the teacher's momentum rises from 0.99 to 1, where it was 0.999 throughout. Its number: table 2's 72.0 %
    # less the 2.0 that section 4.1 gives to the next step
    (
        "moco-v2-momentum-ascending",
        "section 4.1, + Momentum Ascending",
        0.700,
        {"method.teacher.momentum": 0.99, "method.teacher.ascending": True},
    ),
    ("moco-v2-plus", "table 2, MoCo v2+, SGD", 0.720, {"method.symmetric_loss": True}),
    # BYOL's augmentation, the same for both views (supplement, table 5)
    (
        "moco-v2-plus-complex",
        "table 4, MoCo v2+",
        0.724,
        {"views": (ViewGroup(spec=augmentations.BYOL_SYMMETRIC, num_views=2),)},
    ),
    # S-MoCo v2+: the predictor stands in the teacher's branch too (figure 1d). The authors' code also leaves
    # the bias of the heads' last layers out; here it stays, so that this step changes one thing
    ("s-moco-v2-plus", "table 4, S-MoCo v2+", 0.712, {"method.predictor_on": "both"}),
)


def _ladder() -> Iterator[Recipe]:
    step: Recipe = moco_v2_imagenet
    yield from (moco_v1_imagenet, step)
    for name, place, number, changes in _STEPS:
        step = partial(variant, step, f"{name}-imagenet", place, number, changes)
        yield step


LADDER = tuple(_ladder())
moco_v2_plus_imagenet, _PLUS, _S_PLUS = LADDER[-3:]

# No step of the ladder: there the projector gains a batch norm too, as in the authors' code.
_SYNC_BN_ALONE = variant_recipe(
    moco_v2_imagenet,
    "sync-bn-alone",
    "section 4.1, SyncBN replaces shuffling BN",
    None,
    {"batch_norm_group": None, "method.teacher.shuffling_bn": False},
)

# The one step that table 2 has with LARS; the study moco-ladder-lars trains the others so.
moco_v2_plus_lars_imagenet = variant_recipe(
    moco_v2_plus_imagenet, "lars", "table 2, MoCo v2+, LARS", 0.725, BYOL_LARS
)

# Tables 6 and 7, 100 epochs. They do not say which MoCo v2+ they take: here table 4's, with BYOL's
# augmentation, as they compare it with BYOL. The heads are as wide as a ResNet-50's.
_SHORT = "100ep"
SHORT = (
    variant_recipe(_PLUS, _SHORT, "table 6, MoCo v2+ (table 4's)", 0.691, {"epochs": 100}),
    variant_recipe(_S_PLUS, _SHORT, "table 6, S-MoCo v2+", 0.693, {"epochs": 100}),
    *(
        variant_recipe(base, f"r{depth}-{_SHORT}", place, number, {"epochs": 100, "backbone.depth": depth})
        for base, depth, place, number in (
            (moco_v2_imagenet, 18, "table 7, ResNet-18, MoCo v2", 0.519),
            (moco_v2_imagenet, 101, "table 7, ResNet-101, MoCo v2", 0.650),
            (_PLUS, 18, "table 7, ResNet-18, MoCo v2+ (table 4's)", 0.573),
            (_PLUS, 101, "table 7, ResNet-101, MoCo v2+ (table 4's)", 0.708),
        )
    ),
)

RECIPES = (*LADDER, _SYNC_BN_ALONE, moco_v2_plus_lars_imagenet, *SHORT)

"""EqCo's recipes on ImageNet: MoCo v1 and v2 over the number of negatives, SiMo, SimCLR.

Zhu, Huang, Li, Zhang, Sun, "EqCo: equivalent rules for self-supervised contrastive learning", 2020: figure 2
(a plot) and table 6 (MoCo), section 3 with tables 2 to 5 and 7 (SiMo). A query has K negatives, which stand
for alpha; without EqCo for K.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastssl.config import Config, Experiment, Machine, Paper
from fastssl.methods import SimCLR, SiMo
from fastssl.methods.info_nce import InfoNCE
from fastssl.models import ResNet
from fastssl.optim import LARS, SGD
from fastssl.recipes import augmentations
from fastssl.recipes.moco import moco_v1_imagenet, moco_v2_imagenet
from fastssl.recipes.papers import EQCO, linear_top1
from fastssl.recipes.variant import Recipe, variant, variant_recipe
from pipelines.views import ViewGroup


def _moco(version: str, place: str, number: float, negatives: int) -> Config:
    """MoCo with a queue of K keys, by the settings of its own paper.

    MoCo v2's are v1's but for head, temperature, augmentation and cosine: a batch of 256 and no warm-up.
    Where K is below the batch, the queue holds K random keys of the step before. With EqCo (figure 2, a
    plot): --method.eqco-alpha 65536, or the study eqco.
    """
    name, queue = f"moco-{version}-k{negatives}-imagenet", {"method.loss.num_negatives": negatives}
    if version == "v1":
        return variant(moco_v1_imagenet, name, place, number, queue)
    own = {"batch_size": 256, "optimizer.warmup_epochs": 0}
    return variant(moco_v2_imagenet, name, place, number, own | queue, title=EQCO)


MOCO = (
    partial(_moco, "v1", "section 1, MoCo, K 256", 0.547, 256),
    *(
        partial(_moco, "v2", f"table 6, K {negatives}", number, negatives)
        for negatives, number in (
            (256, 0.670),
            (1024, 0.671),
            (4096, 0.676),
            (16384, 0.673),
            (65536, 0.675),
            (262144, 0.674),
        )
    ),
)


def _simo(negatives: int, alpha: int, place: str, number: float) -> Config:
    """SiMo as in section 3 of the paper: MoCo v2's settings, with a warm-up.

    MoCo v2's are lr 0.03 at a batch of 256, SGD, weight decay 1e-4 on all parameters, cosine, its
    augmentation. 10 epochs of warm-up are SimCLR's, whom the paper follows in this; the backbone's zero-init
    residual is its authors' code's.
    """
    return Config(
        recipe=f"simo-k{negatives}-a{alpha}-imagenet",
        paper=Paper(title=EQCO, place=place, results=linear_top1(number)),
        experiment=Experiment(
            epochs=200,
            batch_size=256,
            views=(ViewGroup(spec=augmentations.MOCO_V2, num_views=2),),
            backbone=ResNet.Config(depth=50, zero_init_residual=True),
            method=SiMo.Config(
                loss=InfoNCE.Config(temperature=0.2, num_negatives=negatives, eqco_alpha=alpha)
            ),
            optimizer=SGD.Config(base_lr=0.03, weight_decay=1e-4, warmup_epochs=10),
        ),
        machine=Machine(data="imagenet", keep_every=50),
    )


_SIMO_256 = partial(_simo, 256, 256, "table 2, K 256, alpha 256", 0.680)
_SIMO_65536 = partial(_simo, 256, 65536, "table 2, K 256, alpha 65536", 0.685)
_SHORT = {"epochs": 100}
_BETA_0 = {"epochs": 100, "method.teacher.momentum": 0.0}
# 8 GPUs, as in section 2.3, have 32 images of a batch each
_SHUFFLING_BN = {"epochs": 100, "batch_norm_group": 32, "method.teacher.shuffling_bn": True}


def _wider(base: Recipe, times: int, place: str, number: float) -> Recipe:
    """SiMo on a wider ResNet-50; its head is as wide as the features (the paper is silent)."""
    changes: dict[str, Any] = {"backbone.width": float(times), "method.projector.hidden_dim": 2048 * times}
    return variant_recipe(base, f"r50-{times}x", place, number, changes)


SIMO = (
    partial(_simo, 16, 256, "table 2, K 16, alpha 256", 0.681),
    _SIMO_256,
    partial(_simo, 256, 1024, "table 5, alpha 1024", 0.681),
    partial(_simo, 256, 4096, "table 5, alpha 4096", 0.681),
    partial(_simo, 256, 16384, "table 5, alpha 16384", 0.684),
    _SIMO_65536,
    partial(_simo, 256, 262144, "table 5, alpha 262144", 0.683),
    variant_recipe(_SIMO_256, "800ep", "table 2, K 256, alpha 256, 800 epochs", 0.718, {"epochs": 800}),
    variant_recipe(_SIMO_65536, "800ep", "table 2, K 256, alpha 65536, 800 epochs", 0.721, {"epochs": 800}),
    # tables 3 and 4 name neither K nor alpha: those of the paper's baseline
    variant_recipe(_SIMO_256, "100ep", "tables 3 and 4, beta .999, Sync BN", 0.644, _SHORT),
    variant_recipe(_SIMO_256, "beta-0-100ep", "table 3, beta 0", 0.621, _BETA_0),
    variant_recipe(_SIMO_256, "shuffle-bn-100ep", "table 4, Shuffling BN", 0.588, _SHUFFLING_BN),
    _wider(_SIMO_256, 2, "table 7, 2x, alpha 256", 0.702),
    _wider(_SIMO_65536, 2, "table 7, 2x, alpha 65536", 0.705),
    _wider(_SIMO_256, 4, "table 7, 4x, alpha 256", 0.719),
    _wider(_SIMO_65536, 4, "table 7, 4x, alpha 65536", 0.723),
)


def simclr_imagenet() -> Config:
    """SimCLR on ImageNet with LARS.

    Settings: Chen et al. 2020, section 2 (lr 0.3 x batch/256, weight decay 1e-6, 10 epochs of warm-up,
    cosine) with the temperature 0.1; residual branches start at zero, as in their code. The loss is the
    paper's mean over 2N views, where their code sums the means of the two directions: adaptive rates hardly
    notice, but norms and biases take half the step of that code. A query has all 2N - 2 views of other
    images as negatives. EqCo's table has 66.6 % at 200 epochs and no batch; MoCo v2's table 2 has the same
    figure, at a batch of 8192.
    """
    return Config(
        recipe="simclr-imagenet",
        paper=Paper(title=EQCO, place="table 2, SimCLR, 200 epochs", results=linear_top1(0.666)),
        experiment=Experiment(
            epochs=200,
            batch_size=8192,
            views=(ViewGroup(spec=augmentations.SIMCLR, num_views=2),),
            backbone=ResNet.Config(depth=50, zero_init_residual=True),
            method=SimCLR.Config(),
            optimizer=LARS.Config(
                base_lr=0.3, weight_decay=1e-6, warmup_epochs=10, exclude_norm_and_bias=True
            ),
        ),
        machine=Machine(data="imagenet", keep_every=50),
    )


def simclr_eqco_imagenet() -> Config:
    """SimCLR with EqCo on ImageNet: 16 negatives per query, that stand for 256.

    Settings: section 2.3 of the paper: SimCLR's, but for SGD with momentum and a batch of 256. It names no
    rate for SGD: its authors' code has lr 0.3 and weight decay 1e-6 with a loss that is summed over the two
    directions. Ours is their mean, so that 0.6 and 5e-7 make the same step. Its figure 2 (a plot) goes from
    K = 256 downwards, of the 2N - 2 = 510 views of other images that a query could have; without EqCo:
    --method.loss.eqco-alpha None.
    """
    return variant(
        simclr_imagenet,
        "simclr-eqco-imagenet",
        "figure 2, SimCLR with EqCo (alpha 256)",
        None,
        {
            "batch_size": 256,
            "method.loss": InfoNCE.Config(num_negatives=16, eqco_alpha=256),
            "optimizer": SGD.Config(
                base_lr=0.6, weight_decay=5e-7, warmup_epochs=10, exclude_norm_and_bias=True
            ),
        },
    )


# quoted from Chen et al. 2020 in section 1 of the paper; of the larger batch it says "64+"
SIMCLR = (
    simclr_imagenet,
    variant_recipe(simclr_imagenet, "100ep", "section 1, SimCLR, batch 8192, 100 epochs (64+)", 0.64, _SHORT),
    variant_recipe(
        simclr_imagenet,
        "n256-100ep",
        "section 1, SimCLR, batch 256, 100 epochs",
        0.575,
        {"epochs": 100, "batch_size": 256},
    ),
    simclr_eqco_imagenet,
)

RECIPES = (*MOCO, *SIMO, *SIMCLR)

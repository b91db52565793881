"""Barlow Twins on ImageNet.

Zbontar, Jing, Misra, LeCun, Deny, "Barlow Twins: self-supervised learning via redundancy reduction", 2021.
"""

from __future__ import annotations

from fastssl.config import Config, Experiment, Machine, Paper
from fastssl.methods import BarlowTwins
from fastssl.models import ResNet
from fastssl.optim import LARS
from fastssl.recipes import augmentations
from fastssl.recipes.papers import linear_top1
from pipelines.views import ViewGroup


def barlow_twins_imagenet() -> Config:
    """Barlow Twins on ImageNet, as its authors' code trains it: LARS, BYOL's asymmetric augmentation.

    Section 2.2: batch 2048, 1000 epochs, lr 0.2 x batch/256 for weights and 0.0048 for norms and biases,
    10 epochs of warm-up, cosine, lambda 0.0051. The code has weight decay 1e-6, where the text has 1.5e-6,
    and starts residual branches at zero. Its cosine ends at a thousandth of the rate, here at 0. Its gradient
    is the loss's over the number of processes, 32 in the paper: adaptive rates do not notice, but norms,
    biases and the decay do.
    """
    return Config(
        recipe="barlow-twins-imagenet",
        paper=Paper(
            title="Barlow Twins: self-supervised learning via redundancy reduction (2021)",
            place="table 1, Barlow Twins",
            results=linear_top1(0.732),
        ),
        experiment=Experiment(
            epochs=1000,
            batch_size=2048,
            views=(ViewGroup(spec=augmentations.BYOL_FIRST), ViewGroup(spec=augmentations.BYOL_SECOND)),
            backbone=ResNet.Config(depth=50, zero_init_residual=True),
            method=BarlowTwins.Config(),
            optimizer=LARS.Config(
                base_lr=0.2,
                norm_and_bias_lr_scale=0.0048 / 0.2,
                weight_decay=1e-6,
                warmup_epochs=10,
                exclude_norm_and_bias=True,
            ),
        ),
        machine=Machine(data="imagenet", keep_every=100),
    )


RECIPES = (barlow_twins_imagenet,)

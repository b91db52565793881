"""Supervised pre-training on ImageNet, on its classes or on coarser ones made of them.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning", 2022,
supplement: B.2 and table 6 (taxonomies). Its plots are studies: ``epochs`` (figure 6: --epochs 200, 300, 500)
and ``class-share`` (figure 8: --class-share 0.1, 0.2, 0.5, 0.7).
"""

from __future__ import annotations

from fastssl.config import Config, Experiment, Machine, Paper
from fastssl.methods import Supervised
from fastssl.models import ResNet
from fastssl.optim import SGD
from fastssl.recipes import augmentations
from fastssl.recipes.papers import REVISITED, linear_top1
from fastssl.recipes.variant import variant_recipe
from pipelines.views import ViewGroup


def supervised_imagenet() -> Config:
    """Supervised ResNet-50 on ImageNet, the baseline of the revisited benchmark.

    The paper states 100 epochs alone. Rate, weight decay and augmentation are the usual (Goyal et al. 2017):
    batch 256, lr 0.1, weight decay 1e-4, batch norms over 32 images each, crop and flip; 10 epochs of warm-up
    and cosine are those of the authors' public code. Steps at epochs 30, 60 and 80 in place of the cosine:
    --optimizer.schedule steps --optimizer.drops 0.3 0.6 0.8.
    """
    return Config(
        recipe="supervised-imagenet",
        paper=Paper(title=REVISITED, place="table 6, Supervised-1000", results=linear_top1(0.771)),
        experiment=Experiment(
            epochs=100,
            batch_size=256,
            batch_norm_group=32,
            views=(ViewGroup(spec=augmentations.SUPERVISED),),
            backbone=ResNet.Config(depth=50),
            method=Supervised.Config(),
            optimizer=SGD.Config(base_lr=0.1, weight_decay=1e-4, warmup_epochs=10),
        ),
        machine=Machine(data="imagenet", keep_every=50),
    )


# by the rule that `python -m fastssl.classes.taxonomy NAME` prints
_TAXONOMIES = (
    ("artifact", "table 6, Supervised-2 (artifact or not)", 0.092),
    ("up-3", "table 6, Supervised-2 (imbalanced)", 0.007),
    ("up-2", "table 6, Supervised-10", 0.106),
    ("depth-6", "table 6, Supervised-79", 0.454),
    ("up-1", "table 6, Supervised-127", 0.533),
)
RECIPES = (
    supervised_imagenet,
    *(
        variant_recipe(supervised_imagenet, taxonomy, place, number, {"taxonomy": taxonomy})
        for taxonomy, place, number in _TAXONOMIES
    ),
)

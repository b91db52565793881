"""MSBReg and the BYOL that it is compared with, on ImageNet, ImageNet-100 and STL-10: its tables 2 to 5.

Moon, Buracas, Park, Kim, Canny, "An embedding-dynamic approach to self-supervised learning" (2022): section
1.1 (LARS, batch 512, rate = base x batch/256 x number of views with a base of 0.4 on ImageNet-100, 0.5 on
STL-10, 0.15 on ImageNet; weight decay 1e-5, not on biases and norms; 10 epochs of warm-up, cosine), section
1.2 (ResNet-18 with heads of 512 and 128), table 1 (augmentation). The teacher's momentum is BYOL's of 300
epochs. The paper leaves open:

- the stem of ResNet-18: torchvision's (7x7, stride 2, max-pooling), on STL-10's 96 pixels too;
- which images share batch-norm statistics: by our choice all of a batch, one group;
- the classes of ImageNet-100, "randomly sampled": those of CMC's imagenet100.txt (Tian, Krishnan, Isola,
  2019; github.com/HobbitLong/CMC), the usual ones; ``--data`` is a folder of just these 100 class folders;
- the probe of STL-10: whole images, trained on the labeled 5,000. Pre-training takes the 100,000 unlabeled
  images: two places.
"""

from __future__ import annotations

from dataclasses import replace

from fastssl.config import Config, Experiment, Machine, Paper, Results
from fastssl.methods import BYOL, MSBReg
from fastssl.models import ResNet
from fastssl.models.heads import Head
from fastssl.optim import LARS, Optimizer
from fastssl.recipes import augmentations
from fastssl.recipes.papers import linear_top1
from pipelines.views import ViewGroup

TITLE = "An embedding-dynamic approach to self-supervised learning (2022), supplement"

# of ResNet-18, the same with layer norms, and of ResNet-50 (section 1.2)
_SMALL = Head.Config(hidden_dim=512, out_dim=128)
_LAYER_NORM = replace(_SMALL, norm="layer")
_WIDE = Head.Config(hidden_dim=2048, out_dim=256)


def _lars(base_lr: float, num_views: int) -> Optimizer.Config:
    return LARS.Config(
        base_lr=base_lr * num_views,
        weight_decay=1e-5,
        warmup_epochs=10,
        exclude_norm_and_bias=True,
    )


def _imagenet100(recipe: str, place: str, results: Results, method: BYOL.Config | MSBReg.Config) -> Config:
    return Config(
        recipe=recipe,
        paper=Paper(title=TITLE, place=place, results=results),
        experiment=Experiment(
            epochs=300,
            batch_size=512,
            views=(ViewGroup(spec=augmentations.MSBREG, num_views=method.num_views),),
            backbone=ResNet.Config(depth=18),
            method=method,
            optimizer=_lars(0.4, method.num_views),
        ),
        machine=Machine(data="imagenet100", keep_every=50),
    )


def _stl10(recipe: str, place: str, number: float, method: BYOL.Config | MSBReg.Config) -> Config:
    return Config(
        recipe=recipe,
        paper=Paper(title=TITLE, place=place, results=linear_top1(number)),
        experiment=Experiment(
            epochs=320,
            batch_size=256,
            center_fraction=1.0,
            views=(ViewGroup(spec=replace(augmentations.MSBREG, size=96), num_views=method.num_views),),
            backbone=ResNet.Config(depth=18),
            method=method,
            optimizer=_lars(0.5, method.num_views),
        ),
        machine=Machine(data="stl10", keep_every=50),
    )


def _table_3(top1: float, alignment: float, uniformity: float) -> Results:
    return (*linear_top1(top1), ("alignment", alignment), ("uniformity", uniformity))


def msbreg_imagenet100() -> Config:
    """MSBReg on ImageNet-100 with 8 views: the best row of its ablation."""
    method = MSBReg.Config(num_views=8, projector=_SMALL, predictor=_SMALL, lambda_s=0.004, lambda_b=0.5)
    place = "table 5, K 8, lambda_s .004, lambda_b .5"
    return _imagenet100("msbreg-imagenet100", place, linear_top1(0.816), method)


def msbreg_320ep_imagenet100() -> Config:
    """MSBReg on ImageNet-100 for 320 epochs, as section 1.1 has it, where table 5 has 300; no number."""
    config = msbreg_imagenet100()
    return replace(
        config,
        recipe="msbreg-320ep-imagenet100",
        paper=Paper(title=TITLE, place="section 1.1, ImageNet-100, 320 epochs"),
        experiment=replace(config.experiment, epochs=320),
    )


def msbreg_4_views_imagenet100() -> Config:
    """MSBReg on ImageNet-100 with 4 views, "Ours" of table 3."""
    method = MSBReg.Config(num_views=4, projector=_SMALL, predictor=_SMALL, lambda_s=0.004, lambda_b=0.5)
    place = "tables 3 and 5, K 4, lambda_s .004, lambda_b .5"
    return _imagenet100("msbreg-4-views-imagenet100", place, _table_3(0.804, 0.36, -3.8), method)


def msbreg_2_views_imagenet100() -> Config:
    """MSBReg on ImageNet-100 with 2 views, "BYOL + L_b + L_s" of table 3."""
    method = MSBReg.Config(num_views=2, projector=_SMALL, predictor=_SMALL, lambda_s=0.004, lambda_b=0.25)
    place = "tables 3 and 5, K 2, lambda_s .004, lambda_b .25"
    return _imagenet100("msbreg-2-views-imagenet100", place, _table_3(0.728, 0.26, -2.92), method)


def byol_imagenet100() -> Config:
    """BYOL on ImageNet-100 as MSBReg's supplement runs it."""
    method = BYOL.Config(projector=_SMALL, predictor=_SMALL)
    place = "tables 3 and 5, K 2, lambda_s 0, lambda_b 0"
    return _imagenet100("byol-imagenet100", place, _table_3(0.719, 0.25, -1.52), method)


def byol_uniformity_imagenet100() -> Config:
    """BYOL with the uniformity loss on ImageNet-100.

    The paper does not give the loss's weight: here 1, at which it weighs against the distances as in Wang and
    Isola (2020).
    """
    method = BYOL.Config(projector=_SMALL, predictor=_SMALL, uniformity_weight=1.0)
    place, results = "table 3, BYOL + L_uniform", _table_3(0.721, 0.27, -2.95)
    return _imagenet100("byol-uniformity-imagenet100", place, results, method)


def msbreg_stl10() -> Config:
    """MSBReg on STL-10.

    Table 4 gives neither views nor lambda_s: 4 (as tables 2 and 3) and 0.004 (the best of table 5).
    """
    method = MSBReg.Config(num_views=4, projector=_SMALL, predictor=_SMALL, lambda_s=0.004, lambda_b=0.05)
    return _stl10("msbreg-stl10", "table 4, Ours, BN", 0.914, method)


def msbreg_layer_norm_stl10() -> Config:
    """MSBReg on STL-10 with layer norm in its heads; views and lambda_s as in msbreg-stl10."""
    method = MSBReg.Config(
        num_views=4, projector=_LAYER_NORM, predictor=_LAYER_NORM, lambda_s=0.004, lambda_b=0.005
    )
    return _stl10("msbreg-layer-norm-stl10", "table 4, Ours, LN, lambda_b 5e-3", 0.823, method)


def byol_stl10() -> Config:
    """BYOL on STL-10 as MSBReg's supplement runs it."""
    return _stl10("byol-stl10", "table 4, BYOL, BN", 0.895, BYOL.Config(projector=_SMALL, predictor=_SMALL))


def byol_layer_norm_stl10() -> Config:
    """BYOL on STL-10 with layer norm in its heads: it collapses."""
    method = BYOL.Config(projector=_LAYER_NORM, predictor=_LAYER_NORM)
    return _stl10("byol-layer-norm-stl10", "table 4, BYOL, LN, batch 256", 0.106, method)


def byol_layer_norm_brownian_stl10() -> Config:
    """BYOL on STL-10 with layer norm in its heads and the Brownian loss: MSBReg of 2 views, lambda_s 0."""
    method = MSBReg.Config(
        num_views=2, projector=_LAYER_NORM, predictor=_LAYER_NORM, lambda_s=0, lambda_b=0.005
    )
    return _stl10("byol-layer-norm-brownian-stl10", "table 4, BYOL + L_b, LN, lambda_b 5e-3", 0.753, method)


def msbreg_imagenet() -> Config:
    """MSBReg on ImageNet with 4 views, those of the supplement's table 2 (transfer to COCO).

    The weights, which the supplement does not give for ImageNet, are the best of table 5. Heads of 2048 and
    256, which section 1.2 calls BYOL's.
    """
    method = MSBReg.Config(num_views=4, projector=_WIDE, predictor=_WIDE, lambda_s=0.004, lambda_b=0.5)
    return Config(
        recipe="msbreg-imagenet",
        paper=Paper(
            title=TITLE, place="table 2, Ours", results=(("COCO box AP", 0.418), ("COCO mask AP", 0.378))
        ),
        experiment=Experiment(
            epochs=300,
            batch_size=512,
            views=(ViewGroup(spec=augmentations.MSBREG, num_views=method.num_views),),
            backbone=ResNet.Config(depth=50),
            method=method,
            optimizer=_lars(0.15, method.num_views),
        ),
        machine=Machine(data="imagenet", keep_every=50),
    )


RECIPES = (
    msbreg_imagenet100,
    msbreg_320ep_imagenet100,
    msbreg_4_views_imagenet100,
    msbreg_2_views_imagenet100,
    byol_imagenet100,
    byol_uniformity_imagenet100,
    msbreg_stl10,
    msbreg_layer_norm_stl10,
    byol_stl10,
    byol_layer_norm_stl10,
    byol_layer_norm_brownian_stl10,
    msbreg_imagenet,
)

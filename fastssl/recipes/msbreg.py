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

from dataclasses import dataclass, replace
from functools import partial

from fastssl.config import Config, Experiment, Machine, Paper, Results
from fastssl.methods import BYOL, MSBReg
from fastssl.models import ResNet
from fastssl.models.heads import Head
from fastssl.optim import LARS
from fastssl.recipes import augmentations
from fastssl.recipes.papers import linear_top1
from pipelines.views import ViewGroup

TITLE = "An embedding-dynamic approach to self-supervised learning (2022), supplement"

# of ResNet-18, the same with layer norms, and of ResNet-50 (section 1.2)
_SMALL = Head.Config(hidden_dim=512, out_dim=128)
_LAYER_NORM = replace(_SMALL, norm="layer")
_WIDE = Head.Config(hidden_dim=2048, out_dim=256)


@dataclass(frozen=True, kw_only=True)
class _Data:
    """Images, and the settings that go with them."""

    base_lr: float
    """Of one view."""
    epochs: int = 300
    batch_size: int = 512
    size: int = 224
    """Side of the views, pixels."""
    center_fraction: float = 0.875
    backbone: ResNet.Config = ResNet.Config(depth=18)


_DATA = {
    "imagenet100": _Data(base_lr=0.4),
    "stl10": _Data(base_lr=0.5, epochs=320, batch_size=256, size=96, center_fraction=1.0),
    "imagenet": _Data(base_lr=0.15, backbone=ResNet.Config(depth=50)),
}


def _recipe(
    name: str, place: str, results: Results, method: BYOL.Config | MSBReg.Config, epochs: int | None = None
) -> Config:
    """A row of a table, with the settings of the images that its name ends with; ``epochs`` None: theirs."""
    where = name.rpartition("-")[2]
    data = _DATA[where]
    return Config(
        recipe=name,
        paper=Paper(title=TITLE, place=place, results=results),
        experiment=Experiment(
            epochs=epochs or data.epochs,
            batch_size=data.batch_size,
            center_fraction=data.center_fraction,
            views=(
                ViewGroup(spec=replace(augmentations.MSBREG, size=data.size), num_views=method.num_views),
            ),
            backbone=data.backbone,
            method=method,
            optimizer=LARS.Config(
                base_lr=data.base_lr * method.num_views,
                weight_decay=1e-5,
                warmup_epochs=10,
                exclude_norm_and_bias=True,
            ),
        ),
        machine=Machine(data=where, keep_every=50),
    )


def _msbreg(
    views: int, lambda_b: float, head: Head.Config = _SMALL, lambda_s: float = 0.004
) -> MSBReg.Config:
    return MSBReg.Config(
        num_views=views, projector=head, predictor=head, lambda_s=lambda_s, lambda_b=lambda_b
    )


def _byol(head: Head.Config = _SMALL, uniformity_weight: float = 0.0) -> BYOL.Config:
    return BYOL.Config(projector=head, predictor=head, uniformity_weight=uniformity_weight)


def _table_3(top1: float, alignment: float, uniformity: float) -> Results:
    return (*linear_top1(top1), ("alignment", alignment), ("uniformity", uniformity))


_BEST = _msbreg(8, 0.5)  # of the ablation, table 5
_ROWS: tuple[tuple[str, str, Results, BYOL.Config | MSBReg.Config], ...] = (
    (
        "msbreg-4-views-imagenet100",
        "tables 3 and 5, K 4, lambda_s .004, lambda_b .5",
        _table_3(0.804, 0.36, -3.8),
        _msbreg(4, 0.5),
    ),
    (
        "msbreg-2-views-imagenet100",
        "tables 3 and 5, K 2, lambda_s .004, lambda_b .25",
        _table_3(0.728, 0.26, -2.92),
        _msbreg(2, 0.25),
    ),
    (
        "byol-imagenet100",
        "tables 3 and 5, K 2, lambda_s 0, lambda_b 0",
        _table_3(0.719, 0.25, -1.52),
        _byol(),
    ),
    # the weight of its loss is not given: at 1 it weighs against the distances as in Wang and Isola (2020)
    (
        "byol-uniformity-imagenet100",
        "table 3, BYOL + L_uniform",
        _table_3(0.721, 0.27, -2.95),
        _byol(uniformity_weight=1.0),
    ),
    # table 4 gives neither views nor lambda_s: 4 (as tables 2 and 3) and .004 (the best of table 5)
    ("msbreg-stl10", "table 4, Ours, BN", linear_top1(0.914), _msbreg(4, 0.05)),
    (
        "msbreg-layer-norm-stl10",
        "table 4, Ours, LN, lambda_b 5e-3",
        linear_top1(0.823),
        _msbreg(4, 0.005, _LAYER_NORM),
    ),
    ("byol-stl10", "table 4, BYOL, BN", linear_top1(0.895), _byol()),
    # it collapses
    ("byol-layer-norm-stl10", "table 4, BYOL, LN, batch 256", linear_top1(0.106), _byol(_LAYER_NORM)),
    # BYOL and the Brownian loss: MSBReg of 2 views without the other one
    (
        "byol-layer-norm-brownian-stl10",
        "table 4, BYOL + L_b, LN, lambda_b 5e-3",
        linear_top1(0.753),
        _msbreg(2, 0.005, _LAYER_NORM, lambda_s=0),
    ),
    # transfer to COCO; the weights are not given: the best of table 5. Section 1.2 calls its heads BYOL's
    (
        "msbreg-imagenet",
        "table 2, Ours",
        (("COCO box AP", 0.418), ("COCO mask AP", 0.378)),
        _msbreg(4, 0.5, _WIDE),
    ),
)
RECIPES = (
    partial(
        _recipe, "msbreg-imagenet100", "table 5, K 8, lambda_s .004, lambda_b .5", linear_top1(0.816), _BEST
    ),
    # section 1.1 has 320 epochs, where table 5 has 300
    partial(
        _recipe, "msbreg-320ep-imagenet100", "section 1.1, ImageNet-100, 320 epochs", (), _BEST, epochs=320
    ),
    *(partial(_recipe, *row) for row in _ROWS),
)

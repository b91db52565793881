"""Named recipes: functions that return a whole config, and say what they reproduce.

Numbers come from the paper that ``paper`` names, or from the source in the docstring. "Not measured yet":
nobody has run the recipe to its end with this code.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace

from fastssl import augmentations, msbreg_recipes
from fastssl.backbones import BackboneConfig
from fastssl.config import Config, Experiment, Machine, Paper
from fastssl.methods import BYOLConfig, MoCoConfig, SimclrConfig, SimoConfig, SupervisedConfig
from fastssl.optim import OptimizerConfig
from pipelines.errors import UserError
from pipelines.views import ViewGroup

REVISITED = "Revisiting the critical factors of augmentation-invariant representation learning (2022)"
EQCO = "EqCo: equivalent rules for self-supervised contrastive learning (2020)"


# A run of minutes has no time for a slow teacher: small batches make many steps, the teacher follows within
# ten of them, and the queue is short, so that its keys are not much older. The batch norm on the projector's
# output keeps the keys of all steps centred; without it such a teacher drifts, and the student with it.
SHORT_RUN_MOCO = MoCoConfig(
    queue_size=256, hidden_dim=512, out_dim=128, teacher_momentum=0.9, projector_out_norm=True
)


def quickstart() -> Config:
    """MoCo v2+ on the built-in scenes with a narrow ResNet-9: a first run in minutes, on any machine.

    Command: make demo (2 CPU cores, 2026-11-20: 3 min 47 s in all, images rendered and kernels compiled anew)
    Result: kNN top-1 (k = 200) 0.393; untrained 0.177, raw pixels 0.235.
    """
    return Config(
        recipe="quickstart",
        experiment=Experiment(
            epochs=7,
            batch_size=64,
            center_fraction=1.0,
            views=(ViewGroup(spec=augmentations.SMALL_IMAGES, num_views=2),),
            backbone=BackboneConfig(name="resnet9", width=0.25, stem="cifar"),
            method=SHORT_RUN_MOCO,
            optimizer=OptimizerConfig(name="sgd", base_lr=0.12, weight_decay=5e-4, warmup_epochs=0.4),
        ),
        machine=Machine(monitor_every=4),
    )


def moco_v2_plus_cifar10_cpu() -> Config:
    """MoCo v2+ on CIFAR-10 sized for two CPU cores.

    Command: python -m fastssl.train moco-v2-plus-cifar10-cpu --data DIR
    Result: kNN top-1 (k = 200, test split) 0.621, untrained 0.334, raw pixels 0.423, in 66 core-minutes (user
    and system: 46 minutes on 2 cores that other work used too, 2026-11-20).
    """
    return Config(
        recipe="moco-v2-plus-cifar10-cpu",
        experiment=Experiment(
            epochs=20,
            batch_size=64,
            center_fraction=1.0,
            views=(
                ViewGroup(
                    spec=replace(
                        augmentations.SMALL_IMAGES,
                        mean=augmentations.CIFAR10_MEAN,
                        std=augmentations.CIFAR10_STD,
                    ),
                    num_views=2,
                ),
            ),
            backbone=BackboneConfig(name="resnet9", width=0.25, stem="cifar"),
            method=SHORT_RUN_MOCO,
            optimizer=OptimizerConfig(name="sgd", base_lr=0.12, weight_decay=5e-4, warmup_epochs=0.5),
        ),
        machine=Machine(data="cifar10", monitor_every=5),
    )


def moco_v2_plus_cifar10() -> Config:
    """MoCo v2+ on CIFAR-10: ResNet-18 with the 3x3 stem.

    Optimiser, epochs, queue and augmentation of lightly's CIFAR-10 benchmark (batch 512, SGD with weight
    decay 5e-4, 200 epochs, queue 8192, no blur); lr 0.03 x batch/128 is half of its rate, as its loss is half
    of ours; its temperature is 0.1 and it has no predictor. Its MoCo reaches kNN top-1 0.850.
    Result: not measured yet.
    """
    return Config(
        recipe="moco-v2-plus-cifar10",
        paper=Paper(
            title="lightly's CIFAR-10 benchmark, 2022-02-18",
            place="MoCo, batch 512, 200 epochs",
            metric="kNN top-1",
            number=0.850,
        ),
        experiment=Experiment(
            epochs=200,
            batch_size=512,
            center_fraction=1.0,
            views=(ViewGroup(spec=augmentations.SIMCLR_CIFAR10, num_views=2),),
            backbone=BackboneConfig(name="resnet18", stem="cifar"),
            method=MoCoConfig(queue_size=8192, hidden_dim=1024),
            optimizer=OptimizerConfig(name="sgd", base_lr=0.06, weight_decay=5e-4, warmup_epochs=0),
        ),
        machine=Machine(data="cifar10"),
    )


def byol_cifar10() -> Config:
    """BYOL on CIFAR-10: ResNet-18 with the 3x3 stem.

    Settings of lightly's CIFAR-10 benchmark (batch 512, SGD with weight decay 5e-4, 200 epochs, heads
    512-1024-256 and 256-1024-256, no blur); lr 0.015 x batch/128 is a quarter of its rate, as its loss is a
    quarter of ours; the teacher's momentum ascends, as in BYOL's paper. Its BYOL reaches kNN top-1 0.872.
    Result: not measured yet.
    """
    return Config(
        recipe="byol-cifar10",
        paper=Paper(
            title="lightly's CIFAR-10 benchmark, 2022-02-18",
            place="BYOL, batch 512, 200 epochs",
            metric="kNN top-1",
            number=0.872,
        ),
        experiment=Experiment(
            epochs=200,
            batch_size=512,
            center_fraction=1.0,
            views=(ViewGroup(spec=augmentations.SIMCLR_CIFAR10, num_views=2),),
            backbone=BackboneConfig(name="resnet18", stem="cifar"),
            method=BYOLConfig(hidden_dim=1024),
            optimizer=OptimizerConfig(name="sgd", base_lr=0.03, weight_decay=5e-4, warmup_epochs=0),
        ),
        machine=Machine(data="cifar10"),
    )


def supervised_cifar10() -> Config:
    """Supervised ResNet-18 on CIFAR-10.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with Cutout" (2017), section
    4.1: batch 128, SGD with Nesterov momentum, lr 0.1, weight decay 5e-4, 200 epochs, four pixels of padding,
    flip; their baseline's error is 4.72 %. A cosine schedule takes the place of their steps.
    Result: not measured yet.
    """
    return Config(
        recipe="supervised-cifar10",
        paper=Paper(
            title="Improved regularization of convolutional neural networks with Cutout (2017)",
            place="table 1, ResNet18, C10+",
            metric="top-1",
            number=0.9528,
        ),
        experiment=Experiment(
            epochs=200,
            batch_size=128,
            center_fraction=1.0,
            views=(ViewGroup(spec=augmentations.SUPERVISED_CIFAR10),),
            backbone=BackboneConfig(name="resnet18", stem="cifar"),
            method=SupervisedConfig(),
            optimizer=OptimizerConfig(
                name="sgd", base_lr=0.2, nesterov=True, weight_decay=5e-4, warmup_epochs=0
            ),
        ),
        machine=Machine(data="cifar10"),
    )


def moco_v2_plus_imagenet() -> Config:
    """MoCo v2+ on ImageNet: the revisited benchmark's ladder up to the symmetric loss.

    Settings: its section 3.2 (batch 1024, lr 0.12 after 10 epochs of warm-up, SGD, weight decay on all
    parameters), with MoCo v2's augmentation.
    Result: not measured yet.
    """
    return Config(
        recipe="moco-v2-plus-imagenet",
        paper=Paper(
            title=REVISITED,
            place="table 2, MoCo v2+, SGD",
            metric="linear top-1",
            number=0.720,
        ),
        experiment=Experiment(
            epochs=200,
            batch_size=1024,
            views=(ViewGroup(spec=augmentations.MOCO_V2, num_views=2),),
            backbone=BackboneConfig(name="resnet50"),
            method=MoCoConfig(),
            optimizer=OptimizerConfig(name="sgd", base_lr=0.03, weight_decay=1e-4, warmup_epochs=10),
        ),
        machine=Machine(data="imagenet", keep_every=50),
    )


def byol_imagenet() -> Config:
    """BYOL on ImageNet with LARS, as the revisited benchmark runs it: its symmetric augmentation, 200 epochs.

    Batch, learning rate and weight decay are BYOL's own (Grill et al. 2020, appendix J): batch 4096, lr 0.3 x
    batch/256 and teacher momentum 0.99 as at 300 epochs, since neither paper states them for 200.
    Result: not measured yet.
    """
    return Config(
        recipe="byol-imagenet",
        paper=Paper(
            title=REVISITED,
            place="table 2, BYOL, LARS",
            metric="linear top-1",
            number=0.724,
        ),
        experiment=Experiment(
            epochs=200,
            batch_size=4096,
            views=(ViewGroup(spec=augmentations.BYOL_SYMMETRIC, num_views=2),),
            backbone=BackboneConfig(name="resnet50"),
            method=BYOLConfig(),
            optimizer=OptimizerConfig(
                name="lars", base_lr=0.3, weight_decay=1e-6, warmup_epochs=10, exclude_norm_and_bias=True
            ),
        ),
        machine=Machine(data="imagenet", keep_every=50),
    )


def simo_k16_a256_imagenet() -> Config:
    """SiMo on ImageNet: 16 negatives that stand for 256. Settings: see ``_simo``.

    Result: not measured yet.
    """
    return _simo("simo-k16-a256-imagenet", 16, 256, "table 2, SiMo (K 16, alpha 256), 200 epochs", 0.681)


def simo_k256_a256_imagenet() -> Config:
    """SiMo on ImageNet, the paper's baseline. Settings: see ``_simo``.

    Result: not measured yet.
    """
    return _simo("simo-k256-a256-imagenet", 256, 256, "table 2, SiMo (K 256, alpha 256), 200 epochs", 0.680)


def simo_k256_a65536_imagenet() -> Config:
    """SiMo on ImageNet at its best alpha. Settings: see ``_simo``.

    The paper's other rows are this recipe with --epochs 800 (72.1 %), --backbone.width 2 (70.5 %) or 4
    (72.3 %), the head's --method.hidden-dim then 4096 or 8192, as wide as the features (the paper is silent).
    Result: not measured yet.
    """
    place = "table 2, SiMo (K 256, alpha 65536), 200 epochs"
    return _simo("simo-k256-a65536-imagenet", 256, 65536, place, 0.685)


def _simo(name: str, num_negatives: int, alpha: float, place: str, number: float) -> Config:
    """SiMo as in section 3 of the paper: MoCo v2's settings, with a warm-up.

    MoCo v2's are lr 0.03 at a batch of 256, SGD, weight decay 1e-4 on all parameters, cosine, its
    augmentation. The warm-up's 10 epochs are SimCLR's, whom the paper follows in this; the backbone's
    zero-init residual is its authors' code's.
    """
    return Config(
        recipe=name,
        paper=Paper(title=EQCO, place=place, metric="linear top-1", number=number),
        experiment=Experiment(
            epochs=200,
            batch_size=256,
            views=(ViewGroup(spec=augmentations.MOCO_V2, num_views=2),),
            backbone=BackboneConfig(name="resnet50", zero_init_residual=True),
            method=SimoConfig(num_negatives=num_negatives, eqco_alpha=alpha),
            optimizer=OptimizerConfig(name="sgd", base_lr=0.03, weight_decay=1e-4, warmup_epochs=10),
        ),
        machine=Machine(data="imagenet", keep_every=50),
    )


def simclr_imagenet() -> Config:
    """SimCLR on ImageNet with LARS.

    Settings: Chen et al. 2020, section 2 (lr 0.3 x batch/256, weight decay 1e-6, 10 epochs of warm-up,
    cosine) with the temperature 0.1. EqCo's table has 66.6 % at 200 epochs and no batch; MoCo v2's table 2
    has the same figure, at a batch of 8192.
    Result: not measured yet.
    """
    return Config(
        recipe="simclr-imagenet",
        paper=Paper(title=EQCO, place="table 2, SimCLR, 200 epochs", metric="linear top-1", number=0.666),
        experiment=Experiment(
            epochs=200,
            batch_size=8192,
            views=(ViewGroup(spec=augmentations.SIMCLR, num_views=2),),
            backbone=BackboneConfig(name="resnet50"),
            method=SimclrConfig(),
            optimizer=OptimizerConfig(
                name="lars", base_lr=0.3, weight_decay=1e-6, warmup_epochs=10, exclude_norm_and_bias=True
            ),
        ),
        machine=Machine(data="imagenet", keep_every=50),
    )


def simclr_eqco_imagenet() -> Config:
    """SimCLR with EqCo on ImageNet: 16 negatives a query, that stand for 256.

    Settings: section 2.3 of the paper: SimCLR's, but for SGD with momentum and a batch of 256. It names no
    rate for SGD, so lr and weight decay stay SimCLR's. Its figure 2 (a plot) goes from K = 256 downwards;
    without EqCo: --method.eqco-alpha None.
    Result: not measured yet.
    """
    return Config(
        recipe="simclr-eqco-imagenet",
        paper=Paper(
            title=EQCO, place="figure 2, SimCLR with EqCo (alpha 256)", metric="linear top-1", number=None
        ),
        experiment=Experiment(
            epochs=200,
            batch_size=256,
            views=(ViewGroup(spec=augmentations.SIMCLR, num_views=2),),
            backbone=BackboneConfig(name="resnet50"),
            method=SimclrConfig(num_negatives=16, eqco_alpha=256),
            optimizer=OptimizerConfig(
                name="sgd", base_lr=0.3, weight_decay=1e-6, warmup_epochs=10, exclude_norm_and_bias=True
            ),
        ),
        machine=Machine(data="imagenet", keep_every=50),
    )


RECIPES: dict[str, Callable[[], Config]] = {
    recipe().recipe: recipe
    for recipe in (
        quickstart,
        moco_v2_plus_cifar10_cpu,
        moco_v2_plus_cifar10,
        byol_cifar10,
        supervised_cifar10,
        moco_v2_plus_imagenet,
        byol_imagenet,
        simo_k16_a256_imagenet,
        simo_k256_a256_imagenet,
        simo_k256_a65536_imagenet,
        simclr_imagenet,
        simclr_eqco_imagenet,
        *msbreg_recipes.RECIPES,
    )
}


def find_recipe(name: str) -> Config:
    """The config of a named recipe.

    Raises:
        UserError: there is none; the message lists them all and names the nearest.
    """
    if name in RECIPES:
        return RECIPES[name]()
    near = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UserError(f"unknown recipe {name}{hint}; the recipes are {', '.join(RECIPES)}")

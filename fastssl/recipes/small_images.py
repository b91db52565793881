"""The first run, and recipes for 32-pixel images: the built-in scenes and CIFAR-10."""

from __future__ import annotations

from dataclasses import replace

from fastssl.config import Config, Experiment, Machine, Measured, Paper
from fastssl.methods import BYOL, MoCo, Supervised
from fastssl.methods.info_nce import InfoNCE
from fastssl.models import ResNet, ResNet9
from fastssl.models.heads import Head
from fastssl.models.teacher import Teacher
from fastssl.optim import SGD
from fastssl.recipes import augmentations
from fastssl.recipes.variant import with_changes
from pipelines.views import ViewGroup

# A run of minutes has no time for a slow teacher: small batches make many steps, the teacher follows within
# ten of them, and the queue is short, so that its keys are not much older. The batch norm on the projector's
# output keeps the keys of all steps centered; without it such a teacher drifts, and the student with it.
SHORT_RUN_MOCO = MoCo.Config(
    projector=Head.Config(hidden_dim=512, out_dim=128, out_norm="batch"),
    predictor=Head.Config(hidden_dim=512, out_dim=128),
    teacher=Teacher.Config(momentum=0.9),
    loss=InfoNCE.Config(temperature=0.2, num_negatives=256),
)


def quickstart() -> Config:
    """MoCo v2+ on the built-in scenes with a narrow ResNet-9: a first run in minutes, on any machine."""
    return Config(
        recipe="quickstart",
        measured=Measured(
            results=(
                ("kNN top-1", 0.393),
                ("kNN top-1 of the untrained encoder", 0.177),
                ("kNN top-1 of raw pixels", 0.235),
            ),
            command="make demo",
            cost="2 min 59 s (2 CPU cores with AVX512-BF16, images rendered and kernels compiled anew)",
            date="2026-11-28",
        ),
        experiment=Experiment(
            epochs=7,
            batch_size=64,
            center_fraction=1.0,
            views=(ViewGroup(spec=augmentations.SMALL_IMAGES, num_views=2),),
            backbone=ResNet9.Config(width=0.25),
            method=SHORT_RUN_MOCO,
            optimizer=SGD.Config(base_lr=0.12, weight_decay=5e-4, warmup_epochs=0.4),
        ),
        machine=Machine(monitor_every=4),
    )


def moco_v2_plus_cifar10_cpu() -> Config:
    """MoCo v2+ on CIFAR-10 sized for two CPU cores."""
    spec = replace(augmentations.SMALL_IMAGES, mean=augmentations.CIFAR10_MEAN, std=augmentations.CIFAR10_STD)
    views = (ViewGroup(spec=spec, num_views=2),)
    changes = {"epochs": 20, "views": views, "optimizer.warmup_epochs": 0.5}
    base = quickstart()
    return replace(
        base,
        recipe="moco-v2-plus-cifar10-cpu",
        measured=Measured(
            results=(
                ("kNN top-1", 0.621),
                ("kNN top-1 of the untrained encoder", 0.334),
                ("kNN top-1 of raw pixels", 0.423),
            ),
            command="python -m fastssl.train moco-v2-plus-cifar10-cpu --data DIR",
            cost="36 core-minutes (26 min on 2 CPU cores with AVX512-BF16)",
            date="2026-11-28",
        ),
        experiment=with_changes(base.experiment, changes),
        machine=Machine(data="cifar10", monitor_every=5),
    )


def moco_v2_plus_cifar10() -> Config:
    """MoCo v2+ on CIFAR-10: ResNet-18 with the 3x3 stem.

    Optimizer, epochs, queue and augmentation of lightly's CIFAR-10 benchmark (batch 512, SGD with weight
    decay 5e-4, 200 epochs, queue 8192, no blur). Its loss is half of ours: lr 0.03 x batch/128, half of its
    rate, and twice its weight decay make the same steps. Its temperature is 0.1 and it has no predictor. Its
    number is the best epoch's kNN on the test set, at 200 neighbors and temperature 0.1; here the last
    epoch's.
    """
    return Config(
        recipe="moco-v2-plus-cifar10",
        paper=Paper(
            title="lightly's CIFAR-10 benchmark, 2022-02-18",
            place="MoCo, batch 512, 200 epochs",
            results=(("kNN top-1", 0.850),),
        ),
        experiment=Experiment(
            epochs=200,
            batch_size=512,
            center_fraction=1.0,
            views=(ViewGroup(spec=augmentations.SIMCLR_CIFAR10, num_views=2),),
            backbone=ResNet.Config(depth=18, stem="cifar"),
            method=MoCo.Config(
                projector=Head.Config(hidden_dim=1024),
                predictor=Head.Config(hidden_dim=1024),
                loss=InfoNCE.Config(temperature=0.2, num_negatives=8192),
            ),
            optimizer=SGD.Config(base_lr=0.06, weight_decay=1e-3, warmup_epochs=0),
        ),
        machine=Machine(data="cifar10"),
    )


def byol_cifar10() -> Config:
    """BYOL on CIFAR-10: ResNet-18 with the 3x3 stem.

    Settings of lightly's CIFAR-10 benchmark (batch 512, SGD with weight decay 5e-4, 200 epochs, heads
    512-1024-256 and 256-1024-256, no blur). Its loss is a quarter of ours: lr 0.015 x batch/128, a quarter of
    its rate, and four times its weight decay make the same steps. The teacher's momentum ascends, as in
    BYOL's paper. Its number is the best epoch's kNN on the test set, at 200 neighbors and temperature 0.1;
    here the last epoch's.
    """
    base = moco_v2_plus_cifar10()
    return replace(
        base,
        recipe="byol-cifar10",
        paper=Paper(
            title="lightly's CIFAR-10 benchmark, 2022-02-18",
            place="BYOL, batch 512, 200 epochs",
            results=(("kNN top-1", 0.872),),
        ),
        experiment=replace(
            base.experiment,
            method=BYOL.Config(
                projector=Head.Config(hidden_dim=1024), predictor=Head.Config(hidden_dim=1024)
            ),
            optimizer=SGD.Config(base_lr=0.03, weight_decay=2e-3, warmup_epochs=0),
        ),
    )


def supervised_cifar10() -> Config:
    """Supervised ResNet-18 on CIFAR-10.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with Cutout" (2017), section
    4.1: batch 128, SGD with Nesterov momentum, lr 0.1, weight decay 5e-4, 200 epochs, four pixels of padding,
    flip; its number is 1 less their baseline's error. A cosine schedule takes the place of their steps.
    """
    return Config(
        recipe="supervised-cifar10",
        paper=Paper(
            title="Improved regularization of convolutional neural networks with Cutout (2017)",
            place="table 1, ResNet18, C10+",
            results=(("top-1", 0.9528),),
        ),
        experiment=Experiment(
            epochs=200,
            batch_size=128,
            center_fraction=1.0,
            views=(ViewGroup(spec=augmentations.SUPERVISED_CIFAR10),),
            backbone=ResNet.Config(depth=18, stem="cifar"),
            method=Supervised.Config(),
            optimizer=SGD.Config(base_lr=0.2, nesterov=True, weight_decay=5e-4, warmup_epochs=0),
        ),
        machine=Machine(data="cifar10"),
    )


RECIPES = (
    quickstart,
    moco_v2_plus_cifar10_cpu,
    moco_v2_plus_cifar10,
    byol_cifar10,
    supervised_cifar10,
)

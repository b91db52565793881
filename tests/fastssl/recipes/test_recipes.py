import contextlib
import dataclasses
import math
import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from fastssl.config import Experiment
from fastssl.methods import Method, build_method
from fastssl.models import Backbone, ResNet, ResNet9
from fastssl.models.batch_norm import group_batch_norms
from fastssl.optim import SGD
from fastssl.optim.optimizer import build_optimizer, set_learning_rate
from fastssl.optim.schedules import learning_rate
from fastssl.recipes import RECIPES, augmentations, find_recipe
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.ops import CenterCrop, PaddedCrop, RandomResizedCrop
from pipelines.views import ViewSpec, evaluation_spec

STEPS_PER_EPOCH = 3


@dataclass(frozen=True)
class Published:
    """Settings that a paper states.

    Attributes:
        settings: batch, epochs, rate after the warm-up at that batch, weight decay, epochs of warm-up.
        optimizer: its name, and whether it leaves norms and biases out.
        method: fields of the method.
    """

    settings: tuple[int, int, float, float, int]
    optimizer: tuple[str, bool] = ("sgd", False)
    method: dict[str, Any] = field(default_factory=dict)


BYOL_HEADS = {"hidden_dim": 4096, "out_dim": 256}
SIMO = {"hidden_dim": 2048, "out_dim": 128, "temperature": 0.2, "momentum": 0.999}
SIMCLR = {"hidden_dim": 2048, "out_dim": 128, "temperature": 0.1}
# Each number typed in from the papers.
PUBLISHED: dict[str, Published] = {
    # Huang et al. 2022, section 3.2
    "moco-v2-plus-imagenet": Published(
        (1024, 200, 0.12, 1e-4, 10),
        method={"num_negatives": 65536, "temperature": 0.2, "momentum": 0.99} | BYOL_HEADS,
    ),
    # He et al. 2020, section 3.3
    "moco-v1-imagenet": Published(
        (256, 200, 0.03, 1e-4, 0),
        method={
            "num_negatives": 65536,
            "temperature": 0.07,
            "layers": 1,
            "out_dim": 128,
            "momentum": 0.999,
            "ascending": False,
            "shuffling_bn": True,
            "predictor_on": "none",
            "symmetric_loss": False,
        },
    ),
    # Huang et al. 2022, section 3.2: MoCo v2+'s
    "byol-sgd-imagenet": Published((1024, 200, 0.12, 1e-4, 10), method={"momentum": 0.99} | BYOL_HEADS),
    # Grill et al. 2020, appendix J
    "byol-asymmetric-imagenet": Published(
        (4096, 300, 4.8, 1e-6, 10), ("lars", True), method={"momentum": 0.99} | BYOL_HEADS
    ),
    "byol-asymmetric-1000ep-imagenet": Published(
        (4096, 1000, 3.2, 1.5e-6, 10), ("lars", True), method={"momentum": 0.996} | BYOL_HEADS
    ),
    "byol-imagenet": Published(
        (4096, 200, 4.8, 1e-6, 10), ("lars", True), method={"momentum": 0.99} | BYOL_HEADS
    ),
    # Goyal et al. 2017, section 5.1; Huang et al. 2022, table 6
    "supervised-imagenet": Published((256, 100, 0.1, 1e-4, 10)),
    # lightly's CIFAR-10 benchmark of 2022-02-18: lr 6e-2 * batch / 128, rows of batch 512 and 200 epochs;
    # weight decay 5e-4; its losses are 1/2 (MoCo) and 1/4 (BYOL) of the papers', so the rates here are too,
    # and decays 2 and 4 times as large
    "moco-v2-plus-cifar10": Published((512, 200, 0.12, 2 * 5e-4, 0), method={"num_negatives": 8192}),
    "byol-cifar10": Published((512, 200, 0.06, 4 * 5e-4, 0), method={"hidden_dim": 1024, "out_dim": 256}),
    # DeVries and Taylor 2017, section 4.1
    "supervised-cifar10": Published((128, 200, 0.1, 5e-4, 0)),
    # Zhu et al. 2020, section 3 and table 2; lr, decay and temperature are MoCo v2's
    "simo-k16-a256-imagenet": Published(
        (256, 200, 0.03, 1e-4, 10), method={"num_negatives": 16, "eqco_alpha": 256} | SIMO
    ),
    "simo-k256-a256-imagenet": Published(
        (256, 200, 0.03, 1e-4, 10), method={"num_negatives": 256, "eqco_alpha": 256} | SIMO
    ),
    "simo-k256-a65536-imagenet": Published(
        (256, 200, 0.03, 1e-4, 10), method={"num_negatives": 256, "eqco_alpha": 65536} | SIMO
    ),
    # Chen et al. 2020, section 2
    "simclr-imagenet": Published(
        (8192, 200, 9.6, 1e-6, 10),
        ("lars", True),
        method={"num_negatives": None, "eqco_alpha": None} | SIMCLR,
    ),
    # Zhu et al. 2020, section 2.3 and figure 2 (alpha 256, batch 256, SGD); lr .3 and decay 1e-6 of their
    # code, whose loss is twice ours
    "simclr-eqco-imagenet": Published(
        (256, 200, 2 * 0.3, 1e-6 / 2, 10),
        ("sgd", True),
        method={"num_negatives": 16, "eqco_alpha": 256} | SIMCLR,
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_found_by_a_short_name_that_its_config_bears(name: str) -> None:
    config = RECIPES[name]()
    assert config.recipe == name
    assert find_recipe(name) == config
    assert len(name) <= 40
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)  # the name of a folder, of a job


def leaves(method: Method.Config) -> dict[str, Any]:
    """A method's fields and those of its projector, teacher and loss, each by its own name."""
    own = dataclasses.asdict(method)
    return own | own.get("projector", {}) | own.get("teacher", {}) | own.get("loss", {})


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_are_the_published_ones(name: str) -> None:
    config, published = RECIPES[name](), PUBLISHED[name]
    experiment, optimizer, method = config.experiment, config.experiment.optimizer, config.experiment.method
    batch_size, epochs, lr, weight_decay, warmup_epochs = published.settings
    assert (experiment.batch_size, experiment.epochs) == (batch_size, epochs)
    assert optimizer.base_lr * batch_size / 256 == pytest.approx(lr)
    assert (optimizer.weight_decay, optimizer.warmup_epochs) == (weight_decay, warmup_epochs)
    assert (optimizer.kind, optimizer.exclude_norm_and_bias) == published.optimizer
    assert {key: leaves(method)[key] for key in published.method} == published.method
    assert optimizer.momentum == 0.9  # type: ignore[attr-defined]
    if isinstance(optimizer, SGD.Config):
        assert optimizer.nesterov == (name == "supervised-cifar10")
    imagenet = config.machine.data == "imagenet"
    backbone = ResNet.Config(depth=50) if imagenet else ResNet.Config(depth=18, stem="cifar")
    assert replace(experiment.backbone, zero_init_residual=False) == backbone  # type: ignore[call-arg]


def scale(spec: ViewSpec) -> tuple[float, float]:
    assert isinstance(spec.crop, RandomResizedCrop)
    return spec.crop.scale


def colors(spec: ViewSpec) -> tuple[float, ...]:
    return (*dataclasses.astuple(spec.jitter), spec.grayscale.p)


def test_augmentations_are_the_published_ones() -> None:
    moco, byol, cifar = augmentations.MOCO_V2, augmentations.BYOL_SYMMETRIC, augmentations.SIMCLR_CIFAR10
    assert colors(moco) == (0.8, 0.4, 0.4, 0.4, 0.1, 0.2)
    assert colors(byol) == (0.8, 0.4, 0.4, 0.2, 0.1, 0.2)
    assert colors(cifar) == (0.8, 0.4, 0.4, 0.4, 0.1, 0.2)
    assert [scale(spec) for spec in (moco, byol, cifar)] == [(0.2, 1), (0.08, 1), (0.08, 1)]
    assert [spec.blur.p for spec in (moco, byol, cifar)] == [0.5, 0.5, 0]
    assert [spec.solarize.p for spec in (moco, byol, cifar)] == [0, 0.2, 0]
    assert byol.solarize.threshold == 128 / 255
    assert {spec.blur.sigma for spec in (moco, byol)} == {(0.1, 2.0)}
    assert {spec.flip.p for spec in (moco, byol, cifar)} == {0.5}
    assert [spec.size for spec in (moco, byol, cifar)] == [224, 224, 32]
    supervised = augmentations.SUPERVISED_CIFAR10
    assert (supervised.crop, supervised.flip.p) == (PaddedCrop(padding=4), 0.5)
    assert colors(supervised) == (0, 0, 0, 0, 0, 0)
    used = {name: RECIPES[name]().experiment.views[0].spec for name in PUBLISHED}
    imagenet = augmentations.SUPERVISED
    assert used == {
        "moco-v1-imagenet": augmentations.MOCO_V1,
        "moco-v2-plus-imagenet": moco,
        "byol-imagenet": byol,
        "byol-sgd-imagenet": byol,
        "byol-asymmetric-imagenet": augmentations.BYOL_FIRST,
        "byol-asymmetric-1000ep-imagenet": augmentations.BYOL_FIRST,
        "supervised-imagenet": imagenet,
        "moco-v2-plus-cifar10": cifar,
        "byol-cifar10": cifar,
        "supervised-cifar10": supervised,
        "simo-k16-a256-imagenet": moco,
        "simo-k256-a256-imagenet": moco,
        "simo-k256-a65536-imagenet": moco,
        "simclr-imagenet": augmentations.SIMCLR,
        "simclr-eqco-imagenet": augmentations.SIMCLR,
    }
    assert (imagenet.size, scale(imagenet), imagenet.flip.p) == (224, (0.08, 1), 0.5)
    assert (colors(imagenet), imagenet.blur.p, imagenet.solarize.p) == ((0,) * 6, 0, 0)
    simclr = augmentations.SIMCLR
    assert colors(simclr) == (0.8, 0.8, 0.8, 0.8, 0.2, 0.2)
    assert (scale(simclr), simclr.blur.p, simclr.blur.sigma) == ((0.08, 1), 0.5, (0.1, 2.0))
    assert (simclr.solarize.p, simclr.flip.p, simclr.size) == (0, 0.5, 224)


def test_asymmetric_augmentation_is_byols() -> None:
    # Grill et al. 2020, table 6: columns T and T'
    for name in ("byol-asymmetric-imagenet", "byol-asymmetric-1000ep-imagenet"):
        groups = RECIPES[name]().experiment.views
        first, second = (group.spec for group in groups)
        assert [group.num_views for group in groups] == [1, 1]
        assert (first.blur.p, first.solarize.p) == (1.0, 0.0)
        assert (second.blur.p, second.solarize.p) == (0.1, 0.2)
        for spec in (first, second):
            assert (*colors(spec), scale(spec), spec.flip.p) == (0.8, 0.4, 0.4, 0.2, 0.1, 0.2, (0.08, 1), 0.5)


def test_moco_v1_augmentation() -> None:
    # its authors' code: RandomResizedCrop(scale .2 to 1), gray p .2, ColorJitter(.4, .4, .4, .4) always, flip
    spec = augmentations.MOCO_V1
    assert colors(spec) == (1, 0.4, 0.4, 0.4, 0.4, 0.2)
    assert (scale(spec), spec.blur.p, spec.solarize.p, spec.flip.p) == ((0.2, 1), 0, 0, 0.5)


def narrow(backbone: Any) -> Backbone.Config:
    """A sixteenth of the width; of a network that has no other, a ResNet-9 of that."""
    if not hasattr(backbone, "width"):
        return ResNet9.Config(width=0.0625)
    return replace(backbone, width=0.0625)


def reduced(experiment: Experiment) -> Experiment:
    """The same run with a narrow encoder, 32-pixel views, the fewest images per step and few epochs."""
    for batch_size in (4, 16, 64):
        with contextlib.suppress(UserError):  # fewer than the method needs
            return replace(
                experiment,
                epochs=20,
                batch_size=batch_size,
                batch_norm_group=batch_size // 2 if experiment.batch_norm_group else None,
                taxonomy="classes",
                views=tuple(replace(group, spec=replace(group.spec, size=32)) for group in experiment.views),
                backbone=narrow(experiment.backbone),
                method=experiment.method.small(),
            )
    raise AssertionError(f"{experiment.method.kind} takes no batch of at most 64 images")


def distinct() -> dict[str, Experiment]:
    """The reduced runs by the name of the first recipe that has them: many recipes differ in sizes alone."""
    runs: dict[Experiment, str] = {}
    for name, recipe in RECIPES.items():
        runs.setdefault(reduced(recipe().experiment), name)
    return {name: experiment for experiment, name in runs.items()}


def noise(experiment: Experiment, step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    size = experiment.batch_size
    return Batch(
        step=step,
        epoch=0,
        views=tuple(
            torch.randn(group.num_views * size, 3, group.spec.size, group.spec.size, generator=generator)
            for group in experiment.views
        ),
        sample_ids=torch.arange(size),
        labels=torch.arange(size) % 10,
        parameters=(),
    )


@pytest.mark.parametrize("experiment", distinct().values(), ids=distinct())
def test_every_recipe_takes_two_steps(experiment: Experiment) -> None:
    total_steps = 20 * STEPS_PER_EPOCH
    method = build_method(
        experiment.method,
        experiment.backbone,
        seed=experiment.seed,
        total_steps=total_steps,
        num_classes=10,
        sample_ids=np.arange(64),
        probes=experiment.probes,
    ).train()
    if experiment.batch_norm_group:
        group_batch_norms(method, experiment.batch_norm_group, experiment.batch_size)
    optimizer = build_optimizer(method.param_groups(), experiment.optimizer)
    before = [weight.detach().clone() for weight in method.encoder.parameters()]
    for step in (1, 2):  # at step 0 the rate of a warm-up is 0
        rate = learning_rate(step, experiment.optimizer, experiment.batch_size, STEPS_PER_EPOCH, total_steps)
        set_learning_rate(optimizer, rate)
        with torch.autocast("cpu", torch.bfloat16, enabled=experiment.precision == "bf16"):
            loss, metrics = method(noise(experiment, step), step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        method.after_step(step)
        assert math.isfinite(loss.item())
        assert all(math.isfinite(value.item()) for value in metrics.values())
    after = list(method.encoder.parameters())
    assert all(bool(weight.isfinite().all()) for weight in after)
    assert sum(not torch.equal(old, new) for old, new in zip(before, after, strict=True)) > len(after) / 2


@pytest.mark.parametrize("name", RECIPES)
def test_evaluation_sees_what_training_showed(name: str) -> None:
    experiment = RECIPES[name]().experiment
    spec = evaluation_spec(experiment.views[0].spec, experiment.center_fraction)
    trained = experiment.views[0].spec
    assert (spec.size, spec.mean, spec.std) == (trained.size, trained.mean, trained.std)
    # whole images where they are as small as the views (CIFAR-10's 32, STL-10's 96, scenes' 64 and 128), else
    # the usual 224 of 256
    assert spec.crop == CenterCrop(fraction=1.0 if spec.size in (32, 64, 96, 128) else 0.875)

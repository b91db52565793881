"""The recipes of Newell and Deng have the numbers of their code's configs, typed in anew."""

from typing import Any

import pytest

from fastssl.models import DenseResNet, ResNet9
from fastssl.optim import Adam
from fastssl.optim.schedules import learning_rate
from fastssl.recipes import RECIPES
from fastssl.recipes.pretexts import RECIPES as PRETEXTS

# batch, rate at its peak and at the end, weight decay, rounds; K and m of CMC
PUBLISHED: dict[str, tuple[Any, ...]] = {
    "scratch-resnet9-scenes64": (512, 1e-3, 1e-6, 1e-4, 600),
    "scratch-resnet50-scenes64": (384, 1e-3, 1e-6, 1e-4, 800),
    "vae-resnet9-scenes64": (512, 1e-3, 1e-5, 1e-5, 800),
    "vae-resnet50-scenes64": (384, 1e-3, 1e-5, 1e-5, 800),
    "vae-resnet50-scenes128": (96, 1e-3, 1e-5, 1e-5, 1200),
    "rotation-resnet9-scenes64": (512, 5e-4, 1e-5, 1e-4, 400),
    "rotation-resnet50-scenes64": (384, 5e-4, 1e-5, 1e-4, 400),
    "rotation-resnet50-scenes128": (64, 5e-4, 1e-5, 1e-4, 900),
    "cmc-resnet9-scenes64": (256, 1e-3, 1e-6, 1e-5, 800, 8192, 0.2),
    "cmc-resnet50-scenes64": (384, 5e-3, 1e-6, 1e-5, 1600, 4086, 0.4),
    "cmc-resnet50-scenes128": (64, 1e-3, 1e-6, 1e-5, 1600, 16384, 0.4),
    "amdim-resnet9-scenes64": (384, 1e-3, 1e-6, 1e-5, 800),
    "amdim-resnet50-scenes64": (192, 1e-3, 1e-6, 1e-5, 1600),
    "amdim-resnet50-scenes128": (32, 5e-4, 1e-6, 1e-5, 1600),
}
TINY = {"vae-tiny", "rotation-tiny", "cmc-tiny", "amdim-tiny"}


def test_every_cell_and_the_short_runs_are_here() -> None:
    assert {recipe().recipe for recipe in PRETEXTS} == PUBLISHED.keys() | TINY


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_are_the_published_ones(name: str) -> None:
    batch, peak, end, weight_decay, rounds, *memory = PUBLISHED[name]
    experiment = RECIPES[name]().experiment
    optimizer, method = experiment.optimizer, experiment.method
    multi, doubled = name.endswith("128"), name.startswith("amdim")
    images, per_round = (250_000, 10_000) if multi else (400_000, 50_000)
    per_round //= 2 if doubled else 1
    assert RECIPES[name]().machine.data == f"scenes:{'multi' if multi else 'single'}-1111"
    assert experiment.batch_size == batch
    assert experiment.epochs * images == pytest.approx(rounds * per_round)
    steps_per_epoch = images // batch
    total = round(experiment.epochs * steps_per_epoch)
    warm = round(5 * per_round / images * steps_per_epoch)
    rates = [learning_rate(step, optimizer, batch, steps_per_epoch, total) for step in (0, warm, total)]
    assert rates == pytest.approx([0, peak, end])
    assert optimizer == Adam.Config(
        base_lr=optimizer.base_lr,
        weight_decay=weight_decay,
        warmup_epochs=optimizer.warmup_epochs,
        schedule="linear",
        end_share=optimizer.end_share,
    )
    whole = DenseResNet.Config(feature_dim=512, dilated=True) if multi else DenseResNet.Config()
    assert experiment.backbone == (ResNet9.Config() if "resnet9" in name else whole)
    if memory:
        assert [method.num_negatives, method.memory_momentum] == memory  # type: ignore[attr-defined]
        assert method.temperature == 0.1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", PUBLISHED)
def test_augmentation_is_the_published_one(name: str) -> None:
    (group,) = RECIPES[name]().experiment.views
    spec, pretext = group.spec, name.partition("-")[0]
    assert spec.size == (128 if name.endswith("128") else 64)
    assert spec.channel_jitter.p == (0 if pretext == "cmc" and spec.size == 64 else 0.8)
    assert (spec.channel_jitter.scale_std, spec.channel_jitter.shift_std) == (0.25, 0.25)
    assert spec.channel_mean.p == 0.25
    assert (spec.shift.padding, spec.shift.stay) == (1 / 8, 0.2)
    assert (spec.cutout.size, spec.cutout.inside) == ((0, False) if pretext == "vae" else (0.25, True))
    assert spec.flip.p == (0 if pretext == "amdim" else 0.5)
    assert spec.color_space == "lab"
    in_lab = [
        (spec.mean[0] * 100, spec.std[0] * 100),
        *((spec.mean[channel] * 255 - 128, spec.std[channel] * 255) for channel in (1, 2)),
    ]
    assert in_lab == [pytest.approx(pair) for pair in ((38.44, 17.42), (3.03, 9.41), (4.77, 11.37))]

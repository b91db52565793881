"""Moon et al. (2022), supplement: sections 1.1 to 1.3 and the rows of tables 3 to 5, typed anew."""

from typing import Any

import pytest

from fastssl.recipes import RECIPES, augmentations
from fastssl.recipes.msbreg import RECIPES as MSBREG_RECIPES
from pipelines.ops import ColorJitter

# base rate a view and backbone (sections 1.1 and 1.2), epochs (1.1; section 5 for table 5), batch (1.1; table
# 4), hidden and output units (1.2)
DATA: dict[str, tuple[float, str, int, int, int, int]] = {
    "imagenet100": (0.4, "resnet18", 300, 512, 512, 128),
    "stl10": (0.5, "resnet18", 320, 256, 512, 128),
    "imagenet": (0.15, "resnet50", 300, 512, 2048, 256),
}
# views, lambda_s, lambda_b, norm of the heads
ROWS: dict[str, tuple[int, float, float, str]] = {
    "msbreg-imagenet100": (8, 0.004, 0.5, "batch"),  # table 5
    "msbreg-320ep-imagenet100": (8, 0.004, 0.5, "batch"),
    "msbreg-4-views-imagenet100": (4, 0.004, 0.5, "batch"),
    "msbreg-2-views-imagenet100": (2, 0.004, 0.25, "batch"),
    "byol-imagenet100": (2, 0, 0, "batch"),
    "byol-uniformity-imagenet100": (2, 0, 0, "batch"),  # table 3
    "msbreg-stl10": (4, 0.004, 5e-2, "batch"),  # table 4; its views and lambda_s are not in the paper
    "msbreg-layer-norm-stl10": (4, 0.004, 5e-3, "layer"),
    "byol-stl10": (2, 0, 0, "batch"),
    "byol-layer-norm-stl10": (2, 0, 0, "layer"),
    "byol-layer-norm-brownian-stl10": (2, 0, 5e-3, "layer"),
    "msbreg-imagenet": (4, 0.004, 0.5, "batch"),  # K 4: table 2
}


def test_every_recipe_has_a_row() -> None:
    assert {recipe().recipe for recipe in MSBREG_RECIPES} == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_settings_are_the_published_ones(name: str) -> None:
    config = RECIPES[name]()
    experiment, optimizer = config.experiment, config.experiment.optimizer
    method: Any = config.experiment.method
    num_views, lambda_s, lambda_b, norm = ROWS[name]
    base_lr, backbone, epochs, batch, hidden_dim, out_dim = DATA[config.machine.data]
    assert (optimizer.kind, optimizer.weight_decay, optimizer.warmup_epochs) == ("lars", 1e-5, 10)
    assert (optimizer.schedule, optimizer.exclude_norm_and_bias) == ("cosine", True)
    assert optimizer.base_lr == pytest.approx(base_lr * num_views)
    epochs = 320 if "320ep" in name else epochs  # section 1.1
    assert (experiment.backbone.label, experiment.epochs, experiment.batch_size) == (backbone, epochs, batch)
    for head in (method.projector, method.predictor):
        assert (head.layers, head.hidden_dim, head.out_dim, head.norm) == (2, hidden_dim, out_dim, norm)
    assert (method.teacher.momentum, method.teacher.ascending) == (0.99, True)  # BYOL's, 300 epochs
    assert method.num_views == num_views
    assert (getattr(method, "lambda_s", 0), getattr(method, "lambda_b", 0)) == (lambda_s, lambda_b)
    assert bool(getattr(method, "uniformity_weight", 0)) == ("uniformity" in name)


@pytest.mark.parametrize("name", ROWS)
def test_views_are_those_of_table_1(name: str) -> None:
    config = RECIPES[name]()
    ((spec, num_views),) = ((group.spec, group.num_views) for group in config.experiment.views)
    assert num_views == ROWS[name][0]
    assert (spec.crop.kind, spec.flip.p, spec.grayscale.p) == ("random_resized", 0.5, 0.2)
    assert spec.jitter == ColorJitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    assert (spec.blur.p, spec.solarize.p) == (1.0, 0.2)
    assert spec.size == (96 if config.machine.data == "stl10" else 224)
    assert spec.crop == augmentations.BYOL_SYMMETRIC.crop  # not in the paper

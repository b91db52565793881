"""Rows of the papers' tables: the number of each, and what it changes of another."""

import itertools

import pytest

from fastssl.config import differing_fields
from fastssl.recipes import RECIPES
from fastssl.recipes.derive import with_changes
from pipelines.command.errors import UserError

# Numbers of the papers' other rows, in percent; None: a plot, or no row.
NUMBERS: dict[str, float | None] = {
    # Huang et al. 2022: text of sections 1 and 4.1, tables 2 and 4, repository (MoCo v2)
    **{"moco-v2": 67.2, "moco-v2-sync-bn": None, "moco-v2-predictor": None},
    **{"moco-v2-momentum-ascending": 72.0 - 2.0, "moco-v2-plus": 72.0},
    **{"moco-v2-plus-complex-augmentation": 72.4, "s-moco-v2-plus": 71.2, "moco-v2-plus-lars": 72.5},
    **{"byol": 72.4, "byol-sgd": 72.1},
    # supplement, tables 6 and 7
    **{"moco-v2-plus-complex-augmentation-100-epochs": 69.1, "s-moco-v2-plus-100-epochs": 69.3},
    **{"byol-sgd-100-epochs": 69.4, "supervised": 77.1, "supervised-artifact": 9.2},
    **{"supervised-depth-1": 0.7, "supervised-depth-3": 10.6, "supervised-depth-6": 45.4},
    **{"moco-v2-resnet18-100-epochs": 51.9, "moco-v2-resnet101-100-epochs": 65.0},
    **{"moco-v2-plus-complex-augmentation-resnet18-100-epochs": 57.3},
    **{"moco-v2-plus-complex-augmentation-resnet101-100-epochs": 70.8},
    **{"byol-sgd-resnet18-100-epochs": 57.8, "byol-sgd-resnet101-100-epochs": 71.7},
    # Zhu et al. 2020: section 1, tables 2 to 7
    **{"moco-v1-k256": 54.7, "moco-v1": 60.6, "moco-v1-k256-a65536": None, "moco-v2-k256-a65536": None},
    **{"moco-v2-k256": 67.0, "moco-v2-k1024": 67.1, "moco-v2-k4096": 67.6, "moco-v2-k16384": 67.3},
    **{"moco-v2-k65536": 67.5, "moco-v2-k262144": 67.4},
    **{"simo-k16-a256": 68.1, "simo-k256-a256": 68.0, "simo-k256-a65536": 68.5},
    **{"simo-k256-a256-800-epochs": 71.8, "simo-k256-a65536-800-epochs": 72.1},
    **{"simo-k256-a1024": 68.1, "simo-k256-a4096": 68.1, "simo-k256-a16384": 68.4, "simo-k256-a262144": 68.3},
    **{"simo-k256-a256-100-epochs": 64.4, "simo-k256-a256-beta-0-100-epochs": 62.1},
    **{"simo-k256-a256-shuffling-bn-100-epochs": 58.8},
    **{"simo-k256-a256-resnet50-2x": 70.2, "simo-k256-a65536-resnet50-2x": 70.5},
    **{"simo-k256-a256-resnet50-4x": 71.9, "simo-k256-a65536-resnet50-4x": 72.3},
}

# Each step of the ladder and what it changes: Huang et al. 2022, section 4.1 and A.1, and for the first He et
# al. 2020 and Chen et al. 2020 (MoCo v2) with section 3.2. Head widths: the authors' code.
LADDER: dict[str, set[str]] = {
    "moco-v1": set(),
    "moco-v2": {
        "batch_size (256 became 1024)",
        "views.0.spec.jitter.p (1.0 became 0.8)",
        "views.0.spec.jitter.hue (0.4 became 0.1)",
        "views.0.spec.blur.p (0.0 became 0.5)",
        "method.loss.temperature (0.07 became 0.2)",
        "method.projector.layers (1 became 2)",
        "method.projector.hidden_dim (4096 became 2048)",
        "optimizer.warmup_epochs (0 became 10)",
        "optimizer.schedule (steps became cosine)",
        "optimizer.drops.0 (0.6 became absent)",
        "optimizer.drops.1 (0.8 became absent)",
    },
    "moco-v2-sync-bn": {
        "batch_norm_group (32 became None)",
        "method.teacher.shuffling_bn (True became False)",
        "method.projector.norm (none became batch)",
    },
    "moco-v2-predictor": {
        "method.predictor_on (none became student)",
        "method.projector.hidden_dim (2048 became 4096)",
        "method.projector.out_dim (128 became 256)",
    },
    "moco-v2-momentum-ascending": {
        "method.teacher.momentum (0.999 became 0.99)",
        "method.teacher.ascending (False became True)",
    },
    "moco-v2-plus": {"method.symmetric_loss (False became True)"},
    "moco-v2-plus-complex-augmentation": {
        "views.0.spec.crop.scale.0 (0.2 became 0.08)",
        "views.0.spec.jitter.saturation (0.4 became 0.2)",
        "views.0.spec.solarize.p (0.0 became 0.2)",
    },
    "s-moco-v2-plus": {"method.predictor_on (student became both)"},
}
# BYOL's own settings, section 3.2: "copied from the implementation of the original BYOL"
LARS = {
    "batch_size (1024 became 4096)",
    "optimizer.kind (sgd became lars)",
    "optimizer.nesterov (False became absent)",
    "optimizer.trust_coefficient (absent became 0.001)",
    "optimizer.base_lr (0.03 became 0.3)",
    "optimizer.weight_decay (0.0001 became 1e-06)",
    "optimizer.exclude_norm_and_bias (False became True)",
}
# Other rows: the recipe that one is compared with, itself, and all that changes.
ROWS: list[tuple[str, str, set[str]]] = [
    ("moco-v1", "moco-v1-k256", {"method.loss.num_negatives (65536 became 256)"}),
    ("moco-v1-k256", "moco-v1-k256-a65536", {"method.loss.eqco_alpha (None became 65536)"}),
    (
        "moco-v2",
        "moco-v2-k65536",
        {"batch_size (1024 became 256)", "optimizer.warmup_epochs (10 became 0)"},
    ),
    ("moco-v2-k65536", "moco-v2-k1024", {"method.loss.num_negatives (65536 became 1024)"}),
    ("moco-v2-k256", "moco-v2-k256-a65536", {"method.loss.eqco_alpha (None became 65536)"}),
    ("moco-v2-k256-a65536", "moco-v2-k16-a65536", {"method.loss.num_negatives (256 became 16)"}),
    ("simo-k256-a256", "simo-k256-a256-100-epochs", {"epochs (200 became 100)"}),
    (
        "simo-k256-a256-100-epochs",
        "simo-k256-a256-beta-0-100-epochs",
        {"method.teacher.momentum (0.999 became 0.0)"},
    ),
    (
        "simo-k256-a256-100-epochs",
        "simo-k256-a256-shuffling-bn-100-epochs",
        {"batch_norm_group (None became 32)", "method.teacher.shuffling_bn (False became True)"},
    ),
    (
        "simo-k256-a65536",
        "simo-k256-a65536-resnet50-4x",
        {"backbone.width (1.0 became 4.0)", "method.projector.hidden_dim (2048 became 8192)"},
    ),
    ("byol-sgd", "byol", LARS),
    ("byol-sgd", "byol-sgd-100-epochs", {"epochs (200 became 100)"}),
    (
        "moco-v2",
        "moco-v2-resnet101-100-epochs",
        {"epochs (200 became 100)", "backbone.depth (50 became 101)"},
    ),
    ("supervised", "supervised-depth-6", {"taxonomy (classes became depth-6)"}),
    ("supervised", "supervised-500-epochs", {"epochs (100 became 500)"}),
]


def changes(old: str, new: str) -> set[str]:
    before, after = (RECIPES[f"{name}-imagenet"]().experiment for name in (old, new))
    return set(differing_fields(before, after))


@pytest.mark.parametrize(("old", "new"), list(itertools.pairwise(LADDER)))
def test_a_step_of_the_ladder_changes_what_the_paper_says(old: str, new: str) -> None:
    assert changes(old, new) == LADDER[new]


@pytest.mark.parametrize("name", list(LADDER)[1:])
def test_lars_changes_the_preset_alone(name: str) -> None:
    assert changes(name, f"{name}-lars") == LARS


def test_lars_changes_the_schedule_of_v1_too() -> None:
    schedule = ("warmup_epochs (0 ", "schedule (steps ", "drops.0 (0.6 ", "drops.1 (0.8 ")
    of_v2 = {line for line in LADDER["moco-v2"] if line.removeprefix("optimizer.").startswith(schedule)}
    batch = {"batch_size (256 became 4096)"}
    assert len(of_v2) == len(schedule)
    assert changes("moco-v1", "moco-v1-lars") == LARS - {"batch_size (1024 became 4096)"} | batch | of_v2


@pytest.mark.parametrize(("old", "new", "expected"), ROWS)
def test_a_row_changes_what_its_table_says(old: str, new: str, expected: set[str]) -> None:
    assert changes(old, new) == expected


def test_byol_sgd_has_the_settings_of_moco_v2_plus() -> None:
    names = {line.split(" ")[0] for line in changes("moco-v2-plus-complex-augmentation", "byol-sgd")}
    mocos = {"predictor_on", "symmetric_loss", "loss", "enqueue"}
    assert names == {f"method.{field}" for field in {"kind", *mocos, "uniformity_weight"}}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_the_published_ones(name: str) -> None:
    paper, number = RECIPES[f"{name}-imagenet"]().paper, NUMBERS[name]
    assert paper is not None
    assert paper.metric == "linear top-1"
    assert paper.number == (None if number is None else pytest.approx(number / 100))


def test_changes_are_made_at_once_or_refused() -> None:
    experiment = RECIPES["moco-v1-imagenet"]().experiment
    changed = with_changes(experiment, {"seed": 3, "optimizer.schedule": "cosine", "optimizer.drops": ()})
    assert set(differing_fields(experiment, changed)) == {
        "seed (0 became 3)",
        "optimizer.schedule (steps became cosine)",
        "optimizer.drops.0 (0.6 became absent)",
        "optimizer.drops.1 (0.8 became absent)",
    }
    with pytest.raises(TypeError, match="base_rate"):
        with_changes(experiment, {"optimizer.base_rate": 1})
    with pytest.raises(UserError, match="drops"):
        with_changes(experiment, {"optimizer.schedule": "cosine"})

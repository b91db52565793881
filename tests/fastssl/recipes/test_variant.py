"""Variants of recipes: what each changes of its base."""

import itertools

import pytest

from fastssl.config_values import differing_fields
from fastssl.recipes import RECIPES
from fastssl.recipes.variant import with_changes
from pipelines.command.errors import UserError

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
    "moco-v2-plus-complex": {
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
# Other variants: the base, the variant, and all that changes.
VARIANTS: list[tuple[str, str, set[str]]] = [
    ("moco-v1", "moco-v1-k256", {"method.loss.num_negatives (65536 became 256)"}),
    (
        "moco-v2",
        "moco-v2-k65536",
        {"batch_size (1024 became 256)", "optimizer.warmup_epochs (10 became 0)"},
    ),
    ("moco-v2-k65536", "moco-v2-k1024", {"method.loss.num_negatives (65536 became 1024)"}),
    ("simo-k256-a256", "simo-k256-a256-100ep", {"epochs (200 became 100)"}),
    (
        "simo-k256-a256-100ep",
        "simo-k256-a256-beta-0-100ep",
        {"method.teacher.momentum (0.999 became 0.0)"},
    ),
    (
        "simo-k256-a256-100ep",
        "simo-k256-a256-shuffle-bn-100ep",
        {"batch_norm_group (None became 32)", "method.teacher.shuffling_bn (False became True)"},
    ),
    (
        "simo-k256-a65536",
        "simo-k256-a65536-r50-4x",
        {"backbone.width (1.0 became 4.0)", "method.projector.hidden_dim (2048 became 8192)"},
    ),
    (
        "moco-v2",
        "moco-v2-sync-bn-alone",
        {"batch_norm_group (32 became None)", "method.teacher.shuffling_bn (True became False)"},
    ),
    ("simclr", "simclr-100ep", {"epochs (200 became 100)"}),
    ("simclr-100ep", "simclr-n256-100ep", {"batch_size (8192 became 256)"}),
    ("byol-sgd", "byol", LARS),
    ("moco-v2-plus", "moco-v2-plus-lars", LARS),
    ("byol-sgd", "byol-sgd-100ep", {"epochs (200 became 100)"}),
    (
        "moco-v2",
        "moco-v2-r101-100ep",
        {"epochs (200 became 100)", "backbone.depth (50 became 101)"},
    ),
    ("supervised", "supervised-depth-6", {"taxonomy (classes became depth-6)"}),
]


def changes(old: str, new: str) -> set[str]:
    before, after = (RECIPES[f"{name}-imagenet"]().experiment for name in (old, new))
    return set(differing_fields(before, after))


@pytest.mark.parametrize(("old", "new"), list(itertools.pairwise(LADDER)))
def test_a_step_of_the_ladder_changes_what_the_paper_says(old: str, new: str) -> None:
    assert changes(old, new) == LADDER[new]


@pytest.mark.parametrize(("old", "new", "expected"), VARIANTS)
def test_a_variant_changes_what_its_table_says(old: str, new: str, expected: set[str]) -> None:
    assert changes(old, new) == expected


def test_byol_sgd_has_the_settings_of_moco_v2_plus() -> None:
    names = {line.split(" ")[0] for line in changes("moco-v2-plus-complex", "byol-sgd")}
    mocos = {"predictor_on", "symmetric_loss", "loss", "enqueue"}
    assert names == {f"method.{field}" for field in {"kind", *mocos, "uniformity_weight"}}


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

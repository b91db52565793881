"""Every number of every config has a range, the one that is typed here, and ends at its edges."""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from fastssl.config import FAMILIES, Experiment, Machine
from fastssl.diagnostics import DIAGNOSTICS
from fastssl.diagnostics.diagnostic import find_diagnostic
from fastssl.evaluate import PROTOCOLS
from fastssl.evaluate.knn import Knn
from fastssl.evaluate.logistic import Logistic
from fastssl.evaluate.protocol import find_protocol
from fastssl.evaluate.svm import Svm
from fastssl.methods.info_nce import InfoNCE
from fastssl.models import AMDIMEncoder
from fastssl.models.heads import Head
from fastssl.models.teacher import Teacher
from fastssl.optim import LARS, SGD, Adam
from fastssl.recipes import quickstart
from pipelines.command.errors import UserError
from pipelines.command.ranges import Range
from pipelines.ops import KINDS, GaussianBlur, RandomResizedCrop
from pipelines.pack import Options as PackOptions
from pipelines.views import ViewGroup, ViewSpec

ANY_NUMBER = {"seed", "batch_norm_group"}  # may have no range: any seed, and a group that fits its batch
# fields that a config, or one of its numbers, asks for beside it
OF_KIND: dict[type, dict[str, Any]] = {
    Experiment: vars(quickstart().experiment),
    ViewGroup: {"spec": ViewSpec()},
    PackOptions: {"src": "scenes", "dst": "out"},
}
OF_NAME: dict[str, dict[str, Any]] = {
    "drops": {"schedule": "steps"},
    "end_share": {"schedule": "linear"},
    "Longtail.classifier_rate": {"encoder": "tuned"},
    "Longtail.encoder_rate": {"encoder": "tuned"},
    "Map.perplexity": {"projection": "tsne"},
}
# the range of each number, typed anew; a new component's numbers need no line here
RANGES = {
    "above 0": """
        AMDIM.clip Adam.base_lr Adam.epsilon CMC.temperature Experiment.epochs
        Finetune.classifier_rate Gradients.alpha InfoNCE.eqco_alpha LARS.base_lr
        LARS.trust_coefficient Logistic.c Longtail.classifier_rate Machine.wait_minutes
        Map.perplexity SGD.base_lr Svm.costs
    """,
    "above 0 and at most 1": """
        CenterCrop.fraction Experiment.center_fraction Experiment.class_share Finetune.layer_decay
        Semisup.share
    """,
    "above 0 and below 1": "Adam.drops LARS.drops Logistic.held_out SGD.drops",
    "at least -1000 and at most 1000": "ViewSpec.mean",
    "at least 0": """
        AMDIM.penalty_weight Adam.clip_grad_norm Adam.norm_and_bias_lr_scale Adam.warmup_epochs
        Adam.weight_decay BYOL.uniformity_weight BarlowTwins.redundancy_weight Experiment.seed
        Finetune.encoder_rate Finetune.seed Finetune.weight_decay LARS.clip_grad_norm
        LARS.norm_and_bias_lr_scale LARS.warmup_epochs LARS.weight_decay Linear.epochs Linear.seed
        Logistic.seed Longtail.encoder_rate Longtail.epochs Longtail.seed MSBReg.lambda_b
        MSBReg.lambda_s Machine.checkpoint_minutes Machine.keep_every Machine.max_bad_images
        Machine.monitor_every Machine.pause_after PaddedCrop.padding SGD.clip_grad_norm
        SGD.norm_and_bias_lr_scale SGD.warmup_epochs SGD.weight_decay Semisup.epochs Semisup.seed
        VAE.kl_weight
    """,
    "at least 0 and at most 0.5": "ColorJitter.hue",
    "at least 0 and at most 1": """
        AMDIM.joint_flip Adam.end_share ChannelJitter.p ChannelMean.p ColorJitter.p Cutout.size
        Flip.p GaussianBlur.p Grayscale.p LARS.end_share Lighting.p Options.raw_share SGD.end_share
        Shift.padding Shift.stay Solarize.p Solarize.threshold Teacher.momentum
    """,
    "at least 0 and at most 100": """
        ChannelJitter.scale_std ChannelJitter.shift_std ColorJitter.brightness ColorJitter.contrast
        ColorJitter.saturation Lighting.std
    """,
    "at least 0 and at most 1024": "Machine.prefetch Machine.threads Machine.workers Options.workers",
    "at least 0 and below 1": """
        Adam.beta1 Adam.beta2 CMC.memory_momentum LARS.momentum SGD.momentum Timm.drop_path
    """,
    "at least 0.001 and at most 1000": "InfoNCE.temperature ViewSpec.std",
    "at least 0.01 and at most 100": "RandomResizedCrop.ratio",
    "at least 0.01 and at most 1000": "GaussianBlur.sigma",
    "at least 0.0125": "Knn.temperature",
    "at least 0.015625 and at most 64": "ResNet.width ResNet9.width",
    "at least 1": """
        AMDIMEncoder.channels AMDIMEncoder.depth AMDIMEncoder.feature_dim Alignment.images
        CMC.num_negatives DenseResNet.feature_dim Experiment.accumulation_steps
        Experiment.batch_size Experiment.block_size Experiment.blocks_per_window Finetune.batch_size
        Finetune.epochs Gradients.images Gradients.num_negatives Head.hidden_dim Head.out_dim
        InfoNCE.num_negatives Knn.k Logistic.max_iterations Longtail.factor Machine.log_every
        Map.images Neighbors.neighbors Neighbors.queries Options.max_side Options.shard_mb
        Spread.images Svm.max_iterations Timm.image_size
    """,
    "at least 1 and at most 100": "Options.quality",
    "at least 1 and at most 1024": "Head.layers ViewGroup.num_views",
    "at least 1 and at most 4096": "ViewSpec.size",
    "at least 1e-06 and at most 1": "RandomResizedCrop.scale",
    "at least 2": "MSBReg.num_views",
    "at least 4": "Cka.batch_size Cka.images",
}
# what a range does not say: values inside and outside, beside which fields
TINY = 1e-30
NARROWER: list[tuple[Any, str, list[Any], list[Any]]] = [
    (Experiment, "batch_size", [2, 64], [0]),
    (AMDIMEncoder.Config, "feature_dim", [512], [511, 1]),  # the last block's channels
    (Knn, "temperature", [0.0125], [0.0124]),
    (Knn, "k", [(1, 7)], [(), (5, 0)]),
    (Logistic, "c", [(TINY,)], [(), (1.0, 0.0)]),
    (Svm, "costs", [(TINY,)], [(), (1.0, 0.0)]),
    (GaussianBlur, "sigma", [(0.5, 1000.0)], [(0.5, 0.4), (1.0, 1000.1)]),
    (RandomResizedCrop, "scale", [(0.5, 1.0)], [(0.5, 0.4), (0.5, 1e300)]),
    (RandomResizedCrop, "ratio", [(0.5, 100.0)], [(0.5, 0.4)]),
    (ViewSpec, "std", [(0.1, 0.001, 1000.0)], [(0.1, 0.1, 0.0)]),
    *((kind.Config, "drops", [(TINY, 0.999)], [(0.5, 0.5), (0.8, 0.6)]) for kind in (SGD, LARS, Adam)),
]


def _kinds() -> Iterator[Any]:
    """All configs and specs that a run, a view, a protocol or a diagnostic is made of."""
    for members in FAMILIES.values():
        yield from (member.Config for member in members)
    for choices in KINDS.values():
        yield from choices
    yield from (Experiment, Machine, PackOptions, ViewGroup, ViewSpec)
    yield from (Head.Config, Teacher.Config, InfoNCE.Config)
    yield from map(find_protocol, PROTOCOLS)
    yield from map(find_diagnostic, DIAGNOSTICS)


def _is_number(hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return False
    return hint in (int, float) or any(_is_number(part) for part in get_args(hint))


NUMBERS = {
    (kind, name): hint
    for kind in _kinds()
    for name, hint in get_type_hints(kind, include_extras=True).items()
    if name in {field.name for field in dataclasses.fields(kind)} and _is_number(hint)
    if name not in ANY_NUMBER or hasattr(hint, "__metadata__")
}


def make(kind: Any, name: str, value: Any) -> Any:
    beside = OF_NAME.get(name, {}) | OF_NAME.get(f"{kind.__name__}.{name}", {})
    return kind(**{**OF_KIND.get(kind, {}), **beside, name: value})


def assert_refused(kind: Any, name: str, value: Any) -> None:
    """One line that names the option and the value."""
    begin = r"^--" if kind in (Experiment, Machine) else r"^[^\n]*\b"
    pattern = rf"{begin}{name.replace('_', '[-_]')} (must|needs) [^\n]+$"
    with pytest.raises(UserError, match=pattern) as refusal:
        make(kind, name, value)
    number = value[-1] if isinstance(value, tuple) and value else value
    assert number == () or re.search(rf"(^|[ (]){re.escape(f'{number}')}\b", str(refusal.value))


def range_of(kind: Any, name: str) -> Range:
    """The one range of a number."""
    (bounds,) = (extra for extra in NUMBERS[kind, name].__metadata__ if isinstance(extra, Range))
    return bounds


def test_each_number_has_the_range_that_is_typed_here() -> None:
    found = {f"{kind.__qualname__.removesuffix('.Config')}.{name}": (kind, name) for kind, name in NUMBERS}
    for words, names in RANGES.items():
        assert {name: str(range_of(*found[name])) for name in names.split()} == dict.fromkeys(
            names.split(), words
        )


@pytest.mark.parametrize(
    ("kind", "name"), NUMBERS, ids=lambda it: it if isinstance(it, str) else f"{it.__module__}.{it.__name__}"
)
def test_a_number_ends_at_the_edges_of_its_one_range(kind: Any, name: str) -> None:
    hint = NUMBERS[kind, name]
    bounds = range_of(kind, name)
    numbers = hint.__origin__
    length = len(get_args(numbers)) if get_origin(numbers) is tuple else 0
    if length and get_args(numbers)[-1] is Ellipsis:
        length = 1
    is_int = numbers is int or int in get_args(numbers)
    edges = [edge for edge in dataclasses.astuple(bounds) if math.isfinite(edge)]
    assert edges
    near = {edge + step for edge in edges for step in (0.0, *((-1, 1) if is_int else (-1e-9, 1e-9)))}
    narrower = any((kind, name) == row[:2] for row in NARROWER) and not length
    for number in map(int, near) if is_int else near | {math.nan, math.inf, -math.inf}:
        value = (number,) * length if length else number
        if number not in bounds:
            assert_refused(kind, name, value)
        elif not narrower:
            assert getattr(make(kind, name, value), name) == value


@pytest.mark.parametrize(("kind", "name", "inside", "outside"), NARROWER)
def test_what_a_range_does_not_say_is_checked(
    kind: Any, name: str, inside: list[Any], outside: list[Any]
) -> None:
    for value in inside:
        assert getattr(make(kind, name, value), name) == value
    for value in outside:
        assert_refused(kind, name, value)

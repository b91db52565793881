"""Every number of every config: its range, typed anew, and what is refused just outside of it."""

import dataclasses
import math
import re
from functools import cache, partial
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from fastssl.config import FAMILIES, Machine
from fastssl.diagnostics import DIAGNOSTICS
from fastssl.diagnostics.diagnostic import find_diagnostic
from fastssl.evaluate import PROTOCOLS
from fastssl.evaluate.alignment import Alignment
from fastssl.evaluate.finetune import Finetune
from fastssl.evaluate.knn import Knn
from fastssl.evaluate.linear import Linear
from fastssl.evaluate.logistic import Logistic
from fastssl.evaluate.longtail import Longtail
from fastssl.evaluate.protocol import find_protocol
from fastssl.evaluate.semisup import Semisup
from fastssl.evaluate.spread import Spread
from fastssl.evaluate.svm import Svm
from fastssl.methods import AMDIM, BYOL, CMC, VAE, BarlowTwins, MSBReg
from fastssl.methods.info_nce import InfoNCE
from fastssl.models import AMDIMEncoder, DenseResNet, ResNet, ResNet9, Timm
from fastssl.models.heads import Head
from fastssl.models.teacher import Teacher
from fastssl.optim import LARS, SGD, Adam
from pipelines.command.errors import UserError
from pipelines.command.ranges import Range
from pipelines.ops import (
    KINDS,
    CenterCrop,
    ChannelJitter,
    ChannelMean,
    ColorJitter,
    Cutout,
    Flip,
    GaussianBlur,
    Grayscale,
    Lighting,
    PaddedCrop,
    RandomResizedCrop,
    Shift,
    Solarize,
)
from pipelines.pack import Options as PackOptions
from pipelines.views import ViewGroup, ViewSpec

HUGE, TOO_LARGE, TINY = 1e12, 1.001e12, 1e-30
POSITIVE, NOT_NEGATIVE = ([TINY, HUGE], [0.0, -1.0, TOO_LARGE]), ([0.0, HUGE], [-TINY, TOO_LARGE])
ZERO_TO_ONE, COUNT, COUNT_OR_ZERO = ([0.0, 1.0], [-TINY, 1.001]), ([1, 10**9], [0, -1]), ([0, 10**9], [-1])
BELOW_ONE, SMALL = ([0.0, 0.999], [-TINY, 1.0]), ([0, 1024], [-1, 1025])
FEW, TO_HUNDRED = ([1, 1024], [0, 1025]), ([0.0, 100.0], [-TINY, 100.1])
SHARE = ([TINY, 1.0], [0.0, 1.001])
OPTIMIZER = {
    "base_lr": POSITIVE,
    "norm_and_bias_lr_scale": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "warmup_epochs": NOT_NEGATIVE,
    "clip_grad_norm": NOT_NEGATIVE,
}
TEMPERATURE = ([0.001, 1000.0], [0.00099, 0.0, 1e-300, 1000.1])
SIGMA = ([(0.01, 0.01), (0.5, 1000.0)], [(0.009, 1.0), (1.0, 1000.1), (0.5, 0.4)])
DROPS = ([(TINY, 0.999)], [(0.0,), (1.0,), (0.5, 0.5)])
SCALE = ([(1e-6, 1e-6), (0.5, 1.0)], [(0.0, 1.0), (9e-7, 1.0), (0.5, 1.001), (0.5, 1e300), (0.5, 0.4)])
RATIO = ([(0.01, 0.01), (0.5, 100.0)], [(0.0, 1.0), (0.009, 1.0), (0.5, 100.1), (0.5, 0.4)])
EDGES: dict[Any, dict[str, tuple[list[Any], list[Any]]]] = {
    Machine: {
        "workers": SMALL,
        "prefetch": SMALL,
        "threads": SMALL,
        "log_every": COUNT,
        "monitor_every": NOT_NEGATIVE,
        "pause_after": NOT_NEGATIVE,
        "checkpoint_minutes": NOT_NEGATIVE,
        "keep_every": COUNT_OR_ZERO,
        "max_bad_images": COUNT_OR_ZERO,
        "wait_minutes": POSITIVE,
    },
    Head.Config: {"layers": FEW, "hidden_dim": COUNT, "out_dim": COUNT},
    Teacher.Config: {"momentum": ZERO_TO_ONE},
    InfoNCE.Config: {"temperature": TEMPERATURE, "num_negatives": COUNT, "eqco_alpha": POSITIVE},
    BarlowTwins.Config: {"redundancy_weight": NOT_NEGATIVE},
    CMC.Config: {"temperature": POSITIVE, "num_negatives": COUNT, "memory_momentum": BELOW_ONE},
    AMDIM.Config: {"clip": POSITIVE, "penalty_weight": NOT_NEGATIVE, "joint_flip": ZERO_TO_ONE},
    VAE.Config: {"kl_weight": NOT_NEGATIVE},
    BYOL.Config: {"uniformity_weight": NOT_NEGATIVE},
    MSBReg.Config: {"num_views": ([2, 99], [1, 0]), "lambda_s": NOT_NEGATIVE, "lambda_b": NOT_NEGATIVE},
    ResNet.Config: {"width": ([1 / 64, 9.0], [0.0156, -1.0])},
    ResNet9.Config: {"width": ([1 / 64, 9.0], [0.0156, -1.0])},
    DenseResNet.Config: {"feature_dim": COUNT},
    AMDIMEncoder.Config: {
        "channels": ([1, 64], [0, -1]),
        "feature_dim": ([512, 10**6], [511, 0]),
        "depth": COUNT,
    },
    Timm.Config: {"image_size": COUNT, "drop_path": BELOW_ONE},
    SGD.Config: OPTIMIZER | {"momentum": BELOW_ONE},
    LARS.Config: OPTIMIZER | {"momentum": BELOW_ONE, "trust_coefficient": POSITIVE},
    Adam.Config: OPTIMIZER | {"beta1": BELOW_ONE, "beta2": BELOW_ONE, "epsilon": POSITIVE},
    **{
        partial(optimizer.Config, schedule="linear"): {"end_share": ZERO_TO_ONE}
        for optimizer in (SGD, LARS, Adam)
    },
    partial(SGD.Config, schedule="steps"): {"drops": DROPS},
    partial(LARS.Config, schedule="steps"): {"drops": DROPS},
    partial(Adam.Config, schedule="steps"): {"drops": DROPS},
    Knn: {"k": ([(1, 7)], [(), (5, 0)]), "temperature": ([0.0125, HUGE], [0.0124, 0.0, TOO_LARGE])},
    Linear: {"epochs": COUNT_OR_ZERO},
    Logistic: {
        "c": ([(TINY,)], [(), (1.0, 0.0)]),
        "held_out": ([TINY, 0.999], [0.0, 1.0]),
        "max_iterations": COUNT,
    },
    Spread: {"images": COUNT},
    Alignment: {"images": COUNT},
    Svm: {"costs": ([(TINY,)], [(), (1.0, 0.0)]), "max_iterations": COUNT},
    Semisup: {"share": SHARE, "epochs": COUNT_OR_ZERO},
    Longtail: {"factor": ([1.0, HUGE], [0.999]), "epochs": COUNT_OR_ZERO},
    partial(Longtail, encoder="tuned"): {"classifier_rate": POSITIVE, "encoder_rate": NOT_NEGATIVE},
    Finetune: {
        "classifier_rate": POSITIVE,
        "encoder_rate": NOT_NEGATIVE,
        "layer_decay": SHARE,
        "weight_decay": NOT_NEGATIVE,
        "batch_size": COUNT,
        "epochs": COUNT,
    },
    ViewGroup: {"num_views": FEW},
    ViewSpec: {
        "size": ([1, 4096], [0, 4097]),
        "std": ([(0.1, 0.001, 1000.0)], [(0.1, 0.1, 0.0), (0.1, 0.1, 0.0009), (0.1, 0.1, 1000.1)]),
        "mean": ([(0.0, -1000.0, 1000.0)], [(-1000.1, 0.0, 0.0), (0.0, 0.0, 1e300), (0.0, 0.0, math.nan)]),
    },
    RandomResizedCrop: {"scale": SCALE, "ratio": RATIO},
    PaddedCrop: {"padding": COUNT_OR_ZERO},
    CenterCrop: {"fraction": SHARE},
    Flip: {"p": ZERO_TO_ONE},
    ColorJitter: {
        "p": ZERO_TO_ONE,
        "brightness": TO_HUNDRED,
        "contrast": TO_HUNDRED,
        "saturation": TO_HUNDRED,
        "hue": ([0.0, 0.5], [-TINY, 0.501]),
    },
    Grayscale: {"p": ZERO_TO_ONE},
    GaussianBlur: {"p": ZERO_TO_ONE, "sigma": SIGMA},
    Solarize: {"p": ZERO_TO_ONE, "threshold": ZERO_TO_ONE},
    Lighting: {"p": ZERO_TO_ONE, "std": TO_HUNDRED},
    Cutout: {"size": ZERO_TO_ONE},
    ChannelJitter: {"p": ZERO_TO_ONE, "scale_std": TO_HUNDRED, "shift_std": TO_HUNDRED},
    ChannelMean: {"p": ZERO_TO_ONE},
    Shift: {"padding": ZERO_TO_ONE, "stay": ZERO_TO_ONE},
    PackOptions: {
        "max_side": COUNT,
        "quality": ([1, 100], [0, 101]),
        "raw_share": ZERO_TO_ONE,
        "shard_mb": COUNT,
        "workers": SMALL,
    },
}
REQUIRED: dict[Any, dict[str, Any]] = {
    ViewGroup: {"spec": ViewSpec()},
    PackOptions: {"src": "scenes", "dst": "out"},
}
ANY_NUMBER = {"seed"}  # numbers without a range


def _kind(make: Any) -> Any:
    return make.func if isinstance(make, partial) else make


def _is_number(hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return False
    return hint in (int, float) or any(_is_number(part) for part in get_args(hint))


@pytest.mark.parametrize(
    ("make", "name"),
    [(make, name) for make, fields in EDGES.items() for name in fields],
    ids=lambda value: (
        value if isinstance(value, str) else f"{_kind(value).__module__}.{_kind(value).__name__}"
    ),
)
def test_a_range_ends_at_its_edge(make: Any, name: str) -> None:
    inside, outside = EDGES[make][name]
    required = REQUIRED.get(make, {})
    for value in inside:
        assert getattr(make(**required, **{name: value}), name) == value
    if any(isinstance(value, float) for value in inside):
        outside = [*outside, math.nan, math.inf]
    option = name.replace("_", "[-_]")
    for value in outside:
        with pytest.raises(UserError, match=rf"^[^\n]*\b{option} (must|needs) [^\n]+$") as refusal:
            make(**required, **{name: value})
        assert make is not Machine or str(refusal.value).startswith(f"--{name.replace('_', '-')} must")
        number = value[-1] if isinstance(value, tuple) and value else None
        assert number is None or re.search(rf"\b{re.escape(f'{number}')}\b", str(refusal.value))


def _kinds() -> list[type]:
    """All configs and specs that a run, a view, a protocol or a diagnostic is made of."""
    components = [member.Config for members in FAMILIES.values() for member in members]
    kinds = [op for choices in KINDS.values() for op in choices]
    parts = [Machine, Head.Config, Teacher.Config, InfoNCE.Config, ViewGroup, ViewSpec, PackOptions]
    protocols, diagnostics = map(find_protocol, PROTOCOLS), map(find_diagnostic, DIAGNOSTICS)
    return [*components, *kinds, *parts, *protocols, *diagnostics]


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


LISTED = {(_kind(make), name) for make, fields in EDGES.items() for name in fields}
NUMBERS = {
    (kind, field.name)
    for kind in _kinds()
    for field in dataclasses.fields(kind)
    if _is_number(_hints(kind)[field.name]) and field.name not in ANY_NUMBER
}


def _ranges(kind: type, name: str) -> list[Range]:
    return [extra for extra in getattr(_hints(kind)[name], "__metadata__", ()) if isinstance(extra, Range)]


def test_every_number_has_a_range() -> None:
    assert NUMBERS >= LISTED
    assert [each for each in NUMBERS if len(_ranges(*each)) != 1] == []


def test_just_outside_of_the_range_of_its_type_a_number_is_refused() -> None:
    """So a new component's numbers need no line above."""
    for kind, name in NUMBERS:
        is_int, (bounds,) = _hints(kind)[name].__origin__ is int, _ranges(kind, name)
        edges = [edge for edge in dataclasses.astuple(bounds) if math.isfinite(edge)]
        near = {edge + step for edge in edges for step in (0.0, *((-1, 1) if is_int else (-1e-9, 1e-9)))}
        outside = [int(value) if is_int else value for value in near if value not in bounds]
        assert outside, f"{kind.__name__}.{name}"
        for value in outside:
            with pytest.raises(UserError, match=rf"\b{name.replace('_', '[-_]')} (must|needs) "):
                kind(**REQUIRED.get(kind, {}), **{name: value})

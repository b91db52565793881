"""Every number of every config has a range and ends at its edges; ``pages/`` show which range it is."""

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


@pytest.mark.parametrize(
    ("kind", "name"), NUMBERS, ids=lambda it: it if isinstance(it, str) else f"{it.__module__}.{it.__name__}"
)
def test_a_number_ends_at_the_edges_of_its_one_range(kind: Any, name: str) -> None:
    hint = NUMBERS[kind, name]
    (bounds,) = (extra for extra in hint.__metadata__ if isinstance(extra, Range))
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

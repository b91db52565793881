"""What holds of every operation, asked of all that ``pipelines.ops`` names."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from numba.core.dispatcher import Dispatcher
from triton import JITFunction
from triton.runtime.interpreter import InterpretedFunction

from pipelines.ops import (
    AFTER_BLUR,
    BEFORE_BLUR,
    CHANNEL_OPS,
    KINDS,
    NEUTRAL,
    OPS,
    PLACE_OPS,
    VIEW_PARAMETERS,
    ChannelJitter,
    ChannelOp,
    Op,
    PlaceOp,
    PointOp,
)
from pipelines.render import reference
from pipelines.render.cpu import Workspace, render_constants
from pipelines.render.cpu import render_views as render_on_cpu
from pipelines.views import ViewSpec
from tests.helpers.gpu_views import ON_GPU, packed, render_views
from tests.helpers.view_checks import EVERYTHING, assert_rate, draw_many, draw_rows, photographs, plain_row

pytestmark = [pytest.mark.usefixtures("interpreter"), *([pytest.mark.gpu] if ON_GPU else [])]
SIZE = 24
PICTURE = np.ascontiguousarray(photographs()[0][100:140, 200:250])
RESTING: Any = {name: kinds[0]() for name, kinds in KINDS.items()}
ALL_KINDS = [op for kinds in KINDS.values() for op in kinds]


def working(name: str) -> ViewSpec:
    """A spec in which one operation is always at work, and no other."""
    op = getattr(EVERYTHING, name)
    return replace(ViewSpec(size=SIZE, **RESTING), **{name: replace(op, p=1.0) if hasattr(op, "p") else op})


def rendered(spec: ViewSpec, row: np.ndarray) -> dict[str, np.ndarray]:
    """The view of PICTURE by each renderer, in levels: float64 [S, S, 3]."""
    table = row.reshape(1, 1)
    on_cpu = np.zeros((1, 1, SIZE, SIZE, 3), np.float32)
    render_on_cpu(PICTURE, table, 0, render_constants(spec, "float32"), on_cpu, Workspace())
    views = {
        "reference": reference.render(PICTURE, table[0, 0], spec).permute(1, 2, 0).numpy(),
        "numba": on_cpu[0, 0],
        "triton": render_views(packed([PICTURE]), table, spec, torch.float32)[0]
        .permute(1, 2, 0)
        .cpu()
        .numpy(),
    }
    return {name: 255 * (view.astype(float) * spec.std + spec.mean) for name, view in views.items()}


def is_steady(op: type[Op], before: np.ndarray, row: np.void) -> np.ndarray:
    """False within a level of a jump, as solarization has one at its threshold: bool [S, S, 3]."""
    if not issubclass(op, PointOp):
        return np.ones_like(before, bool)
    colors = torch.from_numpy(before).permute(2, 0, 1).float() / 255
    near = [(colors + step / 255).clamp(0, 1) for step in np.linspace(-1, 1, 17)]
    jumps = np.abs(np.diff([op.reference(each, row, SIZE).numpy() for each in near], axis=0)).max(0)
    return (jumps < 0.6 / 255).transpose(1, 2, 0)


def test_streams_and_fields_belong_to_one_operation() -> None:
    streams = [stream for op in OPS for stream in op.streams]
    assert len(set(streams)) == len(streams)
    fields = [field.name for op in OPS for field in op.fields]
    assert sorted(fields) == sorted(VIEW_PARAMETERS.names or ())
    for kinds in KINDS.values():
        assert {(kind.streams, kind.fields) for kind in kinds} == {(kinds[0].streams, kinds[0].fields)}


def test_fields_are_words_in_the_order_of_streams() -> None:
    """A newer operation has higher streams: its fields come last, wherever it is applied."""
    words = [VIEW_PARAMETERS.fields[field.name][1] for op in _by_stream() for field in op.fields]  # type: ignore[index]
    assert words == sorted(words)
    assert VIEW_PARAMETERS.itemsize == 4 * sum(np.size(field.neutral) for op in OPS for field in op.fields)


def _by_stream() -> list[type[Op]]:
    return sorted(OPS, key=lambda op: min(op.streams))


def test_pixels_are_changed_where_renderers_expect_it() -> None:
    """Geometry, jitter, operations on pixels before blur, blur, those after it, and on the finished view."""
    names = list(KINDS)
    assert names[:3] == ["crop", "flip", "jitter"]
    points = [op for op in OPS if issubclass(op, PointOp)]
    assert [*BEFORE_BLUR, *AFTER_BLUR] == points
    assert [op for op in OPS if op.finished] == [ChannelJitter, *CHANNEL_OPS, *PLACE_OPS]
    assert OPS[-1 - len(CHANNEL_OPS) - len(PLACE_OPS)] is ChannelJitter  # all others come before
    assert not any(op.finished for op in points)


@pytest.mark.parametrize("op", ALL_KINDS, ids=lambda op: op.__name__)
def test_every_operation_is_complete(op: type[Op]) -> None:
    assert isinstance(op.draw, Dispatcher)
    assert isinstance(op.numba, Dispatcher)
    assert op.reference is not Op.reference
    owner = next(base for base in op.__mro__ if "fields" in vars(base))
    functions = vars(import_module(f"{owner.__module__}_gpu"))
    compiled = [
        name for name, member in functions.items() if isinstance(member, JITFunction | InterpretedFunction)
    ]
    assert ("apply" in compiled) == issubclass(op, PointOp | ChannelOp | PlaceOp)
    assert compiled


@pytest.mark.parametrize("name", list(KINDS))
def test_a_default_spec_draws_the_neutral_row(name: str) -> None:
    rows = draw_many(ViewSpec(**RESTING))
    for field in KINDS[name][0].fields:
        if name != "crop":
            assert (rows[field.name] == NEUTRAL[field.name]).all(), field.name


@pytest.mark.parametrize("name", list(KINDS))
def test_another_operation_shifts_nothing(name: str) -> None:
    other: Any = KINDS[name][-1]()  # the default, which rests; of the crops another one
    with_it, without = draw_many(EVERYTHING), draw_many(replace(EVERYTHING, **{name: other}))
    own = {field.name for field in KINDS[name][0].fields}
    for field in VIEW_PARAMETERS.names or ():
        assert np.array_equal(with_it[field], without[field]) == (field not in own), field


@pytest.mark.parametrize("name", [name for name, kinds in KINDS.items() if hasattr(kinds[0](), "p")])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_as_many_views_are_changed_as_p_says(name: str, p: float) -> None:
    """Never and always are exact."""
    op: Any = replace(getattr(EVERYTHING, name), p=p)
    rows = draw_many(replace(EVERYTHING, **{name: op}))
    own = [field.name for field in op.fields]
    at_rest = np.all([np.all((rows[n] == NEUTRAL[n]).reshape(len(rows), -1), axis=1) for n in own], axis=0)
    assert_rate(~at_rest, p)


def test_the_neutral_row_leaves_pixels_alone() -> None:
    row = np.array(plain_row(SIZE, SIZE))
    row["top"], row["left"] = 3, 5
    views = rendered(ViewSpec(size=SIZE), row)
    wanted = PICTURE[3 : 3 + SIZE, 5 : 5 + SIZE]
    for name, view in views.items():
        assert np.abs(view - wanted).max() < 0.01, name


@pytest.mark.parametrize("name", list(KINDS))
def test_every_renderer_applies_it_as_the_reference_does(name: str) -> None:
    spec = working(name)
    rows = draw_rows(spec, [PICTURE.shape[:2]] * 8, seed=1)[0]
    changed = 0.0
    for row in rows:
        views = rendered(spec, np.array(row))
        at_rest = np.array([row])  # np.array(row) would be the row itself
        for field in KINDS[name][0].fields if name != "crop" else ():
            at_rest[field.name] = NEUTRAL[field.name]
        before = rendered(spec, at_rest)["reference"]
        changed = max(changed, np.abs(views["reference"] - before).max())
        steady = is_steady(KINDS[name][0], before, row)
        assert np.abs(views["numba"] - views["reference"])[steady].max() < 1
        assert np.abs(views["triton"] - views["reference"])[steady].max() < 0.1
    assert changed > 1 or name == "crop"


@pytest.mark.parametrize("name", list(KINDS))
def test_the_reference_leaves_its_input_untouched(name: str) -> None:
    image = torch.from_numpy(PICTURE).permute(2, 0, 1).float() / 255
    before = image.clone()
    row = draw_rows(working(name), [(SIZE, SIZE)])[0, 0]
    KINDS[name][0].reference(image, row, SIZE)
    assert torch.equal(image, before)

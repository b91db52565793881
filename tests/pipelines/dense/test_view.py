import numpy as np
import pytest

from pipelines.command.errors import UserError
from pipelines.dense.view import DrawnView, ResizedView, draw_views, placement_of, resized_size
from pipelines.ops import RandomResizedCrop, Shift
from pipelines.views import ViewSpec, draw
from tests.helpers.hash_by_hand import hash_of, to_uniform

COUNT = 2000
SAMPLES = np.random.default_rng(0).integers(-(1 << 62), 1 << 62, COUNT)
HEIGHTS, WIDTHS = np.full(COUNT, 375, np.int32), np.full(COUNT, 500, np.int32)


def drawn(view: ResizedView | ViewSpec, which: slice = slice(None), epoch: int = 0) -> list[DrawnView]:
    return draw_views(
        view, seed=3, epoch=epoch, samples=SAMPLES[which], heights=HEIGHTS[which], widths=WIDTHS[which]
    )


@pytest.mark.parametrize(
    ("height", "width", "short_side", "longest", "expected"),
    [
        (375, 500, 600, 1333, (600, 800)),
        (500, 375, 600, 1333, (800, 600)),
        (480, 640, 800, 1333, (800, 1067)),  # 1066.67
        (333, 500, 800, 1333, (800, 1201)),  # 1201.2
        (200, 1000, 800, 1333, (267, 1333)),  # 4000 is too long: 1333 / 5 = 266.6
        (1000, 200, 800, 1333, (1333, 267)),
        (500, 500, 480, 1333, (480, 480)),
        (1024, 2048, 512, 4096, (512, 1024)),
        (1, 3000, 800, 1333, (1, 1333)),  # 0.44 rounds to none
    ],
)
def test_sizes_are_those_of_resize_shortest_edge(
    height: int, width: int, short_side: int, longest: int, expected: tuple[int, int]
) -> None:
    assert resized_size(height, width, short_side, longest) == expected


def test_short_sides_flips_and_windows_are_drawn_uniformly() -> None:
    view = ResizedView(short_sides=(512, 768, 1024), longest=4096, crop=(256, 300), flip_p=0.25)
    places = [each.placement for each in drawn(view)]
    heights = np.array([place.resized_height for place in places])
    for side in view.short_sides:
        chosen = heights == side
        assert abs(chosen.mean() - 1 / 3) < 0.04
        tops = np.array([place.window_top for place in places])[chosen]
        lefts = np.array([place.window_left for place in places])[chosen]
        width = round(side * 500 / 375)
        assert tops.min() < 0.02 * side
        assert side - 256 - 0.02 * side < tops.max() <= side - 256
        assert lefts.min() < 0.02 * side
        assert width - 300 - 0.02 * side < lefts.max() <= width - 300
        assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.15
    assert abs(np.mean([place.flip for place in places]) - 0.25) < 0.04
    assert {(place.height, place.width) for place in places} == {(256, 300)}


def test_a_view_is_a_function_of_its_keys_alone() -> None:
    for view in (ResizedView(crop=(512, 512)), ViewSpec(size=32)):
        together, one = drawn(view), drawn(view, slice(700, 701))[0]
        assert one.placement == together[700].placement
        other = drawn(view, epoch=1)
        same = sum(a.placement == b.placement for a, b in zip(together, other, strict=True))
        assert same < 0.05 * COUNT
    tables = [each.table for each in drawn(ViewSpec(size=32))]
    rows = draw(
        ViewSpec(size=32), seed=3, epoch=0, samples=SAMPLES, heights=HEIGHTS, widths=WIDTHS, views=(0,)
    )
    assert all(table is not None and table[0, 0] == row for table, row in zip(tables, rows[0], strict=True))


def test_the_view_of_a_sample_never_changes() -> None:
    """Worked out from the keys by the definition of their hash: a change would end exact resuming."""
    place = drawn(ResizedView(crop=(400, 400)), slice(5, 6))[0].placement
    key = hash_of(3, 0, int(SAMPLES[5]), 0)
    numbers = {
        stream: [to_uniform(hash_of(stream, index, state=key)) for index in range(2)]
        for stream in (100, 101, 102)
    }
    side = range(480, 801, 32)[int(11 * numbers[100][0])]
    assert (place.resized_height, place.resized_width) == resized_size(375, 500, side, 1333)
    assert place.window_top == int(numbers[101][0] * (place.resized_height - 400 + 1))
    assert place.window_left == int(numbers[101][1] * (place.resized_width - 400 + 1))
    assert place.flip == (numbers[102][0] < 0.5)


def test_images_below_the_crop_are_shown_whole() -> None:
    view = ResizedView(short_sides=(300,), crop=(512, 320))
    for each in drawn(view, slice(0, 20)):
        place = each.placement
        assert (place.window_top, place.height, place.width) == (0, 300, 320)
        assert 0 <= place.window_left <= 400 - 320


def test_a_square_view_is_placed_by_its_row() -> None:
    spec = ViewSpec(size=64, crop=RandomResizedCrop(scale=(0.2, 1.0)), shift=Shift(padding=0.125, stay=0.0))
    for each in drawn(spec, slice(0, 50)):
        assert each.table is not None
        row, place = each.table[0, 0], each.placement
        assert place == placement_of(row, 64)
        assert (place.top, place.left) == (row["top"], row["left"])
        assert (place.box_height, place.box_width) == (row["height"], row["width"])
        assert place.window_left == row["shift_right"] * (1 if row["flip"] else -1)


@pytest.mark.parametrize(
    "options",
    [
        {"short_sides": ()},
        {"short_sides": (0,)},
        {"crop": (0, 5)},
        {"longest": 1 << 16},
        {"flip_p": 1.5},
        {"std": (0.0, 1.0, 1.0)},
    ],
)
def test_views_out_of_range_are_refused_in_a_line(options: dict[str, object]) -> None:
    with pytest.raises(UserError) as error:
        ResizedView(**options)  # type: ignore[arg-type]
    assert next(iter(options)) in str(error.value)
    assert "\n" not in str(error.value)

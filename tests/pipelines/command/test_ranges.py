import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import tyro

from pipelines.command.errors import UserError
from pipelines.command.ranges import (
    BelowOne,
    Count,
    CountOrNone,
    CountOrZero,
    Counts,
    NotNegative,
    Positive,
    Share,
    check_ranges,
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options."""

    epochs: Positive = 7
    """Length of the run."""
    momentum: BelowOne = 0.9
    decay: NotNegative = 0
    share: Share = 1
    log_every: Count = 20
    workers: CountOrZero = 0
    group: CountOrNone = None
    views: Counts = (1, 2)
    crop: tuple[Count, Count] = (512, 1024)
    order: Literal["random", "blocks"] = "random"
    free: float = -1

    def __post_init__(self) -> None:
        check_ranges(self)


@pytest.mark.parametrize(
    ("name", "inside", "outside", "words"),
    [
        ("epochs", [1e-9, 3], [0, -1], "above 0"),
        ("momentum", [0, 0.999], [-0.1, 1], "at least 0 and below 1"),
        ("decay", [0, 1e9], [-1e-9], "at least 0"),
        ("share", [0.1, 1], [0, 1.01], "above 0 and at most 1"),
        ("log_every", [1], [0, -1], "at least 1"),
        ("workers", [0, 7], [-1], "at least 0"),
        ("group", [None, 1], [0], "at least 1"),
        ("order", ["blocks"], ["sideways"], "one of random, blocks"),
    ],
)
def test_each_range_takes_what_lies_inside(
    name: str, inside: list[Any], outside: list[Any], words: str
) -> None:
    for value in inside:
        assert getattr(Options(**{name: value}), name) == value
    option = name.replace("_", "-")
    for value in outside:
        with pytest.raises(UserError) as refusal:
            Options(**{name: value})
        assert str(refusal.value) == f"--{option} must be {words}, not {value}"


@pytest.mark.parametrize(("name", "values"), [("crop", (0, 128)), ("crop", (128, -1)), ("views", (2, 0))])
def test_each_number_of_several_is_checked(name: str, values: tuple[int, ...]) -> None:
    assert Options(crop=(1, 1)).crop == (1, 1)
    with pytest.raises(UserError, match=f"^--{name} must be at least 1, not {' '.join(map(str, values))}$"):
        Options(**{name: values})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_range_takes_what_is_no_number(value: float) -> None:
    for name in ("epochs", "momentum", "decay", "share"):
        with pytest.raises(UserError, match=f"--{name} must be finite and"):
            Options(**{name: value})  # type: ignore[arg-type]


def test_numbers_beyond_all_counting_are_refused() -> None:
    """Integers that no tensor takes, and lengths whose count of steps or seconds is no number."""
    assert Options(workers=(1 << 63) - 1, epochs=1e12)
    with pytest.raises(UserError, match=r"^--workers must be below 2\^63, not 9223372036854775808$"):
        Options(workers=1 << 63)
    with pytest.raises(UserError, match=r"^--epochs must be at most 1e\+12, not 1e\+300$"):
        Options(epochs=1e300)


def test_the_prefix_stands_before_the_name() -> None:
    @dataclass(frozen=True)
    class Part:
        lr: Positive = 0

    with pytest.raises(UserError, match=r"^--optimizer\.lr must"):
        check_ranges(Part(), "--optimizer.")


def test_help_shows_the_range(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tyro.cli(Options, args=["--help"])
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Length of the run. (above 0; default: 7)" in words
    assert "(at least 1; default: None)" in words

"""Several places of images as one word."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.command.places import join_repeated, map_places, places


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        (["run", "--data", "a"], ["run", "--data", "a"]),
        (["--data", "a", "--seed", "1", "--data=b"], ["--seed", "1", "--data", "a + b"]),
        (["--data=a", "--data", "b", "--data", "c"], ["--data", "a + b + c"]),
        (["--data", "a", "--data"], ["--data", "a", "--data"]),
    ],
)
def test_an_option_given_twice_is_one_word(words: list[str], joined: list[str]) -> None:
    assert join_repeated(words) == joined


def test_each_place_is_changed_and_the_end_kept() -> None:
    assert map_places("a + b?classes=separate", str.upper) == "A + B?classes=separate"
    assert map_places("a?image=x", lambda name: f"/{name}") == "/a?image=x"


def test_a_folder_of_such_a_name_is_one_place(tmp_path: Path) -> None:
    (tmp_path / "a + b").mkdir()
    assert places(f"{tmp_path}/a + b") == [f"{tmp_path}/a + b"]
    assert places(f"{tmp_path}/a + c") == [f"{tmp_path}/a", "c"]

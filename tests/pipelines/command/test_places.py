"""Several places of images as one word."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.command.errors import UserError
from pipelines.command.places import (
    is_url,
    join_repeated,
    map_places,
    on_disk,
    places,
    refuse_secrets,
    require_place,
)


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


@pytest.mark.parametrize(
    ("place", "path", "part"),
    [
        ("set", "set", ""),
        ("set?image=photo", "set", "?image=photo"),
        ("set/*.parquet?label=a b&image=x", "set/*.parquet", "?label=a b&image=x"),
        ("set/?.parquet", "set/?.parquet", ""),
        ("set?images=photo", "set?images=photo", ""),
    ],
)
def test_columns_are_no_part_of_the_path(place: str, path: str, part: str, tmp_path: Path) -> None:
    assert on_disk(place) == (path, part)
    if part:
        with pytest.raises(UserError, match=r"no such folder or file: .*none"):
            require_place(f"{tmp_path}/none{part}", "--data")


def test_addresses_are_told_from_paths() -> None:
    addresses = ["s3://bucket/a.tar", "gs://bucket", "https://host/a.tar", "http://host/a.parquet"]
    assert all(map(is_url, addresses))
    assert not any(map(is_url, ["a/b.tar", "scenes", "s3:/bucket", "./s3://bucket", "ftp://host/a.tar"]))


@pytest.mark.parametrize(
    "where",
    [
        "s3://key:secret@bucket/set",
        "a + https://me@host/a.tar",
        "https://host/a.tar?X-Amz-Credential=1&X-Amz-Signature=secret",
        "gs://bucket/a.tar?x-goog-signature=secret",
        "https://host/a.tar?v=1&sig=secret",
    ],
)
def test_addresses_with_secrets_are_refused_without_repeating_them(where: str) -> None:
    with pytest.raises(UserError, match="holds a password or a signature") as caught:
        refuse_secrets(where)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_addresses_without_secrets_pass() -> None:
    refuse_secrets("s3://bucket/train-{000..127}.tar?cache=20e9 + data/me@home + gs://bucket/set?image=img")


def test_a_place_must_be_there_unless_it_is_elsewhere_or_a_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("VOC2012").mkdir()
    for place in (
        "VOC2012",
        "VOC2012:trainval",
        "scenes:single-1111",
        "s3://b/{0..3}.tar?cache=1GB",
        "a/*.tar",
    ):
        require_place(place, "--data")
    for place in ("VOC2013", "VOC2013:trainval", "scenesque"):
        with pytest.raises(UserError, match=f"no such folder or file: {place}; say with --data"):
            require_place(place, "--data")

import threading
from pathlib import Path

import pytest

from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages, default_limit


def test_each_image_is_named_once_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "bad_images.txt"
    bad = BadImages(path, 10)
    assert len(bad) == 0
    assert not path.exists()  # nothing is bad yet
    bad.record("cats/1.jpg", "truncated\n  in the\tmiddle")
    bad.record("cats/2.jpg", "not an image")
    bad.record("cats/1.jpg", "truncated")
    assert len(bad) == 2
    assert path.read_text() == "cats/1.jpg\ttruncated in the middle\ncats/2.jpg\tnot an image\n"


def test_a_resumed_run_counts_on(tmp_path: Path) -> None:
    path = tmp_path / "bad_images.txt"
    first = BadImages(path, 2)
    first.record("a.jpg", "x")
    first.record("with\ta tab.jpg", "x")
    second = BadImages(path, 2)
    assert len(second) == 2
    second.record("a.jpg", "x")
    second.record("with\ta tab.jpg", "x")
    assert len(second) == 2
    with pytest.raises(UserError):
        second.record("c.jpg", "x")
    assert len(path.read_text().splitlines()) == 3  # the last one is named too


@pytest.mark.parametrize(
    "name", ["new\nline.jpg", "car\rriage.jpg", "line\u2028separator.jpg", "next\x85line.jpg"]
)
def test_a_line_break_in_a_name_counts_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad_images.txt"
    for _ in range(2):
        bad = BadImages(path, 2)
        bad.record(name, "x")
        bad.record("other.jpg", "x")
        assert len(bad) == 2
    assert len(path.read_text().splitlines()) == 2


def test_without_a_file_names_are_kept_in_memory(tmp_path: Path) -> None:
    bad = BadImages(None, 10)
    bad.record("a.jpg", "x")
    assert len(bad) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [0, 3])
def test_one_more_than_the_limit_is_an_error(tmp_path: Path, limit: int) -> None:
    for path in (tmp_path / "bad_images.txt", None):
        bad = BadImages(path, limit)
        for number in range(limit):
            bad.record(f"{number}.jpg", "x")
        with pytest.raises(UserError) as refusal:
            bad.record("last.jpg", "x")
        message = str(refusal.value)
        assert "\n" not in message
        assert f"{limit + 1} images cannot be decoded, more than the {limit} tolerated" in message
        assert (str(path) if path else "last.jpg") in message
        assert "--max-bad-images" in message


def test_many_threads_at_once(tmp_path: Path) -> None:
    bad = BadImages(tmp_path / "bad_images.txt", 1000)
    start = threading.Barrier(8)

    def record() -> None:
        start.wait()
        for number in range(100):
            bad.record(f"{number}.jpg", "x")

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "bad_images.txt").read_text().splitlines()
    assert sorted(lines) == sorted(f"{number}.jpg\tx" for number in range(100))
    assert len(bad) == 100


@pytest.mark.parametrize(
    ("count", "limit"), [(1, 10), (9_999, 10), (10_999, 10), (11_000, 11), (1_281_167, 1281)]
)
def test_the_usual_limit(count: int, limit: int) -> None:
    assert default_limit(count) == limit

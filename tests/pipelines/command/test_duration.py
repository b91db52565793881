import pytest

from pipelines.command.progress import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(30, "30s"), (240, "4m"), (12_000, "3h 20m"), (183_600, "2d 3h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text

import pytest

from pipelines.command.text import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data/Übung 1.jpg", "/data/Übung 1.jpg"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\u202egpj.exe", r"\u202egpj.exe"),  # turns the line around
        ("a\u2028b\x85", r"a\u2028b\x85"),
        ("1\u00a0000\u3000円", "1\u00a0000\u3000円"),  # spaces of other widths are seen
        ("\udcff", r"\udcff"),  # a byte of a name that is no UTF-8
    ],
)
def test_control_characters_become_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown

import pytest

from launchers.sweeps.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data/Übung 1.jpg", "/data/Übung 1.jpg"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\u202egpj.exe", r"\u202egpj.exe"),  # turns the line around
        ("\udcff", r"\udcff"),  # a byte of a name that is no UTF-8
    ],
)
def test_control_characters_become_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown

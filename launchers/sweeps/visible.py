"""Text of strangers, such as names of files, as a terminal may print it."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""The text with control characters, line breaks among them, as escapes: ``\x1b``."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)

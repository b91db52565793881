"""Text of strangers, such as names of files, as a terminal and a line of a file can hold it."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    r"""The text with control characters, line breaks and marks that turn lines as escapes: ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or unicodedata.category(letter) == "Zs" else ascii(letter)[1:-1]
        for letter in text
    )

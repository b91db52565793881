"""The lists in a large JSON object, element by element, so that all of them never stand in memory at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def list_elements(text: str) -> Iterator[tuple[str, Any]]:
    """Name and element, for each element of each list of a JSON object; its other members are passed over.

    Raises:
        ValueError: the text is no JSON object; the message says where it ends to be one.
    """
    position = _expect(text, 0, "{")
    while _next(text, position) != "}":
        name, position = _value(text, position)
        position = _expect(text, position, ":")
        if _next(text, position) == "[":
            position = _expect(text, position, "[")
            while _next(text, position) != "]":
                element, position = _value(text, position)
                yield name, element
                if _next(text, position) != "]":
                    position = _expect(text, position, ",")
            position = _expect(text, position, "]")
        else:
            _, position = _value(text, position)
        if _next(text, position) != "}":
            position = _expect(text, position, ",")
    position = _expect(text, position, "}")
    if _next(text, position):
        raise ValueError(f"there is more after its end at character {position} of {len(text)}")


def _next(text: str, position: int) -> str:
    """The next letter that is no space; empty at the end."""
    at = _after_space(text, position)
    return text[at : at + 1]


def _expect(text: str, position: int, letter: str) -> int:
    at = _after_space(text, position)
    if text[at : at + 1] != letter:
        raise ValueError(f"{letter!r} is missing at character {at + 1} of {len(text)}")
    return at + 1


def _value(text: str, position: int) -> tuple[Any, int]:
    at = _after_space(text, position)
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos + 1} of {len(text)}") from None
    except RecursionError:
        raise ValueError(f"lists within lists without end at character {at + 1}") from None


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    assert found is not None  # as nothing is a match too
    return found.end()

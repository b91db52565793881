"""Elements of lists, as the standard library reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.sources.coco.json_lists import list_elements

OBJECT: dict[str, Any] = {
    "info": {"a list inside": [1, 2]},
    "b": [1, "]", {"x": [1, {"y": None}]}, [], -1.5e-3, True],
    "empty": [],
    'é"\\': ["\u2028", "\\u0041"],
    "last": None,
}


@pytest.mark.parametrize("indent", [None, 0, 3])
def test_elements_are_those_of_json(indent: int | None) -> None:
    expected = [(name, each) for name, value in OBJECT.items() if isinstance(value, list) for each in value]
    for escape in (True, False):
        text = json.dumps(OBJECT, indent=indent, ensure_ascii=escape)
        assert list(list_elements(text)) == expected
        assert list(list_elements(f" \t\r\n{text}\n")) == expected
    assert list(list_elements(" { } ")) == []


def test_every_cut_is_noticed() -> None:
    text = json.dumps(OBJECT)
    for end in range(len(text)):
        with pytest.raises(ValueError, match="at character"):
            list(list_elements(text[:end]))
    for damaged in ("[1]", '{"a" [1]}', '{"a": [1 2]}', '{"a": [,]}', '{"a": [1,]}x'.replace(",]}x", ",")):
        with pytest.raises(ValueError, match="at character"):
            list(list_elements(damaged))
    with pytest.raises(ValueError, match="without end"):
        list(list_elements('{"a": [' + "[" * 200_000))

"""Mistakes of users, each told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipelines.command.errors import UserError


@contextmanager
def refused(*patterns: str) -> Iterator[None]:
    """Check that what is done inside raises a ``UserError`` of one line, in which all patterns are found."""
    with pytest.raises(UserError) as caught:
        yield
    assert "\n" not in str(caught.value)
    for pattern in patterns:
        assert caught.match(pattern)

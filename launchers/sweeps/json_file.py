"""JSON files of a sweep folder: read whole, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pipelines.command.errors import UserError

Value = TypeVar("Value")


def read_object(path: Path, remedy: str = "delete it and run the sweep again") -> dict[str, Any]:
    """The object of a JSON file; {} where there is no such file.

    Raises:
        UserError: the file cannot be read, or holds no object.
    """
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): {remedy}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged (no JSON object): {remedy}")
    return values


def object_if_whole(path: Path) -> dict[str, Any]:
    """The object of a JSON file; {} where there is none, or it is damaged."""
    try:
        return read_object(path)
    except UserError:
        return {}


def unless_damaged(read: Callable[[], Value], damaged: list[str]) -> Value | None:
    """Result of ``read``; None where a file is damaged, and its line joins ``damaged``."""
    try:
        return read()
    except UserError as error:
        if str(error) not in damaged:
            damaged.append(str(error))
        return None


def is_number(value: Any) -> bool:
    """True for a finite number, and not for a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300

"""Checkpoints that are never half-written."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipelines.command.errors import UserError
from pipelines.files.atomic import write_atomically


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Raises:
        UserError: it cannot be written; the previous checkpoint stands.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    try:
        with buffer.getbuffer() as content:  # a view left alive forbids the buffer to go
            write_atomically(path, content)
    except OSError as error:
        kept = "the previous checkpoint is intact" if path.exists() else "there is no earlier checkpoint"
        raise UserError(
            f"cannot write the checkpoint {path}: {error.strerror} ({kept}): "
            f"free some space and run the same command again"
        ) from None


@contextmanager
def fitting(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Inside, errors of restoring a state from ``path`` into ``what`` ("the run") become a ``UserError``."""
    try:
        yield
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise UserError(f"{path} does not fit {what} ({reason}): {remedy}") from None


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, its checksums verified.

    Raises:
        UserError: it is missing, damaged or not a checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes checksums, and reads past them
            whole = archive.testzip() is None
        state = torch.load(path, map_location="cpu", weights_only=True) if whole else None
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {path}: train the run first") from None
    except Exception:  # zipfile and torch raise whatever they meet
        state = None
    if not isinstance(state, dict):
        raise UserError(
            f"{path} is not a checkpoint of this fastssl, or damaged: put one in its place, or start anew in "
            f"another folder"
        )
    return state

"""The lines of metrics.jsonl, read back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def read_metrics(path: Path, last_bytes: int | None = None) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, or those in its ``last_bytes``; [] where there is no such file.

    A line that is not whole is left out: cut by a crash, just being written, or where ``last_bytes`` begin.
    So is a damaged one, without a step for instance.
    """
    try:
        with path.open("rb") as file:
            if last_bytes is not None:
                file.seek(max(0, file.seek(0, os.SEEK_END) - last_bytes))
            lines = file.read().splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows

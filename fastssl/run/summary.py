"""summary.json of a run folder, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.command.errors import UserError


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json; {} where there is none that can be read, as in a run's first minute.

    Raises:
        UserError: it is damaged.
    """
    path = folder / "summary.json"
    try:
        values = json.loads(path.read_text())
        if isinstance(values, dict):
            return values
        reason = "no JSON object"
    except OSError:
        return {}
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise UserError(f"{path} is damaged ({reason}): delete it and run again")


def summary_if_whole(folder: Path) -> dict[str, Any]:
    """summary.json; {} where there is none or it is damaged, for those who look at many runs."""
    try:
        return read_summary(folder)
    except UserError:
        return {}

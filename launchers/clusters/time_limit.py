"""Time limits as SLURM writes them."""

from __future__ import annotations

import math
import re

from pipelines.command.errors import UserError

_LONGEST_DAYS = 3650


def parse_minutes(time: str, option: str = "--time") -> int:
    """A time limit as SLURM has it, in minutes, rounded up.

    ``90``, ``90:00`` (minutes:seconds), ``1:30:00``, ``2-12`` (days-hours), ``2-12:30``, ``2-12:30:00``.

    Raises:
        UserError: of no such form, or longer than ten years.
    """
    found = re.fullmatch(r"(?:(\d{1,9})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?", time.strip())
    if not found:
        raise UserError(f"{option} {time} is no time limit: give minutes, HH:MM:SS or D-HH:MM:SS")
    days, first, second, third = (None if part is None else int(part) for part in found.groups())
    assert first is not None
    if days is not None:
        seconds = days * 86400 + first * 3600 + (second or 0) * 60 + (third or 0)
    elif third is not None:
        seconds = first * 3600 + (second or 0) * 60 + third
    else:
        seconds = first * 60 + (second or 0)
    if not seconds:
        raise UserError(f"{option} {time} is no time at all: give minutes, HH:MM:SS or D-HH:MM:SS")
    if seconds > _LONGEST_DAYS * 86400:
        longest = f"{_LONGEST_DAYS} days"
        raise UserError(f"{option} {time} is above {longest}: give minutes, HH:MM:SS or D-HH:MM:SS")
    return math.ceil(seconds / 60)

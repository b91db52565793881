"""Placement of a view in its image, and targets that ride along."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A box of an image, resized to ``height`` x ``width``, then mirrored if ``flip``.

    The box may reach outside the image, where it is black and has no class (IGNORED).
    """

    top: int
    left: int
    box_height: int
    box_width: int
    height: int
    width: int
    flip: bool

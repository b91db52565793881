"""Placement of a view in its image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A box of an image is resized, a window of that is cut out, and mirrored if ``flip``. All in pixels.

    Box and window may reach outside, where there is no object and no class (IGNORED).
    """

    top: int
    left: int
    box_height: int
    box_width: int
    """The box in the image."""
    resized_height: int
    resized_width: int
    """Size of the box once resized."""
    window_top: int = 0
    window_left: int = 0
    """Begin of the window in the resized box, counted before it is mirrored."""
    height: int
    width: int
    """Size of the window, which is the view."""
    flip: bool
    """Mirror the window left to right."""
